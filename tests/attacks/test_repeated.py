"""Repeated release: pooled exactly, with the law of the pooled counts, on every attack's interface."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from attacks.base import AttackerKnowledge
from attacks.inversion import CodeNeighbour, CosineNeighbour, MaximumAPosteriori, MaximumLikelihood
from attacks.ladder import ladder
from attacks.outcome import invert
from attacks.registry import attack_names
from attacks.repeated import Repeated, RepeatedPipeline, join, repeated, split
from mechanisms.channel import Channel
from mechanisms.decoding import LinearDecoder, MostLikelyDecoder, PosteriorMeanDecoder
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals import (
    Gaussian,
    GaussianSpec,
    Points,
    RandomizedResponse,
    RandomizedResponseSpec,
    RanText,
    RanTextSpec,
)
from mechanisms.spec import QuantizerSpec

LADDER = [attack for attack in ladder(attack_names()).values() if attack.context_free]


def make_public(bits=3, dim=4, mu=3.0, words=12, seed=0, decoder="linear"):
    generator = np.random.default_rng(seed)
    prior = generator.dirichlet(np.full(words, 0.8)) + 1e-3
    prior /= prior.sum()
    spec = QuantizerSpec.from_mu(bits, dim, 0.05, mu)
    encoder = Encoder.of(generator.uniform(-1, 1, (words, dim)) * spec.clip, spec.clip)
    table = (encoder.codes @ generator.standard_normal((dim, 3 * dim))).astype(np.float32)
    linear = LinearDecoder.fit(StochasticQuantizer(spec), encoder, prior, table)
    channel = Channel.of(spec, encoder.codes)
    decoders = {
        "linear": linear,
        "mean": PosteriorMeanDecoder(channel, np.log(prior), table, prior @ table, gain=1.3),
        "most-likely": MostLikelyDecoder(channel, np.log(prior), table),
    }
    return AttackerKnowledge(Pipeline(spec, table, prior, encoder, channel, linear, decoders[decoder]), table, prior)


def of(public, times):
    return AttackerKnowledge(repeated(public.mechanism, times), public.table, public.prior)


def chances(pipeline):
    return StochasticQuantizer(pipeline.spec).thresholds(pipeline.encoder.codes) / 2**32


def gaussian(public, decoding="posterior-mean"):
    spec = GaussianSpec.of(4, 4, 0.05, 0.1)
    return Gaussian(spec, public.mechanism.encoder.codes, public.table, public.prior, decoding)


def response(public, decoding="posterior-mean"):
    return RandomizedResponse(RandomizedResponseSpec.from_epsilon(12, 2.0), public.table, public.prior, decoding)


def rantext(public):
    points = Points.of(public.table)
    return RanText(RanTextSpec.over(points, 3.0), points, public.table)


@pytest.mark.parametrize("attack", LADDER, ids=lambda attack: attack.name)
def test_sent_once_every_attack_ranks_as_on_the_plain_mechanism(attack):
    public = make_public()
    tokens = np.random.default_rng(0).integers(0, 12, 60).tolist()
    plain = public.mechanism.release(tokens, SimulatedRandomness(1, "a"))
    once = of(public, 1)
    message = once.mechanism.release(tokens, SimulatedRandomness(1, "a"))
    assert split(message, 1) == [plain]
    (one,), (other,) = attack.fit(public).guess([plain]), attack.fit(once).guess([message])
    assert np.array_equal(one.words, other.words)
    assert np.array_equal(one.scores, other.scores)


@pytest.mark.parametrize("times", [2, 3, 7])
def test_the_observation_is_the_mean_count_of_all_releases(times):
    public = make_public()
    mechanism = repeated(public.mechanism, times)
    message = mechanism.release([3, 5, 5], SimulatedRandomness(0, "b"))
    counts = np.array([public.mechanism.observed(part) for part in split(message, times)], dtype=np.int64)
    assert len({row.tobytes() for row in counts}) == times  # fresh noise each time
    assert np.array_equal(np.rint(mechanism.observed(message) * times), counts.sum(axis=0))
    dequantized = np.mean([StochasticQuantizer(mechanism.spec).dequantize(row) for row in counts], axis=0)
    pooled = StochasticQuantizer(mechanism.spec).dequantize(mechanism.observed(message))
    assert pooled == pytest.approx(dequantized, abs=1e-6)


def test_pooled_counts_are_binomial_in_times_as_many_trials():
    """At a false-alarm rate of 1e-6; and the law of one trial too few is rejected."""
    public = make_public(bits=2, dim=2, mu=1.5)
    mechanism, word, times = repeated(public.mechanism, 3), 4, 3
    observed = mechanism.observed(mechanism.release([word] * 6_000, SimulatedRandomness(0, "law"))) * times
    for coordinate, chance in enumerate(chances(public.mechanism)[word]):
        seen = np.bincount(np.rint(observed[:, coordinate]).astype(int), minlength=10)
        assert chisquare(seen, 6_000 * binom.pmf(range(10), 9, chance)).pvalue > 1e-6
        wrong = binom.pmf(range(10), 8, chance) + 1e-4
        assert chisquare(seen, 6_000 * wrong / wrong.sum()).pvalue < 1e-6


@pytest.mark.parametrize("times", [1, 2, 5])
def test_scores_are_the_sum_of_the_releases_log_likelihoods_over_every_release(times):
    """Against scipy's binomial, for all counts of a tiny spec, less a constant of the counts."""
    public = make_public(bits=1, dim=2, words=5)
    mechanism = repeated(public.mechanism, times)
    every = np.array(list(product(range(times + 1), repeat=2)))
    log_prior = np.log(public.prior)
    (rows, block) = next(iter(mechanism.scores(every / times, log_prior)))
    expected = binom.logpmf(every[:, None], times, chances(public.mechanism)[None]).sum(axis=2) + log_prior
    gap = block - expected[rows]
    assert gap == pytest.approx(np.broadcast_to(gap[:, :1], gap.shape), abs=2e-5)


def test_map_is_exactly_bayes_over_all_pooled_releases():
    """Its success, summed over every release, is the sum of the largest joint probabilities, and grows with times."""
    public = make_public(bits=1, dim=3, words=8, mu=1.0)
    before = public.prior.max()
    for times in (1, 2, 4, 8):
        world = of(public, times)
        every = np.array(list(product(range(times + 1), repeat=3)))
        chance = chances(public.mechanism)[None]
        joint = public.prior * np.exp(binom.logpmf(every[:, None], times, chance).sum(axis=2))
        guesses = MaximumAPosteriori().fit(world).rank(every / times).best
        success = joint[np.arange(len(every)), guesses].sum()
        assert success == pytest.approx(joint.max(axis=1).sum(), abs=1e-5)
        assert success > before + 1e-3
        before = success


@pytest.mark.parametrize("attack", [*LADDER[1:]], ids=lambda attack: attack.name)
def test_success_grows_with_times(attack):
    public = make_public(mu=2.0, words=10)
    tokens = np.random.default_rng(0).choice(10, (20, 40), p=public.prior).tolist()
    found = []
    for times in (1, 8, 64):
        world = of(public, times)
        messages = [world.mechanism.release(row, SimulatedRandomness(i, "grow")) for i, row in enumerate(tokens)]
        found.append(invert(attack, attack.fit(world), messages, tokens).hits.mean())
    assert found[0] + 0.05 < found[1]
    assert found[1] + 0.02 < found[2]


@pytest.mark.parametrize("times", [2, 9])
def test_the_linear_decoder_has_the_least_squared_error_on_means_of_as_many_releases(times):
    """Against the normal equations of an exact enumeration: E[(e - decoded) (1, y)] = 0 under prior and law."""
    public = make_public(bits=1, dim=2, words=5)
    mechanism = repeated(public.mechanism, times)
    every = np.array(list(product(range(times + 1), repeat=2)))
    chance = binom.pmf(every[:, None], times, chances(public.mechanism)[None]).prod(axis=2) * public.prior
    residual = public.table[None] - mechanism.linear.decode(every / times)[:, None]
    values = np.column_stack([np.ones(len(every)), StochasticQuantizer(mechanism.spec).dequantize(every / times)])
    moments = np.einsum("kw,kwe,kv->ev", chance, residual, values)
    assert np.abs(moments).max() < 1e-6 * np.abs(public.table).max()
    before = public.table[None] - public.mechanism.linear.decode(every / times)[:, None]
    assert np.einsum("kw,kwe->", chance, residual**2) < 0.999 * np.einsum("kw,kwe->", chance, before**2)


@pytest.mark.parametrize("attack", [CodeNeighbour(), MaximumLikelihood(), MaximumAPosteriori()], ids=lambda a: a.name)
def test_of_very_many_releases_everything_is_read(attack):
    public = make_public(mu=1.0)
    world = of(public, 8_000)
    tokens = list(range(12))
    message = world.mechanism.release(tokens, SimulatedRandomness(0, "limit"))
    assert invert(attack, attack.fit(world), [message], [tokens]).hits.all()


@pytest.mark.parametrize("decoder", ["linear", "mean", "most-likely"])
def test_dels_server_decodes_the_pooled_evidence(decoder):
    public = make_public(decoder=decoder)
    tokens = list(range(12)) * 5
    errors = []
    for times in (1, 16, 400):
        mechanism = repeated(public.mechanism, times)
        decoded = mechanism.embeddings(mechanism.release(tokens, SimulatedRandomness(0, "decode")))
        assert decoded.dtype == np.float32
        (again,) = mechanism.embeddings_of([mechanism.release(tokens, SimulatedRandomness(0, "decode"))])
        assert np.array_equal(again, decoded)
        errors.append(((decoded - public.table[tokens]) ** 2).mean())
    assert errors[2] < errors[0] / 2
    assert decoder == "linear" or errors[2] < errors[0] / 100


@pytest.mark.parametrize("make", [gaussian, response], ids=["Gaussian", "randomized response"])
def test_log_likelihoods_of_a_rivals_releases_add_up(make):
    public = make_public()
    inner = make(public)
    mechanism = repeated(inner, 3)
    assert isinstance(mechanism, KnownChannel)
    message = mechanism.release(list(range(12)) * 30, SimulatedRandomness(0, "rival"))
    log_prior = np.log(public.prior)
    blocks = list(mechanism.scores(mechanism.observed(message), log_prior))
    assert [rows.stop - rows.start for rows, _ in blocks] == [256, 104]
    found = np.concatenate([block for _, block in blocks])
    parts = [inner.observed(part) for part in split(message, 3)]
    expected = log_prior + sum(np.concatenate([b.copy() for _, b in inner.scores(part)]) for part in parts)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("make", [gaussian, response], ids=["Gaussian", "randomized response"])
@pytest.mark.parametrize("attack", [LADDER[1], LADDER[3], LADDER[4]], ids=lambda attack: attack.name)
def test_attacks_run_on_repeated_rivals_and_read_more(make, attack):
    public = make_public()
    tokens = [list(range(12)) for _ in range(30)]
    found = []
    for times in (1, 12):
        world = AttackerKnowledge(repeated(make(public), times), public.table, public.prior)
        messages = [world.mechanism.release(row, SimulatedRandomness(i, "r")) for i, row in enumerate(tokens)]
        found.append(invert(attack, attack.fit(world), messages, tokens).hits.mean())
    assert found[1] > found[0] + 0.1


def test_randomized_responses_pooled_decoding_uses_its_servers_prior():
    public = make_public()
    for inner, prior in [
        (response(public), public.prior),
        (RandomizedResponse(response(public).spec, public.table), 1),
    ]:
        mechanism = repeated(inner, 3)
        message = mechanism.release(list(range(12)), SimulatedRandomness(0, "p"))
        joint = prior * np.exp(inner.log_channel(np.arange(12)).T[mechanism.observed(message)].sum(axis=1))
        expected = joint @ public.table / joint.sum(axis=1, keepdims=True)
        assert mechanism.embeddings(message) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("decoding", ["posterior-mean", "most-likely", "plain"])
def test_a_rivals_server_decodes_the_pooled_evidence_or_averages(decoding):
    public = make_public()
    inner = gaussian(public, decoding)
    mechanism = repeated(inner, 4)
    message = mechanism.release(list(range(12)), SimulatedRandomness(0, "e"))
    decoded = mechanism.embeddings(message)
    if decoding == "plain":
        expected = np.mean([inner.values(part) for part in split(message, 4)], axis=0)
    else:
        (_, scores), *_ = mechanism.scores(mechanism.observed(message), inner.log_prior)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        posterior = weights / weights.sum(axis=1, keepdims=True)
        expected = public.table[scores.argmax(axis=1)] if decoding == "most-likely" else posterior @ public.table
    assert decoded == pytest.approx(expected, abs=1e-5)


def test_a_mechanism_without_a_known_law_stays_without_one():
    public = make_public()
    inner = rantext(public)
    mechanism = repeated(inner, 3)
    assert isinstance(mechanism, Repeated)
    assert not isinstance(mechanism, KnownChannel)
    message = mechanism.release([1, 2], SimulatedRandomness(0, "u"))
    assert mechanism.observed(message).shape == (2, 3)
    expected = np.mean([inner.embeddings(part) for part in split(message, 3)], axis=0)
    assert mechanism.embeddings(message) == pytest.approx(expected, abs=1e-6)
    world = AttackerKnowledge(mechanism, public.table, public.prior)
    assert len(CosineNeighbour().fit(world).guess([message])[0]) == 2
    with pytest.raises(UserError, match="law is known"):
        MaximumLikelihood().fit(world)


def test_names_say_how_often():
    public = make_public()
    assert repeated(public.mechanism, 1).name == "DEL"
    assert repeated(public.mechanism, 4).name == "DEL, sent 4 times"
    assert repeated(rantext(public), 2).name == "RANTEXT, sent 2 times"
    assert repeated(public.mechanism, 4).spec == public.mechanism.spec


@pytest.mark.parametrize("times", [0, -1, 1.5, True])
def test_times_below_one_are_refused(times):
    with pytest.raises(UserError, match="times"):
        repeated(make_public().mechanism, times)


def test_repeating_twice_is_refused():
    with pytest.raises(UserError, match="sends a prompt once"):
        repeated(repeated(make_public().mechanism, 2), 2)


def test_malformed_messages_are_refused():
    public = make_public()
    mechanism = repeated(public.mechanism, 2)
    message = mechanism.release([1, 2], SimulatedRandomness(0, "m"))
    assert isinstance(mechanism, RepeatedPipeline)
    one, two = public.mechanism.release([1], SimulatedRandomness(0, "x")), split(message, 2)[0]
    for wrong, reason in [
        (message[:-1], "truncated"),
        (message[:9], "truncated"),
        (message + b"\0", "bytes for 2 releases"),
        (b"REP2" + message[4:], "starts with"),
        (b"", "starts with"),
        (join([two]), "2 releases"),
        (join([one, two]), "same tokens"),
        (join([two, two[:-1]]), "truncated or padded"),
    ]:
        with pytest.raises(UserError, match=reason):
            mechanism.observed(wrong)
