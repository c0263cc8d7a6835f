"""Theorems 1 to 4 as the accountant applies them: units, integer thresholds, and the reference figures."""

import math
from fractions import Fraction

import mpmath
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting import UNITS, Accountant, Bound, GaussianLimit, Target, guarantee
from del_audit.accounting.rivals import rival_guarantee
from del_audit.accounting.vocabulary import Vocabulary
from mechanisms.errors import UserError
from mechanisms.rivals import RandomizedResponseSpec
from mechanisms.spec import QuantizerSpec

REFERENCE = [
    (2, 18, 4, 1, 9.900065595691),
    (10, 18, 4, 1, 85.13221285041),
    (40, 18, 4, 1, 508.9235326108),
    (10, 128, 4, 1, 90.85954255872),
    (2, 18, 4, 128, 350.6770505189),
    (0.5, 128, 8, 512, 111.4040829056),
]
SPEC = QuantizerSpec(bits=4, dim=18, clip=0.05, scale=0.8)


@pytest.mark.parametrize(("mu", "dim", "bits", "tokens", "epsilon"), REFERENCE)
def test_theorem_2_reference_figures_of_exact_reals(mu, dim, bits, tokens, epsilon):
    spec = QuantizerSpec.from_mu(bits, dim, 0.05, mu)
    exact = Accountant(spec, exact_reals=True).epsilon(1e-5, "session", tokens)
    assert exact.estimate == pytest.approx(epsilon, rel=1e-11)
    sent = Accountant(spec).epsilon(1e-5, "session", tokens)
    assert sent.estimate == pytest.approx(epsilon, rel=1e-6)  # what rounding to thresholds moves
    assert sent.estimate != exact.estimate
    for bound in (exact, sent):
        assert bound.lower <= bound.estimate <= bound.upper
        assert bound.upper - bound.lower < 1e-11 * bound.estimate
        assert bound.kind == "float with error bound"


def test_total_variation_of_one_trial_at_mu_1():
    spec = QuantizerSpec.from_mu(bits=1, dim=1, clip=0.05, mu=1)
    variation = Accountant(spec, exact_reals=True).total_variation()
    assert variation.estimate == pytest.approx(1 / math.sqrt(5), rel=1e-14)  # 0.447: clip / scale
    assert variation.lower <= 1 / math.sqrt(5) <= variation.upper


def test_theorem_3_the_law_on_the_wire_is_what_is_accounted():
    p = Fraction(SPEC.threshold_high, 2**32)
    accountant = Accountant(SPEC)
    high, low = accountant.offset
    assert Fraction(high) + Fraction(low) == p - Fraction(1, 2)
    bound = accountant.delta(3.0, "phrase", 2)
    truth = oracle.delta_by_sum(3.0, 540, p, 1 - p)
    assert oracle.real(bound.lower) <= truth <= oracle.real(bound.upper)
    assert bound.upper - bound.lower < 1e-11 * bound.estimate


def test_exact_reals_account_for_the_ratio_itself():
    accountant = Accountant(SPEC, exact_reals=True)
    p = Fraction(1, 2) + Fraction(SPEC.clip) / (2 * Fraction(SPEC.scale))
    bound = accountant.epsilon(1e-5)
    assert oracle.delta(bound.upper, 270, p, 1 - p) <= oracle.real(1e-5) <= oracle.delta(bound.lower, 270, p, 1 - p)


def test_theorem_4_units_differ_in_their_trials_only():
    accountant = Accountant(SPEC)
    assert accountant.trials() == 18 * 15
    assert accountant.trials("prompt", 64) == 64 * 18 * 15
    for unit in ("phrase", "prompt", "session"):
        assert accountant.epsilon(1e-5, unit, 5) == accountant.epsilon(1e-5, "session", 5)
        assert accountant.epsilon(1e-5, unit, 1) == accountant.epsilon(1e-5)


def test_pure_epsilon_is_the_trials_times_the_log_odds():
    p = Fraction(SPEC.threshold_high, 2**32)
    truth = 270 * math.log(p / (1 - p))
    bound = Accountant(SPEC).pure_epsilon()
    assert bound.estimate == pytest.approx(truth, rel=1e-14)
    assert bound.upper - bound.lower < 1e-14 * truth


def test_a_scale_so_wide_that_nothing_is_released():
    spec = QuantizerSpec(bits=1, dim=1, clip=1e-12, scale=1.0)
    assert spec.threshold_high == 2**31
    nothing = Bound(0.0, 0.0, 0.0)
    accountant = Accountant(spec)
    assert accountant.epsilon(1e-9) == accountant.total_variation() == accountant.pure_epsilon() == nothing


@given(st.floats(0.01, 60), st.integers(1, 8), st.integers(1, 64), st.integers(1, 300))
@settings(max_examples=60)
def test_epsilon_rises_with_tokens_and_stays_below_pure_epsilon(mu, bits, dim, tokens):
    accountant = Accountant(QuantizerSpec.from_mu(bits, dim, 0.05, mu))
    fewer, more = accountant.epsilon(1e-6, "session", tokens), accountant.epsilon(1e-6, "session", tokens + 1)
    assert fewer.lower <= more.upper
    assert more.upper <= accountant.pure_epsilon("session", tokens + 1).upper
    assert accountant.epsilon(1e-3, "session", tokens).lower <= fewer.upper


def test_guarantee_says_between_whom_and_of_what_kind():
    result = guarantee(SPEC, "prompt", 3, 1e-6)
    assert result.adjacency == "any two prompts of 3 tokens, sent once"
    assert "differ in one token" in guarantee(SPEC).adjacency
    assert "at most 3 tokens" in guarantee(SPEC, "phrase", 3).adjacency
    assert "resent ones counted each time" in guarantee(SPEC, "session", 3).adjacency
    assert result.epsilon == Accountant(SPEC).epsilon(1e-6, "prompt", 3)
    assert (result.trials, result.unit, result.tokens, result.delta, result.spec) == (810, "prompt", 3, 1e-6, SPEC)
    record = result.to_dict()
    assert record["epsilon"]["upper"] == result.epsilon.upper
    assert record["gaussian_limit"]["mu"] == pytest.approx(SPEC.mu * math.sqrt(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: a.epsilon(1e-5, "token", 2),
            "Expected tokens=1 for unit=token, got tokens=2: phrase, prompt and session take more.",
        ),
        (
            lambda a: a.epsilon(1e-5, "word"),
            "Expected unit to be one of token, phrase, prompt, session, got unit='word'.",
        ),
        (lambda a: a.epsilon(1e-5, "prompt", 0), "Expected tokens >= 1, got tokens=0."),
        (lambda a: a.epsilon(1e-5, "prompt", 1.5), "Expected tokens to be a whole number, got tokens=1.5."),
        (lambda a: a.epsilon(1e-5, "prompt", True), "Expected tokens to be a whole number, got tokens=True."),
        (lambda a: a.epsilon(1.0), "Expected delta in (0, 1), got delta=1.0."),
        (lambda a: a.epsilon("x"), "Expected delta to be a number, got delta='x'."),
        (lambda a: a.delta(math.nan), "Expected epsilon to be a finite number >= 0, got epsilon=nan."),
        (
            lambda a: a.epsilon(1e-5, "session", 10**9),
            "Expected at most 10000000000 trials (tokens x sends x dim x (2^bits - 1)), got tokens=1000000000 and "
            "sends=1 with dim=18 and bits=4: 270000000000 trials. Account for fewer tokens or sends.",
        ),
        (
            lambda a: a.epsilon(1e-5, "prompt"),
            "Expected tokens, a whole number >= 1, with unit=prompt, got none: pass tokens=16 for a prompt of "
            "16 tokens.",
        ),
        (lambda a: a.epsilon(1e-5, "token", 1, 0), "Expected sends >= 1, got sends=0."),
        (lambda a: a.epsilon(1e-5, "token", 1, 2.0), "Expected sends to be a whole number, got sends=2.0."),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(UserError) as raised:
        call(Accountant(SPEC))
    assert str(raised.value) == message


@pytest.mark.parametrize("unit", UNITS[1:])
def test_a_unit_of_several_tokens_is_never_accounted_as_one(unit):
    accountant = Accountant(SPEC)
    calls = (
        lambda: guarantee(SPEC, unit),
        lambda: accountant.epsilon(unit=unit),
        lambda: accountant.delta(1.0, unit),
        lambda: accountant.total_variation(unit),
        lambda: accountant.pure_epsilon(unit),
        lambda: accountant.figures(unit),
        lambda: accountant.centre_figures(unit),
        lambda: accountant.trade_off(unit),
        lambda: accountant.trials(unit),
        lambda: Target.epsilon(8.0, unit=unit),
        lambda: Target("total_variation", 0.5, unit=unit),
        lambda: rival_guarantee(RandomizedResponseSpec(9, 5), unit=unit),
        lambda: Vocabulary.of([[0.0] * 18, [0.01] * 18], SPEC).guarantee(unit),
    )
    for call in calls:
        with pytest.raises(UserError, match=f"Expected tokens, a whole number >= 1, with unit={unit}, got none"):
            call()
    assert guarantee(SPEC, unit, 1).epsilon == guarantee(SPEC).epsilon


@pytest.mark.parametrize("unit", UNITS)
def test_sends_are_independent_trials_of_every_unit(unit):
    tokens, sends = (1 if unit == "token" else 2), 3
    result, p = guarantee(SPEC, unit, tokens, 1e-6, True, sends=sends), Fraction(SPEC.threshold_high, 2**32)
    trials = tokens * sends * 270
    assert (result.tokens, result.sends, result.trials) == (tokens, sends, trials)
    assert f"each token sent {sends} times" in result.adjacency
    assert oracle.delta(result.epsilon.upper, trials, p, 1 - p) <= oracle.real(1e-6)
    assert oracle.delta(result.epsilon.lower, trials, p, 1 - p) >= oracle.real(1e-6)
    truth = oracle.delta(0, trials, p, 1 - p)
    assert oracle.real(result.total_variation.lower) <= truth <= oracle.real(result.total_variation.upper)
    assert result.gaussian_limit.mu == pytest.approx(SPEC.mu * math.sqrt(tokens * sends), rel=1e-14)
    rho = SPEC.clip / SPEC.scale
    gamma = 0.56 * (1 + rho**2) / math.sqrt((1 - rho**2) * trials)
    assert result.gaussian_limit.gamma == pytest.approx(gamma, rel=1e-14)
    accountant = Accountant(SPEC, proved=True)
    assert accountant.epsilon(1e-6, unit, tokens, sends) == result.epsilon
    assert accountant.total_variation(unit, tokens, sends) == result.total_variation


def test_units_are_the_four_of_the_theory():
    assert UNITS == ("token", "phrase", "prompt", "session")


def test_a_bound_out_of_order_is_refused():
    assert Bound(1.0, 2.0, 3.0).to_dict() == {"lower": 1.0, "estimate": 2.0, "upper": 3.0}
    for ends in ((2.0, 1.0, 3.0), (1.0, 3.0, 2.0), (1.0, math.nan, 2.0)):
        with pytest.raises(ValueError, match="lower <= estimate <= upper"):
            Bound(*ends)


def test_defaults_are_one_token_at_1e_5_and_not_proved():
    accountant = Accountant(SPEC)
    assert accountant.epsilon() == accountant.epsilon(1e-5, "token", 1)
    assert accountant.delta(1.0) == accountant.delta(1.0, "token", 1)
    assert accountant.total_variation() == accountant.total_variation("token", 1)
    assert accountant.pure_epsilon() == accountant.pure_epsilon("token", 1)
    assert accountant.centre_figures().power(0.1) == accountant.centre_figures("token", 1).power(0.1)
    assert accountant.figures().total_variation.kind == "float with error bound"
    assert (guarantee(SPEC).unit, guarantee(SPEC).tokens, guarantee(SPEC).delta) == ("token", 1, 1e-5)
    assert guarantee(SPEC).kind == "float with error bound"


@pytest.mark.parametrize("proved", [False, True])
def test_every_figure_is_of_the_unit_that_was_asked_for(proved):
    result, p = guarantee(SPEC, "phrase", 3, 1e-6, proved), Fraction(SPEC.threshold_high, 2**32)
    kind = "proved" if proved else "float with error bound"
    assert [b.kind for b in (result.epsilon, result.pure_epsilon, result.total_variation)] == [kind] * 3
    assert result.kind == kind
    truths = {
        result.total_variation: oracle.delta(0, 810, p, 1 - p),
        result.pure_epsilon: 810 * mpmath.log(oracle.real(p) / oracle.real(1 - p)),
    }
    for bound, truth in truths.items():
        assert oracle.real(bound.lower) <= truth <= oracle.real(bound.upper)
        assert bound.upper - bound.lower <= 1e-12 * bound.estimate
    assert oracle.delta(result.epsilon.upper, 810, p, 1 - p) <= oracle.real(1e-6)
    assert oracle.delta(result.epsilon.lower, 810, p, 1 - p) >= oracle.real(1e-6)
    assert result.gaussian_limit == GaussianLimit.of(SPEC, 3)


@pytest.mark.parametrize("proved", [False, True])
def test_the_figures_of_the_centre_are_those_of_half_against_the_vertex(proved):
    p, half = Fraction(SPEC.threshold_high, 2**32), Fraction(1, 2)
    bound = Accountant(SPEC, proved=proved).centre_figures("prompt", 2).delta(0.5)
    truth = oracle.delta(0.5, 540, p, half)
    assert oracle.real(bound.lower) <= truth <= oracle.real(bound.upper)
    assert bound.upper - bound.lower <= 1e-11 * bound.estimate


def test_the_json_contract_key_by_key():
    result = guarantee(SPEC, "session", 2, 0.3)
    limit = result.gaussian_limit
    assert result.to_dict() == {
        "spec": {"bits": 4, "dim": 18, "clip": 0.05, "scale": 0.8},
        "unit": "session",
        "tokens": 2,
        "sends": 1,
        "trials": 540,
        "delta": 0.3,
        "epsilon": result.epsilon.to_dict(),
        "pure_epsilon": result.pure_epsilon.estimate,
        "total_variation": result.total_variation.estimate,
        "gaussian_limit": {
            "mu": limit.mu,
            "gamma": limit.gamma,
            "epsilon_certified": limit.epsilon_certified(0.3),
            "epsilon_ignoring_gamma": limit.epsilon_ignoring_gamma(0.3),
        },
    }
    assert list(result.to_dict())[:5] == ["spec", "unit", "tokens", "sends", "trials"]


def test_the_most_trials_are_allowed_and_one_more_is_not():
    accountant = Accountant(QuantizerSpec(bits=1, dim=10, clip=1.0, scale=2.0))
    assert accountant.trials("session", 10**9) == 10**10
    with pytest.raises(UserError, match="Expected at most 10000000000 trials"):
        accountant.trials("session", 10**9 + 1)


def test_an_epsilon_that_is_no_number_is_refused_by_name():
    with pytest.raises(UserError, match=r"^Expected epsilon to be a number, got epsilon='x'\.$"):
        Accountant(SPEC).delta("x")
