"""Theorem 5: box, pairs and profile of a public vocabulary, against enumeration of every outcome of every pair."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from del_audit.accounting import Accountant, _all_pairs, _pairs, vocabulary
from del_audit.accounting._all_pairs import AllPairs, Cells, Factors
from del_audit.accounting._hull import dominating
from del_audit.accounting._profile import interval_ranks
from del_audit.accounting._tilted import Moments, Tilt, moments, renyi_epsilons
from del_audit.accounting.vocabulary import Vocabulary
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

WHOLE = 2**32
DELTA = 1e-5


def spec_of(bits, dim, mu):
    return QuantizerSpec.from_mu(bits=bits, dim=dim, clip=1.0, mu=mu)


def codes_of(kind, words, dim, seed):
    draw = np.random.default_rng(seed)
    codes = draw.standard_normal((words, dim))
    if kind == "small":
        return 0.2 * codes + 0.3
    if kind == "corners":
        return np.tanh(4 * codes)
    if kind == "signs":
        return np.sign(codes)
    if kind == "repeated":
        return np.round(codes)[draw.integers(0, words // 2, words)]
    return codes


def outcomes(chances, trials):
    """Log-probabilities of every outcome of rows of chances (rows, dim): array (rows, (trials + 1)^dim)."""
    table = binom.logpmf(np.arange(trials + 1), trials, np.asarray(chances)[..., None])
    total = table[:, 0]
    for j in range(1, table.shape[1]):
        total = (total[:, :, None] + table[:, j, None, :]).reshape(len(table), -1)
    return total


def delta_of(log_p, log_q, epsilon):
    return np.maximum(0, np.exp(log_p) - np.exp(epsilon + log_q)).sum(axis=-1)


def epsilon_of(log_p, log_q, delta):
    """The largest over likelihood-ratio tests of log((P - delta) / Q), which is the smallest epsilon for delta."""
    order = np.argsort(log_q - log_p)
    p, q = np.cumsum(np.exp(log_p[order])), np.cumsum(np.exp(log_q[order]))
    usable = p > delta
    return max(0.0, float(np.log((p[usable] - delta) / q[usable]).max()))


def brute_force(book, delta, trials):
    """epsilon of every ordered pair of words: array (words, words)."""
    laws = outcomes(book.thresholds / WHOLE, trials)
    size = range(len(laws))
    return np.array([[epsilon_of(laws[a], laws[b], delta) if a != b else 0.0 for b in size] for a in size])


@pytest.mark.parametrize(
    ("kind", "bits", "dim", "mu", "words", "delta"),
    [
        ("spread", 2, 4, 3, 40, 1e-5),
        ("spread", 1, 6, 40, 40, 1e-5),
        ("small", 3, 3, 8, 40, 1e-4),
        ("corners", 2, 5, 6, 30, 1e-9),
        ("signs", 2, 4, 6, 30, 1e-5),
        ("repeated", 4, 2, 10, 50, 1e-6),
        ("spread", 5, 2, 0.3, 30, 1e-3),
        ("small", 6, 2, 40, 30, 1e-5),
    ],
)
def test_theorem_5_pairs_encloses_the_maximum_of_all_pairs(kind, bits, dim, mu, words, delta):
    spec = spec_of(bits, dim, mu)
    book = Vocabulary.of(codes_of(kind, words, dim, seed=bits + dim), spec)
    truth = brute_force(book, delta, spec.trials)
    worst = book.pairs(delta)
    assert worst.epsilon.lower <= truth.max() * (1 + 1e-9)
    assert truth.max() <= worst.epsilon.upper * (1 + 1e-9)
    assert worst.epsilon.upper <= truth.max() * (1 + 1e-4)
    assert truth[worst.words] == pytest.approx(truth.max(), rel=1e-4)
    assert worst.epsilon.lower > 0.95 * truth.max()
    assert worst.evaluated < words
    box = book.box(delta)
    assert truth.max() <= box.upper
    assert worst.epsilon.lower <= box.upper <= Accountant(spec).epsilon(delta).upper * (1 + 1e-4)  # the grid's error


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.floats(0.2, 30),
    st.floats(-8, -0.5),
    st.integers(0, 2**32 - 1),
    st.integers(2, 7),
)
@settings(max_examples=40)
def test_theorem_5_cube_box_pairs_in_this_order(bits, dim, mu, log_delta, seed, words):
    draw = np.random.default_rng(seed)
    codes = draw.uniform(-1.3, 1.3, (words, dim)) * draw.uniform(0, 1, dim)
    codes[0, 0], codes[1, 0] = -0.2, 0.1
    book, delta = Vocabulary.of(codes, spec_of(bits, dim, mu)), 10**log_delta
    truth = brute_force(book, delta, book.spec.trials).max()
    cube, box, pairs = Accountant(book.spec).epsilon(delta), book.box(delta), book.pairs(delta).epsilon
    slack = 1e-9 * (1 + cube.upper)
    assert pairs.lower - slack <= truth <= pairs.upper + slack
    assert pairs.lower <= box.upper
    assert box.lower <= cube.upper + slack
    assert box.upper <= cube.upper * (1 + 1e-4) + slack
    combined = book.guarantee(delta=delta)
    assert combined.pairs.upper <= combined.box.upper <= combined.cube.epsilon.upper
    assert combined.pairs.upper >= truth - slack


@pytest.mark.parametrize(("bits", "dim", "mu"), [(1, 3, 8), (2, 3, 4), (3, 2, 20), (4, 2, 3)])
def test_theorem_5_no_two_points_of_the_box_are_easier_to_tell_apart(bits, dim, mu):
    spec, draw = spec_of(bits, dim, mu), np.random.default_rng(dim)
    book = Vocabulary.of(draw.uniform(-0.9, 1.0, (3, dim)), spec)
    low, high = book.thresholds.min(axis=0) / WHOLE, book.thresholds.max(axis=0) / WHOLE
    corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
    inside = low + (high - low) * draw.uniform(size=(20, dim))
    laws = outcomes(np.concatenate([corners, inside]), spec.trials)
    curve = book.box_curve()
    for epsilon in (0.0, 0.3, 1.0, 3.0):
        found = max(delta_of(p, q, epsilon) for p, q in itertools.permutations(laws, 2))
        assert found <= curve.delta(epsilon).upper * (1 + 1e-12)
    pairs = list(itertools.permutations(laws[: len(corners)], 2))
    largest = max(epsilon_of(p, q, DELTA) for p, q in pairs)
    box = book.box(DELTA)
    assert box.lower <= largest * (1 + 1e-9)
    assert largest <= box.upper
    assert box.upper < 1.05 * largest  # the larger of two curves in each coordinate, not of one choice for all


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.9), (0.1, 0.2), (0.45, 0.62), (0.02, 0.97), (0.25, 0.75)])
@pytest.mark.parametrize("trials", [1, 3, 15])
def test_dominating_pair_has_the_larger_of_both_curves(trials, low, high):
    low, high = int(low * WHOLE), WHOLE - int((1 - high) * WHOLE)
    pair = dominating(trials, high, low)
    p, q = Fraction(high, WHOLE), Fraction(low, WHOLE)
    losses, masses = [mpmath.mpf(x) for x in pair.loss], [mpmath.exp(mpmath.mpf(x)) for x in pair.log_mass]
    assert abs(mpmath.fsum(masses) - 1) < 1e-13
    assert abs(mpmath.fsum(m * mpmath.exp(-x) for m, x in zip(masses, losses, strict=True)) - 1) < 1e-13
    orders_differ = False
    for epsilon in (*np.linspace(0, float(pair.loss.max()) - 1e-9, 9), 0.1, float(pair.loss.max()) + 1e-6):
        both = [oracle.delta_by_sum(epsilon, trials, a, b) for a, b in ((p, q), (q, p))]
        mine = mpmath.fsum(m * max(0, 1 - mpmath.exp(epsilon - x)) for m, x in zip(masses, losses, strict=True))
        assert max(both) <= mine <= max(both) * (1 + 1e-11) + mpmath.mpf(1e-300) + 1e-13 * masses[-1]
        orders_differ |= abs(both[0] - both[1]) > 1e-6 * max(both)
    assert orders_differ == (high + low != WHOLE)


@pytest.mark.parametrize("high", [0.55, 0.8])
def test_box_of_one_coordinate_is_the_worse_order(high):
    spec = QuantizerSpec(bits=4, dim=1, clip=1.0, scale=1.2)
    book = Vocabulary.of([[-0.3], [high]], spec)
    laws = outcomes(book.thresholds / WHOLE, 15)
    both = [epsilon_of(laws[1], laws[0], DELTA), epsilon_of(laws[0], laws[1], DELTA)]
    assert abs(both[0] - both[1]) > 1e-3 * max(both)
    assert book.box(DELTA).upper == pytest.approx(max(both), rel=1e-6)
    assert book.pairs(DELTA).epsilon.upper == pytest.approx(max(both), rel=1e-6)


@pytest.mark.parametrize("kind", ["signs", "spread"])
def test_full_ranges_give_the_cube(kind):
    spec = spec_of(4, 3, 5)
    codes = np.vstack([codes_of(kind, 30, 3, 0), np.ones(3), -np.ones(3)])
    result, cube = Vocabulary.of(codes, spec).guarantee(), Accountant(spec).epsilon()
    assert result.box.upper == result.pairs.upper == cube.upper
    assert result.pairs.estimate == pytest.approx(cube.estimate, rel=1e-9)


@pytest.mark.parametrize(
    ("bits", "mu", "codes", "tokens", "delta", "excess"),
    [
        (2, 3.0, [-1.0, -0.1, 0.8], 3, 1e-4, 1.0),
        (1, 9.08, [0.9, -0.1], 3, 0.19, 1.1),
        (1, 4.47, [0.9, 0.2], 3, 0.072, 1.1),
    ],
)
def test_several_tokens_hold_for_every_mixture_of_pairs(bits, mu, codes, tokens, delta, excess):
    spec = spec_of(bits, 1, mu)
    book = Vocabulary.of(np.array(codes)[:, None], spec)
    chances = book.thresholds[:, 0] / WHOLE
    found = {}
    for mixture in itertools.combinations_with_replacement(itertools.permutations(chances, 2), tokens):
        p, q = (outcomes(np.array([[pair[side] for pair in mixture]]), spec.trials)[0] for side in (0, 1))
        found[mixture] = epsilon_of(p, q, delta)
    largest = max(found.values())
    assert largest >= excess * max(found[mixture] for mixture in found if len(set(mixture)) == 1)
    worst, box = book.pairs(delta, tokens), book.box(delta, tokens)
    assert worst.epsilon.lower <= found[(tuple(chances[list(worst.words)]),) * tokens]
    assert largest <= worst.epsilon.upper
    assert largest <= box.upper <= Accountant(spec).epsilon(delta, "phrase", tokens).upper
    assert book.guarantee("phrase", tokens, delta).pairs.upper < 1.25 * largest


def test_a_token_sent_again_is_the_same_pair_again():
    spec = QuantizerSpec(1, 2, 1.0, 1.2)
    book = Vocabulary.of([[0.9, 0.1], [-0.1, 0.3], [0.2, -0.6]], spec)
    sends, delta = 3, 0.05
    found, trials = book.guarantee("token", 1, delta, sends), sends * spec.trials
    truth = brute_force(book, delta, trials).max()
    assert found.pairs.lower <= truth <= found.pairs.upper < 1.001 * truth
    assert truth <= found.box.upper <= found.cube.epsilon.upper
    assert (found.cube.sends, found.to_dict()["sends"], found.cube.trials) == (3, 3, 2 * trials)


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("known", [True, False])
def test_a_pair_at_opposite_corners_ends_the_search(monkeypatch, known, tokens):
    spec = spec_of(4, 3, 5)
    codes = np.vstack([codes_of("corners", 60, 3, 0), [1, -1, 1], [-1, 1, -1]])
    thresholds = Vocabulary.of(codes, spec).thresholds
    different = np.unique(thresholds, axis=0)
    ends = [int(np.flatnonzero((different == thresholds[word]).all(axis=1))[0]) for word in (60, 61)]
    monkeypatch.setattr(_pairs._Search, "_promising", lambda *_: np.array(ends if known else [1, 2]))
    worst = _pairs.worst_pair(different, spec.trials, tokens, DELTA)
    exact = Accountant(spec).epsilon(DELTA, "session", tokens).estimate
    assert sorted(worst.words) == sorted(ends)
    assert worst.epsilon.lower <= exact <= worst.epsilon.upper
    if known or tokens == 1:
        assert worst.epsilon.upper == pytest.approx(exact, rel=1e-4)
    assert worst.evaluated <= (1 if known else 3)


def test_many_tokens_cost_little_more_than_the_worst_pair_each_time():
    book = Vocabulary.of(codes_of("spread", 200, 6, 1), spec_of(4, 6, 8))
    worst = book.pairs(DELTA, 64)
    assert worst.epsilon.upper < 1.02 * worst.epsilon.lower
    assert worst.epsilon.upper < book.box(DELTA, 64).upper


@pytest.mark.parametrize(("bits", "dim"), [(3, 3), (6, 2), (8, 1)])
def test_bounds_of_all_pairs_are_above_their_curves(bits, dim):
    draw, trials = np.random.default_rng(bits), 2**bits - 1
    centre, spread = draw.uniform(0.2, 0.8, (1500, 1)), draw.uniform(0.01, 0.2, (1500, 1))
    p, q = (np.clip(centre + spread * draw.uniform(-1, 1, (1500, dim)), 0.01, 0.99) for _ in range(2))
    laws = outcomes(p, trials), outcomes(q, trials)
    truth = np.array([epsilon_of(a, b, DELTA) for a, b in zip(*laws, strict=True)])
    assert (truth <= renyi_epsilons(p, q, trials, DELTA)).all()
    assert np.median(renyi_epsilons(p, q, trials, DELTA) / truth) < 1.25
    logits = np.log(p / (1 - p)), np.log(q / (1 - q))
    ends = min(side.min() for side in logits), max(side.max() for side in logits)
    best = np.full(len(p), np.inf)
    for theta in np.geomspace(0.05, 20, 12):
        tilt = Tilt(float(theta), math.log(DELTA))
        found = moments(p, q, trials, tilt.theta)
        bound = tilt.epsilon(found)
        assert (truth <= bound).all()
        best = np.minimum(best, bound)
        for epsilon in np.quantile(truth, [0.05, 0.3, 0.7]):
            assert truth[found.log_mgf <= tilt.harmless(epsilon, ends)].max(initial=0.0) <= epsilon
        level = float(np.median(found.log_mgf))
        assert truth[found.log_mgf <= level].max() <= tilt.epsilon_of(level, ends)
    assert np.median(best / truth) < 1.15


def test_a_level_of_K_is_harmless_only_up_to_the_pairs_that_have_it():
    draw, trials = np.random.default_rng(0), 255
    p, q = np.sort(draw.uniform(0.46, 0.54, (2, 400, 1)), axis=0)[::-1]
    laws = outcomes(p, trials), outcomes(q, trials)
    truth = np.array([epsilon_of(a, b, DELTA) for a, b in zip(*laws, strict=True)])
    worst, ends = truth.argmax(), tuple(math.log(x / (1 - x)) for x in (q.min(), p.max()))
    tilt = Tilt.of_pair(p[worst], q[worst], trials, DELTA)
    log_mgf = moments(p, q, trials, tilt.theta).log_mgf
    assert tilt.harmless(truth[worst] * (1 - 1e-9), ends) < log_mgf[worst]
    assert truth[worst] < tilt.epsilon_of(log_mgf[worst], ends) < 1.06 * truth[worst]


def test_a_poor_start_hides_nothing(monkeypatch):
    spec = spec_of(6, 2, 4)
    book = Vocabulary.of(codes_of("small", 40, 2, 5), spec)
    truth = brute_force(book, DELTA, spec.trials)
    different, first = np.unique(book.thresholds, axis=0, return_index=True)
    truth = truth[np.ix_(first, first)]
    for rank in (1, 3, 10, 1000):
        start = np.array(np.unravel_index(np.argsort(-truth, axis=None)[rank], truth.shape))
        monkeypatch.setattr(_pairs._Search, "_promising", lambda *_, start=start: start)
        worst = _pairs.worst_pair(different, spec.trials, 1, DELTA)
        assert truth.max() <= worst.epsilon.upper <= truth.max() * (1 + 1e-4)
        assert truth[worst.words] == pytest.approx(truth.max(), rel=1e-4)


@pytest.mark.parametrize("start", [(0, 1), (1, 0)])
def test_both_orders_of_a_pair_are_tried(monkeypatch, start):
    spec = QuantizerSpec(bits=8, dim=1, clip=1.0, scale=1.1)
    book = Vocabulary.of([[0.55], [0.75]], spec)
    laws = outcomes(book.thresholds / WHOLE, spec.trials)
    both = [epsilon_of(laws[0], laws[1], DELTA), epsilon_of(laws[1], laws[0], DELTA)]
    assert abs(both[0] - both[1]) > 0.005 * max(both)
    monkeypatch.setattr(_pairs._Search, "_promising", lambda *_: np.array(start))
    assert book.pairs(DELTA).epsilon.upper == pytest.approx(max(both), rel=1e-5)


def test_a_poor_start_does_not_narrow_what_mixtures_may_do(monkeypatch):
    book = Vocabulary.of(codes_of("small", 40, 2, 5), spec_of(6, 2, 4))
    good = book.pairs(DELTA, 8)
    monkeypatch.setattr(_pairs._Search, "_promising", lambda *_: np.array([0, 1]))
    poor = book.pairs(DELTA, 8)
    assert poor.epsilon.upper >= good.epsilon.upper * (1 - 1e-6)
    assert poor.words == good.words


def test_normal_form_of_the_bound_is_closer_than_the_peak_for_many_trials():
    p, q, trials = np.array([[0.54]]), np.array([[0.46]]), 255
    tilt = Tilt.of_pair(p[0], q[0], trials, DELTA)
    found = moments(p, q, trials, tilt.theta)
    truth = epsilon_of(*(outcomes(side, trials)[0] for side in (p, q)), DELTA)
    normal = tilt.epsilon(found)[0]
    peak = tilt.epsilon(Moments(found.log_mgf, 0 * found.variance, found.third))[0]
    assert truth <= normal < truth + 0.5 * (peak - truth)


def test_moments_are_those_of_the_tilted_loss():
    p, q, trials, theta = np.array([[0.7, 0.2]]), np.array([[0.6, 0.35]]), 3, 1.7
    log_p, log_q = outcomes(p, trials)[0], outcomes(q, trials)[0]
    tilted = np.exp(log_p + theta * (log_p - log_q))
    found = moments(p, q, trials, theta)
    assert found.log_mgf[0] == pytest.approx(math.log(tilted.sum()), rel=1e-11)
    law, loss = tilted / tilted.sum(), log_p - log_q
    assert found.variance[0] == pytest.approx(law @ (loss - law @ loss) ** 2, rel=1e-11)
    third = 0.0
    for a, b in zip(p[0], q[0], strict=True):
        steps = np.array([math.log((1 - a) / (1 - b)), math.log(a / b)])
        weights = np.array([1 - a, a]) * np.exp(theta * steps)
        weights /= weights.sum()
        third += trials * weights @ np.abs(steps - weights @ steps) ** 3
    assert found.third[0] == pytest.approx(third, rel=1e-11)


@pytest.mark.parametrize(("words", "dim"), [(250, 3), (300, 5)])  # fewer and more different chances than cells
@pytest.mark.parametrize("theta", [0.2, 2.0, 20.0])
def test_matrix_product_bounds_every_pair_and_finds_those_above(words, dim, theta):
    trials = 15
    book = Vocabulary.of(codes_of("spread", words, dim, 3), spec_of(4, dim, 12))
    chances = book.thresholds / WHOLE
    cells = Cells.of(chances)
    assert (cells.low[cells.place] <= chances).all()
    assert (chances <= cells.high[cells.place]).all()
    bounds = AllPairs.of(cells, Factors.of(cells.table(theta), trials * dim), trials)
    wide = chances.astype(np.longdouble)
    p, q = wide[:, None], wide[None]
    truth = trials * np.log(p ** (1 + theta) * q**-theta + (1 - p) ** (1 + theta) * (1 - q) ** -theta).sum(axis=-1)
    bound = (bounds.left @ bounds.right).astype(np.float64) + bounds.slack
    assert (truth <= bound).all()
    if theta <= 2:
        assert (bound - truth).max() < 0.02 * truth.max() + 0.2
    threshold = float(np.quantile(truth, 0.999))
    pairs, level = bounds.above(threshold)
    assert level == threshold
    assert {tuple(pair) for pair in np.argwhere(truth > threshold)} <= {tuple(pair) for pair in pairs}


@pytest.mark.parametrize("numbers", [1, 90 * 7 + 1, 1 << 26])
def test_blocks_of_any_height_find_the_same_pairs(monkeypatch, numbers):
    monkeypatch.setattr(_all_pairs, "_NUMBERS", numbers)
    book = Vocabulary.of(codes_of("spread", 90, 4, 3), spec_of(4, 4, 12))
    cells = Cells.of(book.thresholds / WHOLE)
    bounds = AllPairs.of(cells, Factors.of(cells.table(0.5), 60), 15)
    whole = bounds.left @ bounds.right
    threshold = float(np.quantile(whole, 0.97)) + 2 * bounds.slack
    pairs, level = bounds.above(threshold)
    above = np.argwhere(whole > threshold - bounds.slack)
    assert level == threshold
    assert {tuple(pair) for pair in pairs} == {(a, b) for a, b in above if a != b} != set()


def test_a_full_store_of_pairs_raises_the_level_instead(monkeypatch):
    monkeypatch.setattr(_all_pairs, "_KEPT", 100)
    monkeypatch.setattr(_all_pairs, "_NUMBERS", 16 * 90 + 89)
    book = Vocabulary.of(codes_of("spread", 90, 4, 3), spec_of(4, 4, 12))
    cells = Cells.of(book.thresholds / WHOLE)
    bounds = AllPairs.of(cells, Factors.of(cells.table(0.5), 60), 15)
    pairs, level = bounds.above(0.0)
    bound = (bounds.left @ bounds.right).astype(np.float64) + bounds.slack
    bound[tuple(pairs.T)] = 0
    np.fill_diagonal(bound, 0)
    assert 90 <= len(pairs) <= 100
    assert bound.max() <= level + 1e-6 * level


@pytest.mark.parametrize(("kept", "evaluated"), [(40, 512), (1 << 18, 1), (3, 2)])
def test_a_search_that_gives_up_is_still_a_guarantee(monkeypatch, kept, evaluated):
    spec = spec_of(3, 3, 3)
    codes = codes_of("spread", 40, 3, 8)
    book = Vocabulary.of(codes / np.linalg.norm(codes, axis=1, keepdims=True), spec)
    truth = brute_force(book, DELTA, spec.trials).max()
    monkeypatch.setattr(_all_pairs, "_KEPT", kept)
    monkeypatch.setattr(_pairs, "_EVALUATED", evaluated)
    monkeypatch.setattr(_pairs, "_STARTS", 1)
    monkeypatch.setattr(_pairs, "_ROUNDS", 1)
    worst = book.pairs(DELTA)
    assert worst.evaluated <= evaluated
    assert worst.epsilon.lower <= truth <= worst.epsilon.upper < 1.3 * truth
    assert book.guarantee().pairs.upper <= book.box(DELTA).upper


def test_equal_words_do_not_matter_and_ids_are_those_of_the_vocabulary():
    spec = spec_of(4, 3, 6)
    codes = codes_of("spread", 20, 3, 2)
    once = Vocabulary.of(codes, spec).pairs(DELTA)
    twice = Vocabulary.of(np.repeat(codes, 3, axis=0), spec).pairs(DELTA)
    assert twice.epsilon == once.epsilon
    assert sorted(word // 3 for word in twice.words) == sorted(once.words)


def test_clipping_and_rounding_are_the_quantizers():
    spec = spec_of(4, 2, 6)
    book = Vocabulary.of([[5.0, 0.0], [-5.0, 0.25]], spec)
    assert book.thresholds.tolist() == [
        [spec.threshold_high, 2**31],
        [spec.threshold_low, round((0.5 + 0.5 * 32 / 127 / spec.scale) * WHOLE)],  # 0.25 clip is level 127 + 31.75
    ]


def test_wide_ranges_replace_ranges_beyond_the_grid(monkeypatch):
    book = Vocabulary.of(codes_of("small", 50, 3, 0), spec_of(2, 3, 4))
    tight = book.box(DELTA, 20)
    monkeypatch.setattr(vocabulary, "_MOST_COPIES", 50)
    wide = book.box(DELTA, 20)
    assert tight.upper < wide.upper <= Accountant(book.spec).epsilon(DELTA, "session", 20).upper


def test_total_variation_is_that_of_the_box():
    spec = spec_of(3, 2, 2)
    book = Vocabulary.of([[-0.9, 0.1], [0.5, 0.4], [0.2, -0.3]], spec)
    low, high = book.thresholds.min(axis=0) / WHOLE, book.thresholds.max(axis=0) / WHOLE
    laws = outcomes(np.array(list(itertools.product(*zip(low, high, strict=True)))), spec.trials)
    truth = max(delta_of(p, q, 0.0) for p, q in itertools.permutations(laws, 2))
    variation = book.guarantee().total_variation
    assert variation.lower <= truth <= variation.upper < 1.05 * truth


def test_profile_matches_all_pairs():
    spec = spec_of(2, 3, 6)
    book = Vocabulary.of(codes_of("spread", 40, 3, 4), spec)
    truth = brute_force(book, DELTA, spec.trials)
    everyone = truth[~np.eye(len(truth), dtype=bool)]
    profile = book.profile(DELTA, samples=3000, seed=1)
    assert list(profile.quantiles) == [0.5, 0.9, 0.99]
    for level, bound in profile.quantiles.items():
        assert bound.kind == "estimated"
        assert bound.lower <= np.quantile(everyone, level, method="inverted_cdf") <= bound.upper
        assert bound.upper - bound.lower < 0.2 * bound.estimate
        assert np.abs(everyone - bound.estimate).min() < 1e-3
    assert profile == book.profile(DELTA, samples=3000, seed=1)
    assert profile != book.profile(DELTA, samples=3000, seed=2)
    record = profile.to_dict()
    assert record["kind"] == "estimated"
    assert "not a guarantee" in record["note"]
    assert (record["samples"], record["seed"]) == (3000, 1)


def test_profile_of_equal_words_is_zero():
    codes = np.zeros((60, 2))
    codes[0] = 1.0
    assert Vocabulary.of(codes, spec_of(2, 2, 4)).profile(samples=1000).quantiles[0.5].upper == 0


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("samples", [1000, 1337, 10_000])
def test_intervals_miss_a_quantile_in_at_most_one_case_in_twenty(samples, level):
    lower, middle, upper = interval_ranks(level, samples)
    assert 1 <= lower < middle < upper <= samples
    assert binom.cdf(lower - 1, samples, level) <= 0.025 < binom.cdf(lower, samples, level)
    assert binom.sf(upper - 1, samples, level) <= 0.025 < binom.sf(upper - 2, samples, level)


def test_the_result_says_what_it_holds_for():
    spec = spec_of(4, 2, 6)
    codes = codes_of("spread", 12, 2, 0)
    result = Vocabulary.of(codes, spec).guarantee("phrase", 2, 1e-6)
    record = result.to_dict()
    assert (record["unit"], record["tokens"], record["delta"]) == ("phrase", 2, 1e-6)
    assert record["kind"] == "float with error bound"
    assert result.sha256 in record["holds_for"]
    assert "12 words" in record["holds_for"]
    assert record["pairs"]["upper"] <= record["box"]["upper"] <= record["cube"]["upper"]
    assert Vocabulary.of(codes + 1e-2, spec).sha256 != result.sha256
    assert replace(result, evaluated=result.evaluated) == result


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: Vocabulary.of(np.zeros((4, 3)), s), "Expected codes of shape (words, dim=2), got shape (4, 3)."),
        (lambda s: Vocabulary.of(np.zeros(4), s), "Expected codes of shape (words, dim=2), got shape (4,)."),
        (lambda s: Vocabulary.of([[0, np.nan]], s), "Expected codes to be finite numbers, got NaN or infinity."),
        (lambda s: Vocabulary.of([[0, 1], [np.inf, 0]], s), "Expected codes to be finite numbers"),
        (lambda s: Vocabulary.of(np.ones((3, 2)), s), "Expected codes of at least 2 different words, got 3 word(s)"),
        (lambda s: Vocabulary.of(np.ones((0, 2)), s), "Expected codes of at least 2 different words, got 0 word(s)"),
        (lambda s: Vocabulary.of(np.eye(2), s).box(2), "Expected delta in (0, 1), got delta=2."),
        (lambda s: Vocabulary.of(np.eye(2), s).pairs(0.0), "Expected delta in (0, 1), got delta=0.0."),
        (lambda s: Vocabulary.of(np.eye(2), s).profile(math.nan), "Expected delta in (0, 1), got delta=nan."),
        (lambda s: Vocabulary.of(np.eye(2), s).pairs(tokens=0), "Expected tokens to be a whole number >= 1"),
        (lambda s: Vocabulary.of(np.eye(2), s).box(tokens=1.5), "Expected tokens to be a whole number >= 1"),
        (lambda s: Vocabulary.of(np.eye(2), s).guarantee(tokens=2), "Expected tokens=1 for unit=token"),
        (lambda s: Vocabulary.of(np.eye(2), s).guarantee(delta=1.0), "Expected delta in (0, 1), got delta=1.0."),
        (lambda s: Vocabulary.of(np.eye(2), s).profile(samples=10), "Expected samples to be a whole number >= 1000"),
        (lambda s: Vocabulary.of(np.eye(2), s).profile(seed=-1), "seed"),
    ],
)
def test_what_cannot_be_used_is_refused(call, message):
    with pytest.raises(UserError) as caught:
        call(spec_of(2, 2, 4))
    assert message in str(caught.value)
