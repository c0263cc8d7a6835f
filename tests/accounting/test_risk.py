"""Theorem 6: no attacker who knows the prior alone beats the bound; checked against the best of them."""

import itertools
import math
from fractions import Fraction
from typing import NamedTuple

import mpmath
import numpy as np
import oracle
import pytest

from del_audit.accounting import Accountant, Bound, inversion_bound
from del_audit.accounting.risk import attribute_advantage, membership_advantage, prior_peak, success_bound
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec


def _law(vector, spec):
    """The exact law of the counts of one code: thresholds as the quantizer rounds them."""
    law = np.ones(1)
    for value in vector:
        p = round((0.5 + value / (2 * spec.scale)) * 2**32) / 2**32
        u = spec.trials
        law = np.multiply.outer(law, [math.comb(u, k) * p**k * (1 - p) ** (u - k) for k in range(u + 1)]).ravel()
    return law


@pytest.mark.parametrize("scale", [1.05, 1.5, 3.0, 20.0])
@pytest.mark.parametrize("guesses", [1, 2])
def test_theorem_6_the_bayes_attack_stays_below(scale, guesses):
    spec = QuantizerSpec(bits=2, dim=2, clip=1.0, scale=scale)
    draw = np.random.default_rng(11)
    vocabularies = [draw.uniform(-1, 1, (words, 2)) for words in (2, 3, 5, 9) for _ in range(10)]
    vocabularies.append(np.array(list(itertools.product((-1.0, 1.0), repeat=2))))
    closest = math.inf
    for codes in vocabularies:
        prior = draw.dirichlet(np.full(len(codes), 5.0))
        joint = prior[:, None] * np.array([_law(code, spec) for code in codes])
        success = np.sort(joint, axis=0)[-guesses:].sum()
        kappa = float(min(1.0, np.sort(prior)[-guesses:].sum()))
        bound = inversion_bound(spec, kappa)
        assert success <= bound.upper + 1e-12
        closest = min(closest, bound.upper - success)
    assert closest < 0.35  # the bound is not idle


def test_theorem_6_value_against_exact_sums():
    spec = QuantizerSpec.from_mu(bits=4, dim=18, clip=0.05, mu=5)
    p = Fraction(spec.threshold_high, 2**32)
    kappa = oracle.real(0.034)
    x = 270
    while oracle.upper_tail(x - 1, 270, Fraction(1, 2)) <= kappa:
        x -= 1
    low, high = (oracle.upper_tail(c, 270, Fraction(1, 2)) for c in (x, x - 1))
    share = (kappa - low) / (high - low)
    truth = (1 - share) * oracle.upper_tail(x, 270, p) + share * oracle.upper_tail(x - 1, 270, p)
    bound = inversion_bound(spec, 0.034)
    assert oracle.real(bound.lower) <= truth <= oracle.real(bound.upper)
    assert bound.estimate == pytest.approx(float(truth), rel=1e-12)
    assert bound.estimate == pytest.approx(0.7429046060177, rel=1e-12)


def test_more_tokens_and_a_larger_prior_raise_the_bound():
    spec = QuantizerSpec.from_mu(bits=4, dim=18, clip=0.05, mu=1)
    values = [inversion_bound(spec, kappa).estimate for kappa in (1e-6, 0.01, 0.2, 0.9, 1.0)]
    assert values == sorted(values)
    assert values[-1] == 1.0
    assert inversion_bound(spec, 0.01, tokens=4).lower > inversion_bound(spec, 0.01).upper
    assert all(inversion_bound(spec, kappa).lower >= kappa for kappa in (1e-9, 0.3, 1.0))


def test_a_release_of_nothing_leaves_the_prior():
    spec = QuantizerSpec(bits=1, dim=1, clip=1e-12, scale=1.0)
    assert inversion_bound(spec, 0.25).estimate == pytest.approx(0.25, abs=1e-14)


@pytest.mark.parametrize("kappa", [0.0, 1.1, -0.5, math.nan])
def test_bad_kappa(kappa):
    with pytest.raises(UserError, match=r"Expected kappa in \(0, 1\], got kappa="):
        inversion_bound(QuantizerSpec(4, 18, 0.05, 0.8), kappa)


def test_bad_tokens():
    with pytest.raises(UserError, match="Expected tokens >= 1, got tokens=0"):
        inversion_bound(QuantizerSpec(4, 18, 0.05, 0.8), 0.1, tokens=0)


def test_proved_bounds_hold_the_computed_ones():
    spec = QuantizerSpec.from_mu(bits=4, dim=18, clip=0.05, mu=5)
    for kappa, tokens in ((0.034, 1), (1e-6, 3), (0.9, 1)):
        proved, computed = inversion_bound(spec, kappa, tokens, proved=True), inversion_bound(spec, kappa, tokens)
        assert (proved.kind, computed.kind) == ("proved", "float with error bound")
        assert computed.lower <= proved.lower <= proved.upper <= computed.upper


def test_prior_peak_adds_up_the_largest():
    assert prior_peak(np.array([0.1, 0.4, 0.2, 0.3]), guesses=2) == pytest.approx(0.7)
    assert prior_peak([0.25] * 4, guesses=9) == 1.0
    assert prior_peak([1.0]) == 1.0


@pytest.mark.parametrize(
    ("prior", "guesses", "message"),
    [
        ([], 1, "Expected prior to be a list of probabilities"),
        ([0.5, -0.5, 1.0], 1, "Expected prior to be a list of probabilities"),
        ([0.5, math.nan], 1, "Expected prior to be a list of probabilities"),
        ([[0.5, 0.5]], 1, "Expected prior to be a list of probabilities"),
        ([0.5, 0.4], 1, "Expected prior to add up to 1, got a sum of 0.9"),
        ([0.5, 0.5], 0, "Expected guesses to be a whole number >= 1, got guesses=0"),
        ([0.5, 0.5], 1.5, "Expected guesses to be a whole number >= 1, got guesses=1.5"),
    ],
)
def test_bad_priors(prior, guesses, message):
    with pytest.raises(UserError, match=message):
        prior_peak(prior, guesses)


def test_membership_advantage_is_the_total_variation_of_any_curve():
    accountant = Accountant(QuantizerSpec(2, 2, 1.0, 1.5))
    assert membership_advantage(accountant.figures()) == accountant.total_variation()


@pytest.mark.parametrize("scale", [1.1, 1.5, 4.0])
@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.8, 0.2), (0.1, 0.3, 0.6), (0.25, 0.25, 0.25, 0.25)])
def test_theorem_17_no_attacker_gets_further_on_an_attribute(scale, prior):
    """The Bayes attacker of every assignment of corner codes to the attribute's values, by enumeration."""
    spec = QuantizerSpec(bits=1, dim=3, clip=1.0, scale=scale)
    corners = list(itertools.product((-1.0, 0.3, 1.0), repeat=3))
    draw, best, kappa = np.random.default_rng(1), 0.0, max(prior)
    assignments = [draw.permutation(len(corners))[: len(prior)] for _ in range(300)]
    assignments.append([corners.index((-1.0,) * 3), corners.index((1.0,) * 3), 1, 2][: len(prior)])
    for chosen in assignments:
        joint = np.array(prior)[:, None] * np.array([_law(corners[place], spec) for place in chosen])
        best = max(best, (joint.max(axis=0).sum() - kappa) / (1 - kappa))
    bound = attribute_advantage(spec, tokens=1, prior=prior)
    assert best <= bound.upper + 1e-12
    if len(prior) == 2:
        assert best == pytest.approx(bound.estimate, rel=1e-12)  # opposite vertices attain it
    else:
        assert best > 0.25 * bound.estimate  # the bound is not idle


def test_attribute_advantage_grows_with_the_tokens_it_changes_and_is_proved_on_request():
    spec = QuantizerSpec.from_mu(bits=4, dim=18, clip=1.0, mu=0.1)
    values = [attribute_advantage(spec, tokens, (0.2,) * 5).estimate for tokens in (1, 5, 40, 64)]
    assert values == sorted(values)
    assert values[0] > 0
    for prior in ((0.5, 0.5), (0.2,) * 5):
        proved = attribute_advantage(spec, 5, prior, proved=True)
        computed = attribute_advantage(spec, 5, prior)
        assert proved.kind == "proved"
        assert computed.lower <= proved.upper
        assert proved.lower <= computed.upper
        assert proved.estimate == pytest.approx(computed.estimate, rel=1e-10)
    assert attribute_advantage(spec, 1, (0.5, 0.5)).estimate == pytest.approx(
        Accountant(spec).total_variation().estimate, rel=1e-12
    )


def test_an_attribute_of_one_value_is_refused():
    with pytest.raises(UserError, match="Expected prior to leave something to guess"):
        attribute_advantage(QuantizerSpec(4, 18, 0.05, 0.8), 1, (1.0, 0.0))


class _Claim(NamedTuple):
    """A curve whose power is whatever it is told."""

    bound: Bound

    def power(self, _):
        return self.bound


def test_success_is_held_between_the_prior_and_certainty_whatever_the_curve():
    assert success_bound(_Claim(Bound(0.1, 1.5, 2.0, "estimated")), 0.25) == Bound(0.25, 1.0, 1.0, "estimated")


def test_kappa_that_is_no_number_is_refused_by_name():
    with pytest.raises(UserError, match="Expected kappa to be a number, got kappa='x'"):
        inversion_bound(QuantizerSpec(4, 18, 0.05, 0.8), "x")


def test_prior_peak_of_exact_fractions_and_of_a_sum_just_above_one():
    assert prior_peak([Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)], guesses=2) == 0.75
    assert prior_peak([0.5000004, 0.5000004], guesses=2) == 1.0


@pytest.mark.parametrize("kappa", [0.6, 0.8, 0.95, 1 - 2.0**-39])
@pytest.mark.parametrize("proved", [False, True])
def test_theorem_17_of_two_unequal_values_is_never_below_the_truth(kappa, proved):
    """(success - kappa) / (1 - kappa) of the best attacker, from the two tails at 60 digits."""
    spec, tokens = QuantizerSpec(4, 18, 0.05, 0.4), 3
    p = Fraction(spec.threshold_high, 2**32)
    with mpmath.workdps(60):
        odds = mpmath.log(oracle.real(kappa) / (1 - oracle.real(kappa)))
        truth = oracle.delta(odds, 810, p, 1 - p)
    bound = attribute_advantage(spec, tokens, (1 - kappa, kappa), proved)
    assert truth <= oracle.real(bound.upper)
    assert bound.upper <= float(truth) * (1 + 1e-10)
    assert bound.upper - bound.lower <= 1e-10 * bound.upper
    assert bound.estimate == pytest.approx(float(truth), rel=1e-11)


@pytest.mark.parametrize("proved", [False, True])
def test_theorem_17_of_more_values_is_the_rest_of_the_way_of_theorem_6(proved):
    spec, prior, tokens = QuantizerSpec.from_mu(4, 18, 1.0, 0.3), (0.2, 0.3, 0.5), 4
    success, bound = inversion_bound(spec, 0.5, tokens, proved), attribute_advantage(spec, tokens, prior, proved)
    assert bound.kind == ("proved" if proved else "float with error bound")
    assert Fraction(bound.lower) <= 2 * Fraction(success.lower) - 1
    assert Fraction(bound.upper) >= 2 * Fraction(success.upper) - 1
    assert bound.estimate == pytest.approx(2 * success.estimate - 1, rel=1e-14)
    assert bound.upper - bound.lower <= 2 * (success.upper - success.lower) + 4e-15 * bound.upper
    certain = attribute_advantage(QuantizerSpec(8, 50, 1.0, 1.01), 1, prior, proved)
    assert certain.upper == 1.0


def test_attributes_are_not_proved_unless_asked():
    for prior in ((0.5, 0.5), (0.2,) * 5):
        assert attribute_advantage(QuantizerSpec(4, 18, 0.05, 0.8), 1, prior).kind == "float with error bound"


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.8, 0.2), (0.2,) * 5])
def test_every_token_that_an_attribute_changes_counts(prior):
    spec = QuantizerSpec.from_mu(bits=4, dim=18, clip=1.0, mu=0.5)
    lowest = [attribute_advantage(spec, tokens, prior) for tokens in (1, 2, 5)]
    for fewer, more in itertools.pairwise(lowest):
        assert fewer.upper < more.lower


def test_the_guessing_bound_counts_every_token():
    spec = QuantizerSpec.from_mu(bits=4, dim=18, clip=1.0, mu=0.5)
    for tokens in (1, 3):
        truth = Accountant(spec, proved=True).centre_figures("phrase", tokens).power(0.1)
        bound = inversion_bound(spec, 0.1, tokens)
        assert bound.lower <= truth.lower <= truth.upper <= bound.upper


def test_refused_priors_say_what_they_are():
    with pytest.raises(UserError) as raised:
        attribute_advantage(QuantizerSpec(4, 18, 0.05, 0.8), 1, (1.0, 0.0))
    assert str(raised.value) == "Expected prior to leave something to guess, got a largest probability of 1.0."
    with pytest.raises(UserError) as raised:
        prior_peak([0.5, 0.25])
    assert str(raised.value) == "Expected prior to add up to 1, got a sum of 0.75."
