"""The slices' names, in policies and reports; nothing heavy is imported for them."""

import re

RARE_WORDS, NAMES, NUMBERS = "rare words", "names", "numbers"
SLICE_NAMES = f"a slice: {RARE_WORDS}, {NAMES}, {NUMBERS}, or a band of ranks such as words 101 to 1000"
_BAND = re.compile(r"words [1-9]\d{0,8} to [1-9]\d{0,8}")


def band_name(low: int, high: int) -> str:
    """Returns the name of the words of ranks low to high in the public prior, the commonest being 1."""
    return f"words {low} to {high}"


def is_slice_name(name: str) -> bool:
    """Returns whether a slice can have this name; which bands there are hangs on the vocabulary."""
    return name in (RARE_WORDS, NAMES, NUMBERS) or _BAND.fullmatch(name) is not None
