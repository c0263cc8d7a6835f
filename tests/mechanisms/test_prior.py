import numpy as np
import pytest

from mechanisms.errors import UserError
from mechanisms.prior import PSEUDO_COUNT, unigram_prior


def test_shares_are_the_smoothed_counts():
    got = unigram_prior([[0, 1, 1], [], [3]], 5)
    expected = (np.array([1, 2, 0, 1, 0]) + PSEUDO_COUNT) / (4 + 5 * PSEUDO_COUNT)
    assert got.dtype == np.float64
    assert np.allclose(got, expected, rtol=1e-15)
    assert got.sum() == pytest.approx(1, rel=1e-14)


def test_words_that_the_text_lacks_keep_a_probability():
    assert unigram_prior([[0] * 10_000], 1000).min() > 0


def test_documents_may_come_one_by_one():
    assert np.array_equal(unigram_prior(iter([[0, 1], [1]]), 3), unigram_prior([[1, 1, 0]], 3))


@pytest.mark.parametrize("documents", [[], [[]], [[], []]])
def test_no_text_is_refused(documents):
    with pytest.raises(UserError, match="at least one token"):
        unigram_prior(documents, 5)


@pytest.mark.parametrize("wrong", [5, -1, 10**9])
def test_a_token_outside_the_vocabulary_is_refused_by_its_number(wrong):
    with pytest.raises(UserError, match=rf"0\.\.4, got {wrong}"):
        unigram_prior([[0, 1], [wrong, 2]], 5)
