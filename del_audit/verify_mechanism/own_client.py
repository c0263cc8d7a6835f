"""del-audit's own client, the code that an installed one runs, with values in the place of a vocabulary's codes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from del_audit.evidence.verification.words import WordLaw
from del_audit.verify_mechanism.target import Floats, Target
from mechanisms.client import Client, CodeReleaser
from mechanisms.client_bundle import load_client
from mechanisms.client_certificate import UNCERTIFIED
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.randomness import RandomSource
from mechanisms.rivals._supports import SupportSpec
from mechanisms.rivals.client_half import SYMBOLS
from mechanisms.rivals.clusters import load_symbols
from mechanisms.rivals.coarse_words import CoarseWordsSpec
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import unpack

_ENCODER = "each word's own code and the tokenizer: values were released in their place"
_REFERENCE = "the reference is this client's own sampler"
_LONGEST = 1 << 31


@dataclass(slots=True)
class _ValuesReleaser:
    """The client's half with a table of the call's values: token i is row i."""

    spec: QuantizerSpec
    table: Encoder | None = None

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message of rows of the table."""
        if self.table is None:
            raise UserError("Expected a table of values before the first release, got none.")
        return CodeReleaser(self.table, self.spec).release(tokens, source)


@contextmanager
def own_client(spec: QuantizerSpec, kind: str = "del-audit", name: str = "") -> Iterator[Target]:
    """Yields the client that runs a spec: its quantizer, packing and count of tokens, on the system's random words."""
    releaser = _ValuesReleaser(spec)
    client = Client(None, releaser, _LONGEST)

    def message(values: Floats) -> bytes:
        releaser.table = Encoder.of(values, spec.clip)
        return client.release_tokens(range(len(values)))

    yield Target(
        kind,
        name or "del-audit's own client",
        lambda values: unpack(message(values), spec),
        message,
        lambda: client.charged,
        untested={"known answers": _REFERENCE, "encoder": _ENCODER},
    )


def bundle_claim(folder: Path) -> QuantizerSpec | WordLaw:
    """Returns what a client's folder claims, its files belonging together; raises UserError as load_client does."""
    spec = load_client(folder, certificate=UNCERTIFIED).spec
    if isinstance(spec, CoarseWordsSpec):
        return WordLaw.of(spec, load_symbols(folder / SYMBOLS))
    if isinstance(spec, SupportSpec):
        return WordLaw.of(spec)
    assert isinstance(spec, QuantizerSpec)  # no folder holds another
    return spec
