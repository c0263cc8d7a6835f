"""How long a mechanism's messages are: what a description says of it, and what is counted where it says nothing."""

from dataclasses import dataclass

from mechanisms.description import Description
from mechanisms.mechanism import Releaser
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import imported, mechanism_of
from mechanisms.rivals._supports import SupportSpec
from mechanisms.rivals.coarse_words import CoarseWordsSpec
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import HEADER_BYTES

SHORT, LONG = 8, 136
"""Tokens of the two messages that are counted; their difference is a multiple of every number of tokens per byte."""


@dataclass(frozen=True, slots=True)
class MessageSizes:
    """token_bits: bits on the wire for one token. header: bytes of a message before its tokens."""

    token_bits: float
    header: int

    def of(self, tokens: int) -> int:
        """Returns the length of a message of so many tokens, in bytes."""
        return self.header + -int(-self.token_bits * tokens // 8)


def described_sizes(spec: Description) -> MessageSizes | None:
    """Returns the sizes that follow from a description alone; None where none do."""
    if isinstance(spec, QuantizerSpec):
        return MessageSizes(spec.token_bits, HEADER_BYTES)
    if isinstance(spec, CoarseWordsSpec):
        return described_sizes(spec.inner)
    row = mechanism_of(spec)
    if row is None or not isinstance(spec, SupportSpec):
        return None
    layout = imported(row.made_by)(spec).format
    return MessageSizes(layout.token_bits, layout.length(0))


def counted_sizes(mechanism: Releaser) -> MessageSizes:
    """Returns the sizes counted in two messages; raises UserError as the mechanism's release does."""
    source = SimulatedRandomness(0, "message sizes")
    short, long = (len(mechanism.release([0] * tokens, source)) for tokens in (SHORT, LONG))
    bits = 8 * (long - short) / (LONG - SHORT)
    return MessageSizes(bits, max(0, short + -int(bits * SHORT // 8)))
