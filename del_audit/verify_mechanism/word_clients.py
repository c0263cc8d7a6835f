"""Clients of word mechanisms: as JSON, tokens in and what is released of each out; and del-audit's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.driving import Given
from del_audit.evidence.verification.words import WordLaw
from del_audit.verify_mechanism.json_client import Exchange, JsonCaller, JsonClient, read_answer
from del_audit.verify_mechanism.target import Target
from mechanisms.client import Client
from mechanisms.spec import QuantizerSpec

_WIDTH = 8
"""Digits of any word: requests of equally many tokens are equally long, and none takes longer by its length."""
_TOKENIZER = "words were released by their numbers"
_LONGEST = 1 << 31


class JsonWordClient(JsonCaller[WordLaw]):
    """A client of a word mechanism: tokens in, what is released of each or a message out."""

    released = "observed"

    def first(self) -> tuple[Given, str]:
        """Returns one word."""
        return np.zeros(1, dtype=np.int64), "the word 0"

    def read(self, exchange: Exchange, given: Given) -> NDArray[np.generic] | bytes:
        """Returns what was released of each token, or a message."""
        request = f'{{"tokens": [{",".join(f"{token:>{_WIDTH}}" for token in given.tolist())}]}}'
        return read_answer(exchange(request.encode(), (1 << 20) + 64 * given.size * self.spec.numbers), self.released)

    def unpacked(self, message: bytes) -> NDArray[np.generic]:
        """Returns what a message carries."""
        return self.spec.shaped(self.spec.opened(message))

    def good(self, given: Given) -> bool:
        """Returns whether this is a prompt of words of the vocabulary."""
        return bool(given.size and given.min() >= 0 and given.max() < self.spec.words)

    def described(self, given: Given) -> str:
        """Returns how many tokens there are, and whether all are words."""
        return f"{len(given)} tokens" + ("" if self.good(given) else ", which is no prompt of words")


def json_client(claim: QuantizerSpec | WordLaw, exchange: Exchange) -> JsonClient | JsonWordClient:
    """Returns the client of a claim behind an exchange."""
    return JsonWordClient(claim, exchange) if isinstance(claim, WordLaw) else JsonClient(claim, exchange)


@contextmanager
def own_word_client(law: WordLaw, kind: str = "del-audit", name: str = "") -> Iterator[Target]:
    """Yields the client that runs a word mechanism: its draws, packing and count of tokens, on the system's words."""
    client = Client(None, law.mechanism, _LONGEST)
    yield Target(
        kind,
        name or "del-audit's own client",
        lambda tokens: law.shaped(law.opened(client.release_tokens(tokens))),
        client.release_tokens,
        lambda: client.charged,
        untested={"tokenizer": _TOKENIZER},
    )
