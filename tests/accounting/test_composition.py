"""Theorems 14 and 15: what the grid says of parts that differ holds the exact curve, and is close to it."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting.composition import Composition, Losses, Trials
from del_audit.accounting.trade_off import TradeOff
from mechanisms.errors import UserError

OFFSETS = st.integers(2**18, 2**31 - 2**20).map(lambda k: k / 2**32)


def equal(count, offset, times=1):
    return Trials(count, 0.5 + offset, 0.5 - offset, times)


def laws(parts):
    """All losses of the parts together and P's masses, in 60 digits: a list of (loss, mass)."""
    points = [(mpmath.mpf(0), mpmath.mpf(1))]
    for part in parts:
        p, q = Fraction(part.p), Fraction(part.q)
        success, failure = mpmath.log(oracle.real(p / q)), mpmath.log(oracle.real((1 - p) / (1 - q)))
        one = [(x * success + (part.count - x) * failure, oracle.mass(x, part.count, p)) for x in range(part.count + 1)]
        for _ in range(part.times):
            points = [(a + b, m * n) for (a, m), (b, n) in itertools.product(points, one)]
    return points


def delta_of(points, epsilon):
    epsilon = mpmath.mpf(epsilon)
    return mpmath.fsum(-mpmath.expm1(epsilon - loss) * mass for loss, mass in points if loss > epsilon)


def check_against(points, parts, epsilon, closeness):
    """Both ends of delta(epsilon), and of epsilon at that delta, hold the sum over all outcomes."""
    whole, truth = Composition(parts), delta_of(points, epsilon)
    bound = whole.delta(epsilon)
    assert oracle.real(bound.lower) <= truth * (1 + mpmath.mpf("1e-14"))
    assert truth <= oracle.real(bound.upper)
    assert bound.upper <= float(truth) * (1 + closeness) + 1e-300
    delta = float(truth)
    if 0 < delta < 1:
        bound = whole.epsilon(delta)
        assert delta_of(points, bound.upper) <= oracle.real(delta)
        assert bound.lower == 0 or delta_of(points, bound.lower) >= oracle.real(delta) * (1 - mpmath.mpf("1e-14"))
        assert bound.upper <= epsilon + max(closeness, 1e-2) * max(1.0, epsilon)


UNEQUAL = {
    "three vertices": [equal(9, 0.05), equal(5, 0.2), equal(3, 0.31)],
    "nearly certain": [equal(6, 0.49), equal(7, 0.2508), equal(1, 0.4999)],
    "next to nothing": [equal(8, 1e-7), equal(9, 1e-3), equal(2, 1e-5)],
    "not symmetric": [Trials(7, 0.6, 0.55), Trials(5, 0.3, 0.45), Trials(4, 0.9, 0.2)],
    "several copies": [equal(2, 0.1, times=3), equal(1, 0.3, times=4), equal(4, 0.02)],
    "one trial each": [equal(1, 0.4), equal(1, 0.01), equal(1, 0.1)],
}


@pytest.mark.parametrize("name", UNEQUAL)
def test_theorem_14_unequal_parts_against_all_outcomes(name):
    parts = UNEQUAL[name]
    points = laws(parts)
    assert abs(mpmath.fsum(mass for _, mass in points) - 1) < mpmath.mpf("1e-50")
    most = float(max(loss for loss, _ in points))
    for share in (0.0, 0.03, 0.4, 0.8, 0.97):
        check_against(points, parts, share * most, closeness=2e-4)


@pytest.mark.parametrize("name", ["three vertices", "nearly certain", "not symmetric"])
def test_near_the_pure_epsilon_and_beyond(name):
    parts = UNEQUAL[name]
    points, whole = laws(parts), Composition(parts)
    most = float(max(loss for loss, _ in points))
    assert most <= whole.pure_epsilon <= most * (1 + 1e-11)
    truth = delta_of(points, most * (1 - 1e-6))
    assert 0 < truth <= oracle.real(whole.delta(most * (1 - 1e-6)).upper)
    for delta in (1e-30, 1e-200):  # all of it lies above the likeliest outcome's mass
        bound = whole.epsilon(delta)
        assert most * (1 - 1e-12) <= bound.upper <= whole.pure_epsilon
        assert bound.lower >= 0.99 * most
    assert whole.delta(most * 1.001).lower == 0


@pytest.mark.parametrize("name", UNEQUAL)
def test_a_delta_above_the_total_variation_needs_no_epsilon(name):
    parts = UNEQUAL[name]
    variation = float(delta_of(laws(parts), 0.0))
    for delta in (variation + 0.01 * (1 - variation), (1 + variation) / 2):
        bound = Composition(parts).epsilon(delta)
        assert bound.lower == bound.estimate == bound.upper == 0


SUMS = [
    ([3, 7, 20], 0.2, (0.3, 1e-5, 1e-30, 1e-200)),
    ([135, 135], 0.0612, (0.3, 1e-5, 1e-30, 1e-200)),
    ([100, 20_000, 3], 0.02, (0.3, 1e-5, 1e-30, 1e-200)),
    ([10**6, 2 * 10**6], 0.002, (0.3, 1e-5, 1e-30, 1e-200)),
    ([999_999_999, 1], 4e-5, (1e-5,)),
    ([9 * 10**8, 10**8], 0.47, (0.3, 1e-200)),
]


@pytest.mark.parametrize(
    ("counts", "offset", "delta"), [(counts, offset, delta) for counts, offset, deltas in SUMS for delta in deltas]
)
def test_equal_chances_are_one_large_binomial(counts, offset, delta):
    offset = round(offset * 2**32) / 2**32
    exact = TradeOff.of_vertices(sum(counts), offset)
    whole = Composition([equal(count, offset) for count in counts])
    ends, bound = exact.enclose_epsilon(delta), whole.epsilon(delta)
    assert float(ends.lower) <= bound.upper <= float(ends.upper) * (1 + 1e-6)
    assert bound.lower <= float(ends.upper)
    deviation = 2 * math.atanh(2 * offset) * 2 * math.sqrt(sum(counts) * (0.25 - offset**2))
    assert bound.lower >= bound.upper - 0.01 * max(deviation, bound.upper)
    epsilon = 0.9 * float(ends.estimate)
    low, _, high = (math.exp(float(end)) for end in exact.enclose_log_delta(epsilon))
    bound = whole.delta(epsilon)
    assert low <= bound.upper <= high * (1 + 1e-3)
    assert bound.lower <= high


def test_where_doubles_are_coarse_the_upper_end_is_still_above():
    # A loss of 8e7 nats has a rounding of 1e-8; moved up under a tilt without its mass, it once cost 7e-7 nats.
    offset, delta = round(0.4856187386903912 * 2**32) / 2**32, 1.5248203456830398e-221
    bound = Composition([equal(10_317_754, offset), equal(10_317_754, offset)]).epsilon(delta)
    ends = TradeOff.of_vertices(20_635_508, offset).enclose_epsilon(delta)
    assert float(ends.lower) <= bound.upper <= float(ends.upper) * (1 + 1e-9)


def test_mass_at_no_success_is_right_where_success_is_likely():
    _, _, mass = Trials(1, 0.9999, 0.0001).tilted(0.0)
    np.testing.assert_allclose(mass, [0.0001, 0.9999], rtol=1e-12)
    _, _, mass = equal(6, 0.49).tilted(0.0)
    truth = [float(oracle.mass(x, 6, Fraction(0.99))) for x in range(7)]
    np.testing.assert_allclose(mass, truth, rtol=1e-12)


@pytest.mark.parametrize(("count", "offset", "times"), [(270, 0.05, 3), (1, 0.2, 64), (15, 0.4, 40), (1, 1e-3, 3000)])
def test_times_are_copies(count, offset, times):
    exact = TradeOff.of_vertices(count * times, offset)
    together = Composition([equal(count, offset, times)])
    for delta in (0.01, 1e-6, 1e-40):
        bound, ends = together.epsilon(delta), exact.enclose_epsilon(delta)
        assert float(ends.lower) <= bound.upper <= float(ends.upper) * (1 + 1e-4) + 1e-9
        assert bound.lower <= float(ends.upper)
        if times < 100:
            apart = Composition([equal(count, offset)] * times).epsilon(delta)
            assert apart.upper == pytest.approx(bound.upper, rel=1e-9, abs=1e-12)


@settings(max_examples=40)
@given(st.integers(1, 10**7), st.integers(1, 10**7), OFFSETS, st.floats(-250, -0.2))
def test_the_upper_end_is_never_below_the_exact_curve(first, second, offset, exponent):
    exact = TradeOff.of_vertices(first + second, offset)
    whole, ends = Composition([equal(first, offset), equal(second, offset)]), exact.enclose_epsilon(10**exponent)
    bound = whole.epsilon(10**exponent)
    assert bound.lower <= float(ends.upper)
    assert bound.upper >= float(ends.lower)
    epsilon = 0.7 * float(ends.estimate)
    log_delta, bound = exact.enclose_log_delta(epsilon), whole.delta(epsilon)
    assert bound.upper >= math.exp(float(log_delta.lower)) * (1 - 1e-15)
    assert bound.lower <= math.exp(float(log_delta.upper)) * (1 + 1e-15)


CHANCES = st.floats(1e-4, 1 - 1e-4)
SMALL = st.builds(Trials, st.integers(1, 6), CHANCES, CHANCES).filter(lambda part: abs(part.p - part.q) > 1e-4)


@settings(max_examples=25)
@given(st.lists(SMALL, min_size=1, max_size=3), st.floats(0, 0.99))
def test_the_ends_hold_the_sum_over_outcomes_of_any_small_parts(parts, share):
    points = laws(parts)
    epsilon = share * float(max(loss for loss, _ in points))
    check_against(points, parts, epsilon, closeness=math.inf)


def test_losses_are_the_law_that_they_list():
    trials = UNEQUAL["not symmetric"][2]
    points = laws([trials])
    listed = Losses(
        np.array([float(loss) for loss, _ in points]), np.array([float(mpmath.log(mass)) for _, mass in points])
    )
    others = [equal(8, 0.07)]
    outcomes = laws([trials, *others])
    for epsilon in (0.0, 0.5, 2.0, 6.0):
        truth, bound = delta_of(outcomes, epsilon), Composition([listed, *others]).delta(epsilon)
        assert oracle.real(bound.lower) <= truth <= oracle.real(bound.upper)
        assert bound.upper <= float(truth) * (1 + 1e-6)


class _Unsure(Losses):
    """Losses that may each be off by a hundredth of a nat either way."""

    def tilted(self, theta):
        loss, _, mass = super().tilted(theta)
        return loss, np.full(loss.shape, 0.01), mass


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.5, 1.9])
def test_losses_that_are_known_roughly_are_taken_at_their_worst(epsilon):
    loss, mass = np.array([-1.0, 0.1, 2.0]), np.array([0.3, 0.3, 0.4])
    bound = Composition([_Unsure(loss, np.log(mass))]).delta(epsilon)
    worst, best = (float(-mass @ np.expm1(np.minimum(epsilon - loss - shift, 0))) for shift in (0.01, -0.01))
    assert worst <= bound.upper <= worst * (1 + 1e-6)
    assert bound.lower <= best <= bound.lower * (1 + 1e-2)


def test_mass_that_is_missing_counts_for_nothing():
    whole = Losses(np.array([-1.0, 0.0, 2.0]), np.log([0.3, 0.3, 0.4]))
    less = Losses(whole.loss, whole.log_mass + math.log(0.5))
    for epsilon in (0.0, 1.0):
        assert Composition([less]).delta(epsilon).upper == pytest.approx(
            0.5 * Composition([whole]).delta(epsilon).upper, rel=1e-8
        )


@pytest.mark.parametrize("parts", UNEQUAL.values(), ids=UNEQUAL)
def test_theorem_15_the_renyi_bound_is_valid(parts):
    points, whole = laws(parts), Composition(parts)
    for delta in (0.3, 1e-3, 1e-9):
        assert delta_of(points, whole.renyi_epsilon(delta)) <= oracle.real(delta)
    for theta in (0.1, 1.0, 7.0):
        moment = mpmath.fsum(mass * mpmath.exp(theta * loss) for loss, mass in points)
        assert sum(part.times * part.log_mgf(theta) for part in parts) == pytest.approx(
            float(mpmath.log(moment)), rel=1e-12, abs=1e-14
        )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Composition([]), "Expected at least one part to compose, got parts=[]."),
        (lambda: Composition([equal(5, 0.1)]).epsilon(0.0), "Expected delta in (0, 1), got delta=0.0."),
        (lambda: Composition([equal(5, 0.1)]).epsilon(math.nan), "Expected delta in (0, 1), got delta=nan."),
        (
            lambda: Composition([equal(5, 0.1)]).delta(-1.0),
            "Expected epsilon to be a finite number >= 0, got epsilon=-1.0.",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(UserError) as raised:
        call()
    assert str(raised.value) == words
