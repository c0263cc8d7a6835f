"""Metric privacy on an n-bit grid: the farthest two vectors (theorem 20), and the largest eta for an epsilon."""

from del_audit.accounting._metric_noise import losses as metric_losses
from del_audit.accounting.composition import Composition
from del_audit.accounting.rivals.figures import Figures, at_most, repeated
from del_audit.accounting.rivals.search import largest
from mechanisms.rivals._points import Points
from mechanisms.rivals.metric import Metric, MetricSpec


def figures(spec: MetricSpec, whole: Metric | None, delta: float, tokens: int) -> Figures:
    """Theorem 20: the farthest pair, at twice the radius or at the largest distance of two clipped public points.

    Raises UserError where eta times that distance is outside what the tails are verified for, [1e-6, 10^5] nats.
    """
    farthest = spec.diameter if whole is None else min(spec.diameter, Points(whole.points).diameter())
    distance = spec.eta * farthest * (1 + 1e-12)
    reason = (
        "The farthest two vectors dominate every pair and the grid is post-processing (theorem 20). Holds for real "
        "numbers; noise is drawn in doubles."
    )
    composed = Composition([repeated(metric_losses(distance, spec.dim), tokens)])
    upper = min(composed.epsilon(delta * (1 - 1e-8)).upper, tokens * distance)
    variation = min(1.0, composed.delta(0.0).upper + 1e-8)
    return Figures(at_most(upper), at_most(tokens * distance), at_most(variation), reason)


def calibrated(epsilon: float, delta: float, bits: int, dim: int, radius: float) -> MetricSpec:
    """Returns the largest eta found to meet the epsilon for any vectors of that norm, from where it is pure on."""

    def achieved(eta: float) -> float:
        return figures(MetricSpec.of(bits, dim, radius, eta), None, delta, 1).epsilon.upper

    return MetricSpec.of(bits, dim, radius, largest(achieved, epsilon, epsilon / (2 * radius)))
