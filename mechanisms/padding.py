"""Lengths that prompts are filled up to, so that a message shows one of a few lengths and not its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mechanisms.errors import UserError
from mechanisms.validation import whole_at_least

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECTION = "padding"
"""Its name among the sections of a certificate."""
VERSION = 1


@dataclass(frozen=True, slots=True)
class Padding:
    """lengths: tokens that a prompt is sent with, rising. filler: the public token that stands behind the prompt's own.

    The filler is released like every other token, with fresh noise, and charged like one: a message shows its length
    alone. What its levels tell of where the prompt ends is bounded as what they tell of any word is.
    Raises UserError for lengths that are none or do not rise, and for a filler below 0.
    """

    lengths: tuple[int, ...]
    filler: int

    def __post_init__(self) -> None:
        require_rising(self.lengths)
        whole_at_least("filler", self.filler, 0)

    @classmethod
    def of_section(cls, section: Mapping[str, Any] | None) -> "Padding | None":
        """Returns what a certificate's section says, None for a certificate without one.

        Raises UserError for a section that is not understood: a client that cannot fill its prompts up sends none.
        """
        if section is None:
            return None
        try:
            if section["version"] != VERSION:
                raise UserError(f"version {VERSION}, got {str(section['version'])[:100]!r}")
            return cls(tuple(section["lengths"]), section["filler"])
        except (UserError, LookupError, TypeError) as error:
            raise UserError(
                f"Expected a certificate whose section {SECTION} is understood here: {str(error)[:300]}. Install the "
                "del-audit that made it."
            ) from None

    def length(self, tokens: int) -> int:
        """Returns what a prompt of so many tokens is filled up to; raises UserError for one that fits no length."""
        for length in self.lengths:
            if tokens <= length:
                return length
        raise UserError(
            f"Expected a prompt of at most {self.lengths[-1]} tokens, the longest that the certificate fills up to, "
            f"got {tokens}: shorten it."
        )

    def filled(self, tokens: "NDArray[np.int64]") -> "NDArray[np.int64]":
        """Returns tokens, shape (tokens,), with the filler behind them; raises UserError as length does."""
        import numpy as np  # verifying a certificate does without it

        filled = np.full(self.length(len(tokens)), self.filler, dtype=np.int64)
        filled[: len(tokens)] = tokens
        return filled


def require_rising(lengths: Sequence[int]) -> None:
    """Raises UserError unless lengths are whole numbers above 0 that rise, at least one."""
    if not lengths:
        raise UserError("Expected at least one length to fill prompts up to, got none.")
    for length in lengths:
        whole_at_least("length", length, 1)
    if sorted(set(lengths)) != list(lengths):
        raise UserError(f"Expected lengths that rise, got {', '.join(map(str, lengths))}.")
