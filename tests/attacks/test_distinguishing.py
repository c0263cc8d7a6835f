"""The likelihood-ratio tests against brute force on tiny specs, for DEL, rivals and repeated releases."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from attacks.base import AttackerKnowledge
from attacks.distinguishing import LikelihoodRatio, Membership
from attacks.repeated import join, repeated
from mechanisms.channel import Channel
from mechanisms.decoding import LinearDecoder
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals import (
    CusText,
    CusTextSpec,
    Gaussian,
    GaussianSpec,
    Points,
    RandomizedResponse,
    RandomizedResponseSpec,
    RanText,
    RanTextSpec,
)
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack


def make_public(bits=2, dim=2, mu=2.0, words=5, seed=0):
    generator = np.random.default_rng(seed)
    prior = generator.dirichlet(np.full(words, 2.0))
    spec = QuantizerSpec.from_mu(bits, dim, 0.05, mu)
    encoder = Encoder.of(generator.uniform(-1, 1, (words, dim)) * spec.clip, spec.clip)
    table = (encoder.codes @ generator.standard_normal((dim, 3 * dim))).astype(np.float32)
    linear = LinearDecoder.fit(StochasticQuantizer(spec), encoder, prior, table)
    pipeline = Pipeline(spec, table, prior, encoder, Channel.of(spec, encoder.codes), linear, linear)
    return AttackerKnowledge(pipeline, table, prior)


def of(public, mechanism):
    return AttackerKnowledge(mechanism, public.table, public.prior)


def log_law(pipeline):
    """Returns log P(counts | word) of every release of one token, shape (releases, words), and the releases."""
    spec = pipeline.spec
    every = np.array(list(product(range(spec.trials + 1), repeat=spec.dim)), dtype=np.uint8)
    chance = StochasticQuantizer(spec).thresholds(pipeline.encoder.codes) / 2**32
    return binom.logpmf(every[:, None].astype(int), spec.trials, chance[None]).sum(axis=2), every


def test_of_a_token_it_is_the_ratio_of_the_laws_for_every_release():
    public = make_public()
    law, every = log_law(public.mechanism)
    messages = [pack(row[None], public.mechanism.spec) for row in every]
    for first, second in [(0, 1), (4, 2)]:
        found = LikelihoodRatio((first,), (second,)).fit(public).statistic(messages)
        assert found == pytest.approx(law[:, second] - law[:, first], rel=1e-12, abs=1e-12)


def test_of_a_prompt_it_is_the_sum_over_all_tokens():
    public = make_public()
    law, every = log_law(public.mechanism)
    first, second = (0, 3, 1), (2, 3, 4)
    test = LikelihoodRatio(first, second)
    drawn = np.random.default_rng(0).integers(0, len(every), (50, 3))
    found = test.fit(public).statistic([pack(every[row], public.mechanism.spec) for row in drawn])
    expected = sum(law[drawn[:, i], second[i]] - law[drawn[:, i], first[i]] for i in range(3))
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert test.places.tolist() == [0, 2]


def test_of_repeated_releases_it_is_the_sum_over_them():
    public = make_public()
    law, every = log_law(public.mechanism)
    drawn = np.random.default_rng(1).integers(0, len(every), (40, 3))
    messages = [join([pack(every[at][None], public.mechanism.spec) for at in row]) for row in drawn]
    found = LikelihoodRatio((1,), (4,)).fit(of(public, repeated(public.mechanism, 3))).statistic(messages)
    assert found == pytest.approx((law[drawn, 4] - law[drawn, 1]).sum(axis=1), rel=1e-12, abs=1e-12)


def test_errors_of_the_ratio_test_are_the_least_of_all_tests():
    """Exactly, over every release: no set of releases has a smaller sum of both errors than [ratio > 0]."""
    public = make_public()
    law, every = log_law(public.mechanism)
    ratio = LikelihoodRatio((0,), (1,)).fit(public).statistic([pack(r[None], public.mechanism.spec) for r in every])
    p, q = np.exp(law[:, 1]), np.exp(law[:, 0])
    advantage = (p - q)[ratio > 0].sum()
    assert advantage == pytest.approx(np.abs(p - q).sum() / 2, rel=1e-12)


def test_a_rivals_own_law_serves():
    public = make_public()
    for inner in (
        RandomizedResponse(RandomizedResponseSpec.from_epsilon(5, 1.0)),
        Gaussian(GaussianSpec.of(2, 2, 0.05, 0.1), public.mechanism.encoder.codes),
    ):
        first, second = (0, 1, 2), (3, 1, 4)
        messages = [inner.release(first, SimulatedRandomness(i, "rival")) for i in range(40)]
        found = LikelihoodRatio(first, second).fit(of(public, inner)).statistic(messages)
        for message, value in zip(messages, found, strict=True):
            _, scores = next(iter(inner.scores(inner.observed(message))))
            expected = sum(float(scores[i, second[i]]) - float(scores[i, first[i]]) for i in range(3))
            assert value == pytest.approx(expected, abs=1e-5)


def test_what_one_of_the_two_cannot_release_is_certain():
    """CusText keeps words in their group: the other group's word is told for sure."""
    public = make_public()
    points, groups = Points.of(public.table), np.array([0, 0, 1, 1, 1])
    inner = CusText(CusTextSpec.over(points, groups, 1.0), points, groups)
    test = LikelihoodRatio((0, 0), (2, 1)).fit(of(public, inner))
    messages = [inner.release(side, SimulatedRandomness(0, "c")) for side in [(0, 0), (2, 1), (3, 4)]]
    assert test.statistic(messages).tolist()[:2] == [-np.inf, np.inf]
    assert not np.isnan(test.statistic(messages)).any()


def mixture(law, prior, phrase):
    """Returns both hypotheses' laws of two tokens by enumeration of every prompt and position, shape (n, n) each."""
    words = len(prior)
    background = prior.copy()
    if len(phrase) == 1:
        background[phrase[0]] = 0
        background /= background.sum()
    p = np.exp(law)
    absent = sum(
        background[a] * background[b] * np.multiply.outer(p[:, a], p[:, b]) for a, b in product(range(words), repeat=2)
    )
    if len(phrase) == 2:
        return absent, np.multiply.outer(p[:, phrase[0]], p[:, phrase[1]])
    w = phrase[0]
    present = sum(
        background[a] * (np.multiply.outer(p[:, w], p[:, a]) + np.multiply.outer(p[:, a], p[:, w])) / 2
        for a in range(words)
    )
    return absent, present


@pytest.mark.parametrize("phrase", [(1,), (3, 0)])
def test_membership_is_the_ratio_of_both_mixtures_for_every_release(phrase):
    public = make_public(bits=1)
    law, every = log_law(public.mechanism)
    absent, present = mixture(law, public.prior, phrase)
    pairs = list(product(range(len(every)), repeat=2))
    messages = [pack(every[list(pair)], public.mechanism.spec) for pair in pairs]
    found = Membership(phrase).fit(public).statistic(messages)
    assert absent.sum() == pytest.approx(1, rel=1e-12)
    assert present.sum() == pytest.approx(1, rel=1e-12)
    assert found == pytest.approx(np.log(present / absent).ravel(), abs=2e-6)  # the channel is in single precision


def test_membership_of_several_messages_of_several_lengths_is_that_of_each():
    public = make_public()
    test = Membership((2,)).fit(public)
    messages = [public.mechanism.release(row, SimulatedRandomness(0, "l")) for row in ([1], [2, 3, 4], [0] * 300)]
    alone = [test.statistic([message])[0] for message in messages]
    assert test.statistic(messages) == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(("first", "second"), [((1,), (1, 2)), ((), ()), ((1, 2), (1, 2))])
def test_pairs_that_are_no_two_prompts_of_one_length_are_refused(first, second):
    with pytest.raises(UserError, match="Expected two"):
        LikelihoodRatio(first, second)


def test_words_outside_the_vocabulary_are_refused():
    public = make_public()
    for attack in (LikelihoodRatio((0,), (5,)), LikelihoodRatio((-1,), (2,)), Membership((1, 7))):
        with pytest.raises(UserError, match="tokens in"):
            attack.fit(public)


def test_an_unknown_law_is_refused():
    public = make_public()
    points = Points.of(public.table)
    inner = of(public, RanText(RanTextSpec.over(points, 1.0), points, public.table))
    for attack in (LikelihoodRatio((0,), (1,)), Membership((1,))):
        with pytest.raises(UserError, match="law is known"):
            attack.fit(inner)


def test_messages_that_do_not_fit_are_refused():
    public = make_public()
    message = public.mechanism.release([1, 2], SimulatedRandomness(0, "f"))
    with pytest.raises(UserError, match="messages of 1 tokens"):
        LikelihoodRatio((0,), (1,)).fit(public).statistic([message])
    with pytest.raises(UserError, match="messages of 3 tokens"):
        Membership((0, 1, 2)).fit(public).statistic([message])
    with pytest.raises(UserError, match="at least one message"):
        LikelihoodRatio((0,), (1,)).fit(public).statistic([])
    with pytest.raises(UserError, match="empty"):
        Membership(())
