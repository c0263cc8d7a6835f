"""Theorem 20 at every size: tails of the loss against the other order of integration, and what is refused."""

import math

import mpmath
import numpy as np
import pytest
from scipy.special import gammainc, gammaincc

from del_audit.accounting import _metric_noise as metric_noise
from del_audit.accounting._metric_noise import loss_above, loss_below, losses
from del_audit.accounting.rivals import rival_guarantee
from mechanisms.errors import UserError
from mechanisms.rivals import MetricSpec

DIMS = (2, 3, 18, 576, 4096, 32_768, 65_536, 1_048_576)
DISTANCES = (0.1, 3.0, 100.0, 1000.0, 10_000.0)


def by_cosine(s, distance, dim, side):
    """P[loss > s] or P[loss <= s]: cosines outside, the radius inside by its closed form, panels around every step.

    The loss exceeds s where 2 r (s + D c) < D^2 - s^2. The angle theta of the cosine -cos(theta) has the density
    sin(theta)^(dim - 2) over its integral.
    """
    with mpmath.workdps(40):
        half = mpmath.mpf(dim) / 2
        log_norm = float(mpmath.loggamma(half) - mpmath.loggamma(half - 0.5) - mpmath.log(mpmath.pi) / 2)
    spread = np.linspace(-14, 14, 29)
    radii = np.concatenate([dim + spread * math.sqrt(dim), dim * 10.0 ** np.arange(-8, 9)])
    steps = ((distance**2 - s**2) / (2 * radii[radii > 0]) - s) / distance
    angles = np.concatenate(
        [
            np.arccos(-np.clip(np.append(steps, -s / distance), -1, 1)),
            math.pi / 2 + np.linspace(-16, 16, 65) / math.sqrt(dim),
            math.pi / 2 * (1 - np.cos(np.linspace(0, math.pi, 65))),
        ]
    )
    edges = np.unique(np.clip(np.append(angles, [0.0, math.pi]), 0, math.pi))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    width = np.diff(edges)[:, None]
    angle = edges[:-1, None] + width * (nodes + 1) / 2
    gap = s - distance * np.cos(angle)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        limit = np.where(gap > 0, (distance - s) * (distance + s) / (2 * gap), np.inf)
        inner = gammainc(dim, limit) if side == "above" else gammaincc(dim, limit)
        density = np.exp((dim - 2) * np.log(np.sin(angle)) + log_norm)
    return float((np.nan_to_num(density) * inner * width / 2 @ weights).sum())


def where(falls, distance, least):
    """Returns nearly where a tail that falls from -distance to distance becomes the least, by 24 halvings."""
    low, high = -distance, distance
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(np.array([middle]))[0] > least else (low, middle)
    return high


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_theorem_20_tails_hold_at_every_dimension_and_distance(dim, distance):
    low = -where(lambda loss: loss_below(loss, distance, dim), distance, 1e-18)
    high = where(lambda loss: loss_above(loss, distance, dim), distance, 1e-40)
    for share in (0.02, 0.2, 0.37, 0.5, 0.7, 0.98):
        s = low + share * (high - low)
        above, below = loss_above(np.array([s]), distance, dim)[0], loss_below(np.array([-s]), distance, dim)[0]
        assert above + below == pytest.approx(1, abs=1e-10)
        assert above == pytest.approx(by_cosine(s, distance, dim, "above"), rel=2e-9)
        assert below == pytest.approx(by_cosine(s, distance, dim, "below"), rel=2e-9)


@pytest.mark.parametrize(
    ("dim", "distance"),
    [
        (2, 2.0),
        (2, 100.0),
        (18, 4.0),
        (576, 100.0),
        (4096, 100.0),
        (32_768, 1000.0),
        pytest.param(65_536, 1000.0, marks=pytest.mark.slow),
        pytest.param(1_048_576, 1000.0, marks=pytest.mark.slow),
    ],
)
def test_theorem_20_epsilon_is_never_too_small_and_nearly_exact(dim, distance):
    found = rival_guarantee(MetricSpec.of(8, dim, 0.5, distance), 1e-5)
    delta = {
        factor: by_cosine(factor * found.epsilon.upper, distance, dim, "above")
        - math.exp(factor * found.epsilon.upper) * by_cosine(-factor * found.epsilon.upper, distance, dim, "below")
        for factor in (1.0, 0.9995)
    }
    assert delta[1.0] <= 1e-5 < delta[0.9995]
    variation = 2 * by_cosine(0.0, distance, dim, "above") - 1
    assert variation <= found.total_variation.upper <= variation * (1 + 1e-4)


def test_theorem_20_the_audited_case_is_the_true_figure():
    """A quadrature beside the peak said 3.060."""
    found = rival_guarantee(MetricSpec.of(8, 1_048_576, 0.5, 1000.0), 1e-5).epsilon.upper
    assert 4.2585 < found < 4.2593


@pytest.mark.parametrize(("dim", "distance"), [(1, 3.0), (2, 1e-3), (18, 1e4), (65_536, 1e5), (1_048_576, 30.0)])
def test_theorem_20_masses_of_both_laws_add_up_to_1(dim, distance):
    pair = losses(distance, dim)
    mass = np.exp(pair.log_mass)
    assert 1 <= mass.sum() <= 1 + 1e-7
    assert np.exp(pair.log_mass - pair.loss).sum() <= 1 + 1e-7
    assert pair.loss.max() <= distance * (1 + 1e-11)


def test_one_dimension_is_the_closed_form():
    s = np.linspace(-2.9, 2.9, 7)
    assert loss_above(s, 3.0, 1) == pytest.approx(1 - np.exp(-(3 - s) / 2) / 2, rel=1e-14)
    assert loss_below(s, 3.0, 1) == pytest.approx(np.exp(-(3 + s) / 2) / 2, rel=1e-14)


def test_a_quadrature_that_misses_the_peak_is_refused(monkeypatch):
    inner = metric_noise._over_radii
    monkeypatch.setattr(metric_noise, "_over_radii", lambda *args: inner(*args) * (1 - 1e-6))
    with pytest.raises(UserError, match=r"Expected masses that add up to 1 within 1e-08 for dim=18 .* choose another"):
        losses(3.0, 18)


@pytest.mark.parametrize("distance", [1e-7, 2e5, math.inf, math.nan])
def test_a_distance_beyond_what_is_verified_is_refused(distance):
    with pytest.raises(UserError, match=r"in \[1e-06, 100000\] nats, where the accounting is verified, got .*choose"):
        losses(distance, 18)
