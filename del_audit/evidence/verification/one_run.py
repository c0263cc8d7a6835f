"""Epsilon from one run of many tokens (Steinke, Nasr and Jagielski, 2023): guesses of coins that chose the inputs."""

import math

import numpy as np
from scipy.stats import binom

from del_audit.evidence.games import EpsilonLimit

_STEPS = 40


def one_run_p(tokens: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Returns a bound on the chance of so many right guesses where each token is (epsilon, delta)-private.

    tokens: whose side was chosen by a fair coin each. guesses: of them, the others were left open. Theorem 5.2 there:
    the right guesses are dominated by Bin(guesses, e^epsilon / (1 + e^epsilon)), up to 2 tokens delta alpha.
    """
    chance = 1 / (1 + math.exp(-epsilon))
    beta = float(binom.sf(right - 1, guesses, chance))
    if delta == 0 or right == 0:
        return beta
    steps = np.arange(1, right + 1)
    inside = binom.cdf(right - 1, guesses, chance) - binom.cdf(right - 1 - steps, guesses, chance)
    alpha = float((inside / steps).max())
    return min(1.0, beta + 2 * tokens * delta * alpha)


def one_run_limit(
    tokens: int, guesses: int, right: int, delta: float, confidence: float, seed: int = 0
) -> EpsilonLimit:
    """Returns the largest epsilon (nats) that the guesses exclude at delta, with that confidence; 0 where none is."""
    low, high = 0.0, 50.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if one_run_p(tokens, guesses, right, middle, delta) < 1 - confidence:
            low = middle
        else:
            high = middle
    method = "right guesses of one run, dominated by a binomial (Steinke et al., 2023)"
    return EpsilonLimit(low, delta, confidence, tokens, seed, method=method)
