import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from mechanisms.continuation import BATCH, embed, generate, require_context, response_losses, score
from mechanisms.errors import UserError

COLD = 1e-6
"""A temperature at which sampling takes the likeliest token."""


def some_tokens(count, seed=0):
    return np.random.default_rng(seed).integers(1, 384, count).tolist()


@pytest.fixture(scope="module")
def model(language):
    """A copy with larger weights: the tiny model only repeats its last token."""
    lively = copy.deepcopy(language.model)
    with torch.no_grad():
        for parameter in lively.model.layers.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
    return lively


@pytest.fixture
def changeable_model(model):
    return copy.deepcopy(model)


def greedy(model, tokens, new_tokens):
    """Returns transformers' own greedy continuation of token ids."""
    output = model.generate(
        torch.tensor([tokens]),
        attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
        do_sample=False,
        max_new_tokens=new_tokens,
        pad_token_id=0,
    )
    return output[0, len(tokens) :].tolist()


def test_embeddings_are_the_models_own(model):
    tokens = some_tokens(5)
    assert torch.equal(embed(model, tokens), model.get_input_embeddings().weight[tokens])
    assert embed(model, []).shape == (0, 32)


@pytest.mark.parametrize(("prompt", "response"), [(1, 1), (7, 1), (1, 20), (30, 40)])
def test_losses_of_token_prompts_are_transformers_own(model, prompt, response):
    tokens = some_tokens(prompt + response)
    labels = torch.tensor([[-100] * prompt + tokens[prompt:]])
    with torch.no_grad():
        whole = model(input_ids=torch.tensor([tokens]), labels=labels)
        (losses,) = response_losses(model, [embed(model, tokens[:prompt])], [tokens[prompt:]])
    assert losses.shape == (response,)
    assert float(losses.mean()) == pytest.approx(float(whole.loss), abs=1e-5)
    each = functional.cross_entropy(whole.logits[0, prompt - 1 : -1], torch.tensor(tokens[prompt:]), reduction="none")
    assert torch.allclose(losses, each, atol=1e-5)


def test_padding_does_not_change_a_loss(model):
    lengths = [(3, 9), (40, 1), (1, 30), (12, 12), (7, 2)]
    prefixes = [embed(model, some_tokens(prompt, seed)) for seed, (prompt, _) in enumerate(lengths)]
    responses = [some_tokens(response, 100 + seed) for seed, (_, response) in enumerate(lengths)]
    with torch.no_grad():
        together = response_losses(model, prefixes, responses)
        for index, losses in enumerate(together):
            (alone,) = response_losses(model, [prefixes[index]], [responses[index]])
            assert torch.allclose(losses, alone, atol=1e-5)


def test_scores_are_mean_losses_whatever_the_batch_and_progress_hears_of_each(model):
    class Progress:
        done = 0

        def update(self, count):
            self.done += count

    pairs = 2 * BATCH + 3
    prefixes = [embed(model, some_tokens(1 + seed % 5, seed)) for seed in range(pairs)]
    responses = [some_tokens(1 + seed % 7, 1000 + seed) for seed in range(pairs)]
    progress = Progress()
    scores = score(model, prefixes, responses, progress)
    assert scores.dtype == np.float64
    assert progress.done == pairs
    with torch.no_grad():
        alone = [
            float(response_losses(model, [prefix], [response])[0].mean())
            for prefix, response in zip(prefixes, responses, strict=True)
        ]
    assert scores == pytest.approx(alone, abs=1e-5)


def test_a_prefix_that_is_given_several_times_is_read_once_and_scores_as_alone(model):
    distinct = [embed(model, some_tokens(1 + 3 * seed % 11, seed)) for seed in range(BATCH + 2)]
    chosen = [pair % len(distinct) for pair in range(3 * len(distinct))] + [4] * (BATCH + 1)
    prefixes = [distinct[index] for index in chosen]
    responses = [some_tokens(1 + pair % 6, 2_000 + pair) for pair in range(len(prefixes))]
    read, handle = (
        [],
        model.register_forward_pre_hook(
            lambda _, __, inputs: read.append((inputs["past_key_values"] is None, inputs["inputs_embeds"].shape[0])),
            with_kwargs=True,
        ),
    )
    scores = score(model, prefixes, responses)
    handle.remove()
    assert sum(rows for fresh, rows in read if fresh) == len(distinct)
    with torch.no_grad():
        alone = [
            float(response_losses(model, [prefix], [response])[0].mean())
            for prefix, response in zip(prefixes, responses, strict=True)
        ]
    assert scores == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("responses", [[[1]], [[1], []]])
def test_scores_need_a_response_for_each_prefix(model, responses):
    prefix = embed(model, some_tokens(4))
    with pytest.raises(UserError, match="a response of at least one token for each prefix"):
        score(model, [prefix, prefix], responses)


def test_losses_can_be_differentiated_in_the_prefix(model):
    prefix = embed(model, some_tokens(4)).detach().requires_grad_()
    (losses,) = response_losses(model, [prefix], [some_tokens(3, 1)])
    losses.sum().backward()
    assert prefix.grad is not None
    assert (prefix.grad.abs().sum(dim=1) > 0).all()


def test_an_empty_response_is_refused(model):
    prefix = embed(model, some_tokens(4))
    with pytest.raises(UserError, match="empty"):
        response_losses(model, [prefix, prefix], [[1], []])


def test_prefixes_and_responses_must_pair_up(model):
    prefix = embed(model, some_tokens(4))
    with pytest.raises(ValueError, match="zip"):
        response_losses(model, [prefix, prefix], [[1]])


def test_a_sequence_over_the_context_is_refused(model):
    prefix = embed(model, some_tokens(200))
    with torch.no_grad():
        assert response_losses(model, [prefix], [some_tokens(57)])[0].shape == (57,)
    with pytest.raises(UserError, match="at most 256 tokens, the model's context, got 257"):
        response_losses(model, [prefix], [some_tokens(58)])
    with pytest.raises(UserError, match="got 257"):
        generate(model, [prefix, prefix[:3]], 57, seed=0)
    require_context(model, 256)
    with pytest.raises(UserError, match="256"):
        require_context(model, 257)


def test_cold_generation_from_embedded_tokens_is_transformers_greedy_one(model):
    prompts = [some_tokens(length, length) for length in (1, 5, 17, 9)]
    expected = [[token for token in greedy(model, prompt, 12) if token != 0] for prompt in prompts]
    alone = [generate(model, [embed(model, prompt)], 12, seed=0, temperature=COLD)[0] for prompt in prompts]
    assert alone == expected
    assert generate(model, [embed(model, prompt) for prompt in prompts], 12, seed=5, temperature=COLD) == expected


def test_sampled_tokens_follow_the_models_law(model):
    """The first token's distribution at temperature 1, against the softmax of the model's logits."""
    prompt = some_tokens(6)
    with torch.no_grad():
        law = torch.softmax(model(torch.tensor([prompt])).logits[0, -1].double(), 0).numpy()
    draws = 20 * BATCH
    written = generate(model, [embed(model, prompt)] * draws, 1, seed=0, temperature=1.0, top_p=1.0)
    found = np.bincount([row[0] if row else 0 for row in written], minlength=384)
    halves = np.argsort(law)[::-1].reshape(2, -1)  # the likelier half of the words
    share = law[halves[0]].sum()
    assert abs(found[halves[0]].sum() - draws * share) < 5 * np.sqrt(draws * share * (1 - share))


def test_nucleus_sampling_leaves_the_tail_out(model):
    prompt = some_tokens(6)
    with torch.no_grad():
        law = torch.softmax(model(torch.tensor([prompt])).logits[0, -1] / 0.7, 0).numpy()
    order = np.argsort(law)[::-1]
    nucleus = set(order[: 1 + int(np.searchsorted(np.cumsum(law[order]), 0.1))].tolist())
    written = generate(model, [embed(model, prompt)] * 40, 1, seed=0, top_p=0.1)
    assert {row[0] for row in written if row} <= nucleus


def test_the_same_seed_repeats_the_text_and_leaves_the_global_generator_alone(model):
    prefixes = [embed(model, some_tokens(length, length)) for length in (3, 8)]
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    first = generate(model, prefixes, 10, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert generate(model, prefixes, 10, seed=1) == first
    assert generate(model, prefixes, 10, seed=2) != first


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_text_ends_before_an_end_token_and_padding_is_no_text(changeable_model, several):
    """Some models have several end tokens: text ends at any of them."""
    model = changeable_model
    prompts = [some_tokens(length, length) for length in (4, 11)]
    plain = [greedy(model, prompt, 8) for prompt in prompts]
    end = plain[0][2]
    assert end not in plain[0][:2]
    ends = [383, end] if several else end
    model.config.eos_token_id = model.generation_config.eos_token_id = ends
    stopped = [plain[0][:2], plain[1][: plain[1].index(end)] if end in plain[1] else plain[1]]
    written = generate(model, [embed(model, prompt) for prompt in prompts], 8, seed=0, temperature=COLD)
    assert written == stopped


def test_a_model_without_end_token_writes_to_the_end(changeable_model):
    changeable_model.config.eos_token_id = changeable_model.generation_config.eos_token_id = None
    prefixes = [embed(changeable_model, some_tokens(length, length)) for length in (4, 11)]
    written = generate(changeable_model, prefixes, 8, seed=0)
    assert [len(row) for row in written] == [8, 8]
