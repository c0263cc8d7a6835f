"""What the tests of a law are made of: p-values that are bounds, blocks of scores, and the words that are compared."""

import numpy as np
import pytest
from scipy.stats import binom
from toy_own_mechanism import Bins

from del_audit.testing.report import ContractError
from del_audit.testing.sample import MESSAGE_TOKENS, all_scores, excess_p, samples
from del_audit.testing.subject import Subject
from mechanisms.public_words import PublicWords

TABLE = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
PUBLIC = PublicWords(TABLE, [list(range(40))])


@pytest.mark.parametrize("chance", [0.01, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("count", [0, 120, 200, 300, 400])
def test_a_p_value_is_above_the_exact_one_and_close_in_its_exponent(chance, count):
    """Of a binomial count: twice the smaller tail, which Chernoff's bound exceeds by less than a power of 0.8."""
    drawn = (np.arange(400) < count).astype(np.int64)
    log_chances = np.log(np.tile([1 - chance, chance], (400, 1)))
    found = excess_p(np.tile([0.0, 1.0], (400, 1)), drawn, log_chances)
    exact = min(1.0, 2 * float(min(binom.cdf(count, 400, chance), binom.sf(count - 1, 400, chance))))
    assert exact <= found * (1 + 1e-9) <= 1 + 1e-9
    if exact < 1e-4:
        assert found <= exact**0.8


class Blocks:
    """A channel over 40 words whose blocks are given."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def scores(self, observed, log_prior=None):
        yield from self.blocks


def rows(start, stop, **changes):
    return slice(start, stop), np.zeros((stop - start, 40), **{"dtype": np.float32, **changes})


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ([rows(0, 3)], "3 of 4 rows"),
        ([], "0 of 4 rows"),
        ([rows(0, 3), rows(2, 4)], r"rows slice\(2, 4, None\) after 3 of 4"),
        ([rows(1, 4)], r"rows slice\(1, 4, None\) after 0 of 4"),
        ([([0, 1, 2, 3], rows(0, 4)[1])], r"rows \[0, 1, 2, 3\] after 0 of 4"),
        ([(slice(0, 4), rows(0, 3)[1])], r"shape \(3, 40\), expected \(4, 40\)"),
        ([rows(0, 4, dtype=np.float64)], "float64, expected float32"),
        ([(slice(0, 4), [[0.0] * 40] * 4)], "list, expected float32"),
    ],
)
def test_blocks_that_are_not_the_scores_of_each_row_once_are_refused(blocks, said):
    with pytest.raises(ContractError, match=said):
        all_scores(Blocks(*blocks), np.arange(4), 40)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_logarithms_are_refused(value):
    where, block = rows(0, 4)
    block[2, 3] = value
    with pytest.raises(ContractError, match="NaN or"):
        all_scores(Blocks((where, block)), np.arange(4), 40)


def test_a_block_may_be_overwritten_by_the_next():
    class Overwritten:
        def scores(self, observed, log_prior=None):
            block = np.empty((1, 40), dtype=np.float32)
            for at in range(len(observed)):
                block[:] = observed[at]
                yield slice(at, at + 1), block

    assert all_scores(Overwritten(), np.arange(4), 40)[:, 7].tolist() == [0, 1, 2, 3]
    assert all_scores(Overwritten(), np.arange(4), 40, np.array([1, 7]))[:, 1].tolist() == [0, 1, 2, 3]


def test_words_at_random_far_apart_and_close_together_are_compared():
    mechanism = Bins.of(PUBLIC, bins=5, decay=2.0)
    found = samples(Subject.of(mechanism, None, 0, 1e-6), mechanism)
    bins = [set(mechanism.bin_of[sample.group]) for sample in found]
    assert len(found) == 5
    assert {0, 4} <= bins[1]
    assert all(len(near) == 1 for near in bins[2:])
    for sample in found:
        assert 5 <= len(set(sample.group)) == len(sample.group) <= 8
        assert len(sample.drawn) == len(sample.observed) == 8_192
        assert len(sample.drawn) % MESSAGE_TOKENS == 0
        assert sample.posterior.sum(axis=1) == pytest.approx(1.0)


def test_a_vocabulary_of_few_words_is_compared_whole():
    public = PublicWords(TABLE[:6], [list(range(6))])
    mechanism = Bins.of(public, bins=3)
    (sample,) = samples(Subject.of(mechanism, public, 0, 1e-6), mechanism)
    assert sample.group.tolist() == list(range(6))
    expected = mechanism.law[mechanism.bin_of][:, sample.observed[:, 0].astype(int)].T
    assert sample.posterior == pytest.approx(expected / expected.sum(axis=1, keepdims=True), rel=1e-5)
