"""Clients of word mechanisms for tests: right ones, and what makes them wrong."""

import numpy as np

from del_audit.evidence.verification.words import WordLaw
from mechanisms.randomness import RandomSource, SimulatedRandomness
from mechanisms.rivals import (
    CoarseWordsSpec,
    ProjectiveGeometrySpec,
    RandomizedResponseSpec,
    SubsetSelectionSpec,
)

MAP = np.random.default_rng(0).integers(0, 16, 120)
RESPONSE = RandomizedResponseSpec.from_epsilon(40, 3.0)
SUBSETS = SubsetSelectionSpec.from_epsilon(60, 3.0)
POINTS = ProjectiveGeometrySpec.from_epsilon(100, 2.5, order=5, dimension=4)
LAWS = {
    "randomized response": WordLaw.of(RESPONSE),
    "subset selection": WordLaw.of(SUBSETS),
    "projective geometry": WordLaw.of(POINTS),
    "a line of points": WordLaw.of(ProjectiveGeometrySpec.from_epsilon(8, 2.0, order=11, dimension=2)),
    **{
        f"coarse words over {inner.kind}": WordLaw.of(CoarseWordsSpec.over(inner, MAP), MAP)
        for inner in (
            RandomizedResponseSpec.from_epsilon(16, 2.0),
            SubsetSelectionSpec.from_epsilon(16, 2.0),
            ProjectiveGeometrySpec.from_epsilon(16, 2.0, order=3, dimension=4),
        )
    },
}


def checked(tokens: np.ndarray, law: WordLaw) -> np.ndarray:
    """Returns a prompt that may be released."""
    if not tokens.size or tokens.min() < 0 or tokens.max() >= law.words:
        raise ValueError("no prompt of words")
    return tokens


def replaced(law: WordLaw, tokens: np.ndarray, source: RandomSource) -> np.ndarray:
    """Returns what the reference releases of words."""
    mechanism = getattr(law.mechanism, "inner", law.mechanism)
    return mechanism.replace(law.symbols[checked(tokens, law)], source)


def right(law: WordLaw, seed: int = 0):
    """Returns the right client, on seeded words."""
    source = SimulatedRandomness(seed, "right client")
    return lambda tokens: replaced(law, tokens, source)
