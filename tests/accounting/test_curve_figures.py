"""The rest of the curve against direct sums: inverse, advantage, Bayes error, Renyi divergence; theorem 16 on zCDP."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting.rigorous import ProvedTradeOff
from del_audit.accounting.trade_off import TradeOff
from mechanisms.errors import UserError

OFFSETS = st.integers(-(2**31) + 1, 2**31 - 1).map(lambda k: k / 2**32)
PAIRS = st.tuples(st.integers(1, 200), OFFSETS, OFFSETS).map(lambda pair: (pair[0], max(pair[1:]), min(pair[1:])))
LEVELS = st.floats(0, 1)


def _masses(trials, offset):
    p = Fraction(1, 2) + Fraction(offset)
    return [oracle.real(math.comb(trials, x) * p**x * (1 - p) ** (trials - x)) for x in range(trials + 1)]


@settings(max_examples=150)
@given(PAIRS, LEVELS)
def test_alpha_is_the_inverse_of_beta(pair, level):
    curve = TradeOff(*pair)
    if curve.beta(level) < 1e-290:
        return
    back = curve.alpha(curve.beta(level))
    assert back <= level * (1 + 1e-9) + 1e-15
    assert curve.beta(back) == pytest.approx(curve.beta(level), rel=1e-9, abs=1e-14)


@given(PAIRS, LEVELS)
def test_the_bayes_error_is_the_sum_of_the_smaller_of_both_weighted_laws(pair, prior):
    trials, alternative, null = pair
    p, q = _masses(trials, alternative), _masses(trials, null)
    truth = mpmath.fsum(min(mpmath.mpf(prior) * a, (1 - mpmath.mpf(prior)) * b) for a, b in zip(p, q, strict=True))
    error = TradeOff(*pair).bayes_error(prior)
    assert error == pytest.approx(float(truth), rel=1e-11, abs=1e-300)
    assert error <= min(prior, 1 - prior) * (1 + 1e-12)


@given(PAIRS, LEVELS)
def test_advantage_is_true_less_false_positives_and_at_most_the_total_variation(pair, level):
    curve = TradeOff(*pair)
    advantage = curve.advantage(level)
    assert advantage == pytest.approx(max(0, 1 - level - curve.beta(level)), abs=1e-15)
    assert advantage <= curve.total_variation + 1e-12


def test_the_largest_advantage_is_the_total_variation():
    curve = TradeOff.of_vertices(270, 0.04)
    alphas, _ = curve.vertices()
    assert curve.advantage(alphas).max() == pytest.approx(curve.total_variation, rel=1e-12)


@settings(max_examples=150)
@given(PAIRS, st.one_of(st.just(1.0), st.floats(0.01, 3), st.floats(1, 2000)))
def test_renyi_divergence_against_ball_arithmetic(pair, order):
    trials, alternative, null = pair
    proved = ProvedTradeOff(trials, Fraction(1, 2) + Fraction(alternative), Fraction(1, 2) + Fraction(null))
    truth = proved.renyi(order)
    assert TradeOff(*pair).renyi(order) == pytest.approx(truth.estimate, rel=1e-12, abs=1e-290)


@pytest.mark.parametrize("gap", [1e-12, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("excess", [-1e-9, 0.0, 1e-9, 1e-4, 0.5, 1e4])
def test_renyi_divergence_does_not_cancel_near_order_one_nor_for_close_laws(gap, excess):
    trials, null = 1000, 0.125
    proved = ProvedTradeOff(trials, Fraction(1, 2) + Fraction(null + gap), Fraction(1, 2) + Fraction(null))
    assert TradeOff(trials, null + gap, null).renyi(1 + excess) == pytest.approx(
        proved.renyi(1 + excess).estimate, rel=1e-12
    )


@pytest.mark.parametrize("order", [0.3, 1.0, 1.5, 4.0, 40.0])
@pytest.mark.parametrize("pair", [(10, -0.498, -0.499), (10, 0.4995, 0.499), (3, 0.4999, 0.1), (3, -0.1, -0.49999)])
def test_renyi_divergence_of_laws_whose_two_likelihood_ratios_differ_in_size(pair, order):
    trials, alternative, null = pair
    proved = ProvedTradeOff(trials, Fraction(1, 2) + Fraction(alternative), Fraction(1, 2) + Fraction(null))
    assert TradeOff(*pair).renyi(order) == pytest.approx(proved.renyi(order).estimate, rel=1e-13)


@pytest.mark.parametrize("gap", [1e-14, 1e-12, 1e-9])
@pytest.mark.parametrize("share", [0.03, 0.3, 3.0, 300.0])
def test_renyi_divergence_of_large_orders_for_close_laws(gap, share):
    trials, null = 1000, 0.125
    proved = ProvedTradeOff(trials, Fraction(1, 2) + Fraction(null + gap), Fraction(1, 2) + Fraction(null))
    assert TradeOff(trials, null + gap, null).renyi(share / gap) == pytest.approx(
        proved.renyi(share / gap).estimate, rel=1e-12
    )


def test_renyi_divergence_rises_to_the_pure_epsilon():
    curve = TradeOff(50, 0.3, -0.1)
    values = curve.renyi(np.array([0.5, 1.0, 1.001, 2.0, 100.0, 1e6]))
    assert (np.diff(values) > 0).all()
    assert values[-1] == pytest.approx(curve.pure_epsilon, rel=1e-4)
    assert values[-1] < curve.pure_epsilon


@given(st.integers(1, 10**6), st.floats(1e-6, 0.4999), st.floats(1e-6, 1e4))
def test_theorem_16_the_worst_pairs_zcdp_is_its_kullback_leibler_divergence(trials, offset, excess):
    curve = TradeOff.of_vertices(trials, offset)
    assert curve.zcdp_rho == curve.renyi(1.0)
    assert curve.renyi(1 + excess) <= curve.zcdp_rho * (1 + excess) * (1 + 1e-12)


@pytest.mark.parametrize("pair", [(270, 0.06, 0.0), (3, 0.4, -0.4999), (1, -0.1, -0.499999999), (10, 0.499999, 0.0)])
def test_zcdp_of_other_pairs_is_the_largest_ratio_over_orders(pair):
    curve = TradeOff(*pair)
    orders = 1 + np.exp(np.linspace(-18, 18, 20001))
    largest = (curve.renyi(orders) / orders).max()
    assert curve.zcdp_rho >= max(largest, curve.renyi(1.0)) * (1 - 1e-12)
    assert curve.zcdp_rho == pytest.approx(max(largest, curve.renyi(1.0)), rel=1e-6)


def test_reversing_twice_is_the_same_pair_and_once_swaps_the_laws():
    curve = TradeOff(40, 0.2, -0.05, 2.0**-60, 2.0**-61)
    assert curve.reversed.reversed == curve
    epsilon = 1.25
    p, q = _masses(40, 0.2), _masses(40, -0.05)
    truth = mpmath.fsum(max(0, b - mpmath.exp(epsilon) * a) for a, b in zip(p, q, strict=True))
    assert curve.reversed.delta(epsilon) == pytest.approx(float(truth), rel=1e-11)


def test_arrays_in_arrays_out():
    curve = TradeOff(np.array([[10], [200]]), np.array([0.1, 0.2, 0.3]), 0.0)
    for values in (curve.alpha(0.25), curve.bayes_error(0.5), curve.renyi(2.0), curve.zcdp_rho, curve.advantage(0.1)):
        assert values.shape == (2, 3)
    single = TradeOff(200, 0.2, 0.0)
    assert curve.zcdp_rho[1, 1] == pytest.approx(single.zcdp_rho, rel=1e-9)
    assert curve.bayes_error(0.5)[1, 1] == single.bayes_error(0.5)
    assert isinstance(single.bayes_error(0.5), float)


def test_a_pair_of_equal_laws_tells_nothing():
    nothing = TradeOff(12, 0.1, 0.1)
    assert nothing.bayes_error(np.array([0.0, 0.3, 0.5, 0.9, 1.0])) == pytest.approx([0, 0.3, 0.5, 0.1, 0], rel=1e-12)
    assert nothing.renyi(3.0) == nothing.zcdp_rho == 0
    assert nothing.advantage(0.3) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda curve: curve.alpha(1.5), r"Expected beta in \[0, 1\], got beta=1.5"),
        (lambda curve: curve.bayes_error(-0.1), r"Expected prior in \[0, 1\], got prior=-0.1"),
        (lambda curve: curve.renyi(0.0), "Expected order to be a finite number > 0, got order=0.0"),
        (lambda curve: curve.renyi(math.inf), "Expected order to be a finite number > 0, got order=inf"),
        (lambda curve: curve.advantage(2.0), r"Expected alpha in \[0, 1\], got alpha=2.0"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(call, message):
    with pytest.raises(UserError, match=message):
        call(TradeOff(5, 0.1, 0.0))
