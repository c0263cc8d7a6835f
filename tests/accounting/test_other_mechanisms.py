"""Pairs that stand for other mechanisms: never below the mechanism's own curve, never above it on the lower side."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting.composition import Composition
from del_audit.accounting.other_mechanisms import (
    DIRECTIONS,
    DpSgd,
    Gaussian,
    Guaranteed,
    PrivacyLoss,
    connect_dots,
)
from mechanisms.errors import UserError

FLOOR = 1e-40


@pytest.fixture(scope="module")
def pld():
    return pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="needs the extra dp")


def pair_delta(pair, epsilon):
    """The hockey-stick divergence of a pair: a sum of positive terms, each good to a few units of rounding."""
    excess = -np.expm1(np.minimum(epsilon - pair.losses.loss, 0))
    return pair.infinity + math.fsum(excess * np.exp(pair.losses.log_mass))


def mixture_delta(epsilon, sigma, rate, direction):
    """delta of (1 - q) N(0, s^2) + q N(1, s^2) against N(0, s^2), or the other way round, from normal tails."""
    e, s, q = mpmath.mpf(epsilon), mpmath.mpf(sigma), mpmath.mpf(rate)
    sign = 1 if direction == "remove" else -1
    ratio = (mpmath.exp(sign * e) - 1 + q) / q  # the Gaussian likelihood ratio at which the loss is epsilon
    if ratio <= 0:
        return 1 - mpmath.exp(e) if sign > 0 else mpmath.mpf(0)
    x = s * s * mpmath.log(ratio) + mpmath.mpf(1) / 2
    base, moved = mpmath.ncdf(-sign * x / s), mpmath.ncdf(-sign * (x - 1) / s)
    mixed = (1 - q) * base + q * moved
    return mixed - mpmath.exp(e) * base if sign > 0 else base - mpmath.exp(e) * mixed


WHOLE = [(0.2, 1.0), (1.0, 1.0), (20.0, 1.0), (1000.0, 1.0)]
SAMPLED = [(1.1, 0.01), (0.5, 0.3), (0.3, 1e-3), (5.0, 1e-5), (1, 0.99)]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("sigma", "rate"), WHOLE + SAMPLED)
def test_a_training_steps_pairs_enclose_its_curve(sigma, rate, direction):
    step = DpSgd(sigma, rate, 1)
    upper, lower = (step.pair(direction, side, FLOOR) for side in ("upper", "lower"))
    assert lower.infinity == 0
    assert upper.infinity < 1.001 * FLOOR
    loss = upper.losses.loss
    for share in (0.02, 0.3, 0.49, 0.5003, 0.501, 0.51, 0.6, 0.9):
        place = int(share * (len(loss) - 1))
        epsilon = float(loss[place] + 0.37 * (loss[place + 1] - loss[place]))
        truth = mixture_delta(epsilon, sigma, rate, direction)
        if truth < 1e-38:
            continue
        assert pair_delta(lower, epsilon) <= truth <= pair_delta(upper, epsilon)
        assert pair_delta(upper, epsilon) <= truth * (1 + mpmath.mpf("2e-3"))
        assert pair_delta(lower, epsilon) >= truth * (1 - mpmath.mpf("0.5"))


@pytest.mark.parametrize("releases", [1, 7])
@pytest.mark.parametrize("noise", [0.3, 4.0, 1000.0])
def test_a_gaussians_pairs_enclose_its_curve(noise, releases):
    mechanism = Gaussian(noise, releases)
    mu = math.sqrt(releases) / noise
    for direction in DIRECTIONS:
        upper, lower = (mechanism.pair(direction, side, FLOOR) for side in ("upper", "lower"))
        for z in (-3.0, 0.0, 0.7, 3.0, 9.0):
            epsilon = mu * (mu / 2 + z)
            truth = mixture_delta(epsilon, 1 / mpmath.mpf(mu), 1, "remove")
            assert pair_delta(lower, epsilon) <= truth <= pair_delta(upper, epsilon)
            assert pair_delta(upper, epsilon) <= truth * (1 + mpmath.mpf("1e-3"))
    assert (mechanism.times, mechanism.pure_epsilon) == (1, math.inf)


def test_gaussian_releases_together_are_one_with_less_noise():
    floor = 1e-14
    apart = [Gaussian(3.0).pair("remove", "upper", floor).losses for _ in range(4)]
    together = Gaussian(3.0, 4).pair("remove", "upper", floor).losses
    assert Composition(apart).epsilon(1e-5).upper == pytest.approx(
        Composition([together]).epsilon(1e-5).upper, rel=1e-3
    )


def test_randomised_response_is_the_worst_pair_of_its_guarantee():
    law = Guaranteed(math.log(3)).pair("remove", "upper", FLOOR)
    np.testing.assert_allclose(law.losses.loss, [-math.log(3), math.log(3)], rtol=1e-15)
    np.testing.assert_allclose(np.exp(law.losses.log_mass), [0.25, 0.75], rtol=1e-15)
    assert pair_delta(law, math.log(2)) == pytest.approx(0.25, rel=1e-14)  # 3/4 - 2/4
    broken = Guaranteed(math.log(3), delta=0.1)
    assert pair_delta(broken.pair("add", "upper", FLOOR), math.log(3)) == pytest.approx(0.1, rel=1e-14)
    assert (Guaranteed(2.0, times=3).pure_epsilon, broken.pure_epsilon) == (2.0, math.inf)


def test_a_laplace_release_has_a_smaller_curve_than_its_guarantee(pld):
    laplace = pld.from_laplace_mechanism(1.0)
    worst = Guaranteed(1.0).pair("remove", "upper", FLOOR)
    for epsilon in (0.0, 0.3, 0.9):
        assert laplace.get_delta_for_epsilon(epsilon) <= pair_delta(worst, epsilon)


def test_a_distribution_of_dp_accounting_is_taken_as_it_is(pld):
    step = pld.from_gaussian_mechanism(1.1, sampling_prob=0.2, value_discretization_interval=1e-2)
    for direction, law in (("remove", step._pmf_remove), ("add", step._pmf_add)):
        mechanism = PrivacyLoss(step, error=1e-11)
        pair = mechanism.pair(direction, "upper", FLOOR)
        for epsilon in (-0.5, 0.0, 0.4, 2.0):
            expected = law.get_delta_for_epsilon(epsilon) + 1e-11
            assert pair_delta(pair, epsilon) == pytest.approx(expected, rel=1e-10)
        nothing = mechanism.pair(direction, "lower", FLOOR)
        assert pair_delta(nothing, 0.0) == 0
    few = PrivacyLoss(pld.from_randomized_response(0.5, 3)).pair("add", "upper", FLOOR)  # kept sparse inside
    assert len(few.losses.loss) == 3


DOTS = st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6)


@settings(max_examples=60)
@given(DOTS, st.lists(st.floats(0.01, 2), min_size=6, max_size=6), st.floats(0, 0.2))
def test_connected_dots_touch_and_the_lower_pair_stays_below(masses, steps, infinity):
    loss = -1 + np.cumsum(steps[: len(masses)])
    mass = np.array(masses) / sum(masses) * (1 - infinity)
    curve = [
        infinity + float(np.maximum(-np.expm1(np.minimum(at - loss, 0)), 0) @ mass) for at in loss
    ]  # of a law on these very losses: the upper pair must be that law
    upper, lower = connect_dots(loss, np.array(curve)), connect_dots(loss, np.array(curve), "lower")
    assert upper.infinity == pytest.approx(infinity, rel=1e-7, abs=1e-12)
    np.testing.assert_allclose(np.exp(upper.losses.log_mass), mass, rtol=1e-6)
    for epsilon in np.linspace(loss[0] - 1, loss[-1] + 0.1, 17):
        truth = infinity + float(np.maximum(-np.expm1(np.minimum(epsilon - loss, 0)), 0) @ mass)
        assert pair_delta(upper, epsilon) >= truth * (1 - 1e-14)
        assert pair_delta(lower, epsilon) <= truth * (1 + 1e-14)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: Gaussian(0.05),
            "Expected noise_multiplier to be a number in [0.1, 10000], got noise_multiplier=0.05.",
        ),
        (lambda: Gaussian(math.nan), "got noise_multiplier=nan."),
        (lambda: Gaussian("1"), "got noise_multiplier='1'."),
        (lambda: Gaussian(1.0, 0), "Expected releases to be a whole number in 1..100000, got releases=0."),
        (lambda: DpSgd(1.0, 0.0, 5), "Expected sample_rate to be a number in (0, 1], got sample_rate=0.0."),
        (lambda: DpSgd(1.0, 1.5, 5), "got sample_rate=1.5."),
        (lambda: DpSgd(1.0, 0.1, 10**6), "Expected steps to be a whole number in 1..100000, got steps=1000000."),
        (lambda: DpSgd(1.0, 0.1, True), "got steps=True."),
        (lambda: Guaranteed(0.0), "Expected epsilon to be a number in (0, 700], got epsilon=0.0."),
        (lambda: Guaranteed(1.0, 1.0), "Expected delta to be a number in [0, 1), got delta=1.0."),
        (lambda: Guaranteed(1.0, 0.0, 2.5), "Expected times to be a whole number in 1..100000, got times=2.5."),
        (lambda: PrivacyLoss("x"), "Expected pld to be a dp_accounting PrivacyLossDistribution and a pessimistic"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(UserError) as raised:
        call()
    assert words in str(raised.value)


def test_an_optimistic_distribution_is_refused(pld):
    optimistic = pld.from_gaussian_mechanism(1.0, pessimistic_estimate=False, use_connect_dots=False)
    with pytest.raises(UserError, match="a pessimistic estimate, got a PrivacyLossDistribution that is none"):
        PrivacyLoss(optimistic)
    with pytest.raises(UserError, match=r"Expected error to be a number in \[0, 1\), got error=1.0"):
        PrivacyLoss(pld.identity(), error=1.0)
