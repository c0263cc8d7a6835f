"""Which mechanism is better on the same prompts, with a test for each pair and a correction for their number."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.statistics.bootstrap import Clusters, bootstrap_mean, group
from del_audit.statistics.figure import Figure
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

FLIPS = 20_000
"""Sign flips drawn where all of them are more than that."""
BLOCK = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """first less second, over the same prompts.

    mean: with its own interval. simultaneous: with one that holds for all pairs at once (Bonferroni).
    p: two-sided, of the sign-flip test. holm: p corrected for all pairs (Holm, 1979).
    """

    first: str
    second: str
    mean: Figure
    simultaneous: Figure
    p: float
    holm: float

    @property
    def larger(self) -> str | None:
        """The one of larger values, where holm allows the claim at the interval's level; None where it does not."""
        if self.holm > 1 - self.mean.confidence:
            return None
        return self.first if self.mean.value > 0 else self.second


@dataclass(frozen=True, slots=True)
class Comparison:
    """Differences of all pairs, or of every run to the reference. means: each run's own figure."""

    means: dict[str, Figure]
    differences: tuple[Difference, ...]
    reference: str | None
    unit: str
    seed: int
    prompts: int
    documents: int
    kind: str = "estimated, with interval"
    test: str = "sign flips of whole documents, two-sided; exact where a document's difference is symmetric"
    correction: str = "Holm"

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return asdict(self)


def compare(
    runs: Mapping[str, ArrayLike],
    seed: int,
    clusters: Clusters = None,
    reference: str | None = None,
    unit: str = "nats a token",
    confidence: float = 0.95,
) -> Comparison:
    """Returns paired differences between runs on the same prompts.

    runs: values of each mechanism, such as its paired gains, shape (prompts,), in the same order of prompts.
    clusters: the document of each prompt. reference: compare every run with this one, first less reference; all
    pairs if left out. Raises UserError for fewer than two runs, an unknown reference and values that do not pair.
    """
    if len(runs) < 2:
        raise UserError(f"Expected two runs or more to compare, got {len(runs)}.")
    if reference is not None and reference not in runs:
        raise UserError(f"Expected reference to be one of {', '.join(runs)}, got reference={reference!r}.")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in runs.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1:
        raise UserError(f"Expected every run to have a value for the same prompts, got shapes {sorted(shapes)}.")
    means = {name: bootstrap_mean(array, unit, "prompts", seed, confidence, clusters) for name, array in arrays.items()}
    pairs = list(itertools.combinations(arrays, 2))
    if reference is not None:
        pairs = [(name, reference) for name in arrays if name != reference]
    grouped = group(clusters, *shapes.pop())
    together = 1 - (1 - confidence) / len(pairs)
    gaps = [arrays[first] - arrays[second] for first, second in pairs]
    tests = [sign_flip(grouped.sums(gap), seed) for gap in gaps]
    differences = tuple(
        Difference(
            first,
            second,
            bootstrap_mean(gap, unit, "prompts", seed, confidence, clusters),
            bootstrap_mean(gap, unit, "prompts", seed, together, clusters),
            p,
            corrected,
        )
        for (first, second), gap, p, corrected in zip(pairs, gaps, tests, holm(tests), strict=True)
    )
    return Comparison(means, differences, reference, unit, seed, len(grouped.numbers), grouped.documents)


def sign_flip(sums: NDArray[np.float64], seed: int) -> float:
    """Returns the two-sided p-value of the hypothesis that sums, one a document, are symmetric about zero.

    The share of sign patterns whose total is at least as far from zero as the one seen: of all patterns where they
    are at most FLIPS, otherwise of FLIPS random ones and the one seen, which is at least 1 / (FLIPS + 1) and valid
    at any number of them (Phipson and Smyth, 2010).
    """
    documents = len(sums)
    seen = abs(sums.sum()) * (1 - 1e-12)
    if 2**documents <= FLIPS:
        patterns = np.arange(2**documents)[:, None] >> np.arange(documents) & 1
        return float((np.abs((2 * patterns - 1) @ sums) >= seen).mean())
    generator, as_far = simulation_generator(seed, "sign flips"), 0
    for start in range(0, FLIPS, BLOCK):
        signs = 2.0 * generator.integers(0, 2, (min(BLOCK, FLIPS - start), documents)) - 1
        as_far += int((np.abs(signs @ sums) >= seen).sum())
    return (as_far + 1) / (FLIPS + 1)


def holm(tests: list[float]) -> list[float]:
    """Returns p-values corrected so that the chance of any false claim is at most the level (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [math.nan] * len(tests), 0.0
    for rank, index in enumerate(sorted(range(len(tests)), key=tests.__getitem__)):
        largest = max(largest, min(1.0, (len(tests) - rank) * tests[index]))
        corrected[index] = largest
    return corrected
