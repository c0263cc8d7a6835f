"""The figures of one pair as Bounds: ends outside the floats' own error, inside the range of the figure, and narrow."""

import math
from fractions import Fraction

import mpmath
import oracle
import pytest

from del_audit.accounting.computed import ComputedTradeOff
from del_audit.accounting.rigorous import ProvedTradeOff
from del_audit.accounting.trade_off import TradeOff

PAIRS = [(1, 0.25), (270, 0.05), (270, 0.2), (4000, 0.01), (10**6, 0.003)]
ALPHAS = (0.0, 1e-9, 0.034, 0.3, 0.9, 1.0)


def _both(trials, offset):
    curve = TradeOff.of_vertices(trials, offset)
    return curve, ComputedTradeOff(curve), ProvedTradeOff.of_vertices(trials, Fraction(1, 2) + Fraction(offset))


@pytest.mark.parametrize(("trials", "offset"), PAIRS)
def test_delta_holds_both_ends_of_its_logarithm(trials, offset):
    curve, computed, _ = _both(trials, offset)
    for step in range(40):
        epsilon = step / 41 * min(curve.pure_epsilon, 600.0)
        ends, bound = curve.enclose_log_delta(epsilon), computed.delta(epsilon)
        assert oracle.real(bound.lower) <= mpmath.exp(oracle.real(float(ends.lower)))
        assert oracle.real(bound.upper) >= mpmath.exp(oracle.real(float(ends.upper)))
        assert bound.estimate == pytest.approx(curve.delta(epsilon), rel=1e-15)
        assert bound.upper - bound.lower <= 1e-10 * bound.estimate + 1e-300


@pytest.mark.parametrize(("trials", "offset"), PAIRS)
def test_every_figure_holds_the_proved_one(trials, offset):
    _, computed, proved = _both(trials, offset)
    pairs = [(computed.pure_epsilon, proved.pure_epsilon), (computed.total_variation, proved.total_variation)]
    pairs += [(computed.power(alpha), proved.power(alpha)) for alpha in ALPHAS]
    for ours, truth in pairs:
        assert ours.lower <= truth.lower <= truth.upper <= ours.upper
        assert ours.kind == "float with error bound"
    for delta in (1e-40, 1e-5, 0.3):
        ours, truth = computed.epsilon(delta), proved.epsilon(delta)
        assert max(ours.lower, truth.lower) <= min(ours.upper, truth.upper)
        assert ours.upper - ours.lower <= 1e-11 * max(ours.upper, 1e-3)


@pytest.mark.parametrize(("trials", "offset"), PAIRS)
def test_power_is_one_less_beta_within_its_stated_error(trials, offset):
    curve, computed, _ = _both(trials, offset)
    for alpha in ALPHAS:
        bound, missed = computed.power(alpha), curve.beta(alpha)
        assert bound.estimate == max(alpha, 1 - missed)
        assert alpha <= bound.lower <= bound.upper <= 1
        for half in (bound.estimate - bound.lower, bound.upper - bound.estimate):
            assert half <= 1.001e-12 * missed + 1.5e-15


def test_ends_stay_inside_the_range_of_the_figure():
    strong, none = ComputedTradeOff(TradeOff.of_vertices(10_000, 0.4)), ComputedTradeOff(TradeOff.of_vertices(1, 0.0))
    assert (strong.total_variation.estimate, strong.total_variation.upper) == (1.0, 1.0)
    assert strong.power(0.3).upper == 1.0
    assert strong.delta(600.0).upper == 1.0
    assert (none.delta(0.5).upper, none.total_variation.upper, none.pure_epsilon.upper) == (0.0, 0.0, 0.0)
    beyond_floats = ComputedTradeOff(TradeOff.of_vertices(10**6, 0.05)).delta(150_000.0)
    assert beyond_floats.lower == 0.0
    assert 0.0 < beyond_floats.upper < math.ulp(0.0) * 2


def test_pure_epsilon_is_narrow():
    bound = ComputedTradeOff(TradeOff.of_vertices(270, 0.25)).pure_epsilon
    assert bound.upper - bound.lower < 1e-14 * bound.estimate
    assert bound.lower < bound.estimate < bound.upper
