import math
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import binom

from mechanisms import channel as channel_module
from mechanisms.channel import Channel, most_likely, posterior, posterior_mean
from mechanisms.errors import UserError
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec

TIE = 1e-3
"""Nats within which two words may be exchanged: the scores are single precision."""


def a_channel(bits, dim, words, mu=3.0, reach=0.07):
    """Returns a channel over random codes, of which some lie on the cube's faces, and two words that are alike."""
    spec = QuantizerSpec.from_mu(bits, dim, 0.05, mu)
    codes = np.random.default_rng(0).uniform(-reach, reach, (words, dim)).astype(np.float32)
    codes[-1] = codes[0]
    return Channel.of(spec, codes), codes


def a_prior(words, seed=1):
    prior = np.random.default_rng(seed).dirichlet(np.full(words, 0.5)) + 1e-6
    return prior / prior.sum()


def brute_force(spec, codes, counts):
    """Returns log P(counts | word), float64, shape (tokens, words), from the binomial law of each coordinate."""
    success = StochasticQuantizer(spec).thresholds(codes) / 2**32
    return binom.logpmf(counts[:, None, :], spec.trials, success[None]).sum(axis=2)


def all_counts(spec):
    return np.array(list(product(range(spec.trials + 1), repeat=spec.dim)), dtype=np.uint8)


@pytest.mark.parametrize("mu", [0.1, 3.0, 40.0])
@pytest.mark.parametrize(("bits", "dim"), [(1, 6), (2, 3), (4, 18), (8, 4)])
def test_scores_are_the_binomial_law_up_to_a_constant_of_the_counts(bits, dim, mu):
    channel, codes = a_channel(bits, dim, 12, mu)
    counts = np.random.default_rng(2).integers(0, channel.spec.trials + 1, (50, dim), dtype=np.uint8)
    ((rows, scores),) = channel.scores(counts)
    assert rows == slice(0, 50)
    difference = scores - brute_force(channel.spec, codes, counts)
    assert np.ptp(difference, axis=1).max() < TIE / 2


def test_scores_are_the_exact_integer_law():
    channel, codes = a_channel(2, 2, 6)
    thresholds = StochasticQuantizer(channel.spec).thresholds(codes).tolist()
    counts = all_counts(channel.spec)
    ((_, scores),) = channel.scores(counts)
    for row, released in zip(scores, counts.tolist(), strict=True):
        exact = [exact_likelihood(released, word, channel.spec.trials) for word in thresholds]
        for word, likelihood in enumerate(exact):
            assert row[word] - row[0] == pytest.approx(math.log(likelihood / exact[0]), abs=1e-5)


def exact_likelihood(counts, thresholds, trials):
    result = Fraction(1)
    for count, threshold in zip(counts, thresholds, strict=True):
        success = Fraction(threshold, 2**32)
        result *= math.comb(trials, count) * success**count * (1 - success) ** (trials - count)
    return result


def test_the_law_over_all_releases_sums_to_one():
    channel, codes = a_channel(2, 3, 5)
    counts = all_counts(channel.spec)
    assert np.allclose(np.exp(logsumexp(brute_force(channel.spec, codes, counts), axis=0)), 1, rtol=1e-12)
    ((_, scores),) = channel.scores(counts)
    ways = binom.logpmf(counts, channel.spec.trials, 0.5).sum(axis=1) + channel.spec.trials * 3 * math.log(2)
    assert np.allclose(np.exp(logsumexp(scores + ways[:, None], axis=0)), 1, rtol=1e-5)


@pytest.mark.parametrize("with_prior", [False, True], ids=["ML", "MAP"])
@pytest.mark.parametrize(("bits", "dim", "words"), [(1, 7, 9), (2, 3, 12), (4, 2, 30), (8, 1, 40)])
def test_the_most_likely_word_is_the_one_that_enumeration_finds(bits, dim, words, with_prior):
    channel, codes = a_channel(bits, dim, words, reach=0.05)
    log_prior = np.log(a_prior(words)) if with_prior else None
    counts = all_counts(channel.spec)
    scores = brute_force(channel.spec, codes, counts) + (0 if log_prior is None else log_prior)
    got = most_likely(channel, counts, log_prior)
    assert got.dtype == np.int64
    short = scores.max(axis=1) - scores[np.arange(len(counts)), got]
    assert short.max() < TIE
    best_two = np.sort(scores, axis=1)[:, -2:]
    clear = best_two[:, 1] - best_two[:, 0] > TIE
    assert clear.mean() > 0.5
    assert np.array_equal(got[clear], scores[clear].argmax(axis=1))


@pytest.mark.parametrize(("bits", "dim", "mu"), [(1, 6, 1.0), (2, 3, 0.2), (4, 2, 5.0)])
def test_posterior_mean_is_the_one_that_enumeration_finds(bits, dim, mu):
    words = 20
    channel, codes = a_channel(bits, dim, words, mu)
    prior = a_prior(words)
    table = np.random.default_rng(3).standard_normal((words, 7)).astype(np.float32)
    counts = all_counts(channel.spec)
    joint = np.log(prior) + brute_force(channel.spec, codes, counts)
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True)) @ table.astype(np.float64)
    got = posterior_mean(channel, counts, np.log(prior), table)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 1e-5


def test_the_posterior_is_calibrated_on_words_drawn_from_the_prior():
    """E[row | counts] has the mean of the rows: the law of total expectation, with the real quantizer in between."""
    words, prior = 20, a_prior(20)
    channel, codes = a_channel(4, 3, words, 2.0)
    table = np.random.default_rng(3).standard_normal((words, 5)).astype(np.float32)
    drawn = np.random.default_rng(4).choice(words, 20_000, p=prior)
    counts = StochasticQuantizer(channel.spec).quantize(codes[drawn], SimulatedRandomness(5))
    error = table[drawn] - posterior_mean(channel, counts, np.log(prior), table)
    assert (np.abs(error.mean(axis=0)) < 5 * error.std(axis=0) / np.sqrt(len(drawn))).all()


def test_blocks_make_no_difference(monkeypatch):
    channel, _ = a_channel(4, 5, 30)
    log_prior = np.log(a_prior(30))
    table = np.random.default_rng(3).standard_normal((30, 4)).astype(np.float32)
    tokens = 2 * channel_module.BLOCK_ROWS + 77
    counts = np.random.default_rng(2).integers(0, 16, (tokens, 5), dtype=np.uint8)
    whole = most_likely(channel, counts, log_prior), posterior_mean(channel, counts, log_prior, table)
    assert [rows for rows, _ in channel.scores(counts)] == [slice(0, 256), slice(256, 512), slice(512, 589)]
    monkeypatch.setattr(channel_module, "BLOCK_ROWS", 7)
    pieces = most_likely(channel, counts, log_prior), posterior_mean(channel, counts, log_prior, table)
    assert np.array_equal(whole[0], pieces[0])
    assert np.abs(whole[1] - pieces[1]).max() < 1e-5


def test_the_posteriors_entropy_is_the_one_that_enumeration_finds():
    words = 20
    channel, codes = a_channel(2, 3, words, 4.0)
    prior = a_prior(words)
    table = np.random.default_rng(3).standard_normal((words, 7)).astype(np.float32)
    counts = all_counts(channel.spec)
    joint = np.log(prior) + brute_force(channel.spec, codes, counts)
    logs = joint - logsumexp(joint, axis=1, keepdims=True)
    means, entropies = posterior(channel, counts, np.log(prior), table)
    assert np.abs(entropies + (np.exp(logs) * logs).sum(axis=1)).max() < 1e-4
    assert np.abs(means - posterior_mean(channel, counts, np.log(prior), table)).max() < 1e-6


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_no_more_scores_than_the_memory_limit_are_held(rows):
    words, tokens, width = 5_000, 200, 3
    channel, _ = a_channel(4, 5, words)
    log_prior = np.log(a_prior(words))
    table = np.random.default_rng(3).standard_normal((words, width)).astype(np.float32)
    counts = np.random.default_rng(2).integers(0, 16, (tokens, 5), dtype=np.uint8)
    expected = posterior(channel, counts, log_prior, table)
    limit = 4 * words * rows
    small = replace(channel, memory_limit=limit)
    for calculate in (posterior_mean, posterior):
        tracemalloc.start()
        got = calculate(small, counts, log_prior, table)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        fixed = channel.weights.nbytes + 9 * 4 * words  # the weights with the prior's row, and single rows
        assert peak < limit + fixed + 200_000
        assert np.abs((got if calculate is posterior_mean else got[0]) - expected[0]).max() < 1e-5
    assert max(len(block) for _, block in small.scores(counts, log_prior)) == rows


def test_a_memory_limit_below_one_token_is_refused():
    channel, _ = a_channel(4, 5, 30)
    with pytest.raises(UserError, match=r"memory_limit >= 120 bytes, one token's scores over 30 words, got .*119"):
        most_likely(replace(channel, memory_limit=119), np.zeros((2, 5), dtype=np.uint8))


def test_no_counts_have_no_scores():
    channel, _ = a_channel(4, 5, 30)
    nothing = np.zeros((0, 5), dtype=np.uint8)
    assert list(channel.scores(nothing)) == []
    assert most_likely(channel, nothing).shape == (0,)


def test_an_outlandish_count_does_not_overflow_the_posterior():
    spec = QuantizerSpec.from_mu(8, 18, 0.05, 1e6)
    codes = np.where(np.arange(18) < 9, 1, -1)[None] * np.array([[0.05], [-0.05]])
    channel = Channel.of(spec, codes.astype(np.float32))
    table = np.array([[0.0], [1.0]], dtype=np.float32)
    counts = np.full((1, 18), 255, dtype=np.uint8)
    got = posterior_mean(channel, counts, np.log([0.5, 0.5]), table)
    assert np.isfinite(got).all()


def test_counts_of_another_width_are_refused():
    channel, _ = a_channel(4, 5, 6)
    with pytest.raises(UserError, match="dim=5"):
        most_likely(channel, np.zeros((3, 4), dtype=np.uint8))


def test_a_prior_over_other_words_is_refused():
    channel, _ = a_channel(4, 5, 6)
    with pytest.raises(UserError, match="6 words"):
        most_likely(channel, np.zeros((3, 5), dtype=np.uint8), np.zeros(7))
