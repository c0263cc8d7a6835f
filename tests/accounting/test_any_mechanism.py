"""The guarantee of any mechanism from its description: against enumeration of every outcome."""

import itertools
import math

import numpy as np
import pytest

from del_audit.accounting.accountant import Accountant
from del_audit.accounting.any_mechanism import guess_bound, has_proof, proved_guarantee, token_trade_off
from mechanisms.errors import UserError
from mechanisms.rivals import (
    ProjectiveGeometrySpec,
    RandomizedResponseSpec,
    SubsetSelectionSpec,
)
from mechanisms.spec import QuantizerSpec

RESPONSE = RandomizedResponseSpec.from_epsilon(5, 1.5)
SUBSETS = SubsetSelectionSpec.from_epsilon(6, 1.2, 2)
GEOMETRY = ProjectiveGeometrySpec.from_epsilon(7, 2.0, 2, 3)
DEL = QuantizerSpec.from_mu(2, 3, 0.05, 2.0)
SUPPORTS = (RESPONSE, SUBSETS, GEOMETRY)


def losses(spec):
    """Returns probability and loss of one token's three outcomes under the first of two words."""
    p = float(spec.chance * (1 - spec.common))
    q = float((1 - spec.chance) * spec.share * (1 - spec.common) / (1 - spec.share))
    return [(p, math.log(p / q)), (q, math.log(q / p)), (1 - p - q, 0.0)]


def delta_by_enumeration(spec, tokens, epsilon):
    total = 0.0
    for outcome in itertools.product(losses(spec), repeat=tokens):
        chance, loss = math.prod(p for p, _ in outcome), sum(loss for _, loss in outcome)
        total += chance * max(0.0, -math.expm1(epsilon - loss))
    return total


@pytest.mark.parametrize("spec", SUPPORTS)
@pytest.mark.parametrize(
    ("unit", "tokens", "sends"), [("token", 1, 1), ("token", 1, 3), ("prompt", 2, 2), ("session", 5, 1)]
)
def test_epsilon_is_that_of_all_outcomes_of_all_sends(spec, unit, tokens, sends):
    found = proved_guarantee(spec, unit, tokens, 1e-3, sends)
    assert delta_by_enumeration(spec, tokens * sends, found.epsilon.upper) <= 1e-3 * (1 + 1e-9)
    assert delta_by_enumeration(spec, tokens * sends, found.epsilon.lower - 1e-6) > 1e-3 * (1 - 1e-9)
    assert found.total_variation.estimate == pytest.approx(delta_by_enumeration(spec, tokens * sends, 0.0), abs=1e-12)
    assert found.pure_epsilon.upper == pytest.approx(tokens * sends * spec.log_odds, rel=1e-12)
    assert (found.epsilon.kind, found.trials, found.gaussian_limit) == ("proved", None, None)
    assert ("3 times" in found.adjacency) == (sends == 3)


@pytest.mark.parametrize("spec", SUPPORTS)
@pytest.mark.parametrize("sends", [1, 2, 3])
def test_the_trade_off_curve_is_that_of_the_best_tests(spec, sends):
    """Every outcome's probability under both words, rejected in the order of their ratio, in either direction."""
    laws = []
    for outcome in itertools.product(losses(spec), repeat=sends):
        first, loss = math.prod(p for p, _ in outcome), sum(loss for _, loss in outcome)
        laws.append((loss, first, first * math.exp(-loss)))
    laws.sort(key=lambda law: -law[0])
    size, power, corners = 0.0, 0.0, [(0.0, 1.0)]
    for _, first, second in laws:
        size, power = size + second, power + first
        corners.append((size, 1 - power))
    alpha, beta = np.array(corners).T
    asked = np.linspace(0, 1, 101)
    found = token_trade_off(spec, asked, sends)
    assert np.abs(found - np.interp(asked, alpha, beta)).max() < 1e-12


def test_dels_figures_are_the_accountants():
    found, own = proved_guarantee(DEL, "prompt", 4, 1e-5, 2), Accountant(DEL, proved=True)
    assert found.epsilon == own.epsilon(1e-5, "prompt", 4, 2)
    assert found.trials == own.trials("prompt", 4, 2)
    assert found.gaussian_limit is not None
    asked = np.linspace(0, 1, 11)
    assert np.array_equal(token_trade_off(DEL, asked, 2), Accountant(DEL).trade_off("phrase", 2).beta(asked))


@pytest.mark.parametrize("spec", SUPPORTS)
def test_no_guess_beats_the_bound(spec):
    """Who sees an output of a support and guesses the likeliest word, under three priors."""
    words = spec.words
    for weights in (np.ones(words), np.arange(1.0, words + 1), np.eye(words)[0] + 0.01):
        prior = weights / weights.sum()
        success = _best_guess(spec, prior)
        assert success <= guess_bound(spec, float(prior.max())).upper + 1e-12


def _best_guess(spec, prior):
    """Returns the success of MAP: at least what any one output allows is bounded by chance of the support."""
    share, chance = float(spec.share), float(spec.chance)
    if spec is RESPONSE:
        law = np.full((spec.words, spec.words), (1 - chance) / (spec.words - 1))
        np.fill_diagonal(law, chance)
    elif spec is SUBSETS:
        sets = list(itertools.combinations(range(spec.words), spec.size))
        inside = chance / (len(sets) * share)
        outside = (1 - chance) / (len(sets) * (1 - share))
        law = np.array([[inside if word in one else outside for one in sets] for word in range(spec.words)])
    else:
        vectors = [v for v in itertools.product(range(2), repeat=3) if any(v)]
        law = np.array([[np.dot(a, b) % 2 == 0 for b in vectors] for a in vectors[: spec.words]], dtype=float)
        law = np.where(
            law > 0, chance / law.sum(axis=1, keepdims=True), (1 - chance) / (1 - law).sum(axis=1, keepdims=True)
        )
    assert np.allclose(law.sum(axis=1), 1)
    return float((prior[:, None] * law).max(axis=0).sum())


def test_only_what_is_proved_from_its_description_has_a_proof():
    assert all(map(has_proof, (*SUPPORTS, DEL)))
    assert not has_proof(object())


def test_a_curve_of_too_many_sends_is_refused():
    with pytest.raises(UserError, match=r"in 1\.\.1000 for a curve of randomized response, got 1001"):
        token_trade_off(RESPONSE, np.linspace(0, 1, 3), 1001)
