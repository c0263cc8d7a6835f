"""Subset selection, projective geometry and coarse words: exact samplers, messages, spaces, and what servers read."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from mechanisms import canonical_json
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import described
from mechanisms.rivals import (
    CoarseWords,
    CoarseWordsSpec,
    ProjectiveGeometry,
    ProjectiveGeometrySpec,
    RandomizedResponseSpec,
    SubsetSelection,
    SubsetSelectionSpec,
)
from mechanisms.rivals import _message as message_module
from mechanisms.rivals import subset_selection as subset_module
from mechanisms.rivals._draws import narrow_below, uniform_below
from mechanisms.rivals._message import SetFormat
from mechanisms.rivals._projective import base_digits, normalised, number_of_points, points_of, ranks_of
from mechanisms.rivals.clusters import load_symbols, save_symbols, spherical_clusters
from mechanisms.rivals.geometry_search import best_geometry, information, spaces, uniform_information
from mechanisms.rivals.subset_selection import best_size, sorted_samples

FALSE_ALARM = 1e-6
SPACES = [(2, 2), (5, 2), (2, 3), (3, 3), (5, 3), (3, 4), (2, 5)]
FINGERPRINT = bytes(range(32))
WORDS = 30
GENERATOR = np.random.default_rng(8)
TABLE = GENERATOR.standard_normal((WORDS, 6)).astype(np.float32)
PRIOR = 1 / (1 + GENERATOR.permutation(WORDS))
PRIOR = PRIOR / PRIOR.sum()
SYMBOLS = np.arange(WORDS) * 7 % 11


class Scripted:
    """A source that hands out chosen 64-bit words, in order."""

    def __init__(self, *wide):
        self.left = [half for word in wide for half in (word >> 32, word & 0xFFFFFFFF)]

    def words(self, count):
        given, self.left = self.left[:count], self.left[count:]
        assert len(given) == count, "more was drawn than expected"
        return np.array(given, dtype=np.uint32)


def canonical(order, dimension):
    """All points, written with their first coordinate that is not 0 equal to 1, in the order of their numbers."""
    vectors = itertools.product(range(order), repeat=dimension)
    return sorted(v for v in vectors if next((c for c in v if c), 0) == 1)


def mechanisms(decoding="posterior-mean"):
    inner = RandomizedResponseSpec.from_epsilon(11, 2.0), SubsetSelectionSpec.from_epsilon(11, 2.0, 3)
    specs = [CoarseWordsSpec.over(one, SYMBOLS) for one in (*inner, ProjectiveGeometrySpec.from_epsilon(11, 2.0, 3, 3))]
    return [
        SubsetSelection(SubsetSelectionSpec.from_epsilon(WORDS, 3.0), TABLE, PRIOR, decoding),
        ProjectiveGeometry(ProjectiveGeometrySpec.from_epsilon(WORDS, 3.0, 5, 3), TABLE, PRIOR, decoding),
        *(CoarseWords(spec, SYMBOLS, TABLE, PRIOR, decoding) for spec in specs),
    ]


by_mechanism = pytest.mark.parametrize("index", range(5))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 255, 1 << 32, (1 << 63) - 25])
def test_numbers_below_a_limit_are_exactly_uniform(limit):
    """Words beyond the largest multiple are drawn anew; each number has as many of the others."""
    multiple = (1 << 64) // limit * limit
    assert uniform_below(limit, 3, Scripted(0, multiple - 1, limit - 1)).tolist() == [0, limit - 1, limit - 1]
    if multiple < 1 << 64:
        beyond = Scripted(multiple, 5 % limit, (1 << 64) - 1, multiple, 0, limit - 1)
        assert uniform_below(limit, 3, beyond).tolist() == [limit - 1, 5 % limit, 0]


@pytest.mark.parametrize(("order", "dimension"), SPACES)
def test_every_point_has_one_number_and_comes_back(order, dimension):
    count = number_of_points(dimension, order)
    points = points_of(np.arange(count), dimension, order)
    assert [tuple(point) for point in points.T] == canonical(order, dimension)
    assert np.array_equal(ranks_of(points, order), np.arange(count))
    for factor in range(1, order):
        assert np.array_equal(normalised(points * factor % order, order), points)


@pytest.mark.parametrize(("order", "dimension"), SPACES)
def test_any_two_hyperplanes_share_equally_many_points(order, dimension):
    count = number_of_points(dimension, order)
    spec = ProjectiveGeometrySpec.from_epsilon(count, 1.0, order, dimension)
    held = ProjectiveGeometry(spec).supports(points_of(np.arange(count), dimension, order).T)
    points = np.array(canonical(order, dimension))
    assert np.array_equal(held, points @ points.T % order == 0)
    shared = held.T.astype(int) @ held
    assert set(np.diag(shared)) == {number_of_points(dimension - 1, order)}
    assert set(shared[~np.eye(count, dtype=bool)]) == {number_of_points(dimension - 2, order)}
    assert spec.share * count == number_of_points(dimension - 1, order)
    assert spec.common * spec.share * count == number_of_points(dimension - 2, order)


@pytest.mark.parametrize(("order", "dimension"), SPACES)
def test_theorem_24_points_have_the_exact_law_by_enumeration(order, dimension):
    """Every index on the hyperplane, and off it, gives each point there once: with the threshold that is the law."""
    count = number_of_points(dimension, order)
    spec = ProjectiveGeometrySpec.from_epsilon(count, 1.0, order, dimension)
    mechanism = ProjectiveGeometry(spec)
    points = np.array(canonical(order, dimension))
    inner, outer = number_of_points(dimension - 1, order), order ** (dimension - 1)
    for word in range(count):
        held = points @ points[word] % order == 0
        for first, indices, expected in (
            (spec.inside - 1, range(inner), np.flatnonzero(held)),
            (0, range(inner), np.flatnonzero(held)),
            (spec.inside, range(outer), np.flatnonzero(~held)),
            ((1 << 64) - 1, range(outer), np.flatnonzero(~held)),
        ):
            both = [[index % inner for index in indices], [index % outer for index in indices]]
            source = Scripted(*([first] * len(indices)), *both[0], *both[1])
            assert sorted(mechanism.replace(np.full(len(indices), word), source)) == expected.tolist()
            assert not source.left


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([(223, 3), (79, 4), (37, 4), (419, 4), (2, 16), (64007, 3)]), st.integers(0, 2**32))
def test_large_spaces_point_by_point(space, seed):
    order, dimension = space
    spec = ProjectiveGeometrySpec.from_epsilon(30_000, 4.0, order, dimension)
    generator = np.random.default_rng(seed)
    tokens = generator.integers(0, 30_000, 8)
    mechanism = ProjectiveGeometry(spec)
    observed = mechanism.observed(mechanism.release(tokens.tolist(), SimulatedRandomness(seed)))
    ranks = ranks_of(observed.T, order)
    assert np.array_equal(points_of(ranks, dimension, order).T, observed)
    assert ranks.min() >= 0
    assert ranks.max() < spec.points
    digits = base_digits(ranks % order ** (dimension - 1), dimension - 1, order)
    assert digits.max() < order


def chi_square_p(counts, expected):
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1))


class Words:
    """A source that hands out chosen 32-bit words, in order."""

    def __init__(self, *words):
        self.left = list(words)

    def words(self, count):
        given, self.left = self.left[:count], self.left[count:]
        assert len(given) == count, "more was drawn than expected"
        return np.array(given, dtype=np.uint32)


def words_of(*numbers, limit):
    """The first word of each number below a limit that is not drawn anew."""
    return [-(-((number << 32) + (1 << 32) % limit) // limit) for number in numbers]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 255, 49_151, (1 << 31) - 1])
def test_numbers_of_32_bits_below_a_limit_are_exactly_uniform(limit):
    """A number's words lie side by side: floor(2^32 / limit) of them count, those before the first are drawn anew."""
    each = (1 << 32) // limit
    for number in {0, limit // 2, limit - 1}:
        (first,) = words_of(number, limit=limit)
        assert narrow_below(limit, 2, Words(first, first + each - 1)).tolist() == [number, number]
        for beyond in filter(range(1 << 32).__contains__, (first - 1, first + each)):
            other = words_of((number + 1) % limit, limit=limit)
            assert narrow_below(limit, 1, Words(beyond, *other))[0] != number


@pytest.mark.parametrize(("limit", "size"), [(7, 3), (5, 4), (4, 4)])
def test_every_set_is_as_likely_and_sorted(limit, size):
    rows = 200 * math.comb(limit, size)
    found = sorted_samples(limit, size, rows, SimulatedRandomness(4)).astype(np.int64)
    assert (np.diff(found, axis=1) > 0).all()
    counts = np.unique(found @ limit ** np.arange(size), return_counts=True)[1]
    assert len(counts) == math.comb(limit, size)
    assert counts.sum() == rows
    if len(counts) > 1:
        assert chi_square_p(counts, 200.0) > FALSE_ALARM


@pytest.mark.parametrize(("limit", "kind"), [(49_151, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
def test_numbers_are_as_narrow_as_the_words_allow_and_alike(limit, kind):
    found = sorted_samples(limit, 200, 300, SimulatedRandomness(5))
    assert found.dtype == kind
    assert found.max() < limit
    assert (found[:, 1:] > found[:, :-1]).all()
    counts = np.bincount(found.reshape(-1).astype(np.int64) * 10 // limit, minlength=10)
    assert chi_square_p(counts, 6000.0) > FALSE_ALARM


def test_only_what_is_missing_is_drawn_anew():
    """Two rows of two: the first repeats itself twice over, the second differs at once."""
    source = Words(*words_of(3, 3, 4, 1, limit=5), *words_of(3, limit=5), *words_of(0, limit=5))
    assert sorted_samples(5, 2, 2, source).tolist() == [[0, 3], [1, 4]]
    assert not source.left


def test_the_largest_vocabulary_of_16_bits_holds_its_last_word():
    spec = SubsetSelectionSpec.from_epsilon(1 << 16, 30.0, 3)
    for token in (0, 65_535):
        sets = SubsetSelection(spec).replace(np.full(50, token), SimulatedRandomness(3))
        assert (sets == token).any(axis=1).all()
        assert (sets[:, 1:] > sets[:, :-1]).all()


def set_counts(mechanism, word, releases, seed):
    sets = list(itertools.combinations(range(mechanism.words), mechanism.spec.size))
    number = {one: index for index, one in enumerate(sets)}
    drawn = mechanism.replace(np.full(releases, word), SimulatedRandomness(seed))
    counts = np.bincount([number[tuple(row)] for row in drawn.tolist()], minlength=len(sets))
    return counts, np.array([word in one for one in sets])


@pytest.mark.parametrize("word", [0, 3, 5])
def test_theorem_24_sets_have_the_law_and_the_wrong_size_has_not(word):
    mechanism = SubsetSelection(SubsetSelectionSpec.from_epsilon(6, 1.2, 3))
    releases = 40_000
    counts, held = set_counts(mechanism, word, releases, word)
    p = float(mechanism.spec.chance)
    expected = releases * np.where(held, p / held.sum(), (1 - p) / (~held).sum())
    assert chi_square_p(counts, expected) > FALSE_ALARM / 3
    wrong = SubsetSelection(dataclasses.replace(mechanism.spec, inside=mechanism.spec.inside - (1 << 59)))
    assert chi_square_p(set_counts(wrong, word, releases, word)[0], expected) < FALSE_ALARM / 3


def test_what_is_drawn_does_not_depend_on_the_token():
    class Counting(SimulatedRandomness):
        drawn = 0

        def words(self, count):
            self.drawn += count
            return super().words(count)

    for mechanism in mechanisms()[:2]:
        drawn = set()
        for token in range(WORDS):
            source = Counting(1)
            mechanism.release([token] * 5, source)
            drawn.add(source.drawn)
        assert len(drawn) == 1


def test_memory_of_sampling_is_bounded_by_working_in_blocks(monkeypatch):
    monkeypatch.setattr(subset_module, "_BLOCK_DRAWS", 40)
    found = sorted_samples(9, 4, 50, SimulatedRandomness(2))
    assert found.shape == (50, 4)
    assert all(len(set(row)) == 4 for row in found.tolist())


@given(st.integers(1, 5), st.integers(2, 3000), st.data())
@settings(max_examples=60, deadline=None)
def test_every_set_comes_back_from_a_message_of_one_length(tokens, limit, data):
    size = data.draw(st.integers(1, limit // 2))
    layout = SetFormat(b"TEST", FINGERPRINT, limit, size)
    seed = data.draw(st.integers(0, 2**32))
    sets = np.sort(np.random.default_rng(seed).permuted(np.tile(np.arange(limit), (tokens, 1)), axis=1)[:, :size])
    message = layout.pack(sets)
    assert np.array_equal(layout.unpack(message), sets)
    assert len(message) == layout.length(tokens) == 16 + -(-tokens * layout.token_bits // 8)
    least = math.log2(math.comb(limit, size))
    assert least <= layout.token_bits <= least + size + math.log2(size) / 2 + 3


def test_sets_are_sent_in_little_more_bits_than_their_number_asks():
    bits = [SetFormat(b"TEST", FINGERPRINT, 49152, size).token_bits for size in (2820, 613, 116)]
    assert bits == [17171, 5058, 1235]
    least = [math.log2(math.comb(49152, size)) for size in (2820, 613, 116)]
    assert all(sent < 1.11 * one for sent, one in zip(bits, least, strict=True))


@pytest.mark.parametrize(("limit", "size"), [(300, 3), (49_152, 116), (9, 4)])
def test_a_message_written_in_blocks_is_the_same(limit, size, monkeypatch):
    sets = sorted_samples(limit, size, 37, SimulatedRandomness(6))
    layout = SetFormat(b"TEST", FINGERPRINT, limit, size)
    whole = layout.pack(sets)
    assert whole == layout.pack(sets.astype(np.int64))
    monkeypatch.setattr(message_module, "_BLOCK_BITS", 1)
    assert layout.pack(sets) == whole
    assert np.array_equal(layout.unpack(whole), sets)


@pytest.mark.parametrize("sets", [[], [[1]], [[-1, 2]], [[1, 5]], [[2, 1]], [[1, 1]], [[0.5, 1]]])
def test_what_is_no_set_is_not_packed(sets):
    with pytest.raises(UserError, match="Expected"):
        SetFormat(b"TEST", FINGERPRINT, 5, 2).pack(sets)


def test_every_stream_of_bits_is_a_set_or_refused():
    layout = SetFormat(b"TEST", FINGERPRINT, 5, 2)
    header, found = layout.pack([[0, 1]])[:16], set()
    for stream in range(256):
        try:
            found.add(tuple(layout.unpack(header + bytes([stream]))[0].tolist()))
        except UserError:
            continue
    assert layout.token_bits <= 8
    assert found == set(itertools.combinations(range(5), 2))


@by_mechanism
def test_scores_are_the_law_and_decoding_is_bayes_rule(index):
    mean, likely = (mechanisms(decoding)[index] for decoding in ("posterior-mean", "most-likely"))
    message = mean.release(np.arange(WORDS).repeat(3).tolist(), SimulatedRandomness(1))
    observed = mean.observed(message)
    symbols = SYMBOLS if isinstance(mean, CoarseWords) else np.arange(WORDS)
    spec = getattr(mean.spec, "inner", mean.spec)
    if isinstance(spec, ProjectiveGeometrySpec):
        points = points_of(np.arange(spec.words), spec.dimension, spec.order)
        held = (observed @ points % spec.order == 0)[:, symbols]
    else:
        released = observed.reshape(len(observed), -1)
        held = (released[:, :, None] == symbols).any(axis=1)
    law = np.where(held, math.exp(spec.log_odds), 1.0)
    scores = np.concatenate([block.copy() for _, block in mean.scores(observed, np.log(PRIOR))])
    posterior = law * PRIOR / (law * PRIOR).sum(axis=1, keepdims=True)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    assert shifted / shifted.sum(axis=1, keepdims=True) == pytest.approx(posterior, rel=1e-4, abs=1e-7)
    assert mean.embeddings(message) == pytest.approx((posterior @ TABLE).astype(np.float32), abs=1e-5)
    best = likely.embeddings(message)
    gained = np.array([posterior[row, (best[row] == TABLE).all(axis=1)].max() for row in range(len(best))])
    assert gained == pytest.approx(posterior.max(axis=1), rel=1e-5)


@by_mechanism
def test_messages_of_another_mechanism_are_refused(index):
    message = mechanisms()[index].release([1, 2], SimulatedRandomness(0))
    for other, mechanism in enumerate(mechanisms()):
        if other != index:
            with pytest.raises(UserError, match=r"mechanism|starts with"):
                mechanism.observed(message)
    inner = getattr(mechanisms()[index], "inner", None)
    if inner is not None:
        with pytest.raises(UserError, match="same mechanism"):
            inner.observed(message)
        with pytest.raises(UserError, match="same mechanism"):
            mechanisms()[index].observed(inner.release([1, 2], SimulatedRandomness(0)))
    with pytest.raises(UserError, match="16 bytes"):
        mechanisms()[index].observed(message[:13])


def test_the_most_informative_size_and_its_nats_are_those_of_the_theory():
    for epsilon, size, nats in ((4.0, 2820, 1.67), (6.0, 613, 3.22), (8.0, 116, 4.92)):
        spec = SubsetSelectionSpec.from_epsilon(49152, epsilon)
        assert (spec.size, round(spec.capacity, 2)) == (size, nats)
        for other in (size * 9 // 10, size * 11 // 10):
            assert SubsetSelectionSpec.from_epsilon(49152, epsilon, other).capacity < spec.capacity
    assert (best_size(10, 1e-9), best_size(10, 50.0), best_size(2, 0.1)) == (5, 1, 1)


@pytest.mark.parametrize("words", [13, 100, 400])
@pytest.mark.parametrize("epsilon", [1.0, 4.0, 7.0])
def test_the_best_space_is_found_and_its_information_is_what_enumeration_says(words, epsilon):
    uniform = np.full(words, 1 / words)
    specs = [ProjectiveGeometrySpec.from_epsilon(words, epsilon, *space) for space in spaces(words)]
    exact = [information(spec, uniform) for spec in specs]
    for spec, carried in zip(specs, exact, strict=True):
        assert uniform_information(spec) == pytest.approx(carried, rel=0.1 if words > 13 else 0.15)
    chosen = best_geometry(words, epsilon)
    assert information(chosen, uniform) >= 0.97 * max(exact)
    assert information(best_geometry(words, epsilon, uniform), uniform) == max(exact)
    assert chosen.log_odds <= epsilon


def test_information_under_a_prior_is_the_mutual_information(monkeypatch):
    spec = ProjectiveGeometrySpec.from_epsilon(10, 2.0, 3, 3)
    prior = PRIOR[:10] / PRIOR[:10].sum()
    held = ProjectiveGeometry(spec).supports(points_of(np.arange(13), 3, 3).T).T
    p = float(spec.chance)
    law = np.where(held, p / 4, (1 - p) / 9)
    truth = float((prior[:, None] * law * np.log(law / (prior @ law))).sum())
    assert information(spec, prior) == pytest.approx(truth, rel=1e-10)
    monkeypatch.setattr("mechanisms.rivals.geometry_search.EXACT_PAIRS", 0)
    assert information(spec, prior) == pytest.approx(truth, rel=0.05)


def test_a_space_carries_nearly_what_sets_carry_in_a_hundredth_of_the_bits():
    space, sets = best_geometry(49152, 6.0), SubsetSelectionSpec.from_epsilon(49152, 6.0)
    assert uniform_information(space) > 0.999 * sets.capacity
    assert 100 * ProjectiveGeometry(space).format.token_bits < SubsetSelection(sets).format.token_bits


def test_clusters_are_near_words_the_same_for_the_same_seed_and_saved(tmp_path):
    centres = GENERATOR.standard_normal((5, 6))
    table = (centres.repeat(8, axis=0) * GENERATOR.uniform(0.5, 2, (40, 1))).astype(np.float32)
    table += 0.01 * GENERATOR.standard_normal(table.shape).astype(np.float32)
    prior = np.arange(1.0, 41) / np.arange(1.0, 41).sum()
    symbols = spherical_clusters(table, prior, 5, 0.5, seed=1)
    assert np.array_equal(symbols, np.arange(5).repeat(8))
    assert np.array_equal(symbols, spherical_clusters(table, prior, 5, 0.5, seed=1))
    save_symbols(tmp_path / "map", symbols)
    assert np.array_equal(load_symbols(tmp_path / "map"), symbols)
    (tmp_path / "map").write_bytes(b"no map")
    with pytest.raises(UserError, match="hold a map of words to symbols"):
        load_symbols(tmp_path / "map")


def test_a_map_of_another_hash_is_refused():
    spec = CoarseWordsSpec.over(SubsetSelectionSpec.from_epsilon(11, 2.0), SYMBOLS)
    assert spec.to_dict()["inner_kind"] == "subset selection"
    other = CoarseWordsSpec.over(RandomizedResponseSpec.from_epsilon(11, 2.0), SYMBOLS)
    assert spec.fingerprint != other.fingerprint
    for wrong in (np.roll(SYMBOLS, 1), SYMBOLS[:-1]):
        with pytest.raises(UserError, match="load the map that the spec was made over"):
            CoarseWords(spec, wrong)


@pytest.mark.parametrize("epsilon", [0.5, 12.0])
def test_a_record_with_its_numbers_as_text_is_canonical_json_and_comes_back(epsilon):
    """Weights have 64 bits and canonical JSON's whole numbers 53: a certificate states them as text."""
    inner = [
        RandomizedResponseSpec.from_epsilon(11, epsilon),
        SubsetSelectionSpec.from_epsilon(11, epsilon, 3),
        ProjectiveGeometrySpec.from_epsilon(11, epsilon, 3, 3),
    ]
    for spec in (*inner, *(CoarseWordsSpec.over(one, SYMBOLS) for one in inner)):
        text = {name: str(v) if isinstance(v, int) and v > 1000 else v for name, v in spec.to_dict().items()}
        assert sum(isinstance(value, str) for value in text.values()) >= 2
        found = described(canonical_json.parse_canonical(canonical_json.canonical(text), "record"))
        assert (found, found.fingerprint) == (spec, spec.fingerprint)


@pytest.mark.parametrize("text", ["", "0", "01", "-5", "1.5", "1e3", " 7", "7\n", "\u0667", "1" * 21, True, None])
def test_a_weight_in_other_text_is_refused(text):
    for spec in (SubsetSelectionSpec.from_epsilon(11, 2.0), ProjectiveGeometrySpec.from_epsilon(11, 2.0, 3, 3)):
        with pytest.raises(UserError, match="inside to be a whole number"):
            described({**spec.to_dict(), "inside": text})
        with pytest.raises(UserError, match="inside to be a whole number"):
            described({**CoarseWordsSpec.over(spec, SYMBOLS).to_dict(), "inner_inside": text})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: SubsetSelectionSpec(1, 1, 1 << 63), "words"),
        (lambda: SubsetSelectionSpec(5, 3, 1 << 63), r"size to be a whole number in 1\.\.2, got size=3"),
        (lambda: SubsetSelectionSpec(4, 2, (1 << 63) - 1), "inside to be"),
        (lambda: SubsetSelectionSpec(4, 2, 1 << 64), "inside to be"),
        (lambda: SubsetSelectionSpec.from_epsilon(9, 0.0), "epsilon to be a finite number > 0, got epsilon=0"),
        (lambda: SubsetSelectionSpec.from_epsilon(9, 1e-17), "which 64 bits resolve"),
        (lambda: best_size(9, math.nan), "epsilon"),
        (lambda: ProjectiveGeometrySpec.from_epsilon(5, 1.0, 4, 3), "prime number, got order=4"),
        (lambda: ProjectiveGeometrySpec.from_epsilon(5, 1.0, 3, 1), "dimension"),
        (lambda: ProjectiveGeometrySpec.from_epsilon(14, 1.0, 3, 3), "13 points. best_geometry finds a space"),
        (lambda: ProjectiveGeometrySpec.from_epsilon(14, 1.0, 65537, 3), "best_geometry finds a space"),
        (lambda: best_geometry(5, 1.0, np.ones(4)), "prior over 5 words"),
        (lambda: SubsetSelection(SubsetSelectionSpec.from_epsilon(9, 1.0), decoding="plain"), "no word is released"),
        (lambda: SubsetSelection(SubsetSelectionSpec.from_epsilon(9, 1.0), TABLE), "table of 9 words"),
        (lambda: CoarseWordsSpec(SubsetSelectionSpec, 5, ""), "inner of type type"),
        (lambda: CoarseWordsSpec(SubsetSelectionSpec.from_epsilon(9, 1.0), 9, "0" * 63), "symbols to be 64 hex digits"),
        (lambda: CoarseWords(CoarseWordsSpec.over(SubsetSelectionSpec.from_epsilon(9, 1.0), SYMBOLS), SYMBOLS), "0..8"),
        (lambda: spherical_clusters(TABLE, None, 31), r"symbols to be a whole number in 2\.\.30"),
        (lambda: spherical_clusters(TABLE, None, 3, -1.0), "power >= 0"),
        (lambda: spherical_clusters(TABLE * np.nan, None, 3), "finite table"),
        (lambda: mechanisms()[0].release([], SimulatedRandomness(0)), "empty prompt"),
        (lambda: mechanisms()[1].release([WORDS], SimulatedRandomness(0)), "another tokenizer"),
        (lambda: mechanisms()[2].release([WORDS], SimulatedRandomness(0)), "another tokenizer"),
    ],
)
def test_what_does_not_fit_is_refused(make, reason):
    with pytest.raises(UserError, match=reason):
        make()
