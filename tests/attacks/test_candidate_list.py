"""The attack on lists against brute force on tiny mechanisms, its ties, its windows and its self-test."""

import re
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from attacks.base import AttackerKnowledge
from attacks.candidate_list import OPENING, CandidateList, picked, public_windows, self_test_of_lists
from attacks.history import history
from attacks.repeated import join, repeated
from attacks.self_test import References
from mechanisms.channel import Channel
from mechanisms.errors import UserError
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.rivals import Points, RandomizedResponse, RandomizedResponseSpec, RanText, RanTextSpec
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

WORDS = 5
EVERY = np.array(list(product(range(WORDS), repeat=3)))


def of(mechanism, table):
    return AttackerKnowledge(mechanism, table, np.full(len(table), 1 / len(table)))


@pytest.fixture(scope="module")
def pipeline(random_public):
    return random_public(bits=2, dim=2, mu=3.0, words=WORDS, seed=0)


@pytest.fixture(scope="module")
def public(pipeline):
    return of(pipeline, pipeline.table)


def log_law(pipeline, counts):
    """Returns log P(counts of each token | word), shape (tokens, words)."""
    chance = StochasticQuantizer(pipeline.spec).thresholds(pipeline.encoder.codes) / 2**32
    return binom.logpmf(counts[:, None].astype(int), pipeline.spec.trials, chance[None]).sum(axis=2)


def summed(law, texts):
    """Returns each text's sum over its tokens, one by one."""
    return np.array([sum(law[place, word] for place, word in enumerate(text)) for text in texts])


def less_constant(values):
    return values - values.max()


def test_it_is_the_sum_of_the_exact_law_of_a_quantizer(public, pipeline):
    generator = np.random.default_rng(1)
    for _ in range(20):
        counts = generator.integers(0, pipeline.spec.trials + 1, (3, 2)).astype(np.uint8)
        found = CandidateList().fit(public).log_likelihood(pack(counts, pipeline.spec), EVERY)
        assert found.shape == (len(EVERY),)
        expected = summed(log_law(pipeline, counts), EVERY)
        assert less_constant(found) == pytest.approx(less_constant(expected), abs=1e-5)


def test_it_is_the_sum_of_the_exact_law_of_randomised_response():
    spec = RandomizedResponseSpec.from_epsilon(WORDS, 1.5)
    mechanism = RandomizedResponse(spec)
    message = mechanism.release([3, 0, 3], SimulatedRandomness(0, "list"))
    sent = mechanism.observed(message)
    rest = 1 / (np.exp(1.5) + WORDS - 1)
    law = np.log(np.where(np.arange(WORDS) == sent[:, None], np.exp(1.5) * rest, rest))
    found = CandidateList().fit(of(mechanism, np.eye(WORDS, dtype=np.float32))).log_likelihood(message, EVERY)
    assert found == pytest.approx(summed(law, EVERY), abs=1e-5)


def test_all_sends_of_a_text_are_pooled(public, pipeline):
    counts = np.random.default_rng(2).integers(0, pipeline.spec.trials + 1, (4, 3, 2)).astype(np.uint8)
    message = join([pack(one, pipeline.spec) for one in counts])
    expected = sum(summed(log_law(pipeline, one), EVERY) for one in counts)
    reader = CandidateList().fit(replace(public, mechanism=repeated(pipeline, 4)))
    assert less_constant(reader.log_likelihood(message, EVERY)) == pytest.approx(less_constant(expected), abs=1e-4)


def test_all_exchanges_of_a_chat_are_pooled(public, pipeline):
    counts = np.random.default_rng(3).integers(0, pipeline.spec.trials + 1, (4, 2)).astype(np.uint8)
    message = join([pack(counts[:1], pipeline.spec), pack(counts[1:], pipeline.spec)])
    expected = summed(log_law(pipeline, counts[1:]), EVERY) + log_law(pipeline, counts[:1])[0, EVERY[:, 0]]
    reader = CandidateList().fit(replace(public, mechanism=history(pipeline, 2)))
    assert less_constant(reader.log_likelihood(message, EVERY)) == pytest.approx(less_constant(expected), abs=1e-4)


def test_first_tokens_are_read_as_their_own_message_would_be(public, pipeline):
    counts = np.array([[0, 3], [2, 1], [3, 3]], dtype=np.uint8)
    reader, two = CandidateList().fit(public), np.array(list(product(range(WORDS), repeat=2)))
    found = reader.of_observed(reader.observed(pack(counts, pipeline.spec))[:2], two)
    assert found == pytest.approx(reader.log_likelihood(pack(counts[:2], pipeline.spec), two), abs=1e-5)


def test_long_messages_are_scored_block_by_block(public, pipeline):
    text = np.random.default_rng(4).integers(0, WORDS, 700)
    message = pipeline.release(text.tolist(), SimulatedRandomness(1, "list"))
    listed = np.stack([text, text[::-1]])
    law = log_law(pipeline, pipeline.observed(message))
    found = CandidateList().fit(public).log_likelihood(message, listed)
    assert np.ptp(found) == pytest.approx(np.ptp(summed(law, listed)), rel=1e-5)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([[0, 1]], "candidates of 3 tokens, as in the message, got 2"),
        ([[0, 1, WORDS]], r"candidates' tokens in 0..4, got 5"),
        ([[0, -1, 2]], r"candidates' tokens in 0..4, got -1"),
        ([0, 1, 2], r"shape \(texts >= 1, tokens\), got int64 of shape \(3,\)"),
        ([[0.0, 1.0, 2.0]], "whole numbers"),
        (np.zeros((0, 3), int), "texts >= 1"),
    ],
)
def test_other_lists_are_refused(public, pipeline, listed, message):
    sent = pipeline.release([0, 1, 2], SimulatedRandomness(0, "list"))
    with pytest.raises(UserError, match=message):
        CandidateList().fit(public).log_likelihood(sent, np.array(listed))


def test_a_mechanism_without_a_known_law_is_refused():
    points = Points.of(np.random.default_rng(0).standard_normal((WORDS, 2)))
    table = np.eye(WORDS, dtype=np.float32)
    with pytest.raises(UserError, match="whose law is known"):
        CandidateList().fit(of(RanText(RanTextSpec.over(points, 1.0), points, table), table))


def test_a_tie_is_worth_a_draw_among_equals():
    assert picked(np.array([0.0, -1.0, 0.0, 0.0]), 0) == pytest.approx(1 / 3)
    assert picked(np.array([0.0, -1.0, 0.0, 0.0]), 1) == 0
    assert picked(np.array([-1e-6, 0.0]), 0) == 0.5  # as float32 scores of equal texts may differ
    assert picked(np.array([0.5, 0.0]), 0) == 1
    assert picked(np.full(4, -np.inf), 2) == 0.25
    assert picked(np.array([-np.inf, -3.0]), 0) == 0


def test_the_draw_is_the_mean_of_every_order_of_the_list():
    """Naming the first of equals would depend on where the list has the truth; the draw is its mean over all places."""
    scores = np.array([2.0, 2.0, 1.0, 2.0])
    first = [np.argmax(np.roll(scores, shift)) == shift for shift in range(4) if scores[-shift] == 2.0]
    assert picked(scores, 0) == pytest.approx(np.mean(first))


def test_public_windows_differ_in_their_openings_and_begin_with_documents():
    generator = np.random.default_rng(0)
    documents = [generator.integers(0, 30, length).tolist() for length in (5, 12, 25, 40, 40)]
    documents += [[*documents[2][:OPENING], 1, 2, 3, 4], documents[3]]
    but = [[*documents[4][:OPENING], 29, 29, 29, 29]]
    found = [tuple(row) for row in public_windows(documents, 12, 100, but, seed=3).tolist()]
    assert len({row[:OPENING] for row in found}) == len(found) == 1 + 14 + 29 + 28
    assert tuple(documents[4][:OPENING]) not in {row[:OPENING] for row in found}
    assert {tuple(documents[1][:12]), tuple(documents[3][:12])} <= set(found[:3])
    apart = {tuple(documents[one][start : start + 12]) for one in (3, 4) for start in (12, 24)}
    assert {*apart, tuple(documents[2][12:24])} == set(found[3:8])  # before any that overlaps
    assert public_windows(documents, 12, 2, but, seed=3).tolist() == [list(row) for row in found[:2]]
    assert [tuple(row) for row in public_windows(documents, 12, 100, but, seed=4).tolist()] != found
    assert public_windows(documents, 41, 100, [], seed=0).shape == (0, 41)
    assert public_windows([], 4, 100, [], seed=0).shape == (0, 4)
    assert len(public_windows([[1, 2, 3], [1, 2, 3], [1, 2, 4]], 3, 9, [], seed=0)) == 2


@pytest.fixture(scope="module")
def deployed():
    generator = simulation_generator(0, "lists")
    shares = 1 / np.arange(1.0, 41)
    documents = generator.choice(40, (40, 48), p=shares / shares.sum()).tolist()
    table = generator.standard_normal((60, 8)).astype(np.float32)
    pipeline = assemble(table, documents, QuantizerSpec.from_mu(4, 6, 0.05, 3.0), EncoderSettings())
    return AttackerKnowledge(pipeline, table, pipeline.prior, documents)


@pytest.fixture(scope="module")
def references(deployed):
    return References.of(deployed, prompts=8, tokens=12)


@pytest.mark.parametrize("sends", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_it_picks_every_text_without_noise_and_none_from_noise(references, deployed, sends, seed):
    sent = replace(deployed, mechanism=repeated(deployed.mechanism, sends))
    found = self_test_of_lists(CandidateList(), references, sent, seed)
    assert found.passed, found.reason
    assert found.loud == found.tokens == found.required == 8
    assert found.silent <= found.allowed < 4


@dataclass(frozen=True)
class Mistaken(CandidateList):
    """Takes another law for the mechanism's: of a scale that is `factor` times as large, of words in another order."""

    factor: float = 1.0
    order: bool = False

    def fit(self, public):
        pipeline = public.mechanism
        spec = replace(pipeline.spec, scale=max(pipeline.spec.scale * self.factor, pipeline.spec.clip * 1.0005))
        codes = pipeline.encoder.codes[::-1] if self.order else pipeline.encoder.codes
        wrong = replace(pipeline, channel=Channel.of(spec, codes))
        return super().fit(replace(public, mechanism=wrong))


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 2.0])
def test_a_law_of_another_scale_is_unusable(references, deployed, factor):
    """It picks as well without noise, and as little from noise: only how sure it is gives it away."""
    found = self_test_of_lists(Mistaken(factor=factor), references, deployed)
    assert (found.loud, found.silent) == (8, 0)
    assert "its law is not the release's" in found.reason
    expects, picks = re.search(r"expects to pick (\d+) of 400 texts and picks (\d+),", found.reason).groups()
    assert (int(expects) > int(picks)) == (factor < 1)
    assert self_test_of_lists(Mistaken(), references, deployed).passed


def test_a_law_that_knows_nothing_is_unusable(references, deployed):
    found = self_test_of_lists(Mistaken(factor=1e12), references, deployed)
    assert not found.passed
    assert "without noise, where 8 are expected" in found.reason


def test_a_law_of_words_in_another_order_is_unusable(references, deployed):
    found = self_test_of_lists(Mistaken(order=True), references, deployed)
    assert not found.passed
    assert found.loud < 8


@dataclass(frozen=True)
class Cheat(CandidateList):
    """Knows which text is sent: the self-test's come in order."""

    def fit(self, public):
        return Knows(public)


class Knows:
    def __init__(self, public):
        self.mechanism, self.place = public.mechanism, -1

    def observed(self, message):
        self.place += 1
        return self.mechanism.observed(message)

    def running(self, observed, listed):
        for _ in observed:
            yield np.where(np.arange(len(listed)) == self.place, 0.0, -1.0)


def test_an_attack_that_knows_what_was_not_sent_is_unusable(references, deployed):
    found = self_test_of_lists(Cheat(), references, deployed)
    assert "picks out 8 of 8 texts from noise alone" in found.reason
