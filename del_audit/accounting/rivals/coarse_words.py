"""Coarse words: the inner spec for an epsilon. Figures are the inner mechanism's, of three losses (theorem 24)."""

import numpy as np
from numpy.typing import NDArray

from del_audit.accounting.registry import ACCOUNTANTS
from mechanisms.errors import UserError
from mechanisms.registry import MechanismName, imported
from mechanisms.rivals.coarse_words import CoarseWordsSpec

INNER = ("randomized response", "subset selection", "projective geometry")


def calibrated(
    epsilon: float, delta: float, symbols: NDArray[np.int64], inner: MechanismName = "projective geometry"
) -> CoarseWordsSpec:
    """Returns the spec over a public map of words to symbols whose inner mechanism meets the epsilon.

    symbols: each word's, whole numbers from 0, shape (words,). Raises UserError for an inner mechanism of another kind.
    """
    if inner not in INNER:
        raise UserError(f"Expected inner to be one of {', '.join(INNER)}, got inner={inner!r}.")
    made = imported(str(ACCOUNTANTS[inner].calibrated))
    return CoarseWordsSpec.over(made(epsilon, delta, int(symbols.max()) + 1), symbols)
