"""Distinct-n counts what Li et al. (2016) count, and its interval leaves out whole documents."""

import numpy as np
import pytest

from del_audit.evidence.diversity import distinct, words
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

TEXTS = ["the cat sat on the mat", "The cat ran", "a dog"]


@pytest.mark.parametrize(("n", "different"), [(1, 8), (2, 7), (3, 5)])
def test_different_n_grams_over_all_words(n, different):
    figure = distinct(TEXTS, n)
    assert figure.value == different / 11
    assert figure.unit == f"distinct {n}-grams a word"
    assert (figure.sample, figure.documents) == (3, 3)
    assert 0 <= figure.lower <= figure.value <= figure.upper <= 1


def test_leaving_a_document_out_is_counting_again_without_it():
    clusters = ["x", "y", "x"]
    figure = distinct(TEXTS, 2, clusters)
    without = np.array([distinct([TEXTS[1], ""], 2).value, distinct([TEXTS[0], TEXTS[2]], 2).value])
    error = np.sqrt(((without - without.mean()) ** 2).sum() / 2)
    assert figure.documents == 2
    assert figure.lower == max(0.0, figure.value - 12.706204736174694 * error)


def test_repeating_lowers_it_and_writing_nothing_is_zero():
    assert distinct(["a b c", "a b c"], 1).value == 0.5
    assert distinct(["a b c", "d e f"], 1).value == 1.0
    assert (distinct(["", ""], 1).value, distinct(["", ""], 1).upper) == (0.0, 0.0)
    assert distinct(["a", "b"], 2).value == 0.0


def test_the_interval_covers_the_expectation():
    generator = simulation_generator(0, "zipf")
    shares = 1 / np.arange(1, 1001)
    shares /= shares.sum()
    figures = []
    for _ in range(200):
        lengths = generator.integers(5, 40, 25)
        texts = [" ".join(f"w{i}" for i in generator.choice(1000, length, p=shares)) for length in lengths]
        figures.append(distinct(texts, 1))
    truth = np.mean([figure.value for figure in figures])
    assert np.mean([figure.lower <= truth <= figure.upper for figure in figures]) >= 0.92


def test_words_are_lower_case_and_marks_are_words():
    assert words("Don't stop.\n") == ["don", "'", "t", "stop", "."]


def test_distinct_refuses():
    with pytest.raises(UserError, match="n=0"):
        distinct(TEXTS, 0)
    with pytest.raises(UserError, match="two documents"):
        distinct(TEXTS, 1, ["x", "x", "x"])
