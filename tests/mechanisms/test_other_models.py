"""Every path of the product through many families of models: right to 1e-4 in logits, or refused when it is loaded.

The yardstick is the model's own forward pass over token ids, one sequence at a time, without a cache.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from attacks.language_reader import Reader
from mechanisms.abilities import abilities
from mechanisms.cached_sequences import accepted
from mechanisms.continuation import embed, response_losses, score
from mechanisms.errors import UserError
from mechanisms.generation import GenerationSettings, write
from mechanisms.model_facts import end_tokens, opening_token
from mechanisms.models import load_causal_lm
from mechanisms.nlu.states import read_states
from mechanisms.stepping import CachedReader
from mechanisms.training.projection import next_token_loss

sys.path.insert(0, str(Path(__file__).parent))
import other_models

REFUSED = {
    "gemma3n": "every layer looks tokens up again",
    "gemma4": "every layer looks tokens up again",
    "bert": "whose tokens see those that follow",
    "t5": "expected a causal language model, got model_type 't5'",
}
RIGHT = [family for family in other_models.FAMILIES if family not in REFUSED]
GREEDY = GenerationSettings(6, greedy=True)
LENGTHS = (3, 17, 9, 1)


@pytest.fixture(scope="module")
def loaded(tiny_lm_folder, tmp_path_factory):
    """Returns a loader of families; each is loaded once."""
    known = {}

    def load(family):
        if family not in known:
            folder = other_models.write(family, tiny_lm_folder, tmp_path_factory.mktemp("model"))
            known[family] = load_causal_lm(str(folder))
        return known[family]

    return load


def some_tokens(count, seed=0):
    return np.random.default_rng(seed).integers(3, 370, count).tolist()


@torch.no_grad()
def own_logits(model, tokens):
    """Returns the model's own logits after each token, float32, shape (tokens, words)."""
    return model(input_ids=torch.tensor([tokens]), **accepted(model, use_cache=False)).logits[0].float()


def assert_near(found, wanted):
    assert found.shape == wanted.shape
    size = max(1.0, float(wanted.abs().max()))
    assert float((found - wanted).abs().max()) <= 1e-4 * size


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_cannot_be_served_is_refused_at_load(family, tiny_lm_folder, tmp_path):
    folder = other_models.write(family, tiny_lm_folder, tmp_path)
    with pytest.raises(UserError, match=REFUSED[family]) as refusal:
        load_causal_lm(str(folder))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("family", RIGHT)
class TestPaths:
    def test_losses(self, loaded, family):
        """Alone, in a padded batch, and behind a prefix that is read once."""
        model = loaded(family).model
        prompts = [some_tokens(length, length) for length in LENGTHS]
        responses = [some_tokens(20 - length, 50 + length) for length in LENGTHS]
        wanted = []
        for prompt, response in zip(prompts, responses, strict=True):
            said = own_logits(model, prompt + response[:-1])[len(prompt) - 1 :]
            wanted.append(functional.cross_entropy(said, torch.tensor(response), reduction="none"))
        prefixes = [embed(model, prompt) for prompt in prompts]
        with torch.no_grad():
            for found, loss in zip(response_losses(model, prefixes, responses), wanted, strict=True):
                assert_near(found, loss)
        means = [float(loss.double().mean()) for loss in wanted]
        assert score(model, prefixes, responses) == pytest.approx(means, rel=1e-4)
        assert score(model, prefixes * 2, responses * 2) == pytest.approx(means * 2, rel=1e-4)

    def test_reading_on_behind_padding_and_keeping(self, loaded, family):
        model = loaded(family).model
        rows = [some_tokens(length, length) for length in LENGTHS]
        longest, width = max(LENGTHS), embed(model, [1]).shape[1]
        inputs, mask = torch.zeros(len(rows), longest, width), torch.zeros(len(rows), longest, dtype=torch.long)
        for index, row in enumerate(rows):
            inputs[index, longest - len(row) :], mask[index, longest - len(row) :] = embed(model, row), 1
        reading = CachedReader(model)
        assert_near(reading.read(inputs, mask), torch.stack([own_logits(model, row)[-1] for row in rows]))
        for kept in ([3, 1, 1], [2, 0]):
            reading.keep(kept)
            rows = [[*rows[index], 40 + 3 * place] for place, index in enumerate(kept)]
            found = reading.read(embed(model, [row[-1] for row in rows])[:, None])
            assert_near(found, torch.stack([own_logits(model, row)[-1] for row in rows]))
        more = some_tokens(4, 9)
        through = reading.copied([1, 0]).read_through(embed(model, more).expand(2, -1, -1))
        for found, row in zip(through, [rows[1], rows[0]], strict=True):
            assert_near(found, own_logits(model, row + more)[-4:])

    def test_branching(self, loaded, family):
        """From places on both sides of every window."""
        model, row, more = loaded(family).model, some_tokens(18, 3), some_tokens(3, 4)
        for length in (4, 18):
            reading = CachedReader(model)
            reading.read(embed(model, row[:length])[None])
            cuts = [1, length // 2, length]
            branch = reading.branch(cuts)
            found = branch.read_through(embed(model, more).expand(3, -1, -1))
            again = branch.read(embed(model, [7]).expand(3, -1, -1))
            for index, cut in enumerate(cuts):
                wanted = own_logits(model, [*row[:cut], *more, 7])
                assert_near(found[index], wanted[-4:-1])
                assert_near(again[index], wanted[-1])

    def test_reading_along(self, loaded, family):
        model, tokens = loaded(family).model, some_tokens(15, 5)
        begin = opening_token(model)
        unigrams = torch.full((other_models.WORDS,), -np.log(other_models.WORDS))
        reader = Reader(model, embed(model, [begin]), unigrams, 1.0, 0.0, 256)
        wanted = torch.log_softmax(own_logits(model, [begin, *tokens[:-1]])[:, : other_models.WORDS], 1)
        assert_near(reader.along(tokens), wanted)

    def test_the_states_that_a_classifier_reads(self, loaded, family):
        """Of rows of several lengths side by side, against the states of each alone, from its words."""
        model = loaded(family).model
        rows = [some_tokens(length, length) for length in LENGTHS]
        with torch.no_grad():
            found = read_states(model, embed(model, [5]), [embed(model, row) for row in rows])
            for states, row in zip(found, rows, strict=True):
                asked = accepted(model.base_model, use_cache=False)
                wanted = model.base_model(input_ids=torch.tensor([[5, *row]]), **asked)[0][0, 1:].float()
                assert states.shape == (len(row), wanted.shape[1])
                assert_near(states, wanted)

    def test_what_trains_the_projection(self, loaded, family):
        model = loaded(family).model
        windows = torch.tensor([some_tokens(14, seed) for seed in range(3)])
        inputs = torch.stack([embed(model, window[:-1].tolist()) for window in windows]).requires_grad_()
        loss = next_token_loss(model, inputs, windows[:, 1:])
        said = torch.cat([own_logits(model, window[:-1].tolist()) for window in windows])
        assert_near(loss.detach(), functional.cross_entropy(said, windows[:, 1:].flatten()))
        loss.backward()
        assert bool(torch.isfinite(inputs.grad).all())
        assert bool((inputs.grad.abs().amax(2) > 0).all())

    def test_what_trains_the_soft_prompt(self, loaded, family):
        """The gradient is that of the model's own loss."""
        model, response = loaded(family).model, some_tokens(8, 6)
        virtual, prompts = embed(model, some_tokens(3, 7)), [some_tokens(length, 8) for length in (9, 4)]
        vectors = virtual.clone().requires_grad_()
        prefixes = [torch.cat([vectors, embed(model, prompt)]) for prompt in prompts]
        torch.cat(response_losses(model, prefixes, [response, response])).mean().backward()
        own = virtual.clone().requires_grad_()
        for prompt in prompts:
            rows = torch.cat([own, embed(model, prompt + response[:-1])])
            said = model(inputs_embeds=rows[None], **accepted(model, use_cache=False)).logits[0, -len(response) :]
            (functional.cross_entropy(said.float(), torch.tensor(response)) / len(prompts)).backward()
        assert_near(vectors.grad, own.grad)

    def test_text(self, loaded, family):
        """Greedy text behind prompts of several lengths is that of the model, to any of its end tokens."""
        model = loaded(family).model
        prompts = [some_tokens(length, 20 + length) for length in LENGTHS]
        wanted = []
        for prompt in prompts:
            text = list(prompt)
            while len(text) < len(prompt) + GREEDY.new_tokens:
                token = int(own_logits(model, text)[-1].argmax())
                if token in end_tokens(model):
                    break
                text.append(token)
            wanted.append(text[len(prompt) :])
        assert write(model, [embed(model, prompt) for prompt in prompts], GREEDY) == wanted


@pytest.mark.parametrize(
    ("family", "width", "context"),
    [
        ("opt, projected embeddings", 16, 256),
        ("bloom", 32, 1 << 20),
        ("mpt", 32, 256),
        ("mamba", 32, 1 << 20),
        ("gemma3, images", 32, 256),
        ("gpt2", 32, 256),
    ],
)
def test_width_and_context_are_the_models(loaded, family, width, context):
    language = loaded(family)
    assert language.width == width
    assert language.context_tokens == context


def test_a_model_that_states_no_context_has_the_tokenizers(loaded, tiny_lm_folder, tmp_path):
    folder = other_models.write("mamba", tiny_lm_folder, tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 77}))
    assert load_causal_lm(str(folder)).context_tokens == 77


def test_layers_that_multiply_embeddings_are_asked_what_they_read(loaded):
    model = loaded("falcon-h1").model
    assert torch.equal(embed(model, [5]), 3 * model.get_input_embeddings().weight[[5]])


@pytest.mark.parametrize("ends", [[1, 106], 106, None])
@pytest.mark.parametrize("begin", [0, None])
def test_opening_and_end_tokens(tiny_lm_folder, tmp_path, begin, ends):
    folder = other_models.write("llama", tiny_lm_folder, tmp_path, bos_token_id=begin, eos_token_id=ends)
    if begin is None and ends is None:
        with pytest.raises(UserError, match="a token that opens or ends a text, got neither bos_token_id nor eos"):
            load_causal_lm(str(folder))
        return
    model = load_causal_lm(str(folder)).model
    several = ends if isinstance(ends, list) else [] if ends is None else [ends]
    assert opening_token(model) == (several[0] if begin is None else begin)
    assert end_tokens(model) == set(several)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "expected config.json to hold JSON"),
        ("[]", "to hold an object, got list"),
        ("{}", "to name its model_type, got None"),
        ('{"model_type": 3}', "to name its model_type, got 3"),
        ('{"model_type": "lama"}', "knows, got 'lama': remote code is never run"),
        ('{"model_type": "vit"}', "expected a causal language model, got model_type 'vit'"),
        ('{"model_type": "bart", "is_encoder_decoder": true}', "got an encoder-decoder"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "Cannot load"),
        ('{"model_type": "llama", "num_attention_heads": 0}', "Cannot load"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(tiny_lm_folder, tmp_path, content, reason):
    folder = other_models.write("llama", tiny_lm_folder, tmp_path)
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match=reason) as refusal:
        load_causal_lm(str(folder))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tiny_lm_folder, tmp_path, value):
    model = other_models.make("llama")
    model.model.layers[1].mlp.up_proj.weight[3, 3] = value
    folder = other_models.write("llama", tiny_lm_folder, tmp_path)
    model.save_pretrained(folder)
    with pytest.raises(UserError, match=r"NaN or infinite ones in 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        load_causal_lm(str(folder))


def test_a_tokenizer_larger_than_the_table_is_refused_and_a_smaller_one_is_not(tiny_lm_folder, tmp_path):
    folder = other_models.write("llama", tiny_lm_folder, tmp_path / "small", vocab_size=300)
    with pytest.raises(UserError, match=r"tokens below 300, the rows of the model's embedding table, got \d+ beyond"):
        load_causal_lm(str(folder))
    folder = other_models.write("llama", tiny_lm_folder, tmp_path / "large", vocab_size=400)
    assert load_causal_lm(str(folder)).width == 32


def test_an_opening_token_beyond_the_table_is_refused(tiny_lm_folder, tmp_path):
    folder = other_models.write("gpt2", tiny_lm_folder, tmp_path, bos_token_id=50256)
    with pytest.raises(UserError, match=r"in 0\.\.383, the embeddings of .*, got 50256"):
        load_causal_lm(str(folder))


def route_of(able):
    """Returns how a model is read, in the words that begin the page's row."""
    if not able.cache:
        return "without its cache"
    if not able.branches:
        return "from its cache; the two-sided attack reads all prompts again"
    return (
        "from its cache, at any length"
        if able.branch_limit is None
        else "from its cache; the two-sided attack reads pro"
    )


def test_the_page_says_how_each_family_is_read(loaded):
    page = Path(__file__).parents[2] / "docs" / "how-to" / "own-model.md"
    section = page.read_text(encoding="utf8").split("## Model families")[1]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    said = {family: how for how, families in rows for family in families.split("; ")}
    assert set(said) == set(other_models.FAMILIES)
    for family, how in said.items():
        expected = "refused" if family in REFUSED else route_of(abilities(loaded(family).model))
        assert how.startswith(expected), family
