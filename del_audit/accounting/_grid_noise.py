"""Gaussian noise released as cells of a public grid: the curve of the worst pair, from both sides (theorem 19)."""

import math
from dataclasses import dataclass

import numpy as np

from del_audit.accounting.composition import Composition, Losses
from del_audit.statistics.bound import Bound
from mechanisms.rivals.gaussian import LAW_BITS, LEAST, GaussianSpec, cell_law, ideal_log_law

_FLOORED = 2.0**-23  # what flooring can change a cell's probability by, relative, with the rounding of floats
_SLACK = 2.0001 * _FLOORED  # the same of a loss, nats


@dataclass(frozen=True, slots=True)
class GridNoise:
    """`coordinates` coordinates at opposite ends of the clip.

    lower: the law that is sampled, at the two corners, which is a pair of inputs. upper: the normal law's cells, of
    which what is sampled at any two codes is a mixture with the uniform law, up to flooring.
    """

    lower: Losses
    upper: Losses
    coordinates: int

    @classmethod
    def of(cls, spec: GaussianSpec, tokens: int) -> "GridNoise":
        """Returns the worst pair of that many tokens."""
        ends = np.array([spec.clip, -spec.clip])
        p, q = cell_law(spec, ends).astype(np.float64)
        log_p, log_q = ideal_log_law(spec, ends)
        count = tokens * spec.dim
        ideal = Losses((log_p - log_q) + 1e-11 * np.abs(log_p - log_q), log_p, count)
        return cls(Losses(np.log(p) - np.log(q), np.log(p) - LAW_BITS * math.log(2), count), ideal, count)

    def epsilon(self, delta: float) -> Bound:
        """Returns epsilon (nats) at delta."""
        attained = Composition([self.lower]).epsilon(delta)
        left = delta * (1 - 1.001 * _FLOORED * self.coordinates)
        proved = Composition([self.upper]).epsilon(left).upper + _SLACK * self.coordinates if left > 0 else math.inf
        upper = max(attained.estimate, min(proved, self.pure_epsilon.upper))
        return Bound(attained.lower, attained.estimate, upper)

    @property
    def pure_epsilon(self) -> Bound:
        """The epsilon (nats) that holds with delta = 0."""
        attained = self.coordinates * float(self.lower.loss.max()) * (1 - 1e-12)
        most = min((LAW_BITS - math.log2(LEAST)) * math.log(2), float(self.upper.loss.max()) + _SLACK)
        upper = max(attained, self.coordinates * most * (1 + 1e-12))
        return Bound(attained, attained, upper)

    @property
    def total_variation(self) -> Bound:
        """The best advantage of any distinguisher, in [0, 1]."""
        attained = Composition([self.lower]).delta(0.0)
        proved = Composition([self.upper]).delta(0.0).upper + 2.001 * _FLOORED * self.coordinates
        return Bound(attained.lower, attained.estimate, max(attained.estimate, min(1.0, proved)))
