"""Every path of the product through many families of models: right to 1e-4 in logits, or refused when it is loaded.

The yardstick is the model's own forward pass over token ids, one sequence at a time, without a cache.
"""

import re

import numpy as np
import pytest
import torch
from families.page import COMMAND, PAGE, page
from families.refused import REASONS
from families.settings import TURN, WORDS
from families.tiny_models import FAMILIES, REFUSED, make
from families.tiny_models import write as write_model
from torch.nn import functional

from attacks.language_reader import Reader
from mechanisms.abilities import abilities
from mechanisms.cached_sequences import accepted
from mechanisms.continuation import embed, response_losses, score
from mechanisms.errors import UserError
from mechanisms.generation import GenerationSettings, write
from mechanisms.model_facts import end_tokens, opening_token, turns_of
from mechanisms.models import load_causal_lm
from mechanisms.nlu.states import read_states
from mechanisms.stepping import CachedReader
from mechanisms.training.projection import next_token_loss

RIGHT = [family for family in FAMILIES if family not in REFUSED]
GREEDY = GenerationSettings(6, greedy=True)
LENGTHS = (3, 17, 9, 1)


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
    folder = write_model(family, tiny_lm_folder, tmp_path)
    with pytest.raises(UserError, match=re.escape(REASONS[family])) as refusal:
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
        unigrams = torch.full((WORDS,), -np.log(WORDS))
        reader = Reader(model, embed(model, [begin]), unigrams, 1.0, 0.0, 256)
        wanted = torch.log_softmax(own_logits(model, [begin, *tokens[:-1]])[:, :WORDS], 1)
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


@pytest.mark.parametrize("family", [family for family in RIGHT if "long texts" in family])
class TestTurns:
    """Models that read every place another way beyond some length, which is between the lengths that are read here."""

    def test_it_is_found_and_matters(self, loaded, family):
        model, tokens = loaded(family).model, some_tokens(TURN + 1)
        assert abilities(model).turns == turns_of(model) == (TURN,)
        beyond, within = own_logits(model, tokens), own_logits(model, tokens[:TURN])
        changes = float((beyond[:TURN] - within).abs().max())
        assert changes > 0.1 or family == "llama4, long texts"  # which changes only for rows behind padding

    def test_of_equal_rows_on_either_side_the_cache_is_used(self, loaded, family):
        model = loaded(family).model
        for length in (TURN - 3, TURN + 3):
            reading = CachedReader(model)
            reading.read(embed(model, some_tokens(length))[None])
            assert reading._cached is not None
        assert reading.branch([3])._cached is None

    def test_a_context_that_does_not_reach_it_has_none(self, family):
        assert turns_of(make(family, max_position_embeddings=TURN)) == ()


@pytest.mark.parametrize("length", [None, "many", -1, True, 0])
def test_a_turn_that_is_no_length_is_none(length):
    model = make("llama, long texts")
    model.config.rope_parameters["original_max_position_embeddings"] = length
    assert turns_of(model) == ()


def test_a_stretched_rotation_does_not_turn():
    assert turns_of(make("llama, stretched")) == ()


def test_the_page_is_up_to_date(loaded):
    assert PAGE.read_text(encoding="utf8") == page(lambda family: loaded(family).model), f"make it again: {COMMAND}"


def test_the_page_has_a_row_of_every_family_and_a_refusal_of_every_refused_one():
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf8").splitlines() if "| `" in line][1:]
    assert [name for name, *_ in rows] == list(FAMILIES)
    assert {name for name, _, *how in rows if how[0].startswith("refused")} == set(REFUSED)
    assert len({kind for _, kind, *_ in rows}) > 80
