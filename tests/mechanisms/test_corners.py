import itertools

import numpy as np
import pytest

from mechanisms.corners import MOST_COORDINATES, corner_signs, nested_basis


def span(rows):
    codewords = np.zeros(1, dtype=np.int64)
    for row in rows:
        codewords = np.concatenate([codewords, codewords ^ row])
    return codewords


def smallest_distance(signs):
    return min(int((a != b).sum()) for a, b in itertools.combinations(signs, 2))


@pytest.mark.parametrize("dim", [1, 3, 6, 8])
def test_each_row_is_as_far_from_the_span_before_as_any_vector_is(dim):
    basis = nested_basis(dim, dim)
    for count in range(dim):
        before = span(basis[:count])
        distances = [min(int(np.bitwise_count(vector ^ word)) for word in before) for vector in range(1 << dim)]
        assert distances[basis[count]] == max(distances)
    assert sorted(span(basis).tolist()) == list(range(1 << dim))


def test_eight_coordinates_give_the_extended_hamming_code():
    codewords = span(nested_basis(8, 4))
    assert sorted(np.bitwise_count(codewords).tolist()) == [0, *[4] * 14, 8]


def test_the_commoner_words_lie_further_apart():
    prior = np.random.default_rng(0).dirichlet(np.ones(3000))
    signs = corner_signs(prior, 18, seed=0)[np.argsort(-prior)]
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert [smallest_distance(signs[:count]) for count in (2, 8, 32, 128)] == [18, 8, 8, 6]
    assert len({row.tobytes() for row in signs}) == 3000


def test_equal_priors_take_the_order_of_the_words():
    prior = np.full(5, 0.2)
    assert np.array_equal(corner_signs(prior, 4, seed=0), corner_signs(prior[::-1], 4, seed=3))


@pytest.mark.parametrize(("words", "dim"), [(300, MOST_COORDINATES + 1), (300, 8)])
def test_corners_are_drawn_where_there_are_too_few_or_too_many(words, dim):
    prior = np.full(words, 1 / words)
    signs = corner_signs(prior, dim, seed=1)
    assert signs.shape == (words, dim)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.sum()) < 5 * np.sqrt(signs.size)
    assert np.abs(np.corrcoef(signs.T) - np.eye(dim)).max() < 5 / np.sqrt(words)
    assert np.array_equal(signs, corner_signs(prior, dim, seed=1))
    assert not np.array_equal(signs, corner_signs(prior, dim, seed=2))
