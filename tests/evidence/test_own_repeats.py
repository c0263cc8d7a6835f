"""A prompt's own repeats: pooled exactly as so many releases of one token are, and counted once per prompt."""

from dataclasses import replace

import numpy as np
import pytest

from attacks.base import AttackerKnowledge
from attacks.repeated import repeated
from del_audit.evidence.inversion.leakage import COMMON_WORDS
from del_audit.evidence.inversion.own_repeats import measure_own_repeats
from del_audit.service.releases import Releases
from mechanisms.encoder import Encoder
from mechanisms.pipeline import assemble
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec

WORDS, LENGTH = 300, 40


@pytest.fixture
def public():
    generator = np.random.default_rng(0)
    spec, table = QuantizerSpec.from_mu(2, 8, 0.05, 6.0), generator.standard_normal((WORDS, 8), np.float32)
    encoder = Encoder.of(generator.uniform(-0.05, 0.05, (WORDS, 8)), 0.05)
    shares = [[word] for word in range(WORDS) for _ in range(1 + (word < COMMON_WORDS))]
    pipeline = assemble(table, shares, spec, encoder, decoder="linear")
    return AttackerKnowledge(pipeline, pipeline.table, pipeline.prior)


def prompts_of(count):
    """Returns prompts in which four rarer words occur 9, 5, 2 and 1 times, among commonest words."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(count):
        rare = generator.choice(np.arange(COMMON_WORDS, WORDS), 4, replace=False)
        words = np.repeat(rare, (9, 5, 2, 1)).tolist()
        words += generator.integers(0, COMMON_WORDS, LENGTH - len(words)).tolist()
        found.append(generator.permutation(words).tolist())
    return found


def released(public, prompts):
    source = SimulatedRandomness(0, "own repeats")
    return Releases([public.mechanism.release(p, source) for p in prompts], prompts, list(range(len(prompts))))


def test_pooled_they_are_read_as_so_many_releases_of_one_token(public):
    prompts = prompts_of(60)
    sent = released(public, prompts)
    found = measure_own_repeats(public, sent, longest=LENGTH, seed=0)
    assert [(one.times, one.words) for one in found] == [(1, 240), (2, 180), (4, 120), (8, 60)]
    for one in found:
        sends = repeated(public.mechanism, one.times)
        assert one.pooled is not None
        pooled, first = [], []
        for prompt, message in zip(prompts, sent.messages, strict=True):
            counts = public.mechanism.observed(message)
            for word in dict.fromkeys(prompt):
                places = [place for place, other in enumerate(prompt) if other == word][: one.times]
                if word >= COMMON_WORDS and len(places) == one.times:
                    mean = counts[places].mean(axis=0, keepdims=True)
                    for where, channel, seen in ((pooled, sends, mean), (first, public.mechanism, counts[places[:1]])):
                        ((_, scores),) = channel.scores(seen, public.log_prior)
                        where.append(int(scores.argmax()) == word)
        assert one.pooled.value == np.mean(pooled)
        assert one.once.value == np.mean(first)
        assert one.pooled.documents == 60
    rates = [one.pooled.value for one in found]
    assert rates == sorted(rates)
    assert found[-1].pooled.lower > found[-1].once.upper
    assert found[0].pooled == found[0].once
    assert found[0].to_dict()["pooled"] == found[0].pooled.to_dict()


def test_every_sending_counts(public):
    prompts = prompts_of(40)
    twice = replace(public, mechanism=repeated(public.mechanism, 2))
    once, more = (
        measure_own_repeats(world, released(world, prompts), longest=LENGTH, seed=0) for world in (public, twice)
    )
    assert all(two.pooled.value > one.pooled.value for one, two in zip(once[:3], more, strict=False))


def test_too_few_words_have_no_figure(public):
    found = measure_own_repeats(public, released(public, prompts_of(20)), longest=LENGTH, seed=0)
    assert [(one.words, one.pooled is None) for one in found] == [(80, False), (60, False), (40, False), (20, True)]
    assert found[-1].to_dict() == {"times": 8, "words": 20, "pooled": None, "once": None}
