"""The client: text in, message out. It needs a tokenizer and the encoder's table, no language model."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.mechanism import Description, Releaser
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SystemWords, WordSource
from mechanisms.spec import QuantizerSpec
from mechanisms.terms import Terms
from mechanisms.tokens import checked_tokens
from mechanisms.wire import pack


@dataclass(frozen=True, slots=True)
class CodeReleaser:
    """DEL's half of the client: the code of each token, quantized and packed.

    Raises UserError for an encoder of another dim or clip than the spec's: it was made for another quantizer.
    """

    encoder: Encoder
    spec: QuantizerSpec

    def __post_init__(self) -> None:
        for name in ("dim", "clip"):
            wanted, got = getattr(self.spec, name), getattr(self.encoder, name)
            if wanted != got:
                raise UserError(f"Expected an encoder of {name}={wanted}, got {name}={got}: trained for another spec.")

    def release(self, tokens: Sequence[int], source: WordSource) -> bytes:
        """Returns the message for a tokenized prompt, with fresh noise.

        Raises UserError as checked_tokens does; then nothing is drawn or sent.
        """
        levels = self.encoder.levels_of(checked_tokens(tokens, self.encoder.words))
        return pack(StochasticQuantizer(self.spec).sample(levels, source), self.spec)


class Client:
    """Releases prompts. Every release draws fresh noise; there is no switch that turns it off.

    releaser: the client's half of a mechanism. max_tokens: the longest prompt that is released; the server's context
    less its virtual and new tokens. source: where random words come from. Leave it out, except to simulate a
    release of public text. terms: of the certificate that the client runs under; a session is this object's life.
    """

    def __init__(
        self,
        tokenizer: Any,
        releaser: Releaser,
        max_tokens: int,
        source: WordSource | None = None,
        terms: Terms | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._releaser = releaser
        self._max_tokens = max_tokens
        self._source = source if source is not None else SystemWords()
        self._terms = terms if terms is not None else Terms()
        self._charged = 0
        self._lock = threading.Lock()

    @property
    def spec(self) -> Description:
        """The mechanism that this client runs."""
        return self._releaser.spec

    @property
    def charged(self) -> int:
        """Tokens released so far by this client; the same prompt again is charged again, as its guarantees add up."""
        return self._charged

    def release(self, text: str) -> bytes:
        """Returns the message for a prompt.

        Raises UserError for an empty prompt, for one over max_tokens, and for one that the terms do not allow; then
        nothing is drawn or sent.
        """
        return self.release_tokens(self._tokenizer(text, add_special_tokens=False).input_ids)

    def release_tokens(self, tokens: Sequence[int]) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as release does."""
        if len(tokens) > self._max_tokens:
            raise UserError(f"Expected a prompt of at most {self._max_tokens} tokens, got {len(tokens)}.")
        with self._lock:  # two threads must not spend the same allowance
            self._require_allowed(len(tokens))
            message = self._releaser.release(tokens, self._source)
            self._charged += len(tokens)  # before the message leaves
        return message

    def _require_allowed(self, tokens: int) -> None:
        prompt, session, until = self._terms.prompt_tokens, self._terms.session_tokens, self._terms.until
        if until is not None and datetime.now(UTC) >= until:
            raise UserError(f"Expected a certificate that has not expired, got one that expired on {until}.")
        if prompt is not None and tokens > prompt:
            raise UserError(f"Expected a prompt of at most {prompt} tokens, the certificate's limit, got {tokens}.")
        if session is not None and self._charged + tokens > session:
            left = session - self._charged
            raise UserError(f"Expected at most {left} tokens, the rest of the session's {session}, got {tokens}.")
