"""The law in torch against NumPy's, for every mechanism whose law is known. `cpu:0` is the CPU, read by torch."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from attacks.base import AttackerKnowledge
from attacks.candidate_list import CandidateList
from attacks.distinguishing import LikelihoodRatio, Membership
from attacks.history import NOT_SENT, history
from attacks.inversion.bayes import MaximumAPosteriori, MaximumLikelihood
from attacks.inversion.contextual import ContextualInverter, ContextualTraining, NetworkShape
from attacks.inversion.language_prior import LanguageBeam, likelihood, weight_for
from attacks.known_context import KnownContext
from attacks.ranking import best_words, rank
from attacks.repeated import repeated
from del_audit.evidence.inversion.leakage import COMMON_WORDS
from del_audit.evidence.inversion.own_repeats import measure_own_repeats
from del_audit.service.provenance import fingerprint
from del_audit.service.releases import Releases
from mechanisms.channel import Channel, posterior
from mechanisms.device_channel import (
    CPU,
    DeviceChannel,
    DeviceReader,
    LawOnDevice,
    as_block,
    evidence_on,
    log_sums,
    looked_up,
    with_prior,
)
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel, load_causal_lm, load_embedding_table
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.public_words import PublicWords
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rival_pipeline import assemble_rival
from mechanisms.rivals.coarse_words import CoarseWords, CoarseWordsSpec
from mechanisms.rivals.projective_geometry import ProjectiveGeometry, ProjectiveGeometrySpec
from mechanisms.rivals.randomized_response import RandomizedResponse, RandomizedResponseSpec
from mechanisms.rivals.subset_selection import SubsetSelection, SubsetSelectionSpec
from mechanisms.spec import QuantizerSpec

TORCH = "cpu:0"
WORDS, WIDTH, EPSILON = 700, 24, 3.0
SPEC = QuantizerSpec.from_mu(4, 6, 0.05, 10.0)


def inner_specs(words):
    return {
        "randomized response": RandomizedResponseSpec.from_epsilon(words, EPSILON),
        "subset selection": SubsetSelectionSpec.from_epsilon(words, EPSILON),
        "projective geometry": ProjectiveGeometrySpec.from_epsilon(words, EPSILON, 5, 5),
        "projective geometry, wide": ProjectiveGeometrySpec.from_epsilon(words, EPSILON, 2053, 3),
    }


MADE = {
    RandomizedResponseSpec: RandomizedResponse,
    SubsetSelectionSpec: SubsetSelection,
    ProjectiveGeometrySpec: ProjectiveGeometry,
}
KINDS = ["DEL", *inner_specs(WORDS), *(f"coarse words, {name}" for name in inner_specs(40))]


def mechanism_of(kind):
    if kind.startswith("coarse"):
        inner, symbols = inner_specs(40)[kind.removeprefix("coarse words, ")], np.arange(WORDS) % 40
        return CoarseWords(CoarseWordsSpec.over(inner, symbols), symbols)
    spec = inner_specs(WORDS)[kind]
    return MADE[type(spec)](spec)


@pytest.fixture(scope="module")
def world():
    """Returns a table, a prior that is not flat, and documents."""
    generator = np.random.default_rng(0)
    table = generator.normal(size=(WORDS, WIDTH)).astype(np.float32)
    weights = 1 / np.arange(1, WORDS + 1)
    documents = [generator.choice(WORDS, 100, p=weights / weights.sum()).tolist() for _ in range(20)]
    return PublicWords(table, documents)


@pytest.fixture(params=KINDS)
def pipeline(request, world):
    if request.param == "DEL":
        return assemble(world.table, world.documents, SPEC, EncoderSettings(), "posterior-mean")
    return assemble_rival(mechanism_of(request.param), world)


def released(pipeline, world, tokens=600):
    text = [token for document in world.documents for token in document][:tokens]
    return pipeline.observed(pipeline.release(text, SimulatedRandomness(0, "device")))


def assert_close(found, wanted):
    assert found.shape == wanted.shape
    assert float(np.abs(found - wanted).max()) <= 1e-5 * max(1.0, float(np.abs(wanted).max()))


def assert_same_away_from_ties(found, scores):
    """Each word found has the largest score up to rounding."""
    best = scores.max(axis=1)
    chosen = np.take_along_axis(scores, np.asarray(found)[:, None], 1)[:, 0]
    assert float((best - chosen).max()) <= 2e-5 * float(np.abs(scores).max())
    clear = np.sort(scores, axis=1)[:, -1] - np.sort(scores, axis=1)[:, -2] > 1e-3
    assert np.array_equal(np.asarray(found)[clear], scores.argmax(axis=1)[clear])


def test_scores_and_what_is_read_from_them(pipeline, world):
    observed, log_prior = released(pipeline, world), np.log(world.prior)
    assert isinstance(pipeline.channel, LawOnDevice)
    wanted = np.concatenate([block.copy() for _, block in pipeline.scores(observed, log_prior)])
    placed = DeviceChannel.of(pipeline, log_prior, TORCH)
    blocks = list(placed.scores(observed))
    assert [rows for rows, _ in blocks] == [slice(0, 256), slice(256, 512), slice(512, 600)]
    assert {block.dtype for _, block in blocks} == {torch.float32}
    assert_close(placed.evidence(observed).numpy(), wanted)
    assert_same_away_from_ties(placed.most_likely(observed), wanted)
    best = rank(placed.scores(observed), len(observed), 7)
    words, scores = best.words, best.scores
    assert (words.dtype, scores.dtype, words.shape) == (np.int32, np.float32, (600, 7))
    assert_same_away_from_ties(words[:, 0], wanted)
    assert_close(scores, -np.sort(-wanted, axis=1)[:, :7])
    assert rank(placed.scores(observed), len(observed), 10 * WORDS).words.shape == (600, WORDS)
    means, entropies = posterior(pipeline, observed, log_prior, world.table)
    reader = DeviceReader.of(pipeline, log_prior, world.table, TORCH)
    found = reader.posterior(observed)
    assert np.abs(found[0] - means).max() <= 2e-5
    assert np.abs(found[1] - entropies).max() <= 1e-4
    assert np.array_equal(reader.most_likely(observed), placed.most_likely(observed))


def test_evidence_is_numpys_on_the_cpu_and_close_to_it_elsewhere(pipeline, world):
    observed, log_prior = released(pipeline, world, 40), np.log(world.prior)
    for prior in (None, log_prior):
        wanted = np.concatenate([block.copy() for _, block in pipeline.scores(observed, prior)])
        assert np.array_equal(evidence_on(pipeline, CPU, prior, WORDS)(observed).numpy(), wanted)
        assert_close(evidence_on(pipeline, TORCH, prior, WORDS)(observed).numpy(), wanted)


def test_a_law_that_torch_does_not_know_is_moved(pipeline, world):
    class Own:
        """A mechanism of one's own, with `scores` alone."""

        def scores(self, observed, log_prior=None):
            return pipeline.scores(observed, log_prior)

    observed, log_prior = released(pipeline, world, 300), np.log(world.prior)
    assert not isinstance(Own(), LawOnDevice)
    found = DeviceChannel.of(Own(), log_prior, TORCH).evidence(observed).numpy()
    assert_close(found, np.concatenate([block.copy() for _, block in pipeline.scores(observed, log_prior)]))


def test_a_block_keeps_to_the_memory_limit(world):
    pipeline = assemble_rival(mechanism_of("subset selection"), world)
    observed = released(pipeline, world, 10)
    whole = DeviceChannel.of(pipeline, np.log(world.prior), TORCH)
    narrow = DeviceChannel(whole.law, whole.log_prior, 3 * 4 * WORDS)
    assert [len(block) for _, block in narrow.scores(observed)] == [3, 3, 3, 1]
    assert torch.equal(narrow.evidence(observed), whole.evidence(observed))
    with pytest.raises(UserError, match=f"memory_limit >= {4 * WORDS} bytes, .* got memory_limit=100"):
        next(DeviceChannel(whole.law, whole.log_prior, 100).scores(observed))


def test_what_does_not_fit_is_refused_as_on_the_cpu(world):
    channel = assemble(world.table, world.documents, SPEC, EncoderSettings()).channel
    placed = DeviceChannel.of(channel, np.log(world.prior), TORCH)
    for observed in (np.zeros((3, SPEC.dim + 1), np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(UserError, match=f"dim={SPEC.dim}"):
            placed.evidence(observed)
    short = DeviceChannel.of(channel, np.zeros(WORDS - 1), TORCH)
    with pytest.raises(UserError, match=rf"Expected a prior over {WORDS} words, got shape \({WORDS - 1},\)"):
        short.evidence(np.zeros((3, SPEC.dim), np.uint8))
    with pytest.raises(UserError, match="Expected tokens to rank words for, got none"):
        rank(placed.scores(np.zeros((0, SPEC.dim), np.uint8)), 0, 3)
    assert placed.evidence(np.zeros((0, SPEC.dim), np.uint8)).shape == (0, WORDS)
    assert placed.most_likely(np.zeros((0, SPEC.dim), np.uint8)).shape == (0,)


@pytest.fixture
def on_torch(monkeypatch):
    """Says that language models are on a device other than the CPU, and forbids NumPy's scores of DEL."""

    def place():
        monkeypatch.setattr(LanguageModel, "device", property(lambda _self: TORCH))
        monkeypatch.setattr(Channel, "scores", lambda *_given: pytest.fail("the CPU's scores were asked for"))

    return place


@pytest.fixture(scope="module")
def language(tiny_lm_folder):
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="module")
def tiny(tiny_lm_folder, language):
    words = len(load_embedding_table(str(tiny_lm_folder), language))
    documents = np.random.default_rng(1).integers(3, words - 20, (30, 60)).tolist()
    return load_embedding_table(str(tiny_lm_folder), language), documents


@pytest.mark.parametrize("decoder", ["posterior-mean", "posterior-mean-plain", "most-likely", "mixed"])
def test_decoders_read_where_the_model_is_and_stay_the_same_decoders(decoder, tiny, language, on_torch):
    table, documents = tiny
    parts = (table, documents, SPEC, EncoderSettings(), decoder)
    plain = assemble(*parts, language=language)
    message = plain.release(documents[0], SimulatedRandomness(0, "device"))
    wanted = plain.embeddings(message)
    on_torch()
    placed = assemble(*parts, language=language)
    assert isinstance(placed.decoder.on_device, DeviceReader)
    assert plain.decoder.on_device is None
    found = placed.embeddings(message)
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    if decoder in ("posterior-mean-plain", "most-likely"):  # nothing of them is fitted on figures that round
        assert fingerprint(placed.decoder) == fingerprint(plain.decoder)


def test_pooled_releases_are_read_there_too(tiny, language, on_torch):
    table, documents = tiny
    on_torch()
    placed = assemble(table, documents, SPEC, EncoderSettings(), "posterior-mean", language=language)
    other = placed.decoder.pooled(placed.channel)
    assert isinstance(other.on_device, DeviceReader)
    assert other.gain == 1.0


def test_attacks_read_where_the_model_is(tiny, language, on_torch):
    table, documents = tiny
    pipeline = assemble(table, documents, SPEC, EncoderSettings(), language=language)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, documents, language)
    messages = [
        pipeline.release(text[:12], SimulatedRandomness(0, str(index))) for index, text in enumerate(documents[:3])
    ]
    attacks = (MaximumLikelihood(depth=5), MaximumAPosteriori(depth=5), LanguageBeam(depth=1, weight=0.8))
    wanted = [attack.fit(public).guess(messages) for attack in attacks]
    seen = pipeline.observed(messages[0])
    said = likelihood(public, seen, torch.zeros(1)).numpy()
    on_torch()
    assert public.device == TORCH
    for attack, before in zip(attacks, wanted, strict=True):
        for found, guesses in zip(attack.fit(public).guess(messages), before, strict=True):
            assert np.mean(found.best == guesses.best) >= 0.9
            assert_close(found.scores, guesses.scores)
    assert_close(likelihood(public, seen, torch.zeros(1)).numpy(), said)


@pytest.fixture
def two_placed(pipeline, world):
    """Returns a maker of what is known of a mechanism, its scores NumPy's, and its scores torch's."""

    class Placed(AttackerKnowledge):
        """What an attacker knows whose model is elsewhere."""

        device = TORCH

    def make(mechanism):
        return tuple(kind(mechanism, world.table, world.prior, world.documents) for kind in (AttackerKnowledge, Placed))

    return make


def no_numpy(monkeypatch, *mechanisms):
    """Forbids NumPy's scores of these mechanisms' classes from here on."""
    for mechanism in mechanisms:
        monkeypatch.setattr(type(mechanism), "scores", lambda *_given: pytest.fail("the CPU's scores were asked for"))


def turns_of(world):
    return [world.documents[0][:20], world.documents[1][:30], world.documents[2][:7]]


@pytest.mark.parametrize("times", [1, 3])
def test_pooled_releases_have_the_same_law_there(times, pipeline, world):
    pooled, log_prior = repeated(pipeline, times), np.log(world.prior)
    observed = pooled.observed(pooled.release(world.documents[0] * 3, SimulatedRandomness(0, "repeated")))
    wanted = np.concatenate([block.copy() for _, block in pooled.scores(observed, log_prior)])
    assert isinstance(getattr(pooled, "channel", pooled), LawOnDevice)
    placed = DeviceChannel.of(pooled, log_prior, TORCH)
    assert_close(placed.evidence(observed).numpy(), wanted)
    assert_same_away_from_ties(placed.most_likely(observed), wanted)


def test_a_chat_has_the_same_law_there(pipeline, world):
    chat, log_prior = history(pipeline, 4), np.log(world.prior)
    observed = chat.observed(chat.release_turns(turns_of(world), SimulatedRandomness(0, "history")))
    wanted = np.concatenate([block.copy() for _, block in chat.scores(observed, log_prior)])
    assert isinstance(chat, LawOnDevice)
    placed = DeviceChannel.of(chat, log_prior, TORCH)
    assert_close(placed.evidence(observed).numpy(), wanted)
    assert_same_away_from_ties(placed.most_likely(observed), wanted)
    narrow = DeviceChannel(placed.law, placed.log_prior, 5 * 4 * WORDS)
    assert [len(block) for _, block in narrow.scores(observed)] == [5] * 11 + [2]
    assert torch.allclose(narrow.evidence(observed), placed.evidence(observed), rtol=1e-5, atol=1e-5)


def test_a_token_that_was_never_sent_has_no_law(world):
    chat = history(assemble_rival(mechanism_of("subset selection"), world), 2)
    seen = chat.observed(chat.release([1, 2], SimulatedRandomness(0, "history")))
    with pytest.raises(UserError, match="tokens that were sent at least once"):
        chat.law_on(TORCH)(np.full_like(seen, NOT_SENT))


def test_lists_of_texts_are_scored_there(pipeline, world, two_placed, monkeypatch):
    texts = np.array([document[:80] for document in world.documents])
    lists = [CandidateList().fit(public) for public in two_placed(repeated(pipeline, 2))]
    message = lists[0].public.mechanism.release(texts[3].tolist(), SimulatedRandomness(0, "list"))
    wanted = [scores.copy() for scores in lists[0].running(lists[0].observed(message), texts)]
    no_numpy(monkeypatch, lists[1].public.mechanism)
    found = [scores.copy() for scores in lists[1].running(lists[1].observed(message), texts)]
    assert_close(np.array(found), np.array(wanted))
    assert np.array_equal(np.argmax(found, axis=1)[9:], np.argmax(wanted, axis=1)[9:])
    monkeypatch.setattr("attacks.candidate_list.MEMORY_LIMIT", 3 * texts[:, 0].nbytes)
    parts = [scores.copy() for scores in lists[1].running(lists[1].observed(message), texts)]
    assert np.array_equal(parts, found)


@pytest.mark.parametrize("phrase", [(5,), (5, 6, 7)])
def test_distinguishing_games_are_played_there(phrase, pipeline, world, two_placed, monkeypatch):
    first, second = (tuple(document[:20]) for document in world.documents[:2])
    known = two_placed(history(pipeline, 1))  # whose law is read by its scores for DEL too
    games = [[game.fit(public) for game in (LikelihoodRatio(first, second), Membership(phrase))] for public in known]
    source = SimulatedRandomness(0, "games")
    messages = [known[0].mechanism.release(text, source) for text in (first, second, second)]
    wanted = [game.statistic(messages) for game in games[0]]
    no_numpy(monkeypatch, known[1].mechanism)
    for game, before in zip(games[1], wanted, strict=True):
        found = game.statistic(messages)
        assert np.array_equal(np.isinf(found), np.isinf(before))
        finite = np.isfinite(before)
        assert_close(found[finite], before[finite])


def test_what_is_read_of_blocks_is_the_same_of_both_kinds(world):
    generator = np.random.default_rng(0)
    scores, prior = generator.normal(0, 20, (2, 9, WORDS)).astype(np.float32)
    words = generator.integers(0, WORDS, (9, 4))
    block = torch.from_numpy(scores.copy())
    assert as_block(block, CPU).base is not None  # it is no copy
    assert isinstance(as_block(block, TORCH), torch.Tensor)
    assert np.array_equal(looked_up(block, words), looked_up(scores, words))
    assert [array.dtype for array in best_words(block, 5)] == [np.int32, np.float32]
    for found, wanted in zip(best_words(block, 5), best_words(scores, 5), strict=True):
        assert np.array_equal(found, wanted)
    assert_close(log_sums(block), logsumexp(scores.astype(np.float64), axis=1))
    assert_close(log_sums(scores.copy()), logsumexp(scores.astype(np.float64), axis=1))
    said = torch.from_numpy(prior)
    assert np.array_equal(with_prior(block, said).numpy(), with_prior(scores, said))


@pytest.mark.parametrize("sides", ["left", "both sides"])
def test_the_known_context_is_weighed_where_the_model_is(sides, tiny, language, on_torch):
    table, documents = tiny
    pipeline = assemble(table, documents, SPEC, EncoderSettings(), language=language)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, documents, language)
    truths = [document[:12] for document in documents[:6]]
    messages, others = (
        [pipeline.release(text, SimulatedRandomness(seed, str(index))) for index, text in enumerate(truths)]
        for seed in (0, 1)
    )
    attack = KnownContext(sides, public_prompts=4)
    wanted = attack.fit(public).read(messages, truths, others)
    on_torch()
    found = attack.fit(public).read(messages, truths, others)
    for name in ("given", "without", "other"):
        assert np.mean(getattr(found, name) == getattr(wanted, name)) >= 0.98  # but for ties up to rounding
    assert wanted.given.any()


def test_a_words_own_repeats_are_pooled_there(tiny, language, on_torch):
    table, documents = tiny
    pipeline = assemble(table, documents, SPEC, EncoderSettings(), language=language)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, documents, language)
    rare = np.argsort(-public.prior, kind="stable")[COMMON_WORDS:]
    truths = [[*rare[start : start + 5].tolist()] * 4 for start in range(0, 60, 2)]
    messages = [pipeline.release(text, SimulatedRandomness(0, str(index))) for index, text in enumerate(truths)]
    sent = Releases(messages, truths, list(range(len(truths))))
    wanted = [one.to_dict() for one in measure_own_repeats(public, sent, longest=20, seed=0)]
    assert any(one["pooled"] is not None for one in wanted)
    on_torch()
    assert [one.to_dict() for one in measure_own_repeats(public, sent, longest=20, seed=0)] == wanted


def test_the_beams_weight_is_measured_there(tiny, language, on_torch):
    table, documents = tiny
    pipeline = assemble(table, documents, SPEC, EncoderSettings(), language=language)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, documents, language)
    wanted = weight_for(public)
    on_torch()
    assert weight_for(public) == wanted


def test_the_contextual_inverter_is_trained_and_reads_there(pipeline, world, two_placed, monkeypatch, tmp_path):
    training = ContextualTraining(4, 4, 16, common=50, drawn=20, validation_windows=4, validate_every=2, bfloat16=False)
    attack = ContextualInverter(shape=NetworkShape(1, 4, 32, 4, 15), training=training, depth=5, folder=tmp_path)
    known = two_placed(pipeline)
    messages = [pipeline.release(text[:40], SimulatedRandomness(0, "inverter")) for text in world.documents[:3]]
    wanted = attack.fit(known[0]).guess(messages)
    no_numpy(monkeypatch, pipeline, pipeline.channel)
    fitted = attack.fit(known[1])
    assert fitted.reader.evidence.device == TORCH
    for found, before in zip(fitted.guess(messages), wanted, strict=True):
        clear = before.scores[:, 0] - before.scores[:, 1] > 1e-3
        assert np.array_equal(found.best[clear], before.best[clear])
        assert np.abs(found.scores - before.scores).max() <= 1e-3  # four steps of training have rounded in between
    assert len(list(tmp_path.glob("contextual-*"))) == 2  # a fit of one device is none of another's


@pytest.mark.parametrize("decoder", ["most-likely", "mixed", "posterior-mean"])
def test_pooled_releases_are_decoded_by_their_own_law_there(decoder, tiny, language, on_torch):
    table, documents = tiny
    parts = (table, documents, SPEC, EncoderSettings(), decoder)
    plain = repeated(assemble(*parts, language=language), 3)
    message = plain.release(documents[0], SimulatedRandomness(0, "device"))
    wanted = plain.embeddings(message)
    on_torch()
    found = repeated(assemble(*parts, language=language), 3).embeddings(message)
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_without_a_model_everything_is_the_cpus(world):
    pipeline = assemble(world.table, world.documents, SPEC, EncoderSettings())
    assert AttackerKnowledge(pipeline, pipeline.table, pipeline.prior).device == CPU
    assert pipeline.decoder.on_device is None


def test_the_law_of_a_client_loads_no_torch():
    code = (
        "import sys, mechanisms.channel, mechanisms.rivals.coarse_words, mechanisms.decoding.posterior; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
