"""Beam search and re-scoring from both sides, against exhaustive search over every prompt of a tiny vocabulary."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, RwkvConfig, RwkvForCausalLM

from attacks.base import AttackerKnowledge
from attacks.inversion import LanguageBeam, MaximumAPosteriori, TwoSided
from attacks.inversion.language_prior import STRONG, WEAK, first, likelihood, weight_for
from attacks.inversion.two_sided import improved, nearby
from attacks.ranking import Guesses
from mechanisms.assets import AssetRecord
from mechanisms.channel import Channel
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.randomness import SimulatedRandomness

WORDS = 5
RECORD = AssetRecord("tiny", "test", "", "", "", "", "")


def llama(begin=None, words=WORDS):
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        bos_token_id=begin,
        eos_token_id=None,
        pad_token_id=None,
        initializer_range=0.6,  # far from uniform: context matters
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LlamaForCausalLM(config)
    return model.eval().requires_grad_(False)


@pytest.fixture
def world(random_public):
    def make(begin=None, mu=2.0, seed=0):
        pipeline = random_public(bits=3, dim=3, mu=mu, words=WORDS, seed=seed)
        language = LanguageModel(llama(begin), None, RECORD)
        return AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, [[0, 1, 2, 3, 4]], language)

    return make


def all_prompts(public, settings, observed):
    """Returns every prompt with its score, at weight 1 log P(prompt) + log P(release | prompt), each read whole."""
    model, words = public.language.model, public.words
    begin = model.config.bos_token_id
    loglik = np.concatenate([block.copy() for _, block in public.channel.scores(observed)]).astype(np.float64)
    prompts = list(product(range(words), repeat=len(observed)))
    rows = torch.tensor([([] if begin is None else [begin]) + list(prompt) for prompt in prompts])
    totals = []
    for prompt, logits in zip(prompts, model(input_ids=rows).logits.double().numpy(), strict=True):
        total = 0.0
        for place, word in enumerate(prompt):
            before = place - 1 + (begin is not None)
            if before < 0:
                prior = public.log_prior
            else:
                share = settings.unigram_share
                lm = log_softmax(settings.temper * logits[before])
                prior = np.log((1 - share) * np.exp(lm) + share * public.prior)
            unigram = public.log_prior[word]
            total += loglik[place, word] + unigram + settings.weight * (prior[word] - unigram)
        totals.append(total)
    return prompts, np.array(totals)


def released(public, tokens, seed=0):
    return public.mechanism.release(tokens, SimulatedRandomness(seed, "beam"))


@pytest.mark.parametrize("begin", [None, 0])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weight", [1.0, 0.55])
def test_a_wide_beam_is_exhaustive_search(world, begin, seed, weight):
    public = world(begin, seed=seed)
    settings = LanguageBeam(width=WORDS**4, temper=0.9, unigram_share=0.3, weight=weight)
    tokens = np.random.default_rng(seed).integers(0, WORDS, 4).tolist()
    message = released(public, tokens, seed)
    observed = public.mechanism.observed(message)
    prompts, totals = all_prompts(public, settings, observed)
    best = prompts[int(totals.argmax())]
    attacker = settings.fit(public)
    assert attacker.search([observed]) == [list(best)]
    assert attacker.guess([message])[0].best.tolist() == list(best)
    narrow = replace(settings, width=2).fit(public).search([observed])[0]
    assert totals[prompts.index(tuple(narrow))] <= totals.max() + 1e-9


def test_no_prompt_depends_on_those_beside_it(world):
    public = world(begin=0)
    generator = np.random.default_rng(0)
    messages = [released(public, generator.integers(0, WORDS, n).tolist(), n) for n in (3, 9, 1, 6, 9, 4)]
    attacker = LanguageBeam(width=3, batch=4).fit(public)
    together = attacker.guess(messages)
    for message, found in zip(messages, together, strict=True):
        alone = attacker.guess([message])[0]
        assert np.array_equal(alone.words, found.words)
        assert np.allclose(alone.scores, found.scores, atol=1e-4)


def test_without_a_say_of_the_model_the_beam_is_map(world):
    public = world(begin=0)
    messages = [released(public, [1, 4, 2, 0, 3, 3], seed) for seed in range(8)]
    beam = LanguageBeam(unigram_share=1.0, width=2).fit(public).guess(messages)
    exact = MaximumAPosteriori().fit(public).guess(messages)
    assert all(np.array_equal(a.words, b.words) for a, b in zip(beam, exact, strict=True))


def test_the_weight_follows_what_map_reads_of_public_text(random_public):
    def public(mu, documents):
        pipeline = random_public(bits=4, dim=6, mu=mu, words=40, seed=1)
        return AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, documents, None)

    words = np.random.default_rng(0).integers(0, 40, (20, 30)).tolist()
    assert weight_for(public(0.1, words)) == WEAK
    assert weight_for(public(30.0, words)) == STRONG
    assert weight_for(public(0.1, [])) == STRONG
    assert WEAK < STRONG <= 1


@pytest.mark.parametrize("begin", [None, 0])
def test_the_prior_along_a_prompt_is_the_models(world, begin):
    public = world(begin)
    reader = LanguageBeam(unigram_share=0.25, temper=0.7).fit(public).reader
    tokens = [1, 0, 4, 2]
    found = reader.along(tokens).double().numpy()
    ids = torch.tensor([([] if begin is None else [begin]) + tokens])
    logits = public.language.model(input_ids=ids).logits[0].double().numpy()
    rows = logits[: len(tokens)] if begin is not None else logits[: len(tokens) - 1]
    expected = np.log(0.75 * np.exp(log_softmax(0.7 * rows, axis=1)) + 0.25 * public.prior)
    if begin is None:
        expected = np.concatenate([public.log_prior[None], expected])
    assert np.allclose(found, expected, atol=1e-5)
    some = torch.tensor([[3, 1]] * len(rows))
    assert np.allclose(
        reader.log_prior_of(torch.from_numpy(rows).float(), some), expected[-len(rows) :, [3, 1]], atol=1e-5
    )


@pytest.mark.parametrize(("begin", "weight"), [(None, 1.0), (0, 1.0), (0, 0.6)])
def test_both_sides_are_weighed_as_the_formula_says(world, begin, weight):
    """Against sums by hand in double precision: prior given the left, release here, releases to the right."""
    public, reach = world(begin), 2
    settings = TwoSided(LanguageBeam(weight=weight), candidates=WORDS, within=1e9, reach=reach, rows=4)
    attacker = settings.fit(public)
    words = [1, 0, 4, 2, 3]
    observed = public.mechanism.observed(released(public, words))
    evidence = likelihood(public, observed, attacker.beam.reader.unigrams)
    found = attacker.scores(words, evidence).double().numpy()
    loglik, along = evidence.double().numpy(), attacker.beam.reader.along
    for place in range(len(words)):
        for word in range(WORDS):
            changed = [*words[:place], word, *words[place + 1 :]]
            prior = along([*changed, 0]).double().numpy()
            said = weight * prior[place, word] + (1 - weight) * public.log_prior[word]
            total = said + loglik[place, word]
            for after in range(place + 1, min(place + 1 + reach, len(words))):
                total += logsumexp(prior[after] + loglik[after])
            assert found[place, word] == pytest.approx(total, abs=1e-4)


def test_a_word_that_is_not_weighed_never_comes_first(world):
    public = world(begin=0, mu=1.0)
    words = [1, 0, 4, 2, 3, 3, 1]
    observed = public.mechanism.observed(released(public, words))
    attacker = TwoSided(candidates=2, within=0.5, reach=3).fit(public)
    evidence = likelihood(public, observed, attacker.beam.reader.unigrams)
    reader, weight = attacker.beam.reader, attacker.beam.weight
    left = weight * reader.along(words) + (1 - weight) * reader.unigrams + evidence
    scores = attacker.scores(words, evidence)
    near = left >= left.max(1, keepdim=True).values - 0.5
    for place, word in enumerate(scores.argmax(1).tolist()):
        assert near[place, word] or word == words[place]


def test_only_places_that_stand_apart_are_changed():
    scores = torch.zeros(8, 3)
    scores[:, 0] = torch.tensor([1.0, 3.0, 2.0, 0.0, 0.0, 5.0, 0.0, 4.0])
    assert improved(scores, [1] * 8) == [1, 0, 1, 1, 1, 0, 1, 1]
    assert improved(scores, [0] * 8) == [0] * 8


def test_a_later_sweep_scores_only_the_places_that_a_change_bears_on(world):
    public = world(begin=0, mu=1.0)
    words, changed = [1, 0, 4, 2, 3, 3, 1, 2, 0], [1, 0, 4, 2, 3, 3, 4, 2, 0]
    assert nearby(words, words, 2).sum() == 0
    near = nearby(words, changed, 2)
    assert near.tolist() == [4 <= place <= 8 for place in range(9)]
    attacker = TwoSided(candidates=3, within=1e9, reach=2).fit(public)
    evidence = likelihood(public, public.mechanism.observed(released(public, words)), attacker.beam.reader.unigrams)
    whole, part = attacker.scores(changed, evidence), attacker.scores(changed, evidence, near)
    assert torch.equal(part[near], whole[near])


def test_the_two_sided_attack_reads_more_than_the_beam_where_the_right_side_tells(random_public):
    """Words in pairs: an opener 0 or 1 that looks alike in the release decides the word that follows it."""
    pipeline = random_public(bits=4, dim=4, mu=6.0, words=6, seed=2)

    model = llama(begin=None, words=6)
    generator = np.random.default_rng(0)
    texts = [[w for o in generator.integers(0, 3, 4) for w in (int(o), int(o) + 3)] for _ in range(200)]
    model.requires_grad_(True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(150):
        batch = torch.tensor(texts[(step * 16) % 192 : (step * 16) % 192 + 16])
        loss = model(input_ids=batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.requires_grad_(False)
    codes = pipeline.encoder.codes.copy()
    codes[1], codes[2] = codes[0], codes[0]  # the openers cannot be told apart by themselves
    encoder = Encoder.of(codes, pipeline.spec.clip)
    mechanism = replace(pipeline, encoder=encoder, channel=Channel.of(pipeline.spec, encoder.codes))
    public = AttackerKnowledge(mechanism, pipeline.table, np.full(6, 1 / 6), texts, LanguageModel(model, None, RECORD))
    held = [[w for o in generator.integers(0, 3, 4) for w in (int(o), int(o) + 3)] for _ in range(40)]
    messages = [mechanism.release(text, SimulatedRandomness(i, "pairs")) for i, text in enumerate(held)]
    truth = np.concatenate(held)

    def share(attack):
        return np.mean(np.concatenate([g.best for g in attack.fit(public).guess(messages)]) == truth)

    greedy = LanguageBeam(width=1, unigram_share=0.02)
    exact, alone, both = share(MaximumAPosteriori()), share(greedy), share(TwoSided(beam=greedy, sweeps=3, within=20.0))
    assert both > alone + 0.1
    assert both > exact + 0.1


def test_a_word_that_is_moved_to_the_front_keeps_the_others_in_order():
    guesses = Guesses(np.array([[4, 2, 7], [4, 2, 7], [4, 2, 7]], np.int32), np.array([[3, 2, 1]] * 3, np.float32))
    moved = first(guesses, [7, 4, 9])
    assert moved.words.tolist() == [[7, 4, 2], [4, 2, 7], [9, 4, 2]]
    assert moved.scores.tolist() == [[3, 3, 2], [3, 2, 1], [3, 3, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width >= 1, got width=0"),
        ({"batch": 0}, "batch >= 1"),
        ({"temper": 0.0}, r"temper in \(0, 10\]"),
        ({"unigram_share": 1.5}, r"unigram_share in \[0, 1\]"),
        ({"weight": 0.0}, r"weight in \(0, 1\]"),
        ({"weight": float("nan")}, r"weight in \(0, 1\]"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        LanguageBeam(**options)


@pytest.mark.parametrize("options", [{"candidates": 0}, {"reach": 0}, {"sweeps": 0}, {"within": 0.0}])
def test_settings_of_both_sides_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=f"Expected {next(iter(options))} >"):
        TwoSided(**options)


def test_what_the_attack_needs_is_asked_for_by_name(world):
    public = world(begin=0)
    with pytest.raises(UserError, match="language model to attack with, got none"):
        LanguageBeam().fit(replace(public, language=None))
    small = LanguageModel(llama(words=WORDS - 1), None, RECORD)
    with pytest.raises(UserError, match=f"language model of {WORDS} words, the mechanism's, got {WORDS - 1} logits"):
        LanguageBeam().fit(replace(public, language=small))
    with pytest.raises(UserError, match="prompts of at most 31 tokens, which the model's context holds, got 32"):
        LanguageBeam().fit(public).guess([released(public, [1] * 32)])


def test_a_model_without_a_cache_reads_again_what_it_has_read(world):
    config = RwkvConfig(
        vocab_size=WORDS, hidden_size=8, num_hidden_layers=2, attention_hidden_size=8, context_length=32
    )
    config.max_position_embeddings = 32
    public = replace(world(), language=LanguageModel(RwkvForCausalLM(config).eval(), None, RECORD))
    (alone,) = LanguageBeam(width=2).fit(public).guess([released(public, [1, 2, 3])])
    together = LanguageBeam(width=2).fit(public).guess([released(public, [1, 2, 3]), released(public, [4])])
    assert np.array_equal(together[0].words, alone.words)
    assert np.allclose(together[0].scores, alone.scores, atol=1e-5)


def test_another_architecture_works_as_well(world):
    config = GPT2Config(
        vocab_size=WORDS, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).eval().requires_grad_(False)
    public = replace(world(), language=LanguageModel(model, None, RECORD))
    attacker = TwoSided(beam=LanguageBeam(width=3)).fit(public)
    guesses = attacker.guess([released(public, [1, 2, 3, 4])])
    assert guesses[0].words.shape == (4, WORDS)
