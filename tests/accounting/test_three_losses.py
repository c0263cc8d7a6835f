"""Theorem 24: the same three losses between any two words; against all outcomes, exact sums and another accountant."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting.proved_losses import ProvedLosses
from del_audit.accounting.rigorous import RELATIVE_WIDTH
from del_audit.accounting.rivals import calibrate_rival, response_success_bound, rival_guarantee
from del_audit.accounting.rivals.three_losses import ThreeLosses
from mechanisms.errors import UserError
from mechanisms.rivals import (
    CoarseWordsSpec,
    GaussianSpec,
    ProjectiveGeometrySpec,
    RandomizedResponseSpec,
    SubsetSelectionSpec,
)

WIDE = 1 << 64
SPECS = [
    RandomizedResponseSpec.from_epsilon(5, 1.3),
    SubsetSelectionSpec.from_epsilon(5, 1.3, 2),
    SubsetSelectionSpec.from_epsilon(6, 0.4, 3),
    ProjectiveGeometrySpec.from_epsilon(7, 1.3, 2, 3),
    ProjectiveGeometrySpec.from_epsilon(11, 2.0, 3, 3),
    ProjectiveGeometrySpec.from_epsilon(6, 1.3, 5, 2),
]
by_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind} {spec.words}")


def supports(spec):
    """Which outputs are in each word's support, by the definition, shape (words, outputs)."""
    if isinstance(spec, ProjectiveGeometrySpec):
        vectors = itertools.product(range(spec.order), repeat=spec.dimension)
        points = np.array(sorted(v for v in vectors if next((c for c in v if c), 0) == 1))
        return points[: spec.words] @ points.T % spec.order == 0
    size = getattr(spec, "size", 1)
    sets = itertools.combinations(range(spec.words), size)
    return np.array([[word in one for word in range(spec.words)] for one in sets]).T


def law(spec):
    """The exact law of every word, as fractions, shape (words, outputs)."""
    held = supports(spec)
    inside, outside = held.sum(axis=1), (~held).sum(axis=1)
    rows = []
    for word in range(spec.words):
        on, off = spec.chance / int(inside[word]), (1 - spec.chance) / int(outside[word])
        rows.append([on if one else off for one in held[word]])
    return rows


@by_spec
def test_theorem_24_every_two_words_have_the_same_three_losses(spec):
    losses, rows = ThreeLosses.of(spec), law(spec)
    for first, second in itertools.permutations(range(spec.words), 2):
        pairs = list(zip(rows[first], rows[second], strict=True))
        assert sum(p for p, q in pairs if p > q) == losses.p
        assert sum(p for p, q in pairs if p < q) == losses.q
        assert {p / q for p, q in pairs} <= {losses.p / losses.q, losses.q / losses.p, 1}
    assert sum(rows[0]) == 1
    assert spec.log_odds == pytest.approx(math.log(losses.p / losses.q), rel=1e-13)
    held = supports(spec)
    assert {int(size) for size in held.sum(axis=1)} == {int(spec.share * held.shape[1])}


@by_spec
def test_capacity_is_the_information_of_a_release(spec):
    """About a uniform word where every output lies in equally many supports, else above it."""
    rows = np.array(law(spec), dtype=np.float64)
    mean = rows.mean(axis=0)
    carried = (rows * np.log(rows / mean)).sum() / spec.words
    even = len(set(supports(spec).sum(axis=0).tolist())) == 1
    assert carried == pytest.approx(spec.capacity, rel=1e-9) if even else carried < spec.capacity


def delta_of(first, second, tokens, epsilon):
    """The hockey-stick divergence, summed over all outcomes of so many tokens."""
    p = q = np.ones(1)
    for _ in range(tokens):
        p, q = np.multiply.outer(p, first).ravel(), np.multiply.outer(q, second).ravel()
    return float(np.maximum(p - math.exp(epsilon) * q, 0).sum())


@pytest.mark.parametrize("spec", [SPECS[1], SPECS[3]], ids=lambda spec: spec.kind)
@pytest.mark.parametrize("tokens", [1, 2, 4])
def test_theorem_24_several_tokens_by_enumeration(spec, tokens):
    first, second = np.array(law(spec), dtype=np.float64)[[0, 3]]
    losses = ThreeLosses.of(spec)
    proved = ProvedLosses(tokens, losses.p, losses.q)
    for epsilon in (0.0, 0.3, 1.3, 2.9):
        assert proved.delta(epsilon).estimate == pytest.approx(delta_of(first, second, tokens, epsilon), abs=1e-12)
    for delta in (0.2, 1e-3):
        for found in (losses.proved(delta, tokens, "").epsilon, losses.figures(delta, tokens, "").epsilon):
            assert delta_of(first, second, tokens, found.upper) <= delta * (1 + 1e-9)
            assert found.lower == 0 or delta_of(first, second, tokens, found.lower) >= delta * (1 - 1e-9)
    assert proved.total_variation.estimate == pytest.approx(delta_of(first, second, tokens, 0.0), abs=1e-12)


def exact_delta(tokens, p, q, epsilon):
    """delta(epsilon) by the sum over how often each loss occurs, 60 digits."""
    stay, total, step = 1 - p - q, mpmath.mpf(0), mpmath.log(mpmath.mpf(p.numerator) / p.denominator)
    step -= mpmath.log(mpmath.mpf(q.numerator) / q.denominator)
    real = [mpmath.mpf(one.numerator) / one.denominator for one in (p, q, stay)]
    for up in range(tokens + 1):
        for down in range(tokens + 1 - up):
            gap = (up - down) * step - epsilon
            if gap > 0:
                ways = math.comb(tokens, up) * math.comb(tokens - up, down)
                mass = real[0] ** up * real[1] ** down * real[2] ** (tokens - up - down)
                total += ways * mass * -mpmath.expm1(-gap)
    return total


PAIRS = st.tuples(st.integers(1, 12), st.integers(1, 2**20), st.integers(1, 2**20), st.integers(0, 2**20))


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.floats(0, 20), st.floats(1e-12, 0.9))
def test_theorem_24_proved_figures_hold_the_exact_sums(pair, epsilon, delta):
    tokens, more, less, stay = pair
    more, less = max(more, less), min(more, less)
    p, q = Fraction(more, more + less + stay), Fraction(less, more + less + stay)
    proved = ProvedLosses(tokens, p, q)
    found, truth = proved.delta(epsilon), exact_delta(tokens, p, q, mpmath.mpf(epsilon))
    assert found.kind == "proved"
    assert found.lower - mpmath.mpf("1e-50") <= truth <= found.upper + mpmath.mpf("1e-50")
    bound = proved.epsilon(delta)
    assert bound.upper - bound.lower <= RELATIVE_WIDTH * bound.lower or bound.upper < 1e-300
    goal = mpmath.mpf(delta)
    assert exact_delta(tokens, p, q, mpmath.mpf(bound.upper)) <= goal
    assert bound.lower == 0 or exact_delta(tokens, p, q, mpmath.mpf(bound.lower)) >= goal
    assert proved.pure_epsilon.estimate == pytest.approx(tokens * math.log(p / q), rel=1e-12, abs=1e-300)


def test_a_delta_that_lies_where_two_lines_meet_is_enclosed():
    p, q = Fraction(1, 2), Fraction(1, 4)
    for tokens in (1, 3, 8):
        for d in range(1, tokens):
            corner = exact_delta(tokens, p, q, d * mpmath.log(2))
            bound = ProvedLosses(tokens, p, q).epsilon(float(corner))
            assert bound.estimate == pytest.approx(d * math.log(2), rel=1e-9)
            assert bound.upper - bound.lower <= RELATIVE_WIDTH * bound.lower


def test_many_tokens_are_proved_and_lie_within_what_is_computed():
    """4,096 tokens, where one token more still counts; and losses that are nearly nothing."""
    losses = ThreeLosses.of(SubsetSelectionSpec.from_epsilon(49152, 6.0))
    bounds = [ProvedLosses(tokens, losses.p, losses.q).epsilon(1e-5) for tokens in (4095, 4096)]
    assert all(bound.upper - bound.lower <= RELATIVE_WIDTH * bound.lower for bound in bounds)
    assert 0 < bounds[1].lower - bounds[0].upper < 6
    assert bounds[1].estimate > 4096 * float(losses.p - losses.q) * math.log(losses.p / losses.q)
    tiny = ProvedLosses(4096, Fraction(1, 4) + Fraction(1, 10**9), Fraction(1, 4))
    assert 0 < tiny.total_variation.lower <= tiny.total_variation.upper < 1e-6


def test_the_computed_figures_enclose_the_proved_ones():
    spec = SubsetSelectionSpec.from_epsilon(49152, 4.0)
    computed, proved = (rival_guarantee(spec, 1e-5, "phrase", 16, proved=proved) for proved in (False, True))
    assert (computed.kind, proved.kind) == ("float with error bound", "proved")
    assert computed.epsilon.lower <= proved.epsilon.lower <= proved.epsilon.upper <= computed.epsilon.upper
    for name in ("pure_epsilon", "total_variation"):
        assert getattr(computed, name).lower <= getattr(proved, name).upper
        assert getattr(proved, name).lower <= getattr(computed, name).upper


def test_the_figures_agree_with_dp_accountings():
    pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution")
    for spec in (SPECS[0], SPECS[1], SPECS[4]):
        losses = ThreeLosses.of(spec)
        rest = 1 - losses.p - losses.q
        first = {0: math.log(losses.p), 1: math.log(losses.q)} | ({2: math.log(rest)} if rest else {})
        second = {0: math.log(losses.q), 1: math.log(losses.p)} | ({2: math.log(rest)} if rest else {})
        one = pld.from_two_probability_mass_functions(second, first, value_discretization_interval=1e-4)
        for tokens in (1, 7, 64):
            theirs = one.self_compose(tokens).get_epsilon_for_delta(1e-5)
            ours = losses.proved(1e-5, tokens, "").epsilon
            assert ours.lower <= theirs * (1 + 1e-9)
            assert theirs <= ours.upper + 1e-4 * tokens + 1e-6


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 6.0, 20.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.05])
def test_calibration_never_exceeds_what_was_asked_and_is_near_it(epsilon, delta):
    symbols = np.arange(3000) % 1000
    for kind, parts in (
        ("subset selection", {"words": 49152}),
        ("subset selection", {"words": 49152, "size": 5}),
        ("projective geometry", {"words": 256_000, "order": 79, "dimension": 4}),
        ("projective geometry", {"words": 1000}),
        ("coarse words", {"symbols": symbols, "inner": "subset selection"}),
    ):
        spec = calibrate_rival(kind, epsilon, delta, **parts)
        found = rival_guarantee(spec, delta).epsilon.upper
        assert found <= epsilon
        assert found >= epsilon * (1 - 1e-6)


@by_spec
@pytest.mark.parametrize("tokens", [1, 2])
def test_theorem_24_no_attacker_with_the_prior_succeeds_more_often(spec, tokens):
    """The best attacker of each prior over all outcomes, and the closed form where kappa is small."""
    generator, rows = np.random.default_rng(3), np.array(law(spec), dtype=np.float64)
    outcomes = rows
    for _ in range(tokens - 1):
        outcomes = np.einsum("ax,by->abxy", outcomes, rows).reshape(len(outcomes) * len(rows), -1)
    for spread in (0.1, 1.0, 30.0):
        prior = generator.dirichlet(np.full(len(outcomes), spread))
        success = (prior[:, None] * outcomes).max(axis=0).sum()
        for proved in (False, True):
            bound = response_success_bound(spec, float(prior.max()), tokens, proved)
            assert success <= bound.upper * (1 + 1e-12)
            assert bound.kind == ("proved" if proved else "float with error bound")
    kappa = float(spec.share) / 2
    ratio = float(spec.chance / spec.share)
    assert response_success_bound(spec, kappa).estimate == pytest.approx(kappa * ratio, rel=1e-9)
    assert response_success_bound(spec, 1.0).upper == 1.0


def test_the_success_bound_is_attained_by_uniform_words():
    """All words alike, kappa as large as the support's share: whoever names a word of the released set."""
    spec = SubsetSelectionSpec.from_epsilon(5, 1.3, 1)
    rows = np.array(law(spec), dtype=np.float64)
    assert response_success_bound(spec, 0.2).estimate == pytest.approx(rows.max(axis=0).sum() / 5, rel=1e-9)


def test_words_of_one_symbol_have_no_loss_and_others_the_inner_ones():
    inner = SubsetSelectionSpec.from_epsilon(4, 2.0)
    spec = CoarseWordsSpec.over(inner, np.array([0, 1, 2, 3, 0]))
    for tokens in (1, 3):
        outer, same = (rival_guarantee(one, 1e-5, "phrase", tokens, proved=True) for one in (spec, inner))
        assert (outer.epsilon, outer.total_variation) == (same.epsilon, same.total_variation)
    assert "not told apart at all" in outer.reason


def test_a_release_that_tells_nothing_costs_nothing():
    spec = SubsetSelectionSpec(4, 2, 1 << 63)
    for proved in (False, True):
        found = rival_guarantee(spec, 1e-5, "prompt", 100, proved=proved)
        assert (found.epsilon.upper, found.pure_epsilon.estimate, found.total_variation.upper) == (0, 0, 0)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: rival_guarantee(GaussianSpec.of(4, 5, 1.0, 1.0), proved=True), "randomized response, .*got gaussian"),
        (lambda: ProvedLosses(0, Fraction(1, 2), Fraction(1, 4)), r"tokens in 1\.\.65536, got tokens=0"),
        (lambda: ProvedLosses(1, Fraction(1, 4), Fraction(1, 2)), "q <= p"),
        (lambda: ProvedLosses(1, Fraction(3, 4), Fraction(1, 2)), "1 - q"),
        (lambda: ProvedLosses(1, Fraction(1, 2), Fraction(1, 4)).epsilon(1.0), "delta in"),
        (lambda: ProvedLosses(1, Fraction(1, 2), Fraction(1, 4)).delta(-1.0), "epsilon to be a finite number"),
        (lambda: response_success_bound(SPECS[0], 0.0), "kappa in"),
        (lambda: calibrate_rival("projective geometry", 3.0, words=9, order=3), "order and dimension, or neither"),
        (lambda: calibrate_rival("coarse words", 3.0, symbols=np.arange(9), inner="gaussian"), "inner to be one of"),
        (lambda: calibrate_rival("subset selection", 3.0), r"subset selection needs \(words, size\), got none"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(call, reason):
    with pytest.raises(UserError, match=reason):
        call()
