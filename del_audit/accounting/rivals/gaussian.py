"""Gaussian noise on an n-bit grid: opposite corners of the clip (theorem 19), and the least sigma for an epsilon."""

import math

from del_audit.accounting._grid_noise import GridNoise
from del_audit.accounting.rivals.figures import Figures
from del_audit.accounting.rivals.search import least
from mechanisms.rivals.gaussian import GaussianSpec


def figures(spec: GaussianSpec, whole: object, delta: float, tokens: int) -> Figures:
    """Theorem 19: opposite corners of the clip, coordinate by coordinate."""
    noise = GridNoise.of(spec, tokens)
    reason = "Exact up to flooring: opposite corners dominate every pair, cell laws are known (theorem 19)."
    return Figures(noise.epsilon(delta), noise.pure_epsilon, noise.total_variation, reason)


def calibrated(epsilon: float, delta: float, bits: int, dim: int, clip: float) -> GaussianSpec:
    """Returns the least sigma, to four digits, that is found to meet the epsilon."""

    def made(log_scale: float) -> GaussianSpec:
        return GaussianSpec.of(bits, dim, clip, clip * math.exp(log_scale))

    return made(least(lambda x: figures(made(x), None, delta, 1).epsilon.upper, epsilon, -5.0, 12.0))
