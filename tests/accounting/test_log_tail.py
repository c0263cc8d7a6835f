"""Theorem 2's tails: against direct sums at 60 digits, over the corners of their range."""

import math
import random
import warnings
from fractions import Fraction

import flint
import mpmath
import numpy as np
import oracle
import pytest

from del_audit.accounting.log_tail import log_lower_tail, log_tail_difference, log_tail_error, log_upper_tail, tails
from mechanisms.errors import UserError


def _cases(seed, count, largest):
    """Random (x, n, p): counts at the mode, in both tails and at the ends; p anywhere from 1e-9 to 1 - 1e-9."""
    draw = random.Random(seed)
    for _ in range(count):
        n = int(10 ** draw.uniform(0, largest))
        p = draw.choice(
            [
                draw.random(),
                10 ** draw.uniform(-9, -0.3),
                1 - 10 ** draw.uniform(-9, -0.3),
                0.5 + 10 ** draw.uniform(-9, -1),
            ]
        )
        spread = math.sqrt(n * p * (1 - p))
        x = draw.choice(
            [
                draw.randrange(0, n),
                int(n * p + draw.gauss(0, 5) * max(spread, 0.3)),
                int(n * p + draw.gauss(0, 0.5) * spread),
                int(n * p + draw.gauss(0, 100) * spread),
                draw.choice([0, n - 1, 1, n // 2]),
            ]
        )
        yield max(0, min(n - 1, x)), n, p


def _error(wide, truth):
    """|wide - log truth|, with the wide float taken apart exactly."""
    high = float(wide)
    return abs(mpmath.mpf(high) + mpmath.mpf(float(wide - np.longdouble(high))) - mpmath.log(truth))


@pytest.mark.parametrize(("seed", "count", "largest"), [(1, 2000, 3), (2, 1500, 6), (3, 60, 8)])
def test_theorem_2_tails_are_within_the_stated_error_of_direct_sums(seed, count, largest):
    worst = 0.0
    for x, n, p in _cases(seed, count, largest):
        truths = oracle.upper_tail(x, n, Fraction(p)), oracle.upper_tail(n - x - 1, n, 1 - Fraction(p))
        for wide, truth in zip(tails(x, n, p), truths, strict=True):
            allowed = log_tail_error(float(wide), rounded=False)
            error = _error(wide, truth)
            assert error <= allowed, (x, n, p, float(error))
            worst = max(worst, float(error / mpmath.mpf(float(allowed))))
    assert worst > 0.05  # the stated error is an error bound, not a blank cheque


def _deep_cases(seed, count):
    """Random (x, n, p): n to 10^10, p within 1e-9 of 0 and 1 and of 1/2, either tail down to exp(-10^6)."""
    draw = random.Random(seed)
    for _ in range(count):
        n = draw.choice([1, 2, 10**10, int(10 ** draw.uniform(0, 10)), int(10 ** draw.uniform(7, 10))])
        near = 10 ** draw.uniform(-9, -0.4)
        p = draw.choice([draw.uniform(1e-9, 1 - 1e-9), near, 1 - near, 0.5 + near, 0.5 - near, 1e-9, 1 - 1e-9])
        deviations = draw.choice([0, 1, -1]) * math.sqrt(2 * 10 ** draw.uniform(-2, 6))
        x = int(n * p + deviations * math.sqrt(n * p * (1 - p)))
        yield max(0, min(n - 1, x)), n, p


def _ball_tail(x, n, p):
    """P[X > x] as a ball of 80 good bits: the incomplete beta function, or one less the other tail's."""
    chance = flint.arb(flint.fmpq(*Fraction(p).as_integer_ratio()))
    forms = (
        lambda: 1 - (1 - chance).beta_lower(flint.arb(n - x), flint.arb(x + 1), regularized=True),
        lambda: chance.beta_lower(flint.arb(x + 1), flint.arb(n - x), regularized=True),
    )
    for form in forms if p > 0.5 else forms[::-1]:
        if (ball := form()).rel_accuracy_bits() > 80:
            return ball
    raise AssertionError((x, n, p))


@pytest.mark.parametrize("cases", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_theorem_2_tails_are_within_1e_12_of_ball_arithmetic_over_the_whole_range(cases):
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("this platform's widest float is a double")
    deepest, compared = 0.0, 0
    with flint.ctx.workprec(192):
        for x, n, p in _deep_cases(9, cases):
            upper, lower = _ball_tail(x, n, p), _ball_tail(n - x - 1, n, 1 - Fraction(p))
            for wide, truth in zip(tails(x, n, p), (upper.log(), lower.log()), strict=True):
                if truth < -1e6:
                    continue
                high = float(wide)
                error = abs(flint.arb(high) + flint.arb(float(wide - np.longdouble(high))) - truth)
                assert error < 1e-12, (x, n, p, error)
                deepest, compared = min(deepest, high), compared + 1
    assert deepest < (-9e5 if cases == 2_000 else -1e5)
    assert compared > 1.75 * cases


def test_error_bound_meets_1e_12_down_to_a_million_nats():
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("this platform's widest float is a double")
    assert log_tail_error(-1e6, rounded=False) < 1e-12
    assert log_tail_error(-1.0) < 7e-15
    assert log_tail_error(-np.inf) == log_tail_error(0.0)


def test_ten_billion_trials():
    n, p = 10**10, 0.5 + 2**-20
    x = int(n * p) + 400_000  # eight standard deviations
    truth = oracle.upper_tail(x, n, Fraction(p))
    assert _error(tails(x, n, p)[0], truth) < 1e-14


def test_rounded_logarithms_and_tails_beyond_the_range_of_doubles():
    got = log_upper_tail(90_000, 100_000, 0.25)
    truth = mpmath.log(oracle.upper_tail(90_000, 100_000, Fraction(1, 4)))
    assert float(got) == pytest.approx(float(truth), rel=3e-16)
    assert float(got) < -90_000


@pytest.mark.parametrize(
    ("x", "n", "p", "upper"),
    [(0, 1, 0.3, 0.3), (1, 2, 0.5, 0.25), (0, 2, 0.5, 0.75), (2, 3, 0.75, 27 / 64), (-1, 5, 0.2, 1.0)],
)
def test_small_cases_by_hand(x, n, p, upper):
    assert math.exp(log_upper_tail(x, n, p)) == pytest.approx(upper, rel=4e-15)
    assert math.exp(log_lower_tail(x, n, p)) == pytest.approx(1 - upper, rel=4e-15)


def test_outside_the_support():
    np.testing.assert_array_equal(log_upper_tail([-3, -1, 5, 9], 5, 0.4), [0, 0, -np.inf, -np.inf])
    np.testing.assert_array_equal(log_lower_tail([-3, -1, 5, 9], 5, 0.4), [-np.inf, -np.inf, 0, 0])


def test_arrays_broadcast_and_agree_with_scalars():
    x, n, p = np.array([[3], [40]]), np.array([50, 60, 70]), 0.3
    table = log_upper_tail(x, n, p)
    assert table.shape == (2, 3)
    assert table[1, 2] == log_upper_tail(40, 70, 0.3)


def test_p_low_carries_what_a_double_cannot():
    n, x, low = 10**9, 500_080_000, 2.0**-60
    p = Fraction(0.5) + Fraction(low)
    assert _error(tails(x, n, 0.5, low)[0], oracle.upper_tail(x, n, p)) < 6e-15
    assert tails(x, n, 0.5, low)[0] > tails(x, n, 0.5)[0]


def test_differences_of_close_tails_keep_their_precision():
    n, x, span = 1000, 510, 2.0**-40
    p = Fraction(0.5) + Fraction(span) / 2
    truth = oracle.upper_tail(x, n, p) - oracle.upper_tail(x, n, p - Fraction(span))
    assert _error(log_tail_difference(x, n, 0.5, span / 2, span), truth) < 6e-15


def test_no_warnings_at_the_corners():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for p in (1e-9, 0.5, 1 - 1e-9):
            for n in (1, 2, 10**10):
                values = log_upper_tail([0, n // 2, n - 1, n], n, p)
                assert not np.isnan(values).any()


@pytest.mark.parametrize(
    ("x", "n", "p", "message"),
    [
        (0.5, 3, 0.5, "Expected x to be a whole number, got x=0.5."),
        (1, 0, 0.5, "Expected trials to be a whole number in 1..10000000000, got trials=0."),
        (1, 10**10 + 1, 0.5, "Expected trials to be a whole number in 1..10000000000, got trials=10000000001."),
        (1, 3, 1.0, "Expected p in (0, 1), got p=1."),
        (1, 3, math.nan, "Expected p in (0, 1), got p=nan."),
    ],
)
def test_bad_input(x, n, p, message):
    for function in (log_upper_tail, log_lower_tail):
        with pytest.raises(UserError) as raised:
            function(x, n, p)
        assert str(raised.value) == message
