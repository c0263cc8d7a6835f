"""The attacker who knows the words to the left, against the exact posterior and on models of several families."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import binom
from transformers import LlamaConfig, LlamaForCausalLM

from attacks.base import Attacker, AttackerKnowledge, InversionAttack
from attacks.known_context import ContextReader, KnownContext
from attacks.registry import ATTACKS
from attacks.repeated import repeated
from mechanisms.assets import AssetRecord
from mechanisms.cached_sequences import accepted
from mechanisms.channel import BLOCK_ROWS
from mechanisms.errors import UserError
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel, load_causal_lm
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "mechanisms"))
from families import tiny_models as other_models

WORDS = 5
RECORD = AssetRecord("tiny", "test", "", "", "", "", "")


def llama(begin, words=WORDS, context=32):
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        bos_token_id=begin,
        eos_token_id=None,
        pad_token_id=None,
        initializer_range=0.6,  # far from uniform: context matters
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def some_prompts(count, words=WORDS, longest=9):
    generator = np.random.default_rng(0)
    return [generator.integers(0, words, generator.integers(1, longest + 1)).tolist() for _ in range(count)]


def released(public, prompts, seed=0):
    source = SimulatedRandomness(seed, "known context")
    return [public.mechanism.release(prompt, source) for prompt in prompts]


def by_hand(public, reader, prompts, messages, ends=lambda row, place: place + 1):
    """Returns the hits with and without the releases, each from the words' exact probabilities, one token at a time.

    ends: from prompt and place to the first place to its right that is not known.
    """
    model, opening = public.language.model, opening_tokens(public.language.model)
    codes, spec = public.mechanism.encoder.codes.astype(np.float64), public.mechanism.spec
    chances = np.rint(2**32 * (0.5 + codes / (2 * spec.scale))) / 2**32

    def prior_after(words):
        if not (left := [*opening, *words]):
            return public.prior
        said = model(input_ids=torch.tensor([left]), **accepted(model, use_cache=False)).logits[0, -1]
        said = reader.reader.temper * said.detach().double().numpy()[: public.words]
        share = reader.reader.share
        return (1 - share) * np.exp(log_softmax(said)) + share * public.prior

    given, without = [], []
    for row, (prompt, message) in enumerate(zip(prompts, messages, strict=True)):
        for place, (word, counts) in enumerate(zip(prompt, public.mechanism.observed(message), strict=True)):
            prior = prior_after(prompt[:place]).copy()
            if ends(row, place) > place + 1:
                for other in range(public.words):
                    text = [*prompt[:place], other, *prompt[place + 1 :]]
                    prior[other] *= np.prod(
                        [prior_after(text[:at])[text[at]] for at in range(place + 1, ends(row, place))]
                    )
            likelihood = binom.pmf(counts, spec.trials, chances).prod(axis=1)
            given.append(int((prior * likelihood).argmax()) == word)
            without.append(int(prior.argmax()) == word)
    return given, without


@pytest.mark.parametrize("begin", [None, 0])
@pytest.mark.parametrize("seed", range(3))
def test_the_guess_is_the_exact_posteriors(random_public, begin, seed):
    pipeline = random_public(bits=3, dim=3, mu=2.0, words=WORDS, seed=seed)
    public = AttackerKnowledge(
        pipeline, pipeline.table, pipeline.prior, some_prompts(9), LanguageModel(llama(begin), None, RECORD)
    )
    prompts = some_prompts(40)
    messages = released(public, prompts, seed)
    reader = KnownContext(batch=7).fit(public)
    hits = reader.read(messages, prompts, released(public, prompts, seed + 1))
    given, without = by_hand(public, reader, prompts, messages)
    assert hits.given.tolist() == given
    assert hits.without.tolist() == without
    assert hits.other.tolist() == by_hand(public, reader, prompts, released(public, prompts, seed + 1))[0]
    assert 0.2 < np.mean(given) < 1


@pytest.mark.parametrize("family", ["gpt2", "mistral, short window"])
def test_other_families_and_prompts_of_several_lengths(random_public, tiny_lm_folder, tmp_path, family):
    language = load_causal_lm(str(other_models.write(family, tiny_lm_folder, tmp_path)))
    pipeline = random_public(bits=3, dim=4, mu=6.0, words=other_models.WORDS, seed=1)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, some_prompts(4, 370), language)
    prompts = some_prompts(6, 370, longest=17)
    messages = released(public, prompts)
    reader = KnownContext(shares=(0.1,)).fit(public)
    hits = reader.read(messages, prompts)
    given, without = by_hand(public, reader, prompts, messages)
    assert hits.given.tolist() == given
    assert hits.without.tolist() == without
    assert hits.other is None


def in_full(**settings):
    """Returns the attack that leaves no word and no place out: the posterior itself."""
    return KnownContext(candidates=WORDS, within=1e6, reach=9, rows=7, **settings)


@pytest.mark.parametrize("begin", [None, 0])
@pytest.mark.parametrize("seed", range(2))
def test_who_knows_every_other_word_guesses_by_the_exact_posterior(random_public, begin, seed):
    pipeline = random_public(bits=3, dim=3, mu=2.0, words=WORDS, seed=seed)
    public = AttackerKnowledge(
        pipeline, pipeline.table, pipeline.prior, some_prompts(9), LanguageModel(llama(begin), None, RECORD)
    )
    prompts = some_prompts(12, longest=7)
    messages = released(public, prompts, seed)
    reader = in_full(sides="both sides").fit(public)
    hits = reader.read(messages, prompts, messages)
    given, without = by_hand(public, reader, prompts, messages, lambda row, place: len(prompts[row]))
    assert hits.given.tolist() == hits.other.tolist() == given
    assert hits.without.tolist() == without
    left = in_full().fit(public).read(messages, prompts)
    assert left.without.tolist() != without  # the right side tells


def test_only_the_next_words_and_the_likeliest_candidates_are_weighed(random_public):
    pipeline = random_public(bits=3, dim=3, mu=2.0, words=WORDS, seed=1)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, (), LanguageModel(llama(0), None, RECORD))
    prompts = some_prompts(12)
    messages = released(public, prompts)
    reader = replace(in_full(sides="both sides"), reach=2).fit(public)
    ends = lambda row, place: min(place + 3, len(prompts[row]))  # noqa: E731
    assert reader.read(messages, prompts).given.tolist() == by_hand(public, reader, prompts, messages, ends)[0]
    left = in_full().fit(public).read(messages, prompts)
    for one in ({"candidates": 1}, {"within": 1e-9}):
        alone = replace(in_full(sides="both sides"), **one).fit(public).read(messages, prompts)
        assert alone.given.tolist() == left.given.tolist()
        assert alone.without.tolist() == left.without.tolist()


@pytest.mark.parametrize("sides", ["left", "both sides"])
def test_of_a_template_the_slots_alone_are_read_and_its_words_are_known_on_either_side(random_public, sides):
    pipeline = random_public(bits=3, dim=3, mu=2.0, words=WORDS, seed=1)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, (), LanguageModel(llama(0), None, RECORD))
    generator = np.random.default_rng(0)
    fixed = np.array([True, True, False, False, True, False, True, True])
    prompts = [np.where(fixed, [1, 2, 0, 0, 3, 0, 4, 1], generator.integers(0, WORDS, 8)).tolist() for _ in range(20)]
    messages = released(public, prompts)
    reader = in_full(sides=sides).fit(public)
    masks = {"asked": [~fixed] * 20, "fixed": [fixed] * 20}
    hits = reader.read(messages, prompts, **masks)
    known = {2: 3, 3: 5, 5: 8} if sides == "left" else dict.fromkeys((2, 3, 5), 8)
    given, without = by_hand(public, reader, prompts, messages, lambda _, place: known.get(place, place + 1))
    slots = np.tile(~fixed, 20)
    assert hits.given.tolist() == np.array(given)[slots].tolist()
    assert hits.without.tolist() == np.array(without)[slots].tolist()
    for word in (0, 3):  # what is released of the template's words is not read
        changed = [np.where(fixed, word, prompt).tolist() for prompt in prompts]
        assert reader.read(released(public, changed), prompts, **masks).given.tolist() == hits.given.tolist()


def test_some_tokens_of_a_prompt_are_asked_for_and_the_others_are_context(random_public):
    pipeline = random_public(bits=3, dim=3, mu=2.0, words=WORDS, seed=1)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, (), LanguageModel(llama(None), None, RECORD))
    prompts = some_prompts(12)
    messages = released(public, prompts)
    generator = np.random.default_rng(1)
    asked = [generator.random(len(prompt)) < 0.5 for prompt in prompts]
    for sides in ("left", "both sides"):
        reader = in_full(sides=sides).fit(public)
        every = reader.read(messages, prompts)
        some = reader.read(messages, prompts, asked=asked)
        assert some.given.tolist() == every.given[np.concatenate(asked)].tolist()
        assert some.without.tolist() == every.without[np.concatenate(asked)].tolist()


@pytest.mark.parametrize("family", ["gpt2", "mistral, short window"])
def test_both_sides_on_other_families(random_public, tiny_lm_folder, tmp_path, family):
    language = load_causal_lm(str(other_models.write(family, tiny_lm_folder, tmp_path)))
    pipeline = random_public(bits=3, dim=4, mu=6.0, words=other_models.WORDS, seed=1)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, some_prompts(4, 370), language)
    prompts = some_prompts(2, 370, longest=4)
    messages = released(public, prompts)
    reader = KnownContext("both sides", shares=(0.1,), candidates=400, within=1e6, reach=1).fit(public)
    found = reader.read(messages, prompts)
    ends = lambda row, place: min(place + 2, len(prompts[row]))  # noqa: E731
    assert (found.given.tolist(), found.without.tolist()) == by_hand(public, reader, prompts, messages, ends)


def test_without_noise_all_that_is_readable_is_recovered(make_public):
    shares = np.random.default_rng(0).uniform(-1, 1, (40, 6))
    pipeline = make_public(QuantizerSpec(8, 6, 0.05, 0.05001), shares, np.full(40, 1 / 40))
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, (), LanguageModel(llama(0, 40), None, RECORD))
    prompts = some_prompts(60, 40, longest=20)
    hits = KnownContext().fit(public).read(released(public, prompts), prompts)
    assert hits.given.all()
    assert hits.without.mean() < 0.2


def test_a_prompt_of_several_blocks_and_a_token_sent_twice(random_public):
    pipeline = repeated(random_public(bits=2, dim=3, mu=2.0, words=WORDS, seed=1), 2)
    language = LanguageModel(llama(None, context=2 * BLOCK_ROWS), None, RECORD)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, (), language)
    prompt = np.random.default_rng(0).integers(0, WORDS, BLOCK_ROWS + 9).tolist()
    (message,) = released(public, [prompt])
    reader = KnownContext().fit(public)
    hits = reader.read([message], [prompt])
    counts = pipeline.observed(message)
    (block,) = [scores.copy() for _, scores in pipeline.channel.scores(counts[-9:])]
    prior = reader.reader.along(prompt).numpy()
    assert hits.given[-9:].tolist() == ((block + prior[-9:]).argmax(axis=1) == prompt[-9:]).tolist()
    assert hits.without.tolist() == (prior.argmax(axis=1) == prompt).tolist()


def test_temper_and_share_are_those_that_make_public_text_likeliest(random_public):
    pipeline = random_public(bits=2, dim=3, mu=2.0, words=WORDS, seed=1)
    model = llama(0)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, (), LanguageModel(model, None, RECORD))
    random = replace(public, documents=some_prompts(40))
    written = []
    for first in range(WORDS):  # what the model itself finds likeliest
        text = [first]
        while len(text) < 20:
            text.append(int(model(input_ids=torch.tensor([[0, *text]])).logits[0, -1].argmax()))
        written.append(text)
    settings = KnownContext(tempers=(0.5, 1.0, 2.0), shares=(0.02, 0.9))
    sure, unsure = (settings.fit(known).reader for known in (replace(public, documents=written), random))
    assert (sure.temper, sure.share) == (2.0, 0.02)
    assert unsure.share == 0.9
    without_text = settings.fit(public).reader
    assert (without_text.temper, without_text.share) == (0.5, 0.02)


def test_the_types_keep_it_apart_from_blind_attacks_and_private_text_from_what_is_fitted():
    assert get_type_hints(KnownContext.fit)["public"] is AttackerKnowledge
    assert not hasattr(KnownContext, "context_free")  # of InversionAttack
    assert not hasattr(ContextReader, "guess")  # of Attacker
    assert "context_free" in dir(InversionAttack)
    assert "guess" in dir(Attacker)
    assert not any("known_context" in row.made_by for row in ATTACKS.values())


def test_what_it_needs_is_asked_for(random_public):
    pipeline = random_public(bits=2, dim=3, mu=2.0, words=WORDS, seed=1)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, (), LanguageModel(llama(0), None, RECORD))
    with pytest.raises(UserError, match="language model to attack with, got none"):
        KnownContext().fit(replace(public, language=None))
    reader = KnownContext().fit(public)
    with pytest.raises(UserError, match=r"numbers of tokens, \[3\], got \[2\]"):
        reader.read(released(public, [[1, 2]]), [[1, 2, 3]])
    with pytest.raises(UserError, match=r"asked of the prompts' numbers of tokens, \[2\], got \[3\]"):
        reader.read(released(public, [[1, 2]]), [[1, 2]], asked=[np.ones(3, dtype=bool)])
    with pytest.raises(UserError, match="asked to be no token that is fixed"):
        reader.read(released(public, [[1, 2]]), [[1, 2]], fixed=[np.array([True, False])])
    with pytest.raises(UserError, match="prompts of at most 31 tokens"):
        reader.read(released(public, [[1] * 32]), [[1] * 32])
    with pytest.raises(UserError, match="at least one message"):
        reader.read([], [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tempers": ()}, r"tempers in \(0, 10\]"),
        ({"tempers": (0.0,)}, r"tempers in \(0, 10\]"),
        ({"shares": (1.5,)}, r"shares in \[0, 1\]"),
        ({"batch": 0}, "batch >= 1"),
        ({"candidates": 0}, "candidates >= 1"),
        ({"reach": 0}, "reach >= 1"),
        ({"within": 0.0}, "within > 0"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        KnownContext(**options)
