"""Every route to a figure on the same cases: closed form, ball arithmetic, 60-digit sums, loss grid, dp-accounting.

Routes that enclose must hold the 60-digit truth; those that bound must bound it. And what must hold of any guarantee.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import mpmath
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting import Accountant
from del_audit.accounting.composition import Composition, Trials
from del_audit.accounting.trade_off import TradeOff
from mechanisms.spec import QuantizerSpec

pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="needs the extra dp")

SPECS = [
    QuantizerSpec.from_mu(bits, dim, 1.0, mu)
    for bits, dim, mu in (
        (1, 1, 1.0),
        (4, 1, 0.3),
        (4, 18, 2.0),
        (4, 18, 10.0),
        (2, 7, 5.0),
        (4, 18, 40.0),
        (8, 4, 3.0),
    )
]
DELTAS = (1e-9, 1e-5, 0.05, 0.5)
EPSILONS = (0.0, 0.1, 1.0, 5.0, 40.0)


class Ends(NamedTuple):
    """What a route says: the truth is at least lower and at most upper."""

    lower: float
    upper: float


def _closed_form(spec):
    accountant = Accountant(spec)
    return accountant.epsilon, accountant.delta


def _ball_arithmetic(spec):
    accountant = Accountant(spec, proved=True)
    return accountant.epsilon, accountant.delta


def _loss_grid(spec):
    trials, p = Accountant(spec).trials(), spec.threshold_high / 2**32
    pieces = [part for part in (trials // 3, trials - trials // 3) if part]
    whole = Composition([Trials(part, p, 1 - p) for part in pieces])
    return whole.epsilon, whole.delta


def _dp_accounting(spec):
    trials, p = Accountant(spec).trials(), spec.threshold_high / 2**32
    with mpmath.workdps(30):
        masses = [float(mpmath.log(oracle.mass(x, trials, Fraction(p)))) for x in range(trials + 1)]
    upper, lower = dict(enumerate(masses)), dict(enumerate(reversed(masses)))
    high, low = (
        pld.from_two_probability_mass_functions(
            lower, upper, pessimistic_estimate=safe, value_discretization_interval=1e-3, log_mass_truncation_bound=-70
        )
        for safe in (True, False)
    )
    rounding = 1e-9  # of its sums of floats
    return (
        lambda delta: Ends(low.get_epsilon_for_delta(delta) - rounding, high.get_epsilon_for_delta(delta) + rounding),
        lambda epsilon: Ends(
            low.get_delta_for_epsilon(epsilon) - rounding, high.get_delta_for_epsilon(epsilon) + rounding
        ),
    )


ROUTES = {"closed form": _closed_form, "arb": _ball_arithmetic, "grid": _loss_grid, "dp-accounting": _dp_accounting}
WIDTHS = {"closed form": 1e-11, "arb": 1e-12, "grid": 1e-2, "dp-accounting": 2e-2}


def _truth(spec, epsilon):
    trials, p = Accountant(spec).trials(), Fraction(spec.threshold_high, 2**32)
    return oracle.delta(epsilon, trials, p, 1 - p)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.bits}x{spec.dim}-mu{spec.mu:.3g}")
def test_every_route_encloses_the_truth(route, spec):
    epsilon_of, delta_of = ROUTES[route](spec)
    for epsilon in EPSILONS:
        truth, ends = _truth(spec, epsilon), delta_of(epsilon)
        assert oracle.real(ends.lower) <= truth + mpmath.mpf("1e-50")
        assert truth <= oracle.real(ends.upper) + mpmath.mpf("1e-50")
        assert ends.upper - ends.lower <= WIDTHS[route] * max(ends.upper, 1e-3)
    for delta in DELTAS:
        ends, goal = epsilon_of(delta), oracle.real(delta)
        assert _truth(spec, max(0.0, ends.upper)) <= goal
        assert ends.lower <= 0 or _truth(spec, ends.lower) >= goal
        assert ends.upper - ends.lower <= WIDTHS[route] * max(1.0, ends.upper)


CURVES = st.tuples(st.integers(1, 10**6), st.floats(1e-5, 0.45)).map(lambda pair: TradeOff.of_vertices(*pair))


@given(CURVES, st.floats(-250, -0.01), st.floats(-250, -0.01))
def test_epsilon_falls_in_delta(curve, first, second):
    small, large = sorted((10**first, 10**second))
    assert curve.epsilon(small) >= curve.epsilon(large) * (1 - 1e-12)


@given(st.integers(1, 8), st.integers(1, 40), st.floats(0.01, 30), st.integers(1, 200), st.integers(1, 200))
def test_epsilon_rises_with_tokens(bits, dim, mu, first, second):
    accountant = Accountant(QuantizerSpec.from_mu(bits, dim, 1.0, mu))
    few, many = sorted((first, second))
    low, high = (accountant.epsilon(1e-5, "session", tokens) for tokens in (few, many))
    assert low.lower <= high.upper
    assert few == many or low.estimate < high.estimate or high.estimate == 0


@settings(max_examples=15)
@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0.001, 0.4), st.floats(-40, -0.5))
def test_composing_equals_adding_up_the_trials(first, second, offset, exponent):
    p, delta = 0.5 + offset, 10**exponent
    whole = TradeOff.of_vertices(first + second, p - 0.5).enclose_epsilon(delta)
    composed = Composition([Trials(first, p, 1 - p), Trials(second, p, 1 - p)]).epsilon(delta)
    assert composed.lower <= float(whole.upper)
    assert float(whole.lower) <= composed.upper <= float(whole.upper) * (1 + 1e-4) + 1e-4


@given(CURVES, st.floats(-250, -0.01))
def test_delta_of_epsilon_of_delta_is_delta(curve, exponent):
    lower, _, upper = map(float, curve.enclose_epsilon(10**exponent))
    log_delta = exponent * math.log(10)
    assert curve.enclose_log_delta(upper).lower <= log_delta + 1e-12
    assert lower == 0 or curve.enclose_log_delta(lower).upper >= log_delta - 1e-12
    assert upper - lower <= 1e-11 * max(upper, 1e-3)


@given(CURVES, st.lists(st.floats(0, 1), min_size=3, max_size=3, unique=True))
def test_beta_is_convex_and_below_the_diagonal(curve, levels):
    left, middle, right = sorted(levels)
    low, mid, high = curve.beta(np.array([left, middle, right]))
    share = (right - middle) / (right - left)
    assert mid <= share * low + (1 - share) * high + 1e-12
    assert mid <= 1 - middle + 1e-12
    assert high <= low


@given(CURVES, st.floats(0, 1))
def test_the_worst_pair_is_symmetric(curve, level):
    assert curve.alpha(level) == pytest.approx(curve.beta(level), rel=1e-12, abs=1e-300)


def test_rounding_to_integer_thresholds_moves_epsilon_little():
    for mu, dim, bits, tokens in ((2, 18, 4, 1), (10, 18, 4, 1), (40, 18, 4, 1), (2, 18, 4, 128), (0.5, 128, 8, 512)):
        spec = QuantizerSpec.from_mu(bits, dim, 1.0, mu)
        wire, real = (Accountant(spec, exact_reals=exact).epsilon(1e-5, "session", tokens) for exact in (False, True))
        offset = spec.threshold_high / 2**32 - 0.5
        assert wire.estimate == pytest.approx(real.estimate, rel=4 * 2**-33 / offset)
        assert wire.estimate != real.estimate
