"""Theorem 25: words drawn by clipped logits, by enumeration of laws at the ends of the weights."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from del_audit.accounting._bounded_range import BoundedRange
from del_audit.accounting.rivals import calibrate_rival, rival_guarantee
from mechanisms.errors import UserError
from mechanisms.rivals import DpMlmSpec, DpPromptSpec

MODEL = "a" * 64
PARTS = {"words": 49152, "tokens": 64, "low": -5.0, "high": 15.0, "model": MODEL}


def spec_of(span, words=6, tokens=1):
    """The spec whose clip is `span` nats wide at its temperature."""
    return DpPromptSpec(words, tokens, -span, span, 2.0, MODEL)


def extremes(spec):
    """All laws of one word whose weights are at the ends: what any law between them is a mixture of."""
    rows = np.array(list(itertools.product((spec.least_weight, spec.most_weight), repeat=spec.words)), dtype=float)
    return np.unique(rows / rows.sum(axis=1, keepdims=True), axis=0)


def hockey_stick(p, q, epsilon):
    return np.maximum(p - np.exp(epsilon) * q, 0).sum(axis=-1)


@pytest.mark.parametrize("span", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("words", [2, 3, 6])
def test_theorem_25_the_pure_epsilon_of_a_word_is_attained_and_no_smaller_one_holds(span, words):
    laws = extremes(spec_of(span, words))
    worst = max(float(np.log(p / laws).max()) for p in laws)
    found = rival_guarantee(spec_of(span, words)).pure_epsilon.upper
    assert found == pytest.approx(worst, rel=1e-9)
    assert found >= worst - 1e-13
    assert span < found <= 2 * span + 1e-9


def test_theorem_25_the_papers_count_is_nearly_attained_over_a_large_vocabulary():
    for span, below in ((1.0, 1e-3), (5.0, 1e-2)):
        found = rival_guarantee(spec_of(span, 1 << 16)).pure_epsilon.upper
        assert 2 * span - below < found < 2 * span
        assert rival_guarantee(spec_of(span, 1 << 16)).claimed_epsilon == 2 * span


@pytest.mark.parametrize("span", [0.1, 1.0, 4.0])
def test_theorem_25_no_two_laws_of_a_word_exceed_the_curve(span):
    laws = extremes(spec_of(span))
    for delta in (0.2, 0.01, 1e-4):
        epsilon = rival_guarantee(spec_of(span), delta).epsilon.upper
        assert max(float(hockey_stick(p, laws, epsilon).max()) for p in laws) <= delta * (1 + 1e-9)
    variation = rival_guarantee(spec_of(span)).total_variation.upper
    assert max(float(np.abs(p - laws).sum(axis=1).max()) / 2 for p in laws) <= variation


@pytest.mark.parametrize("span", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("delta", [0.02, 1e-3])
def test_theorem_25_the_curve_is_attained_by_half_words_up_and_half_words_down(span, delta):
    """Of many words a share s has the largest weight under P and the least under Q, the others the other way round."""
    spec = spec_of(span, 1 << 16)
    share = np.arange(1, spec.words) / spec.words
    most, least = spec.most_weight, spec.least_weight
    p = np.stack([share * most, (1 - share) * least]) / (share * most + (1 - share) * least)
    q = np.stack([share * least, (1 - share) * most]) / (share * least + (1 - share) * most)
    epsilon = rival_guarantee(spec, delta).epsilon.upper
    shown = hockey_stick(p.T, q.T, epsilon * (1 - 1e-4)).max()
    assert hockey_stick(p.T, q.T, epsilon).max() <= delta < shown
    assert rival_guarantee(spec).total_variation.upper == pytest.approx(math.tanh(span / 2), rel=1e-6)


@pytest.mark.parametrize("eta", [1e-6, 0.3, 4.0, 60.0])
@pytest.mark.parametrize("theta", [1e-4, 0.7, 3.0, 900.0])
def test_theorem_25_the_largest_mean_of_e_to_the_loss_in_60_digits(eta, theta):
    """Over all places of the range, by a fine grid and by the stated maximum."""
    with mpmath.workdps(60):
        e, t = mpmath.mpf(eta), mpmath.mpf(theta)

        def mean(place):
            p = (mpmath.exp(e) - mpmath.exp(place)) / (mpmath.exp(e) - 1)
            return mpmath.log(p * mpmath.exp(t * place) + (1 - p) * mpmath.exp(t * (place - e)))

        grid = [e * k / 400 for k in range(401)]
        best = max(range(401), key=lambda k: mean(grid[k]))
        low, high = grid[max(0, best - 1)], grid[min(400, best + 1)]
        for _ in range(60):
            third = (high - low) / 3
            low, high = (low + third, high) if mean(low + third) < mean(high - third) else (low, high - third)
        truth = float(mean((low + high) / 2))
    assert BoundedRange(eta).log_mgf(theta) == pytest.approx(truth, rel=1e-9, abs=1e-13 * (1 + theta))


@pytest.mark.parametrize("eta", [1e-3, 0.3, 4.0, 60.0])
def test_theorem_25_the_zcdp_of_a_word_is_at_most_an_eighth_of_the_squared_range(eta):
    """And nearly that where the range is short: E_P[e^(theta loss)] = exp(theta D), D <= rho (1 + theta)."""
    for theta in np.geomspace(1e-3, 1e3, 60):
        rate = BoundedRange(eta).log_mgf(theta) / (theta * (1 + theta))
        assert rate <= eta**2 / 8 + 1e-13 / theta
        if eta * (1 + theta) < 0.3 and theta > 0.1:
            assert rate > 0.99 * eta**2 / 8


def two_words(laws, bits):
    """A law over two words, the second's law after each first word drawn among the laws: `bits` say which."""
    first = laws[bits[0]]
    return (first[:, None] * laws[bits[1:]]).ravel()


@pytest.mark.parametrize("span", [0.2, 1.5])
def test_theorem_25_words_that_depend_on_earlier_ones_stay_below_the_composed_bound(span):
    """A model may choose the second word's pair of laws by the first word: many such pairs, drawn at random."""
    spec, generator = spec_of(span, 3, 2), np.random.default_rng(0)
    laws = extremes(spec)
    deltas = {delta: rival_guarantee(spec, delta, "prompt", 2).epsilon.upper for delta in (0.1, 1e-2, 1e-4)}
    variation = rival_guarantee(spec, unit="prompt", tokens=2).total_variation.upper
    pure = rival_guarantee(spec, unit="prompt", tokens=2).pure_epsilon.upper
    worst = 0.0
    for _ in range(4000):
        p, q = (two_words(laws, generator.integers(0, len(laws), 4)) for _ in range(2))
        assert np.log(p / q).max() <= pure * (1 + 1e-12)
        assert np.abs(p - q).sum() / 2 <= variation
        for delta, epsilon in deltas.items():
            assert hockey_stick(p, q, epsilon) <= delta
        worst = max(worst, float(np.log(p / q).max()))
    assert worst > 0.9 * pure


@pytest.mark.parametrize(("span", "tokens"), [(0.05, 8), (0.5, 8), (2.0, 8), (0.5, 40)])
def test_theorem_25_many_words_need_nearly_the_stated_epsilon(span, tokens):
    """The same two-loss law at each place, at the best place of the range, has at least 85% of it; delta 1e-5."""
    eta = 2 * span
    stated = rival_guarantee(spec_of(span, 1 << 20, tokens), 1e-5, "prompt", tokens).epsilon.upper
    counts = np.arange(tokens + 1)
    binomial = np.array([math.comb(tokens, int(k)) for k in counts], dtype=float)

    def delta_at(epsilon, place):
        p = (math.exp(eta) - math.exp(place)) / math.expm1(eta)
        loss = counts * place + (tokens - counts) * (place - eta)
        mass = binomial * p**counts * (1 - p) ** (tokens - counts)
        return float((mass * np.maximum(-np.expm1(epsilon - loss), 0)).sum())

    places = np.linspace(0.02, 0.98, 49) * eta
    assert max(delta_at(stated, place) for place in places) <= 1e-5
    assert max(delta_at(0.85 * stated, place) for place in places) > 1e-5


def test_one_token_costs_as_much_as_the_whole_document():
    spec = DpMlmSpec(500, 20, -1.0, 1.0, 4.0, MODEL)
    token, phrase, prompt = (
        rival_guarantee(spec, 1e-5, unit, tokens) for unit, tokens in (("token", 1), ("phrase", 3), ("prompt", 20))
    )
    assert token.epsilon == phrase.epsilon == prompt.epsilon
    assert "one token that changes costs as much as the whole document" in token.reason
    assert "20 words" in token.reason
    shorter = rival_guarantee(spec, 1e-5, "prompt", 5)
    session = rival_guarantee(spec, 1e-5, "session", 40)
    assert shorter.epsilon.upper < prompt.epsilon.upper < session.epsilon.upper
    assert session.pure_epsilon.upper == pytest.approx(2 * prompt.pure_epsilon.upper)
    for unit in ("phrase", "prompt"):
        with pytest.raises(UserError, match="tokens <= 20"):
            rival_guarantee(spec, 1e-5, unit, 21)


@pytest.mark.parametrize("kind", ["dp prompt", "dp mlm"])
@pytest.mark.parametrize("epsilon", [0.1, 8.0, 300.0])
@pytest.mark.parametrize("tokens", [1, 64])
def test_a_documents_epsilon_sets_the_temperature(kind, epsilon, tokens):
    spec = calibrate_rival(kind, epsilon, **{**PARTS, "tokens": tokens})
    assert spec.kind == kind
    found = rival_guarantee(spec).epsilon.upper
    if spec.least_weight == 1:
        assert found < epsilon
    else:
        assert 0.99 * epsilon < found <= epsilon
    assert (spec.low, spec.high, spec.tokens, spec.model) == (-5.0, 15.0, tokens, MODEL)


def test_the_clips_width_over_the_temperature_is_all_that_counts():
    narrow, wide = (calibrate_rival("dp mlm", 12.0, **{**PARTS, "low": low}) for low in (5.0, -5.0))
    assert wide.temperature == pytest.approx(2 * narrow.temperature, rel=1e-9)


@pytest.mark.parametrize(("change", "told"), [({"low": 15.0}, "low < high=15.0"), ({"model": "x"}, "model")])
def test_calibration_refuses_parts_that_no_spec_has(change, told):
    with pytest.raises(UserError, match=told):
        calibrate_rival("dp prompt", 5.0, **{**PARTS, **change})


def test_without_its_parts_the_error_names_them():
    with pytest.raises(UserError, match=r"dp prompt needs \(words, tokens, low, high, model\), got words"):
        calibrate_rival("dp prompt", 5.0, words=5)


def test_equal_weights_tell_nothing():
    spec = DpPromptSpec(2, 3, 0.0, 1e-30, 1.0, MODEL)
    found = rival_guarantee(spec)
    assert (found.epsilon.upper, found.pure_epsilon.upper, found.total_variation.upper) == (0, 0, 0)


def test_the_least_weight_is_the_exact_ends_rounded_up():
    for span in (0.1, 3.0, 29.0, 80.0):
        spec = spec_of(span, 49152)
        with mpmath.workdps(60):
            exact = spec.most_weight * mpmath.exp(-mpmath.mpf(span))
        assert spec.least_weight == max(1, int(mpmath.ceil(exact)))
        assert Fraction(spec.most_weight, spec.least_weight) <= Fraction(float(mpmath.exp(span)) * (1 + 1e-14))
