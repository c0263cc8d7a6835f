"""Subset selection: the spec for an epsilon. Its figures are those of three losses (theorem 24)."""

from del_audit.accounting.rivals.search import checked_target
from mechanisms.rivals.subset_selection import SubsetSelectionSpec


def calibrated(epsilon: float, delta: float, words: int, size: int | None = None) -> SubsetSelectionSpec:
    """Returns the least noisy spec that meets the epsilon. size: of the sets, the most informative if left out."""
    return checked_target(lambda target: SubsetSelectionSpec.from_epsilon(words, target, size, delta), epsilon, delta)
