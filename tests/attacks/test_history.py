"""Chats that re-send earlier turns: every token's releases are pooled, and the chat is read as a whole."""

import numpy as np
import pytest
from scipy.stats import binom

from attacks.base import AttackerKnowledge, observe
from attacks.history import HistoryChannel, HistoryOfCodes, history, times_sent
from attacks.inversion import CosineNeighbour, MaximumAPosteriori, MaximumLikelihood
from attacks.outcome import invert
from attacks.repeated import join, repeated, split
from mechanisms.channel import Channel
from mechanisms.decoding import LinearDecoder
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals import Gaussian, GaussianSpec, Points, RanText, RanTextSpec
from mechanisms.spec import QuantizerSpec

TURNS = [[1, 2, 3], [4], [5, 6]]


@pytest.fixture(scope="module")
def public():
    generator = np.random.default_rng(0)
    prior = generator.dirichlet(np.full(12, 2.0))
    spec = QuantizerSpec.from_mu(3, 4, 0.05, 3.0)
    encoder = Encoder.of(generator.uniform(-1, 1, (12, 4)) * spec.clip, spec.clip)
    table = (encoder.codes @ generator.standard_normal((4, 12))).astype(np.float32)
    linear = LinearDecoder.fit(StochasticQuantizer(spec), encoder, prior, table)
    return AttackerKnowledge(
        Pipeline(spec, table, prior, encoder, Channel.of(spec, encoder.codes), linear, linear), table, prior
    )


def gaussian(public):
    return Gaussian(GaussianSpec.of(4, 4, 0.05, 0.1), public.mechanism.encoder.codes, public.table)


def test_each_exchange_sends_all_turns_so_far_with_fresh_noise(public):
    chats = history(public.mechanism, 3)
    message = chats.release_turns(TURNS, SimulatedRandomness(0, "chat"))
    parts = [public.mechanism.observed(part).astype(int) for part in split(message)]
    assert [len(part) for part in parts] == [3, 4, 6]
    assert not np.array_equal(parts[0], parts[1][:3])
    observed = chats.observed(message)
    assert observed[:, -1].tolist() == times_sent([3, 4, 6]).tolist() == [3, 3, 3, 2, 1, 1]
    assert np.array_equal(observed[0, :-1], sum(part[0] for part in parts))
    assert np.array_equal(observed[3, :-1], parts[1][3] + parts[2][3])
    assert np.array_equal(observed[5, :-1], parts[2][5])


def test_scores_are_the_log_likelihood_of_all_releases_together(public):
    chats = history(public.mechanism, 3)
    observed = chats.observed(chats.release_turns(TURNS, SimulatedRandomness(0, "s")))
    chance = StochasticQuantizer(public.mechanism.spec).thresholds(public.mechanism.encoder.codes) / 2**32
    sums, times = observed[:, None, :-1].astype(int), observed[:, None, -1:].astype(int)
    expected = binom.logpmf(sums, 7 * times, chance[None]).sum(axis=2) + np.log(public.prior)
    _, block = next(iter(chats.scores(observed, np.log(public.prior))))
    gap = block - expected
    assert gap == pytest.approx(np.broadcast_to(gap[:, :1], gap.shape), abs=1e-4)


def test_a_rivals_log_likelihoods_add_up_where_a_token_was_sent(public):
    inner = gaussian(public)
    chats = history(inner, 4)
    assert isinstance(chats, HistoryChannel)
    message = chats.release_turns(TURNS, SimulatedRandomness(0, "g"))
    expected = np.zeros((6, 12))
    for part in split(message):
        seen = inner.observed(part)
        expected[: len(seen)] += np.concatenate([block.copy() for _, block in inner.scores(seen)])
    observed = observe(chats, [message, message])
    (_, block), *more = chats.scores(np.concatenate(observed), np.log(public.prior))
    assert not more
    assert block == pytest.approx(np.tile(expected, (2, 1)) + np.log(public.prior), abs=1e-4)


def test_one_turn_is_the_plain_mechanism(public):
    message = public.mechanism.release([3, 7, 1], SimulatedRandomness(1, "one"))
    for attack in (MaximumLikelihood(), MaximumAPosteriori(), CosineNeighbour()):
        (plain,) = attack.fit(public).guess([message])
        chats = history(public.mechanism, 5)
        (chat,) = attack.fit(AttackerKnowledge(chats, public.table, public.prior)).guess([join([message])])
        assert np.array_equal(plain.words, chat.words)
        assert plain.scores == pytest.approx(chat.scores, abs=1e-4)
    assert chats.release([3, 7, 1], SimulatedRandomness(1, "one")) == join([message])


@pytest.mark.parametrize("attack", [MaximumAPosteriori(), CosineNeighbour()], ids=lambda attack: attack.name)
@pytest.mark.parametrize("make", [lambda public: public.mechanism, gaussian], ids=["DEL", "Gaussian"])
def test_early_turns_are_read_best(public, make, attack):
    chats = history(make(public), 12)
    generator = np.random.default_rng(0)
    turns = [generator.choice(12, (12, 5), p=public.prior).tolist() for _ in range(25)]
    messages = [chats.release_turns(each, SimulatedRandomness(i, "early")) for i, each in enumerate(turns)]
    truths = [np.concatenate(each).tolist() for each in turns]
    world = AttackerKnowledge(chats, public.table, public.prior)
    outcome = invert(attack, attack.fit(world), messages, truths)
    early, late = outcome.where(outcome.position < 20), outcome.where(outcome.position >= 50)
    assert early.hits.mean() > late.hits.mean() + 0.07


def test_embeddings_are_decoded_by_how_often_a_token_was_sent(public):
    chats = history(public.mechanism, 3)
    assert isinstance(chats, HistoryOfCodes)
    message = chats.release_turns(TURNS, SimulatedRandomness(0, "e"))
    observed = chats.observed(message)
    for rows, times in [(slice(0, 3), 3), (slice(3, 4), 2), (slice(4, 6), 1)]:
        expected = repeated(public.mechanism, times).linear.decode(observed[rows, :-1] / times)
        assert chats.embeddings(message)[rows] == pytest.approx(expected, abs=1e-7)


def test_an_unknown_law_stays_unknown(public):
    points = Points.of(public.table)
    inner = RanText(RanTextSpec.over(points, 3.0), points, public.table)
    chats = history(inner, 3)
    assert not isinstance(chats, KnownChannel)
    message = chats.release_turns(TURNS, SimulatedRandomness(0, "u"))
    assert chats.observed(message)[:, 0].tolist()[3:] == [-1, -1, -1]
    parts = [inner.embeddings(part) for part in split(message)]
    assert chats.embeddings(message)[3] == pytest.approx((parts[1][3] + parts[2][3]) / 2, abs=1e-6)
    assert chats.embeddings(message)[5] == pytest.approx(parts[2][5], abs=1e-6)


def test_what_is_no_chat_is_refused(public):
    chats = history(public.mechanism, 2)
    one, two = (public.mechanism.release(tokens, SimulatedRandomness(0, "x")) for tokens in ([1], [1, 2]))
    for wrong in ([two, one], [one, one], [one, two, two]):
        with pytest.raises(UserError, match="exchanges"):
            chats.observed(join(wrong))
    with pytest.raises(UserError, match="one or more"):
        chats.observed(join([]))
    for turns in ([], [[1], []], [[1], [2], [3]]):
        with pytest.raises(UserError, match="turns"):
            chats.release_turns(turns, SimulatedRandomness(0, "x"))
    for exchanges in (0, 1.5, True):
        with pytest.raises(UserError, match="exchanges"):
            history(public.mechanism, exchanges)
    with pytest.raises(UserError, match="sends a prompt once"):
        history(repeated(public.mechanism, 2), 2)
