"""Theorem 2, proved: enclosures against exact fractions and 60-digit sums, their width, and how they fail."""

import builtins
import itertools
import math
import random
from fractions import Fraction

import mpmath
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting import Accountant, rigorous
from del_audit.accounting.rigorous import RELATIVE_WIDTH, ProvedTradeOff
from del_audit.accounting.trade_off import TradeOff
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

CHANCES = st.integers(1, 2**32 - 1).map(lambda threshold: Fraction(threshold, 2**32))
COIN = ProvedTradeOff.of_vertices(5, Fraction(3, 4))
PAIRS = st.tuples(st.integers(1, 40), CHANCES, CHANCES).filter(lambda pair: pair[1] != pair[2])


def _masses(trials, p):
    return [math.comb(trials, x) * p**x * (1 - p) ** (trials - x) for x in range(trials + 1)]


def _polygon(trials, p, q):
    """The exact corners (alpha, beta), alpha falling."""
    null, alternative = _masses(trials, q), _masses(trials, p)
    return [(sum(null[x + 1 :]), sum(alternative[: x + 1])) for x in range(-1, trials + 1)]


def _beta(alpha, corners):
    """The exact polygon at alpha."""
    for (right, low), (left, high) in itertools.pairwise(corners):
        if left <= alpha <= right:
            return low + (high - low) * (right - alpha) / (right - left)
    raise AssertionError(alpha)


def _holds(bound, truth, slack=Fraction(0)):
    assert bound.kind == "proved"
    assert Fraction(bound.lower) - slack <= truth <= Fraction(bound.upper) + slack
    if bound.upper > 1e-300:
        assert bound.upper - bound.lower <= RELATIVE_WIDTH * bound.lower


@settings(max_examples=60)
@given(PAIRS, st.floats(0, 1))
def test_theorem_2_beta_and_its_inverse_hold_the_exact_polygon(pair, level):
    trials, p, q = pair[0], max(pair[1:]), min(pair[1:])
    proved, corners = ProvedTradeOff(trials, p, q), _polygon(trials, p, q)
    truth = _beta(Fraction(level), corners)
    _holds(proved.beta(level), truth)
    _holds(proved.power(level), 1 - truth)
    _holds(proved.advantage(level), 1 - Fraction(level) - truth)
    mirrored = [(beta, alpha) for alpha, beta in reversed(corners)]
    _holds(proved.alpha(level), _beta(Fraction(level), mirrored))


@settings(max_examples=60)
@given(PAIRS, st.floats(0, 30))
def test_theorem_2_delta_holds_the_sum_over_counts(pair, epsilon):
    trials, p, q = pair[0], max(pair[1:]), min(pair[1:])
    proved = ProvedTradeOff(trials, p, q)
    alternative, null = _masses(trials, p), _masses(trials, q)
    _holds(proved.total_variation, sum(max(a - b, Fraction(0)) for a, b in zip(alternative, null, strict=True)))
    weight = mpmath.exp(mpmath.mpf(epsilon))
    gaps = (oracle.real(a) - weight * oracle.real(b) for a, b in zip(alternative, null, strict=True))
    truth = mpmath.fsum(gap for gap in gaps if gap > 0)
    bound = proved.delta(epsilon)
    assert (
        oracle.real(bound.lower) * (1 - mpmath.mpf("1e-40")) <= truth <= oracle.real(bound.upper) + mpmath.mpf("1e-50")
    )


def test_theorem_2_epsilon_lies_between_proved_signs_for_any_number_of_trials():
    draw = random.Random(4)
    for _ in range(40):
        trials = int(10 ** draw.uniform(0, 5))
        p = Fraction(round((0.5 + min(0.499, 10 ** draw.uniform(-2, 1) / math.sqrt(trials))) * 2**32), 2**32)
        delta = 10 ** draw.uniform(-40, -0.5)
        bound = ProvedTradeOff.of_vertices(trials, p).epsilon(delta)
        goal = oracle.real(delta)
        assert oracle.delta(bound.upper, trials, p, 1 - p) <= goal
        assert bound.lower == 0 or oracle.delta(bound.lower, trials, p, 1 - p) >= goal
        assert bound.lower <= bound.estimate <= bound.upper <= bound.lower * (1 + RELATIVE_WIDTH)


@pytest.mark.parametrize(
    ("mu", "dim", "bits", "tokens", "epsilon"),
    [
        (2, 18, 4, 1, "9.900065595691"),
        (10, 18, 4, 1, "85.13221285041"),
        (40, 18, 4, 1, "508.9235326108"),
        (10, 128, 4, 1, "90.85954255872"),
        (2, 18, 4, 128, "350.6770505189"),
        (0.5, 128, 8, 512, "111.4040829056"),
    ],
)
def test_epsilons_computed_elsewhere_lie_inside_to_their_last_digit(mu, dim, bits, tokens, epsilon):
    spec = QuantizerSpec.from_mu(bits, dim, 1.0, mu)
    bound = Accountant(spec, exact_reals=True, proved=True).epsilon(1e-5, "session", tokens)
    assert f"{bound.estimate:.13g}" == epsilon
    assert bound.upper - bound.lower <= RELATIVE_WIDTH * bound.lower


@pytest.mark.parametrize("trials", [10**9, 10**10])
def test_the_float_figures_agree_with_the_proved_ones_at_the_largest_sizes(trials):
    p = Fraction(1, 2) + Fraction(1, 2**15)
    proved, computed = ProvedTradeOff.of_vertices(trials, p), TradeOff.of_vertices(trials, 2.0**-15)
    for delta in (1e-300, 1e-5, 0.3):
        lower, _, upper = map(float, computed.enclose_epsilon(delta))
        bound = proved.epsilon(delta)
        assert lower <= bound.upper
        assert bound.lower <= upper


@settings(max_examples=40)
@given(PAIRS, st.one_of(st.just(1.0), st.floats(0.01, 50)))
def test_renyi_and_pure_epsilon_hold_their_definitions(pair, order):
    trials, p, q = pair[0], max(pair[1:]), min(pair[1:])
    proved, (big, small) = ProvedTradeOff(trials, p, q), (oracle.real(p), oracle.real(q))
    with mpmath.workdps(120):
        if order == 1:
            truth = trials * (big * mpmath.log(big / small) + (1 - big) * mpmath.log((1 - big) / (1 - small)))
        else:
            a = mpmath.mpf(order)
            moment = big**a * small ** (1 - a) + (1 - big) ** a * (1 - small) ** (1 - a)
            truth = trials * mpmath.log(moment) / (a - 1)
        for bound, value in ((proved.renyi(order), truth), (proved.pure_epsilon, trials * mpmath.log(big / small))):
            assert oracle.real(bound.lower) * (1 - mpmath.mpf("1e-30")) <= value
            assert value <= oracle.real(bound.upper) * (1 + mpmath.mpf("1e-30"))
            assert bound.upper - bound.lower <= RELATIVE_WIDTH * bound.lower


def test_ties_and_ends_are_exact():
    even = ProvedTradeOff.of_vertices(1, Fraction(3, 4))
    assert even.total_variation.lower <= 0.5 <= even.total_variation.upper
    assert even.epsilon(0.5).lower == 0.0
    assert even.epsilon(0.5).upper < 1e-200
    assert even.epsilon(0.6).upper == 0.0
    assert even.delta(math.nextafter(math.log(3), 2)).upper == 0.0
    assert (even.beta(0.0).lower, even.beta(1.0).upper) == (1.0, 0.0)
    assert (even.beta(0.25).lower, even.beta(0.25).upper) == pytest.approx((0.25, 0.25), rel=1e-12)
    assert (even.power(0.0).upper, even.power(1.0).lower, even.advantage(0.0).upper) == (0.0, 1.0, 0.0)
    nothing = ProvedTradeOff.of_vertices(7, Fraction(1, 2))
    assert (nothing.epsilon(1e-9).upper, nothing.total_variation.upper, nothing.pure_epsilon.upper) == (0, 0, 0)
    assert nothing.beta(0.25).lower == pytest.approx(0.75, rel=1e-12)


def test_a_delta_below_every_float_is_enclosed_from_below_and_above():
    bound = ProvedTradeOff.of_vertices(10**6, Fraction(11, 20)).delta(150000.0)
    assert bound.lower == 0.0
    assert 0.0 < bound.upper < 1e-300


@pytest.mark.parametrize("wrong", [0.0, 1e-9, 0.5, 1 - 1e-9, 1 + 1e-9, 1.5, 40.0])
@pytest.mark.parametrize(("trials", "delta"), [(270, 1e-5), (270, 0.6), (3, 0.05), (10**6, 1e-12)])
def test_epsilon_is_proved_and_narrow_however_wrong_the_float_guess_is(monkeypatch, wrong, trials, delta):
    p = Fraction(1, 2) + Fraction(1, 16 if trials < 1000 else 1024)
    proved = ProvedTradeOff.of_vertices(trials, p)
    right = proved.epsilon(delta)
    monkeypatch.setattr(TradeOff, "epsilon", lambda self, asked: wrong * right.estimate)
    bound = proved.epsilon(delta)
    goal = oracle.real(delta)
    assert bound.kind == "proved"
    assert 0 < bound.lower <= bound.estimate <= bound.upper <= bound.lower * (1 + RELATIVE_WIDTH)
    assert oracle.delta(bound.lower, trials, p, 1 - p) >= goal >= oracle.delta(bound.upper, trials, p, 1 - p)


def test_an_epsilon_of_zero_is_proved_too_and_only_where_delta_allows_it():
    zero = COIN.epsilon(math.nextafter(COIN.total_variation.upper, 1))
    assert (zero.lower, zero.upper, zero.kind) == (0.0, 0.0, "proved")
    barely = COIN.epsilon(math.nextafter(COIN.total_variation.lower, 0))
    assert 0 < barely.upper < 1e-14
    assert barely.kind == "proved"


@pytest.mark.parametrize("shift", [-400, -3, -2, -1, 0, 1, 2, 3, 400])
@pytest.mark.parametrize("alpha", [1e-30, 0.01, 0.5, 0.97, 1 - 1e-12])
def test_beta_is_proved_however_wrong_the_guessed_count_is(monkeypatch, shift, alpha):
    trials, p, q = 60, Fraction(9, 16), Fraction(7, 16)
    truth = _beta(Fraction(alpha), _polygon(trials, p, q))
    right = rigorous.first_at_most
    monkeypatch.setattr(rigorous, "first_at_most", lambda *arguments: right(*arguments) + shift)
    _holds(ProvedTradeOff(trials, p, q).beta(alpha), truth)


@pytest.mark.parametrize("count", [0, 1, 20, 39, 40])
def test_beta_at_the_corners_of_the_polygon(count):
    """There alpha may lie on either of two lines, as no precision tells."""
    trials, p, q = 40, Fraction(9, 16), Fraction(1, 2)
    alpha, beta = _polygon(trials, p, q)[count + 1]
    assert Fraction(float(alpha)) == alpha
    _holds(ProvedTradeOff(trials, p, q).beta(float(alpha)), beta)


def test_probabilities_stay_within_0_and_1():
    sure = ProvedTradeOff.of_vertices(10**4, Fraction(9, 10))
    for bound in (sure.delta(0.5), sure.total_variation, sure.power(0.3), sure.advantage(1e-300), sure.beta(1e-320)):
        assert 0 <= bound.lower <= bound.upper <= 1
    assert ProvedTradeOff.of_vertices(10**4, Fraction(1, 2) + Fraction(1, 2**32)).beta(1e-300).upper <= 1
    assert (COIN.beta(1.0).upper, COIN.alpha(0.0).upper, COIN.power(1.0).lower) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ProvedTradeOff.of_vertices(0, Fraction(3, 4)), "Expected trials in 1..10000000000, got trials=0"),
        (lambda: ProvedTradeOff(5, Fraction(1, 4), Fraction(1, 2)), "Expected 0 < q <= p < 1, got q=1/2, p=1/4"),
        (lambda: ProvedTradeOff(5, Fraction(1, 2), Fraction(0)), "Expected 0 < q <= p < 1, got q=0, p=1/2"),
        (lambda: COIN.epsilon(0.0), r"Expected delta in \(0, 1\), got delta=0.0"),
        (lambda: ProvedTradeOff(5, Fraction(1), Fraction(1, 2)), "Expected 0 < q <= p < 1, got q=1/2, p=1"),
        (
            lambda: COIN.epsilon(1.0),
            r"Expected delta in \(0, 1\), got delta=1.0",
        ),
        (
            lambda: COIN.delta(-1.0),
            "Expected epsilon to be a finite number >= 0",
        ),
        (lambda: COIN.beta(1.5), r"Expected alpha in \[0, 1\], got alpha=1.5"),
        (
            lambda: COIN.power(-0.5),
            r"Expected alpha in \[0, 1\], got alpha=-0.5",
        ),
        (
            lambda: COIN.advantage(2),
            r"Expected alpha in \[0, 1\], got alpha=2",
        ),
        (lambda: COIN.alpha(1.5), r"Expected beta in \[0, 1\], got beta=1.5"),
        (lambda: COIN.renyi(0.0), "Expected order to be a finite number > 0"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_without_python_flint_the_error_names_the_extra(monkeypatch):
    real_import = builtins.__import__

    def without_flint(name, *rest, **more):
        if name == "flint":
            raise ImportError(name)
        return real_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_flint)
    spec = QuantizerSpec.from_mu(4, 18, 1.0, 2)
    with pytest.raises(UserError, match=r"^Expected python-flint to be installed .* pip install 'del-audit\[proved\]'"):
        Accountant(spec, proved=True).epsilon(1e-5)
    assert Accountant(spec).epsilon(1e-5).kind == "float with error bound"
