"""Tails are exact, and bounds hold: against whole-number arithmetic and full enumeration."""

import math
from fractions import Fraction

import numpy as np
import pytest

from del_audit.evidence.verification.binomial import TOP_LEVEL, ClaimedLaw, ProductLaw, at_least, at_most, binomial_p
from mechanisms.quantizer import level_thresholds
from mechanisms.spec import WORD_BITS, QuantizerSpec

SPEC = QuantizerSpec.from_mu(2, 3, 0.05, 4.0)
LAW = ClaimedLaw.of(SPEC)


def mass(k, n, p):
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize("p", [Fraction(1, 8), Fraction(1, 2), Fraction(3_264_123_456, 1 << 32)])
def test_binomial_tails_are_exact(p):
    n = 40
    masses = [mass(k, n, p) for k in range(n + 1)]
    upper = [float(sum(masses[k:])) for k in range(n + 1)]
    lower = [float(sum(masses[: k + 1])) for k in range(n + 1)]
    ks = np.arange(n + 1)
    np.testing.assert_allclose(at_least(ks, n, float(p)), upper, rtol=1e-12)
    np.testing.assert_allclose(at_most(ks, n, float(p)), lower, rtol=1e-12)
    wanted = [min(1.0, 2 * min(a, b)) for a, b in zip(upper, lower, strict=True)]
    np.testing.assert_allclose(binomial_p(ks, n, float(p)), wanted, rtol=1e-12)


def test_a_tail_beyond_all_trials_is_empty():
    assert at_least(0, 10, 0.3) == 1.0
    assert at_least(11, 10, 0.3) == 0.0
    assert at_most(10, 10, 0.3) == 1.0


def test_the_claimed_law_is_that_of_the_thresholds():
    thresholds = level_thresholds(SPEC)
    for level in (0, 1, 127, 200, TOP_LEVEL):
        p = Fraction(int(thresholds[level]), 1 << WORD_BITS)
        np.testing.assert_allclose(LAW.masses[level], [float(mass(k, 3, p)) for k in range(4)], rtol=1e-12)
        assert LAW.mean[level] == pytest.approx(float(3 * p), rel=1e-12)


@pytest.mark.parametrize("spec", [SPEC, QuantizerSpec.from_mu(8, 1, 0.05, 9.0), QuantizerSpec.from_mu(1, 1, 0.05, 1.0)])
def test_smooth_polynomials_are_orthonormal_under_the_law(spec):
    law = ClaimedLaw.of(spec)
    degrees = min(4, spec.trials)
    with_one = np.concatenate([np.ones((1, *law.masses.shape)), law.smooth[:degrees]])
    products = np.einsum("alk,blk,lk->lab", with_one, with_one, law.masses)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(degrees + 1), products.shape), atol=1e-8)
    assert not law.smooth[degrees:].any()


def convolved(values, masses, times):
    """Returns the law of a sum of independent equal terms as a dict."""
    law = {0.0: 1.0}
    for _ in range(times):
        following = {}
        for total, weight in law.items():
            for value, chance in zip(values, masses, strict=True):
                key = round(total + value, 9)
                following[key] = following.get(key, 0.0) + weight * chance
        law = following
    return law


@pytest.mark.parametrize("degree", [1, 2])
def test_bounds_on_sums_hold_and_are_near(degree):
    weights = LAW.smooth[degree - 1]
    times = 30
    law = convolved(weights[TOP_LEVEL], LAW.masses[TOP_LEVEL], times)
    rng = np.random.default_rng(0)
    tightest = []
    for share in (0.0, 0.2, 0.5, 0.9, 1.0):
        counts = np.where(rng.random(times) < share, 3, rng.binomial(3, 0.7, times))
        histogram = LAW.histogram(np.full(times, TOP_LEVEL, dtype=np.uint8), counts)
        total = float(weights[TOP_LEVEL][counts].sum())
        bound = LAW.sum_p(histogram, weights)
        side = sum(c for v, c in law.items() if (v >= total - 1e-6 if total > 0 else v <= total + 1e-6))
        assert bound >= min(1.0, 2 * side) * (1 - 1e-9), share
        tightest.append(bound / max(2 * side, 1e-300))
    assert min(tightest) < 12


@pytest.mark.parametrize(("alike", "opposite"), [(6, 0), (3, 3), (0, 5)])
def test_product_bounds_hold_for_every_total(alike, opposite):
    product = ProductLaw.of(LAW)
    masses = np.exp(product.log_masses)
    assert masses.sum() == pytest.approx(1.0, abs=1e-12)
    one = convolved(product.values, masses, alike)
    other = convolved(-product.values, masses, opposite)
    totals = {}
    for a, p in one.items():
        for b, q in other.items():
            totals[round(a + b, 9)] = totals.get(round(a + b, 9), 0.0) + p * q
    values = np.array(sorted(totals))
    chances = np.array([totals[value] for value in values])
    for total in values[:: max(1, len(values) // 60)]:
        side = chances[values >= total - 1e-9] if total > 0 else chances[values <= total + 1e-9]
        assert product.p_value(float(total), alike, opposite) >= min(1.0, 2 * side.sum()) * (1 - 1e-6)
    assert product.p_value(float(values[-1]), alike, opposite) < 0.2
