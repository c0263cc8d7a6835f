"""Fixtures of the attacks' tests: small public worlds whose every release can be enumerated."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from attacks.base import AttackerKnowledge
from mechanisms.channel import Channel
from mechanisms.client import Client
from mechanisms.decoding import LinearDecoder
from mechanisms.encoder import Encoder
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack


@pytest.fixture(scope="session")
def make_public() -> Callable[..., Pipeline]:
    """Returns a maker of pipelines from codes in units of the clip, and a prior; embeddings are turned codes."""

    def make(spec: QuantizerSpec, shares: NDArray[np.float64], prior: NDArray[np.float64], seed: int = 0) -> Pipeline:
        turn = np.random.default_rng(seed).standard_normal((spec.dim, 3 * spec.dim))
        encoder = Encoder.of(np.asarray(shares) * spec.clip, spec.clip)
        table = (encoder.codes @ turn).astype(np.float32)
        linear = LinearDecoder.fit(StochasticQuantizer(spec), encoder, prior, table)
        return Pipeline(spec, table, prior, encoder, Channel.of(spec, encoder.codes), linear, linear)

    return make


@pytest.fixture(scope="session")
def random_public(make_public: Callable[..., Pipeline]) -> Callable[..., Pipeline]:
    """Returns a maker of pipelines with random codes and a random prior."""

    def make(bits: int, dim: int, mu: float, words: int, seed: int) -> Pipeline:
        generator = np.random.default_rng(seed)
        prior = generator.dirichlet(np.full(words, 0.5)) + 1e-4
        shares = generator.uniform(-1, 1, (words, dim))
        return make_public(QuantizerSpec.from_mu(bits, dim, 0.05, mu), shares, prior / prior.sum(), seed)

    return make


@pytest.fixture(scope="session")
def exact_success() -> Callable[..., float]:
    """Returns the exact success of an attack on one token: the sum over all releases of P(word) P(release | word).

    law: the spec that really releases, where it is not the one that the attacker knows.
    """

    def success(attack: Any, public: Pipeline, law: QuantizerSpec | None = None) -> float:
        spec = law or public.spec
        counts = np.array(list(product(range(spec.trials + 1), repeat=spec.dim)), dtype=np.uint8)
        attacker = attack.fit(AttackerKnowledge(public, public.table, public.prior))
        guesses = attacker.guess([pack(counts, public.spec)])[0].best
        thresholds = StochasticQuantizer(spec).thresholds(public.encoder.codes)[guesses] / 2**32
        chance = binom.pmf(counts, spec.trials, thresholds).prod(axis=1)
        return float(public.prior[guesses] @ chance)

    return success


@pytest.fixture(scope="session")
def release() -> Callable[..., tuple[list[bytes], NDArray[np.int64]]]:
    """Returns a maker of messages of 50 tokens drawn from the prior, and the tokens."""

    def make(public: Pipeline, messages: int, seed: int) -> tuple[list[bytes], NDArray[np.int64]]:
        client = Client(None, public, 50, SimulatedRandomness(seed, "attacks"))
        words = np.random.default_rng(seed).choice(len(public.prior), (messages, 50), p=public.prior)
        return [client.release_tokens(row.tolist()) for row in words], words.reshape(-1)

    return make
