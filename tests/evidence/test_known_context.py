"""The known-context figures: the bound of theorem 23, planted attackers and clients, and releases of the centre."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom, chisquare
from transformers import LlamaConfig, LlamaForCausalLM

from attacks.base import AttackerKnowledge
from attacks.known_context import KnownContext
from attacks.repeated import repeated
from del_audit.accounting import inversion_bound
from del_audit.accounting.any_mechanism import guess_bound
from del_audit.evidence.known_context import measure_known_context, released_centre, spaced
from del_audit.service.releases import Releases
from mechanisms.assets import AssetRecord
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.pipeline import assemble
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals._message import renamed
from mechanisms.rivals.randomized_response import RandomizedResponse, RandomizedResponseSpec
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack
from tests.toy_mechanism import Toy, ToySpec

WORDS, LENGTH = 40, 20


def next_word_model(peak):
    """Returns a Llama that gives the next word round the circle the probability `peak`, and all others the same."""
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=WORDS,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    for layer in model.model.layers:  # nothing but the last word is read
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    model.model.embed_tokens.weight.copy_(torch.eye(WORDS))
    gain = math.log(peak / (1 - peak) * (WORDS - 1)) / math.sqrt(WORDS)
    model.lm_head.weight.copy_(gain * torch.eye(WORDS).roll(1, dims=0))
    return LanguageModel(model, None, AssetRecord("tiny", "test", "", "", "", "", ""))


def texts(count, right, seed=0):
    """Returns prompts whose every word follows the one before with probability `right`, the opening token being 0."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(count):
        words = [0]
        for _ in range(LENGTH):
            follows = generator.random() < right
            words.append((words[-1] + 1) % WORDS if follows else int(generator.integers(WORDS)))
        found.append(words[1:])
    return found


def pipeline_of(spec, words):
    """Returns a pipeline whose codes are near the cube's corners and all different."""
    generator = np.random.default_rng(1)
    shares = generator.choice([-1.0, 1.0], (words, spec.dim)) + generator.uniform(-0.4, 0.4, (words, spec.dim))
    encoder, table = Encoder.of(shares * spec.clip, spec.clip), generator.standard_normal((words, 8), np.float32)
    return assemble(table, [[word] for word in range(words)], spec, encoder, decoder="linear")


@pytest.fixture
def world():
    def make(mu, peak):
        pipeline = pipeline_of(QuantizerSpec.from_mu(2, 6, 0.05, mu), WORDS)
        return AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, (), next_word_model(peak))

    return make


def released(public, prompts, seed=0):
    source = SimulatedRandomness(seed, "known context")
    return Releases([public.mechanism.release(p, source) for p in prompts], prompts, list(range(len(prompts))))


def noiseless(public, prompts):
    """Returns what a broken client sends: each count its expected value."""
    pipeline = public.mechanism
    shares = 0.5 + pipeline.encoder.codes / (2 * pipeline.spec.clip)  # the signs themselves
    counts = np.rint(pipeline.spec.trials * shares).clip(0, pipeline.spec.trials).astype(np.uint8)
    messages = [pack(counts[prompt], pipeline.spec) for prompt in prompts]
    return Releases(messages, prompts, list(range(len(prompts))))


AS_IT_IS = KnownContext(tempers=(1.0,), shares=(0.0,))


def test_theorem_23_holds_for_a_model_that_is_unsure_and_right_where_its_own_peaks_do_not(world):
    public = world(mu=0.4, peak=0.1)
    figures = measure_known_context(public, released(public, texts(60, 0.9)), AS_IT_IS, longest=LENGTH, seed=0)
    naive = inversion_bound(public.mechanism.spec, 0.1).upper  # at the mean of the model's own peaks
    assert figures.without.value == pytest.approx(0.9, abs=0.03)
    assert figures.success.lower > naive
    assert figures.success.value <= figures.allowed
    assert not figures.broken


@pytest.mark.parametrize("mu", [0.5, 2.0, 8.0])
def test_theorem_23_holds_and_the_lift_is_the_paired_difference(world, mu):
    public, prompts = world(mu, peak=0.4), texts(60, 0.5)
    figures = measure_known_context(public, released(public, prompts), AS_IT_IS, longest=LENGTH, seed=0)
    assert not figures.broken
    assert figures.success.value <= figures.allowed
    assert figures.lift.value == pytest.approx(figures.success.value - figures.without.value)
    assert figures.lift.lower <= figures.lift.value <= figures.lift.upper
    assert figures.allowed == inversion_bound(public.mechanism.spec, figures.centre.upper, proved=True).upper
    assert figures.success.documents == 60
    assert figures.success.sample == 60 * LENGTH
    assert (figures.temper, figures.unigram_share) == (1.0, 0.0)
    if mu == 8:
        assert figures.lift.lower > 0


def test_releases_of_the_centre_tell_nothing(world):
    """Where the noise outweighs the release, the attacker has the prior's success; elsewhere noise misleads it."""
    for mu in (0.05, 4.0):
        public = world(mu, peak=0.4)
        figures = measure_known_context(public, released(public, texts(60, 0.5)), AS_IT_IS, longest=LENGTH, seed=0)
        assert figures.centre.lower <= figures.without.upper
        if mu < 1:
            assert figures.centre.lower <= figures.without.value <= figures.centre.upper
        else:
            assert figures.centre.upper < figures.without.value


@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("sends", [1, 2])
def test_every_trial_of_the_centre_is_a_fair_coin(bits, sends):
    one = pipeline_of(QuantizerSpec.from_mu(bits, 5, 0.05, 30.0), words=7)
    pipeline = repeated(one, sends) if sends > 1 else one
    prompts = [[1] * 1500, [2, 3] * 750]
    messages = released_centre(pipeline, prompts, seed=4)
    assert messages == released_centre(pipeline, [[6] * 1500, [0] * 1500], seed=4)  # no word is looked at
    trials = sends * one.spec.trials
    counts = np.rint(sends * np.concatenate([pipeline.observed(message) for message in messages])).astype(int)
    wanted = binom.pmf(np.arange(trials + 1), trials, 0.5) * counts.size
    common = wanted >= 5
    seen = np.bincount(counts.reshape(-1), minlength=trials + 1)
    seen, wanted = np.append(seen[common], seen[~common].sum()), np.append(wanted[common], wanted[~common].sum())
    kept = wanted > 0
    assert chisquare(seen[kept], wanted[kept]).pvalue > 1e-6
    skewed = binom.pmf(np.arange(trials + 1), trials, 0.53) * counts.size  # a wrong centre is seen
    skewed = np.append(skewed[common], skewed[~common].sum())
    assert chisquare(seen[kept], skewed[kept] * seen.sum() / skewed[kept].sum()).pvalue < 1e-6


def test_a_client_without_noise_is_broken(world):
    public = world(mu=0.5, peak=0.4)
    prompts = texts(60, 0.5)
    assert not measure_known_context(public, released(public, prompts), AS_IT_IS, longest=LENGTH, seed=0).broken
    sent = noiseless(public, prompts)
    loud = KnownContext(tempers=(0.01,), shares=(0.0,))  # so that what was released outweighs the prior
    figures = measure_known_context(public, sent, loud, longest=LENGTH, seed=0)
    assert figures.broken
    assert figures.success.lower > figures.allowed
    assert figures.broken_below > figures.broken_above


def test_each_send_is_accounted_for(world):
    once = world(mu=1.0, peak=0.4)
    public, prompts = replace(once, mechanism=repeated(once.mechanism, 4)), texts(40, 0.5)
    figures = measure_known_context(public, released(public, prompts), AS_IT_IS, longest=LENGTH, seed=0, sends=4)
    single = measure_known_context(once, released(once, prompts), AS_IT_IS, longest=LENGTH, seed=0)
    assert figures.allowed == inversion_bound(once.mechanism.spec, figures.centre.upper, tokens=4, proved=True).upper
    assert figures.allowed > single.allowed
    assert figures.lift.value > single.lift.value
    assert not figures.broken


def test_a_mechanism_without_a_centre_has_a_lift_and_no_bound(world):
    public, prompts = world(mu=1.0, peak=0.4), texts(40, 0.5)
    public = replace(public, mechanism=Toy(ToySpec(WORDS, 1_000), public.table))
    figures = measure_known_context(public, released(public, prompts), AS_IT_IS, longest=LENGTH, seed=0)
    assert (figures.centre, figures.allowed, figures.broken_above, figures.broken) == (None, None, None, False)
    assert figures.lift.lower > 0


@pytest.mark.parametrize("sends", [1, 3])
def test_a_mechanism_with_supports_is_held_to_its_uniform_release(world, sends):
    public, prompts = world(mu=1.0, peak=0.4), texts(60, 0.5)
    rival = RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, 2.5))
    public = replace(public, mechanism=rival if sends == 1 else repeated(rival, sends))
    figures = measure_known_context(public, released(public, prompts), AS_IT_IS, longest=LENGTH, seed=0, sends=sends)
    assert figures.centre is not None
    assert abs(figures.centre.value - figures.without.value) < 0.1  # a uniform release tells as much as none
    assert figures.success.lower < figures.allowed <= 1
    assert figures.allowed == guess_bound(rival.spec, figures.centre.upper, sends).upper
    assert not figures.broken


def test_a_mechanism_of_less_noise_than_it_states_is_broken_by_who_knows_the_context(world):
    """The releases are those of a louder mechanism under the stated one's name: the bound is of the stated one."""
    public, prompts = world(mu=1.0, peak=0.1), texts(60, 0.5)
    stated, true = (RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, nats)) for nats in (1.5, 12.0))
    messages = [
        renamed(true.release(prompt, SimulatedRandomness(5, str(row))), true.spec.fingerprint, stated.spec.fingerprint)
        for row, prompt in enumerate(prompts)
    ]
    public = replace(public, mechanism=stated)
    sent = replace(released(public, prompts), messages=messages)
    assert measure_known_context(public, sent, AS_IT_IS, longest=LENGTH, seed=0).broken


def test_intervals_are_over_documents_of_a_length_known_beforehand(world):
    public = world(mu=1.0, peak=0.4)
    sent = released(public, texts(20, 0.5))
    with pytest.raises(UserError, match="two documents"):
        measure_known_context(public, replace(sent, documents=[0] * 20), AS_IT_IS, longest=20 * LENGTH, seed=0)
    with pytest.raises(UserError, match=f"more than longest={LENGTH - 1}"):
        measure_known_context(public, sent, AS_IT_IS, longest=LENGTH - 1, seed=0)
    alike = replace(sent, documents=[row // 2 for row in range(20)])
    wide, narrow = (
        measure_known_context(public, one, AS_IT_IS, longest=2 * LENGTH, seed=0).success for one in (alike, sent)
    )
    assert wide.documents == 10
    assert wide.upper - wide.lower > narrow.upper - narrow.lower


def test_of_both_sides_the_bound_holds_and_an_uninformative_release_lifts_nothing(world):
    both, left = replace(AS_IT_IS, sides="both sides"), AS_IT_IS
    for mu in (0.01, 2.0):
        public, prompts = world(mu, peak=0.4), texts(150, 0.6)
        known, before = (
            measure_known_context(public, released(public, prompts), attack, longest=LENGTH, seed=0)
            for attack in (both, left)
        )
        assert (known.context, before.context) == ("both sides", "left")
        assert not known.broken
        assert known.success.value <= known.allowed
        if mu < 1:
            assert abs(known.lift.value) < 0.01
        else:
            assert known.success.lower > before.success.upper
            assert known.lift.lower > 0


def test_tokens_are_asked_evenly_spaced_and_a_templates_words_are_not(world):
    public, prompts = world(mu=2.0, peak=0.4), texts(30, 0.5)
    sent = released(public, prompts)
    asked = [len(spaced(np.ones(n, dtype=bool), 4).nonzero()[0]) for n in (1, 3, 4, 5, 20, 64)]
    assert asked == [1, 3, 4, 4, 4, 4]
    assert spaced(np.ones(20, dtype=bool), 4).nonzero()[0].tolist() == [2, 7, 12, 17]
    some = measure_known_context(public, sent, AS_IT_IS, longest=4, seed=0, each=4)
    assert (some.success.sample, some.success.documents) == (120, 30)
    fixed = [np.arange(LENGTH) < 5] * 30
    slots = measure_known_context(public, sent, AS_IT_IS, longest=LENGTH - 5, seed=0, fixed=fixed)
    assert slots.success.sample == 30 * (LENGTH - 5)
    every = measure_known_context(public, sent, AS_IT_IS, longest=LENGTH, seed=0)
    assert slots.success.sample * slots.success.value < every.success.sample * every.success.value
    with pytest.raises(UserError, match="each >= 1"):
        measure_known_context(public, sent, AS_IT_IS, longest=4, seed=0, each=0)
    with pytest.raises(UserError, match="more than longest=3"):
        measure_known_context(public, sent, AS_IT_IS, longest=3, seed=0, each=4)


def test_figures_that_are_judged_together_share_the_false_alarms(world):
    public, prompts = world(mu=0.5, peak=0.4), texts(60, 0.5)
    sent = released(public, prompts)
    alone, together = (
        measure_known_context(public, sent, AS_IT_IS, longest=LENGTH, seed=0, judged=judged) for judged in (1, 2)
    )
    assert together.broken_below < alone.broken_below
    assert together.broken_above > alone.broken_above
    assert (together.success, together.allowed) == (alone.success, alone.allowed)
