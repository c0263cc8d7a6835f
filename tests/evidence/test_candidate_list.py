"""Figures of texts picked from lists: chance, certainty, lengths, ties, and an interval that covers."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.stats import binom

from attacks.base import AttackerKnowledge
from attacks.repeated import repeated
from del_audit.evidence.candidate_list import ListFigure, measure_lists
from del_audit.statistics.intervals import clopper_pearson, unequal_rates
from mechanisms.errors import UserError
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.rivals import RandomizedResponse, RandomizedResponseSpec
from mechanisms.spec import QuantizerSpec

WORDS = 60
PRIVATE, PUBLIC = "the other private texts", "windows of public text"


def some_texts(count, lengths, label):
    generator = simulation_generator(0, label)
    return [generator.integers(0, WORDS, generator.choice(lengths)).tolist() for _ in range(count)]


TEXTS = some_texts(40, [12, 20, 40], "private")
DOCUMENTS = some_texts(300, [50, 70], "public")


@pytest.fixture(scope="module")
def world():
    table = simulation_generator(0, "table").standard_normal((WORDS, 8)).astype(np.float32)

    def make(mu):
        pipeline = assemble(table, DOCUMENTS, QuantizerSpec.from_mu(4, 4, 0.05, mu), EncoderSettings())
        return AttackerKnowledge(pipeline, table, pipeline.prior)

    return make


def measured(public, texts=TEXTS, longest=16, seed=0, **options):
    source = SimulatedRandomness(seed, "lists")
    release = lambda text: public.mechanism.release(text, source)  # noqa: E731
    return measure_lists(public, texts, release, DOCUMENTS, longest, seed, **options)


def keys(figures):
    return [(one.tokens, one.candidates, one.decoys, one.lengths) for one in figures]


def test_each_length_has_both_lists_and_the_true_lengths_come_last(world):
    figures = measured(world(2.0), longest=24, decoys=500)
    assert keys(figures) == [
        (8, 40, PRIVATE, "equal"),
        (8, 500, PUBLIC, "equal"),
        (16, figures[2].candidates, PRIVATE, "equal"),
        (16, 500, PUBLIC, "equal"),
        (24, 40, PRIVATE, "true"),  # fewer than 20 texts have 24 tokens
    ]
    assert 20 <= figures[2].candidates == sum(len(text) >= 16 for text in TEXTS) < 40
    for one in figures:
        assert one.chance == pytest.approx(1 / one.candidates)
        assert one.success.unit == "share of texts picked out"
        assert "over the noise" in one.success.method
        assert one.success.lower <= one.success.value <= one.success.upper
        assert TypeAdapter(ListFigure).validate_python(one) == one


def test_lists_have_as_many_texts_as_there_are(world):
    figures = measured(world(2.0), longest=8, texts_at_most=25, decoys=10**6)
    assert keys(figures)[0] == (8, 25, PRIVATE, "equal")
    windows = sum(len(document) - 7 for document in DOCUMENTS)
    assert keys(figures)[1] == (8, windows + 1, PUBLIC, "equal")
    assert [one.decoys for one in measured(world(2.0), longest=8, decoys=99)] == [PRIVATE, PRIVATE]
    assert measured(world(2.0), TEXTS[:19]) == ()
    assert [one.tokens for one in measured(world(2.0), longest=5)] == [5, 5, 5]


def test_a_release_that_says_nothing_leaves_chance(world):
    public = world(1e-6)
    hits = {PRIVATE: 0, PUBLIC: 0}
    for seed in range(10):
        for one in measured(public, longest=8, seed=seed, decoys=400)[:2]:
            hits[one.decoys] += round(one.success.value * 40)
    assert 1e-6 < binom.cdf(hits[PRIVATE], 400, 1 / 40) < 1 - 1e-6
    assert hits[PRIVATE] > 0
    assert hits[PUBLIC] <= binom.isf(1e-6, 400, 1 / 400)


def test_longer_texts_and_smaller_lists_are_picked_more_often(world):
    public, texts = world(1.0), some_texts(100, [40], "longer")
    found = {(one.tokens, one.decoys): one.success.value for one in measured(public, texts, longest=32)[:-1]}
    for decoys in (PRIVATE, PUBLIC):
        values = [found[tokens, decoys] for tokens in (8, 16, 32)]
        assert values == sorted(values)
        assert values[0] < values[-1]
    assert all(found[tokens, PUBLIC] <= found[tokens, PRIVATE] for tokens in (8, 16, 32))
    assert {one.success.value for one in measured(world(60.0), texts, longest=32)} == {1.0}


def test_more_sends_are_pooled(world):
    public, texts = world(1.0), some_texts(100, [40], "longer")
    once = measured(public, texts, longest=8)
    often = measured(replace(public, mechanism=repeated(public.mechanism, 8)), texts, longest=8)
    assert often[0].success.lower > once[0].success.upper


def test_a_length_that_no_other_text_has_gives_a_text_away(world):
    texts = [[5] * length for length in range(1, 31)]
    figures = measured(world(1e-6), texts, longest=40)
    assert figures[-1].lengths == "true"
    assert figures[-1].success.value == 1.0


def test_each_text_is_released_once_and_cut(world):
    public, sent = world(2.0), []

    def release(text):
        sent.append(list(text))
        return public.mechanism.release(text, SimulatedRandomness(len(sent), "once"))

    measure_lists(public, TEXTS, release, DOCUMENTS, 16, 0)
    assert sorted(sent) == sorted(text[:16] for text in TEXTS)


def test_equal_texts_are_drawn_from(world):
    texts = [[number // 2, *range(20, 27)] for number in range(60)]
    hits = sum(round(measured(world(80.0), texts, 8, seed)[0].success.value * 60) for seed in range(5))
    assert 1e-6 < binom.cdf(hits, 300, 0.5) < 1 - 1e-6


def test_the_same_seed_gives_the_same_figures(world):
    assert measured(world(1.0), seed=3) == measured(world(1.0), seed=3)
    assert measured(world(1.0), seed=3) != measured(world(1.0), seed=4)


def test_the_interval_covers_the_texts_own_mean_rate():
    """Of forty texts twenty have a twin that differs in one word, and are mixed up with it; the others hardly ever."""
    spec = RandomizedResponseSpec.from_epsilon(WORDS, 3.5)
    public = AttackerKnowledge(RandomizedResponse(spec), np.eye(WORDS, dtype=np.float32), np.full(WORDS, 1 / WORDS))
    generator = simulation_generator(0, "rates")
    near = [[number] * 8 for number in range(10)]
    texts = [*near, *([*text[:-1], 40 + place] for place, text in enumerate(near)), *some_texts(20, [8], "far")]
    values, ends = [], []
    for seed in generator.integers(0, 1 << 30, 300).tolist():
        figure = measured(public, texts, 8, seed, decoys=1)[0].success
        values.append(figure.value)
        ends.append((figure.lower, figure.upper))
    truth = float(np.mean(values))
    assert 0.6 < truth < 0.95
    misses = sum(not lower <= truth <= upper for lower, upper in ends)
    assert binom.sf(misses - 1, 300, 0.05) > 1e-6


@pytest.mark.parametrize("rates", [[1.0, 1e-3], [0.02] * 40, [0.9] * 20 + [0.1] * 20, [1.0] + [0.01] * 9])
def test_limits_for_unequal_rates_fail_at_either_end_as_often_as_they_say(rates):
    law = np.ones(1)
    for rate in rates:
        law = np.convolve(law, [1 - rate, rate])
    truth, trials = float(np.mean(rates)), len(rates)
    limits = [unequal_rates(successes, trials) for successes in range(trials + 1)]
    assert sum(law[k] for k, (lower, _) in enumerate(limits) if truth < lower) <= 0.025
    assert sum(law[k] for k, (_, upper) in enumerate(limits) if truth > upper) <= 0.025
    assert limits[trials // 2 + 1] == clopper_pearson(trials // 2 + 1, trials) or trials == 2


@pytest.mark.parametrize("wrong", [{"longest": 0}, {"texts_at_most": 0}, {"decoys": 0}])
def test_sizes_below_one_are_refused(world, wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} >= 1"):
        measured(world(2.0), **wrong)
