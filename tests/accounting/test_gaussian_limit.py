"""Theorem 4.2 of the paper (theorem 13 of docs/theory.md): what it says, and what it certifies."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting import Accountant, GaussianLimit
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec


def _gaussian_delta(epsilon, mu):
    epsilon, mu = mpmath.mpf(epsilon), mpmath.mpf(mu)
    return mpmath.ncdf(mu / 2 - epsilon / mu) - mpmath.exp(epsilon) * mpmath.ncdf(-mu / 2 - epsilon / mu)


def _certified_by_search(limit, epsilon):
    """The definition: the largest over alpha of 1 - e^epsilon alpha - (the theorem's lower bound on f), on a grid."""
    alpha = np.concatenate([[0.0], np.geomspace(1e-9, 1 - limit.gamma, 20_001)])
    normal = [float(mpmath.ncdf(x)) for x in np.linspace(-8, 8, 1601)]
    z = np.interp(1 - (alpha + limit.gamma), normal, np.linspace(-8, 8, 1601))
    power = np.interp(z - limit.mu, np.linspace(-8, 8, 1601), normal)
    floor = np.maximum(0, power - limit.gamma)
    return float((1 - math.exp(epsilon) * alpha - floor).max())


def test_formulas_of_the_paper():
    spec = QuantizerSpec(bits=4, dim=18, clip=0.05, scale=0.5)
    limit = GaussianLimit.of(spec)
    rho, trials = 0.1, 15 * 18
    spread = (1 - rho) / 2 * abs(1 + rho) ** 3 + (1 + rho) / 2 * abs(1 - rho) ** 3
    assert limit.gamma == pytest.approx(0.56 * spread / ((1 - rho**2) ** 1.5 * math.sqrt(trials)), rel=1e-14)
    assert limit.mu == pytest.approx(2 * math.sqrt(trials) * 0.05 / math.sqrt(0.25 - 0.0025), rel=1e-14)
    more = GaussianLimit.of(spec, tokens=9)
    assert more.mu == pytest.approx(3 * limit.mu, rel=1e-14)
    assert more.gamma == pytest.approx(limit.gamma / 3, rel=1e-14)


@pytest.mark.parametrize(("mu", "delta"), [(0.01, 1e-6), (0.5, 0.1), (1, 1e-5), (2, 0.4), (40, 1e-5), (2000, 1e-9)])
def test_ignoring_gamma_is_plain_mu_gdp(mu, delta):
    epsilon = GaussianLimit(mu, 0.01).epsilon_ignoring_gamma(delta)
    assert epsilon > 0
    assert float(_gaussian_delta(epsilon, mu) / mpmath.mpf(delta)) == pytest.approx(1, rel=1e-8)


def test_ignoring_gamma_is_zero_above_the_total_variation():
    assert GaussianLimit(1.0, 0.01).epsilon_ignoring_gamma(0.4) == 0.0  # total variation 0.383
    assert GaussianLimit(1.0, 0.01).epsilon_ignoring_gamma(0.38) > 0.0


def test_the_paper_at_mu_40_is_loose_in_the_tail_and_certifies_nothing():
    limit = GaussianLimit.of(QuantizerSpec.from_mu(4, 18, 0.05, 40))
    assert limit.epsilon_ignoring_gamma(1e-5) == pytest.approx(969.6456, abs=1e-3)
    assert limit.epsilon_certified(1e-5) is None
    assert limit.smallest_certified_delta == 1.0
    assert limit.epsilon_certified(1 - 1e-9) is None
    assert limit.delta_certified(5.0) == 1.0


@pytest.mark.parametrize(("mu", "gamma"), [(0.05, 0.002), (0.5, 0.01), (1.0, 0.05), (2.0, 0.03)])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0, 4.0])
def test_theorem_13_certified_delta_is_the_supremum_of_its_definition(mu, gamma, epsilon):
    limit = GaussianLimit(mu, gamma)
    certified = limit.delta_certified(epsilon)
    assert certified == pytest.approx(_certified_by_search(limit, epsilon), abs=2e-5)
    if certified > limit.smallest_certified_delta:
        unclipped = float(_gaussian_delta(epsilon, mu)) + gamma * (1 + math.exp(epsilon))
        assert certified == pytest.approx(unclipped, rel=1e-12)


def test_theorem_13_smallest_certified_delta_is_more_than_twice_gamma():
    limit = GaussianLimit(0.5, 0.01)
    power = mpmath.ncdf(mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf("0.01")) - 0.5)
    assert limit.smallest_certified_delta == pytest.approx(float(1 + mpmath.mpf("0.01") - power), rel=1e-13)
    assert limit.smallest_certified_delta > 2 * limit.gamma
    assert limit.epsilon_certified(limit.smallest_certified_delta * (1 - 1e-9)) is None
    reached = limit.epsilon_certified(limit.smallest_certified_delta * (1 + 1e-9))
    assert reached is not None
    assert reached > 0.5


@given(st.floats(0.02, 3), st.floats(1e-5, 0.2), st.floats(0.001, 0.999))
@settings(max_examples=200)
def test_certified_epsilon_is_the_least_on_the_safe_side(mu, gamma, delta):
    limit = GaussianLimit(mu, gamma)
    epsilon = limit.epsilon_certified(delta)
    if epsilon is None:
        assert delta < limit.smallest_certified_delta or limit.smallest_certified_delta == 1.0
        return
    assert limit.delta_certified(epsilon) <= delta
    assert epsilon == 0.0 or limit.delta_certified(epsilon * (1 - 1e-6)) > delta * (1 - 1e-12)


@pytest.mark.parametrize(("bits", "dim", "mu"), [(1, 1, 0.3), (4, 18, 0.5), (4, 18, 2), (8, 128, 1), (2, 64, 0.1)])
def test_theorem_13_holds_the_certified_delta_is_above_the_exact_one(bits, dim, mu):
    spec = QuantizerSpec.from_mu(bits, dim, 0.05, mu)
    limit, curve = GaussianLimit.of(spec), Accountant(spec).trade_off()
    for epsilon in (0.0, 0.1, 1.0, 3.0):
        assert limit.delta_certified(epsilon) >= curve.delta(epsilon)
    for delta in (0.05, 0.3, 0.7, 0.95):
        certified = limit.epsilon_certified(delta)
        assert certified is None or certified >= curve.epsilon(delta)


def test_ignoring_gamma_understates_the_total_variation_of_few_trials():
    spec = QuantizerSpec.from_mu(bits=1, dim=1, clip=0.05, mu=1)
    plain = math.erf(0.5 / math.sqrt(2))  # 0.383
    assert plain == pytest.approx(0.383, abs=5e-4)
    assert Accountant(spec).total_variation().lower > plain + 0.06


def test_no_signal_and_no_slack():
    assert GaussianLimit(0.0, 0.1).epsilon_ignoring_gamma(1e-5) == 0.0
    assert GaussianLimit(1.0, 1.2).smallest_certified_delta == 1.0
    assert GaussianLimit(1.0, 1e-12).delta_certified(1.0) == pytest.approx(float(_gaussian_delta(1, 1)), rel=1e-9)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan])
def test_bad_delta(delta):
    for method in (GaussianLimit(1.0, 0.1).epsilon_certified, GaussianLimit(1.0, 0.1).epsilon_ignoring_gamma):
        with pytest.raises(UserError, match=r"Expected delta in \(0, 1\), got delta="):
            method(delta)


@pytest.mark.parametrize("epsilon", [-0.1, math.inf, math.nan])
def test_bad_epsilon(epsilon):
    with pytest.raises(UserError, match="Expected epsilon to be a finite number >= 0"):
        GaussianLimit(1.0, 0.1).delta_certified(epsilon)


@pytest.mark.parametrize(("gamma", "delta"), [(0.1, 0.2), (0.3, 0.6), (0.7, 1.0), (1.5, 1.0)])
def test_theorem_13_without_a_signal_two_slacks_are_left(gamma, delta):
    assert GaussianLimit(0.0, gamma).delta_certified(1.0) == pytest.approx(delta, rel=1e-13)


@pytest.mark.parametrize(
    ("mu", "gamma"), [(0.1, 0.02), (0.5, 0.001), (0.5, 0.03), (1.0, 0.01), (2.0, 0.03), (2.5, 0.01)]
)
def test_theorem_13_the_smallest_certified_delta_is_itself_certified(mu, gamma):
    limit = GaussianLimit(mu, gamma)
    delta = limit.smallest_certified_delta
    epsilon = limit.epsilon_certified(delta)
    assert epsilon is not None
    assert limit.delta_certified(epsilon) <= delta
    assert limit.epsilon_certified(delta * (1 - 1e-12)) is None
    assert limit.epsilon_certified(limit.delta_certified(0.0)) == 0.0


def test_a_signal_below_the_resolution_of_floats_needs_no_epsilon():
    assert GaussianLimit(1e-20, 0.1).epsilon_ignoring_gamma(1e-5) == 0.0
    assert 0.0 <= GaussianLimit(1e-15, 0.1).epsilon_ignoring_gamma(1e-17) < 5e-15


@pytest.mark.parametrize("mu", [1e-6, 0.3, 1.0, 2.0, 40.0, 3000.0])
@pytest.mark.parametrize("delta", [1e-300, 1e-30, 1e-5, 0.3, 0.9999])
def test_plain_mu_gdp_at_any_size(mu, delta):
    epsilon = GaussianLimit(mu, 0.01).epsilon_ignoring_gamma(delta)
    if epsilon == 0:
        assert _gaussian_delta(0, mu) <= delta
    else:
        with mpmath.workdps(400):
            assert float(_gaussian_delta(epsilon, mu) / mpmath.mpf(delta)) == pytest.approx(1, rel=1e-7)
