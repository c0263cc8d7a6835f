"""Theorems 1 and 2: the closed forms against sums, and the worst pair against every other."""

import itertools
import math
import random
import warnings
from fractions import Fraction

import mpmath
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting import trade_off
from del_audit.accounting._pair import Pair
from del_audit.accounting._search import first_at_most, guess_step
from del_audit.accounting.log_tail import tails
from del_audit.accounting.rigorous import ProvedTradeOff
from del_audit.accounting.trade_off import TradeOff, _enclose
from mechanisms.errors import UserError

OFFSETS = st.integers(1, 2**31 - 1).map(lambda k: k / 2**32)
TRIALS = st.integers(1, 10**7)
DELTAS = st.floats(-300, -1e-6).map(lambda exponent: 10**exponent)


def _truth(offset):
    return Fraction(1, 2) + Fraction(offset), Fraction(1, 2) - Fraction(offset)


@pytest.mark.parametrize("n", [1, 2, 7, 60, 270, 2000])
@pytest.mark.parametrize("offset", [2**-32, 1e-3, 0.03, 0.2, 0.49])
def test_theorem_2_delta_is_the_sum_over_counts(n, offset):
    curve = TradeOff.of_vertices(n, offset)
    for share in (0.0, 0.01, 0.3, 0.9):
        epsilon = share * min(curve.pure_epsilon, 2000.0)
        truth = oracle.delta_by_sum(epsilon, n, *_truth(offset))
        lower, _, upper = (oracle.real(float(end)) for end in curve.enclose_log_delta(epsilon))
        assert lower <= mpmath.log(truth) <= upper + mpmath.mpf("1e-50")  # the sum itself is good to 60 digits
        assert upper - lower < (1e-9 if offset < 1e-6 else 1e-11)
        assert curve.delta(epsilon) == pytest.approx(float(truth), rel=1e-11, abs=1e-300)


def test_theorem_2_epsilon_up_to_2000_and_a_million_trials():
    draw = random.Random(5)
    seen = []
    for _ in range(150):
        n = int(10 ** draw.uniform(0, 6))
        offset = min(0.499, 10 ** draw.uniform(-2, 1.5) / (2 * math.sqrt(n)))
        delta = 10 ** draw.uniform(-30, -0.2)
        ends = TradeOff.of_vertices(n, offset).enclose_epsilon(delta)
        lower, estimate, upper = map(float, ends)
        seen.append(estimate)
        goal = oracle.real(delta)
        assert oracle.delta(upper, n, *_truth(offset)) <= goal
        if lower > 0:
            assert oracle.delta(lower, n, *_truth(offset)) >= goal
        assert upper - lower <= 1e-10 * estimate
        assert lower <= estimate <= upper
    assert max(seen) > 1500
    assert sum(value > 0 for value in seen) > 100


@pytest.mark.parametrize(("n", "offset"), [(1000, 2**-32), (10**6, 2**-30), (50, 1e-8)])
def test_theorem_2_near_no_information_nothing_cancels(n, offset):
    curve = TradeOff.of_vertices(n, offset)
    truth = oracle.delta(0.0, n, *_truth(offset))
    assert curve.total_variation == pytest.approx(float(truth), rel=1e-14)
    ends = curve.enclose_epsilon(float(truth) / 2)
    assert oracle.delta(float(ends.upper), n, *_truth(offset)) <= oracle.real(float(truth) / 2)
    assert oracle.delta(float(ends.lower), n, *_truth(offset)) >= oracle.real(float(truth) / 2)
    assert float(ends.upper) - float(ends.lower) < 1e-12 * float(ends.estimate)


def test_theorem_2_pure_epsilon_and_the_end_of_the_curve():
    curve = TradeOff.of_vertices(270, 0.25)
    assert curve.pure_epsilon == pytest.approx(270 * math.log(3), rel=1e-15)
    assert curve.log_delta(curve.pure_epsilon * 1.001) == -math.inf
    assert curve.delta(curve.pure_epsilon * 1.001) == 0.0
    assert curve.delta(curve.pure_epsilon * 0.98) > 0


def test_equal_laws_tell_nothing():
    curve = TradeOff.of_vertices(270, 0.0)
    assert (curve.epsilon(1e-5), curve.total_variation, curve.pure_epsilon) == (0.0, 0.0, 0.0)
    assert tuple(map(float, curve.enclose_epsilon(1e-9))) == (0.0, 0.0, 0.0)
    assert curve.beta(0.3) == pytest.approx(0.7, abs=1e-15)
    assert curve.log_delta([0.0, 1.0]).tolist() == [-math.inf, -math.inf]


def test_one_trial_by_hand():
    curve = TradeOff.of_vertices(1, 0.25)  # 3/4 against 1/4
    assert curve.total_variation == pytest.approx(0.5, rel=1e-15)
    assert curve.epsilon(0.25) == pytest.approx(math.log(2), rel=1e-14)
    assert curve.epsilon(0.5) == pytest.approx(0.0, abs=1e-13)
    assert curve.delta(math.log(2)) == pytest.approx(0.25, rel=1e-14)
    np.testing.assert_allclose(curve.beta([0, 0.125, 0.25, 0.625, 1]), [1, 0.625, 0.25, 0.125, 0], atol=1e-15)
    alpha, beta = curve.vertices()
    np.testing.assert_allclose(alpha, [1, 0.25, 0], rtol=1e-14)
    np.testing.assert_allclose(beta, [0, 0.25, 1], rtol=1e-14)


@given(TRIALS, OFFSETS, DELTAS)
@settings(max_examples=60)
def test_delta_of_epsilon_is_delta(n, offset, delta):
    curve = TradeOff.of_vertices(n, offset)
    epsilon = curve.epsilon(delta)
    if epsilon == 0:
        assert delta >= curve.total_variation * (1 - 1e-9)
    else:
        slack = float(curve.enclose_epsilon(delta).upper) - epsilon
        rate = abs(curve.log_delta(epsilon + slack) - curve.log_delta(max(0.0, epsilon - slack)))
        assert abs(curve.log_delta(epsilon) - math.log(delta)) <= 1e-11 + 4 * rate


@given(TRIALS, OFFSETS, DELTAS, DELTAS)
@settings(max_examples=60)
def test_epsilon_falls_in_delta_and_rises_with_trials(n, offset, one, other):
    curve = TradeOff.of_vertices(n, offset)
    small, large = curve.enclose_epsilon(min(one, other)), curve.enclose_epsilon(max(one, other))
    assert small.upper >= large.lower
    assert TradeOff.of_vertices(2 * n, offset).enclose_epsilon(one).upper >= curve.enclose_epsilon(one).lower


@given(st.integers(1, 3000), OFFSETS)
@settings(max_examples=40)
def test_beta_is_convex_symmetric_and_below_one_minus_alpha(n, offset):
    curve = TradeOff.of_vertices(n, offset)
    alpha = np.linspace(0, 1, 41)
    beta = curve.beta(alpha)
    assert beta[0] == 1
    assert beta[-1] == 0
    assert (beta <= 1 - alpha + 1e-14).all()
    assert (np.diff(beta, 2) >= -1e-13).all()
    inside = (beta > 1e-9) & (beta < 1)
    np.testing.assert_allclose(curve.beta(beta[inside]), alpha[inside], atol=1e-13)


@pytest.mark.parametrize(("n", "offset"), [(6, 0.1), (270, 0.05), (2000, 0.01)])
def test_beta_interpolates_the_exact_vertices(n, offset):
    curve = TradeOff.of_vertices(n, offset)
    p, r = _truth(offset)
    x = n // 2 + 1
    corners = [(oracle.upper_tail(c, n, r), 1 - oracle.upper_tail(c, n, p)) for c in (x, x + 1)]
    middle = [(a + b) / 2 for a, b in zip(*corners, strict=True)]
    assert curve.beta(float(middle[0])) == pytest.approx(float(middle[1]), rel=1e-12)
    alpha, beta = curve.vertices()
    assert alpha[x + 1] == pytest.approx(float(corners[0][0]), rel=1e-13)
    assert beta[x + 1] == pytest.approx(float(corners[0][1]), rel=1e-13)
    np.testing.assert_allclose(curve.beta(alpha), beta, rtol=1e-9, atol=1e-15)


def test_beta_far_below_the_smallest_tail_keeps_relative_precision():
    curve = TradeOff.of_vertices(1000, 0.1)
    alpha = float(oracle.upper_tail(500, 1000, Fraction(1, 2) - Fraction(0.1)))
    truth = 1 - oracle.upper_tail(500, 1000, Fraction(1, 2) + Fraction(0.1))
    assert curve.beta(alpha) == pytest.approx(float(truth), rel=1e-10)
    assert curve.beta(0.5) < 1e-30


def test_centre_pair_is_its_own_curve():
    p, half = Fraction(1, 2) + Fraction(0.1), Fraction(1, 2)
    curve = TradeOff.of_centre(270, 0.1)
    for epsilon in (0.0, 1.0, 8.0):
        truth = oracle.delta_by_sum(epsilon, 270, p, half)
        assert curve.delta(epsilon) == pytest.approx(float(truth), rel=1e-12)
    assert curve.delta(curve.epsilon(1e-3)) == pytest.approx(1e-3, rel=1e-12)
    assert curve.pure_epsilon == pytest.approx(270 * math.log(1.2), rel=1e-14)


def _counts_law(thresholds, trials):
    """The exact law of all counts: an array over (trials + 1)^dim outcomes."""
    law = np.ones(1)
    for p in thresholds:
        one = [math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(trials + 1)]
        law = np.multiply.outer(law, one).ravel()
    return law


def test_theorem_1_no_pair_in_the_cube_is_easier_to_tell_apart_than_opposite_vertices():
    dim, trials, offset = 2, 3, 0.2
    curve = TradeOff.of_vertices(dim * trials, offset)
    draw = np.random.default_rng(3)
    epsilons = (0.0, 0.5, 1.5, 3.0)
    pairs = [draw.uniform(-1, 1, (2, dim)) for _ in range(300)]
    pairs += [np.sign(pair) for pair in pairs[:50]]
    reached = np.zeros(len(epsilons))
    for pair in pairs:
        first, second = (_counts_law(0.5 + offset * v, trials) for v in pair)
        divergences = [np.maximum(first - math.exp(e) * second, 0).sum() for e in epsilons]
        reached = np.maximum(reached, divergences)
    assert (reached <= curve.delta(epsilons) + 1e-15).all()
    for signs in itertools.product((-1, 1), repeat=dim):
        first, second = (_counts_law(0.5 + offset * side * np.array(signs), trials) for side in (1, -1))
        worst = [np.maximum(first - math.exp(e) * second, 0).sum() for e in epsilons]
        np.testing.assert_allclose(worst, curve.delta(epsilons), rtol=1e-12)


def test_arrays_of_specs_agree_with_one_at_a_time():
    n, offset = np.array([1, 50, 10**6]), np.array([0.3, 0.1, 1e-3])
    together = TradeOff.of_vertices(n, offset)
    alone = [TradeOff.of_vertices(int(a), float(b)) for a, b in zip(n, offset, strict=True)]
    np.testing.assert_allclose(together.epsilon(1e-5), [curve.epsilon(1e-5) for curve in alone], rtol=1e-14)
    np.testing.assert_allclose(together.delta(0.5), [curve.delta(0.5) for curve in alone], rtol=1e-13)
    np.testing.assert_allclose(together.beta(0.1), [curve.beta(0.1) for curve in alone], rtol=1e-14)
    assert alone[1].epsilon([1e-5, 1e-3]).shape == (2,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TradeOff.of_vertices(0, 0.1), "trials to be a whole number in 1..10000000000, got trials=0"),
        (lambda: TradeOff.of_vertices(5, 0.5), "alternative in (-0.5, 0.5), got alternative=0.5"),
        (lambda: TradeOff(5, 0.1, 0.2), "null <= alternative=0.1, got null=0.2"),
        (lambda: TradeOff.of_vertices(5, 0.1).epsilon(0.0), "delta in (0, 1), got delta=0.0"),
        (lambda: TradeOff.of_vertices(5, 0.1).epsilon(math.nan), "delta in (0, 1), got delta=nan"),
        (lambda: TradeOff.of_vertices(5, 0.1).delta(-1.0), "epsilon to be a finite number >= 0, got epsilon=-1.0"),
        (lambda: TradeOff.of_vertices(5, 0.1).delta(math.inf), "epsilon to be a finite number >= 0, got epsilon=inf"),
        (lambda: TradeOff.of_vertices(5, 0.1).beta(1.5), "alpha in [0, 1], got alpha=1.5"),
        (lambda: TradeOff.of_vertices(10**7, 0.1).vertices(), "at most 1000000 trials, got trials=10000000"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(UserError) as raised:
        call()
    assert words in str(raised.value)


def _random_pairs(seed, count):
    draw = random.Random(seed)
    for _ in range(count):
        n = int(10 ** draw.uniform(0, 7))
        offset = min(0.499, 10 ** draw.uniform(-2, 1.5) / (2 * math.sqrt(n)))
        middle = draw.choice([0.0, draw.uniform(-0.45, 0.45)])
        pair = min(0.4999, middle + offset), max(-0.4999, middle - offset)
        yield TradeOff(n, *pair), 10 ** draw.uniform(-40, -0.3)


def test_the_search_for_epsilon_starts_at_its_end():
    off, looks = [], []
    count = Pair.epsilon_at

    def counted(pair, x, log_delta):
        looks[-1] += 1
        return count(pair, x, log_delta)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pair, "epsilon_at", counted)
        for curve, delta in _random_pairs(7, 300):
            looks.append(0)
            epsilon = np.asarray(curve.epsilon([delta]))[0]
            if epsilon > 0:
                pair = curve._pair.select(np.atleast_1d)
                log_delta, slope = np.array([math.log(delta)]), pair.slope.astype(np.float64)
                with np.errstate(all="ignore"):
                    guess = guess_step(log_delta, pair.n, pair.p, pair.r, slope, pair.step(np.zeros(1, np.longdouble)))
                off.append(abs(float(guess[0]) - float(pair.step(epsilon)[0])))
    assert max(off) <= 1
    assert off.count(0) > 0.8 * len(off) > 200
    assert max(looks) <= 2
    assert looks.count(1) > 0.95 * len(looks)


def test_the_first_count_at_most_a_level_is_found_in_a_few_looks():
    draw = np.random.default_rng(3)
    n = np.floor(10 ** draw.uniform(0, 7, 400))
    p, log_alpha = draw.uniform(0.001, 0.999, 400), -(10 ** draw.uniform(-3, 2, 400))
    looks = []
    for trials, chance, level in zip(n, p, log_alpha, strict=True):
        seen = []

        def tail(count, trials=trials, chance=chance, seen=seen):
            seen.append(float(count))
            return tails(count, trials, chance)[0].astype(np.float64)

        with np.errstate(all="ignore"):
            x = first_at_most(np.asarray(level), tail, np.asarray(trials), np.asarray(chance))
            assert tails(x, trials, chance)[0] <= level
            assert x == -1 or tails(x - 1, trials, chance)[0] > level
        looks.append(len(seen))
    assert max(looks) <= 8
    assert sum(looks) <= 4.5 * len(looks)


EDGE = math.nextafter(0.5, 0)  # 0.5 + EDGE is 1 as a double: what is left of the probability is in the remainder


@pytest.mark.parametrize(("low", "null_low"), [(8e-19, None), (8e-19, 0.0), (-6e-19, 7e-19)])
def test_what_lies_below_the_resolution_of_an_offset_counts(low, null_low):
    n, offset = 10**10, 0.01
    if null_low is None:
        curve, null = TradeOff.of_vertices(n, offset, low), -Fraction(offset) - Fraction(low)
    else:
        curve, null = TradeOff(n, offset, -offset, low, null_low), Fraction(null_low) - Fraction(offset)
    proved = ProvedTradeOff(n, Fraction(1, 2) + Fraction(offset) + Fraction(low), Fraction(1, 2) + null)
    for epsilon in (8_005_000.0, 8_010_000.0, 8_020_000.0):
        truth, ends = proved.delta(epsilon), curve.enclose_log_delta(epsilon)
        with mpmath.workdps(40):
            assert oracle.real(float(ends.lower)) <= mpmath.log(truth.upper)
            assert mpmath.log(truth.lower) <= oracle.real(float(ends.upper))
            assert ends.upper - ends.lower < 1e-13 * abs(ends.estimate) + 1e-13


def test_the_centre_pair_takes_the_remainder_of_its_vertex():
    assert TradeOff.of_centre(5, 0.1, 1e-18) == TradeOff(5, 0.1, 0.0, 1e-18, 0.0)
    assert TradeOff.of_vertices(5, 0.1, 1e-18) == TradeOff(5, 0.1, -0.1, 1e-18, -1e-18)


@pytest.mark.parametrize(
    ("n", "offset", "low", "null", "null_low"),
    [
        (3, EDGE, -2e-17, 0.1, 0.0),
        (3, EDGE, 2e-17, -EDGE, 2e-17),
        (4, -0.1, 0.0, -EDGE, 2e-17),
        (3, -0.1, 0.0, -EDGE, -2e-17),
        (40, EDGE, 2e-17, 0.3, 0.0),
    ],
)
def test_probabilities_next_to_0_and_1_keep_every_digit(n, offset, low, null, null_low):
    p, q = (Fraction(1, 2) + Fraction(high) + Fraction(rest) for high, rest in ((offset, low), (null, null_low)))
    curve, proved = TradeOff(n, offset, null, low, null_low), ProvedTradeOff(n, p, q)
    for order in (0.5, 1.0, 2.0, 30.0):
        assert curve.renyi(order) == pytest.approx(proved.renyi(order).estimate, rel=1e-12)
    for alpha in (1e-40, 1e-17, 1e-3, 0.5, 0.99):
        assert curve.beta(alpha) == pytest.approx(proved.beta(alpha).estimate, rel=1e-12, abs=0)
        assert curve.alpha(alpha) == pytest.approx(proved.alpha(alpha).estimate, rel=1e-12, abs=0)
    for prior in (1e-17, 0.3, 0.9, 1 - 1e-16):
        masses = [[math.comb(n, x) * chance**x * (1 - chance) ** (n - x) for x in range(n + 1)] for chance in (p, q)]
        truth = sum(min(Fraction(prior) * a, (1 - Fraction(prior)) * b) for a, b in zip(*masses, strict=True))
        assert curve.bayes_error(prior) == pytest.approx(float(truth), rel=1e-12, abs=0)
    alphas, betas = curve.vertices()
    corners = [(float(sum(masses[1][x + 1 :])), float(sum(masses[0][: x + 1]))) for x in range(-1, n + 1)]
    np.testing.assert_allclose(alphas, [alpha for alpha, _ in corners], rtol=1e-12)
    np.testing.assert_allclose(betas, [beta for _, beta in corners], rtol=1e-12)


def test_numbers_of_any_type_give_the_same_figure():
    curve, half = TradeOff(270, 0.05, -0.05), np.float32(0.3)
    for figure in (
        curve.beta,
        curve.alpha,
        curve.advantage,
        curve.bayes_error,
        curve.epsilon,
        curve.delta,
        curve.renyi,
    ):
        assert figure(half) == figure(float(half))
        assert figure(Fraction(1, 4)) == figure(0.25)
        assert type(figure(0.25)) is float
    assert curve.delta(1) == curve.delta(1.0)
    assert TradeOff(270, Fraction(1, 8), Fraction(-1, 8)).delta(1.0) == TradeOff(270, 0.125, -0.125).delta(1.0)
    assert [type(value) for value in (curve.total_variation, curve.pure_epsilon, curve.zcdp_rho)] == [float] * 3


def test_a_probability_has_a_logarithm_of_at_most_0():
    ends = TradeOff.of_vertices(10_000, 0.4).enclose_log_delta(0.0)
    assert ends.estimate == 0
    assert ends.lower < 0 <= ends.upper < 1e-300


@pytest.mark.parametrize("lower", [-1.5, -1e-20, 0.0, 1e-20, 0.3, 700.0])
@pytest.mark.parametrize("width", [0.0, 1e-19, 1e-3])
def test_ends_are_rounded_outwards(lower, width):
    third = np.longdouble(1) / 3
    low, middle, high = (np.asarray(lower + third * part) for part in (1, 1 + width, 1 + 2 * width))
    for ends in ((low, middle, high), (-high, -middle, -low), (low - high, low - middle, low - low)):
        down, estimate, up = _enclose(*ends)
        assert np.longdouble(down) <= ends[0] <= ends[2] <= np.longdouble(up)
        assert estimate == np.float64(ends[1])
        assert up - down <= float(ends[2] - ends[0]) * (1 + 1e-15) + 4 * np.spacing(max(abs(down), abs(up)))


@pytest.mark.parametrize("value", [0.0, -math.inf])
def test_an_exact_zero_and_minus_infinity_stay_themselves(value):
    end = np.asarray(value, dtype=np.longdouble)
    assert [float(figure) for figure in _enclose(end, end, end)] == [value] * 3


def test_no_warnings_at_the_ends_of_the_curve():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for curve in (TradeOff(7, 0.1, 0.1), TradeOff.of_vertices(1, 0.49), TradeOff.of_vertices([3, 10**6], 0.3)):
            for level in (0.0, 0.4, 1.0):
                figures = [curve.beta(level), curve.alpha(level), curve.advantage(level), curve.bayes_error(level)]
                assert all(np.isfinite(figure).all() for figure in figures)
            for epsilon in (0.0, 3.0, 1e9):
                assert not np.isnan(curve.log_delta(epsilon)).any()
            for order in (1e-3, 1.0, 1e9):
                assert np.isfinite(curve.renyi(order)).all()
            assert np.isfinite(curve.epsilon([[1e-300], [0.9]])).all()
        TradeOff(7, 0.1, 0.1).vertices()


@pytest.mark.parametrize(
    "curve", [TradeOff([5, 6], 0.1, 0.0), TradeOff(5, [0.1, 0.2], 0.0), TradeOff(5, 0.3, [0.1, 0.2])]
)
def test_vertices_are_those_of_one_pair(curve):
    with pytest.raises(UserError, match="Expected one pair of at most 1000000 trials, got trials="):
        curve.vertices()


def test_the_most_vertices_are_allowed_and_one_more_is_not(monkeypatch):
    monkeypatch.setattr(trade_off, "MAX_VERTICES", 7)
    assert len(TradeOff.of_vertices(7, 0.1).vertices()[0]) == 9
    with pytest.raises(UserError, match="Expected one pair of at most 7 trials, got trials=8"):
        TradeOff.of_vertices(8, 0.1).vertices()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TradeOff(5, 0.1, -0.5), "Expected null in (-0.5, 0.5), got null=-0.5."),
        (lambda: TradeOff(2.5, 0.1, 0.0), "Expected trials to be a whole number in 1..10000000000, got trials=2.5."),
        (lambda: TradeOff(5, 0.1, 0.0).bayes_error(1.5), "Expected prior in [0, 1], got prior=1.5."),
        (lambda: TradeOff(5, 0.1, 0.0).epsilon(1.0), "Expected delta in (0, 1), got delta=1.0."),
    ],
)
def test_each_error_names_its_argument(call, message):
    with pytest.raises(UserError) as raised:
        call()
    assert str(raised.value) == message


@settings(max_examples=300)
@given(st.integers(1, 3), st.integers(-(2**31) + 1, 2**31 - 1), st.integers(-(2**31) + 1, 2**31 - 1), st.floats(0, 3))
def test_theorem_2_delta_of_few_trials_of_any_two_chances(trials, first, second, epsilon):
    high, low = max(first, second) / 2**32, min(first, second) / 2**32
    truth = oracle.delta_by_sum(epsilon, trials, Fraction(1, 2) + Fraction(high), Fraction(1, 2) + Fraction(low))
    ends = TradeOff(trials, high, low).enclose_log_delta(epsilon)
    if truth > 1e-30:
        log_truth = mpmath.log(truth)
        assert oracle.real(float(ends.lower)) <= log_truth <= oracle.real(float(ends.upper)) + mpmath.mpf("1e-40")
    assert TradeOff(trials, high, low).delta(epsilon) == pytest.approx(float(truth), rel=1e-9, abs=1e-30)


def test_one_trial_of_a_likely_success_against_a_fair_coin():
    assert TradeOff(1, 0.4, 0.0).total_variation == pytest.approx(0.4, rel=1e-14)
