"""The amount of noise is estimated from releases, and what is then recovered is what is recovered by who knows it."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from attacks.unknown_noise import MUS, estimated_spec
from mechanisms.channel import Channel, most_likely
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec


def counts_of(pipeline, words, seed):
    return pipeline.observed(pipeline.release(words.tolist(), SimulatedRandomness(seed, "unknown noise")))


@pytest.mark.parametrize("mu", [4.0, 8.5, 22.0])
@pytest.mark.parametrize("seed", range(3))
def test_500_tokens_show_the_noise_within_a_grid_step(random_public, mu, seed):
    pipeline = random_public(bits=2, dim=18, mu=mu, words=60, seed=seed)
    words = np.random.default_rng(seed).choice(60, 500, p=pipeline.prior)
    counts, log_prior = counts_of(pipeline, words, seed), np.log(pipeline.prior)
    found = estimated_spec(pipeline.spec, pipeline.encoder.codes, log_prior, counts)
    assert abs(math.log2(found.mu / mu)) < 0.25 + 1e-6
    guesses = most_likely(Channel.of(found, pipeline.encoder.codes), counts, log_prior)
    known = most_likely(pipeline.channel, counts, log_prior)
    assert (guesses == words).mean() == pytest.approx((known == words).mean(), abs=0.02)
    wrong = most_likely(
        Channel.of(QuantizerSpec.from_mu(2, 18, 0.05, MUS[0]), pipeline.encoder.codes), counts, log_prior
    )
    assert mu < 8 or (wrong == words).mean() < (known == words).mean() - 0.1  # it matters which one it is


def test_the_likelihood_is_the_exact_one(random_public):
    pipeline = random_public(bits=1, dim=3, mu=3.0, words=5, seed=0)
    words = np.random.default_rng(0).choice(5, 40, p=pipeline.prior)
    counts, codes, exact = counts_of(pipeline, words, 0), pipeline.encoder.codes.astype(np.float64), {}
    for mu in MUS:
        spec = QuantizerSpec.from_mu(1, 3, 0.05, mu)
        chances = np.rint(2**32 * (0.5 + codes / (2 * spec.scale))) / 2**32
        law = {
            one: pipeline.prior @ binom.pmf(np.array(one), 1, chances).prod(axis=1)
            for one in product(range(2), repeat=3)
        }
        assert sum(law.values()) == pytest.approx(1, rel=1e-12)
        exact[mu] = sum(math.log(law[tuple(row)]) for row in counts.tolist())
    found = estimated_spec(pipeline.spec, pipeline.encoder.codes, np.log(pipeline.prior), counts)
    assert found == QuantizerSpec.from_mu(1, 3, 0.05, max(exact, key=exact.__getitem__))


def test_without_releases_or_candidates_there_is_nothing_to_estimate(random_public):
    pipeline = random_public(bits=1, dim=3, mu=3.0, words=5, seed=0)
    known = pipeline.spec, pipeline.encoder.codes, np.log(pipeline.prior)
    with pytest.raises(UserError, match="at least one each, got 0 and"):
        estimated_spec(*known, np.zeros((0, 3), np.uint8))
    with pytest.raises(UserError, match="got 1 and 0"):
        estimated_spec(*known, np.zeros((1, 3), np.uint8), ())
