"""An epsilon that a mechanism's author claims, against the law that the mechanism states and its own releases."""

import math
from itertools import pairwise

import numpy as np

from del_audit.testing.report import ContractError
from del_audit.testing.sample import Floats, Sample, size
from mechanisms.own_mechanisms import ClaimsEpsilon

DELTAS = (0.0, 1e-6, 1e-4, 1e-2, 0.1)
"""At which a claimed epsilon is asked for."""


def claimed_epsilon(claim: ClaimsEpsilon, found: list[Sample], alpha: float) -> str:
    """The claim is a number that falls with delta, and the stated law and its releases do not contradict it."""
    claims = [_one_claim(claim, delta) for delta in DELTAS]
    for (low, more), (high, less) in pairwise(claims):
        if less > more:
            raise ContractError(f"token_epsilon({high:g}) = {less:.6g} is above token_epsilon({low:g}) = {more:.6g}")
    if not found:
        return f"{claims[0][1]:.6g} nats at delta 0, without a stated law to hold it against"
    tests = sum(len(sample.group) ** 2 for sample in found) * len(DELTAS)
    for sample in found:
        losses = sample.own[:, None] - sample.log_posterior - sample.rounding
        for word in range(len(sample.group)):
            rows = losses[sample.drawn == word]
            for delta, epsilon in claims:
                _check_claim(rows, delta, epsilon, alpha / tests, f"word {sample.group[word]}")
    return f"{claims[0][1]:.6g} nats at delta 0, which {size(found)} did not contradict"


def _one_claim(claim: ClaimsEpsilon, delta: float) -> tuple[float, float]:
    value: object = claim.token_epsilon(delta)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ContractError(f"token_epsilon({delta:g}) is {value!r}, expected a number >= 0")
    return delta, float(value)


def _check_claim(losses: Floats, delta: float, epsilon: float, alpha: float, what: str) -> None:
    """Raises ContractError where the mean of (1 - e^(epsilon - loss))+ is above delta: no (epsilon, delta) holds then.

    losses: of releases of one word against each other word, shape (releases, words). The means are of numbers in
    [0, 1], so Hoeffding's bound by relative entropy holds (1963, theorem 1).
    """
    if not len(losses) or math.isinf(epsilon):
        return
    excess = -np.expm1(np.minimum(epsilon - losses, 0.0))
    for mean in excess.mean(axis=0):
        if mean > delta and len(losses) * _relative_entropy(float(mean), delta) > -math.log(alpha):
            raise ContractError(
                f"token_epsilon({delta:g}) = {epsilon:.6g} nats is contradicted by releases of {what}: they show a "
                f"loss of {losses.max():.6g} nats, and a delta of {mean:.3g}"
            )


def _relative_entropy(mean: float, delta: float) -> float:
    """Returns the relative entropy of two coins in nats; infinite where delta is 0."""
    if delta <= 0:
        return math.inf
    rest = (1 - mean) * math.log((1 - mean) / (1 - delta)) if mean < 1 else 0.0
    return mean * math.log(mean / delta) + rest
