"""Theorem 12: a figure of utility stands beside its controls, and the paired gain cannot be flattered."""

from types import SimpleNamespace

import numpy as np
import pytest
from every_tokenizer import gemma

from del_audit.evidence.utility import Prompts, measure_prediction, paired_gain, references
from mechanisms.models import load_causal_lm
from mechanisms.randomness import simulation_generator


class Bar:
    """Counts what is reported done."""

    done = 0

    def update(self, count):
        self.done += count


class ServerOf:
    """A server whose loss is a function of message and response."""

    def __init__(self, loss):
        self._loss = loss

    def losses(self, messages, responses, progress=None):
        return np.array([self._loss(m, r) for m, r in zip(messages, responses, strict=True)])


@pytest.fixture(scope="module")
def language(tiny_lm_folder):
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture
def prompts():
    tokens = simulation_generator(0, "prompts").integers(1, 384, (8, 20)).tolist()
    return Prompts([bytes([i]) for i in range(8)], [row[:12] for row in tokens], [row[12:] for row in tokens])


def test_theorem_12_a_server_that_ignores_its_prompt_gains_nothing_however_well_it_writes(language, prompts):
    fluent = ServerOf(lambda message, response: 0.01 * response[0])
    prediction = measure_prediction(language, fluent, prompts, seed=0, progress=Bar())
    assert prediction.gain.value == 0.0
    assert prediction.gain.lower < 0 < prediction.gain.upper
    assert prediction.losses["released prompt"].value < prediction.losses["clean prompt"].value


def test_a_server_that_knows_its_prompt_gains_the_difference(prompts):
    responses = {bytes([i]): row for i, row in enumerate(prompts.responses)}
    knowing = ServerOf(lambda message, response: 1.0 if responses[message] == response else 3.0)
    gain = paired_gain(knowing, prompts, seed=0, progress=Bar())
    assert gain.value == 2.0
    assert 0 < gain.lower < 2.0 < gain.upper
    assert "unseen document at -1" in gain.method
    assert (gain.unit, gain.sample) == ("nats per token", 8)


def test_clean_controls_are_the_models_own_losses(language, prompts):
    import torch

    bar = Bar()
    prediction = measure_prediction(language, ServerOf(lambda m, r: 1.0), prompts, seed=0, progress=bar)
    expected = []
    for prompt, response in zip(prompts.clean, prompts.responses, strict=True):
        tokens = torch.tensor([[0, *prompt, *response]])
        with torch.no_grad():
            logits = language.model(tokens).logits[0].log_softmax(-1)
        picked = [-logits[len(prompt) + i, token].item() for i, token in enumerate(response)]
        expected.append(np.mean(picked))
    assert prediction.losses["clean prompt"].value == pytest.approx(np.mean(expected), rel=1e-5)
    assert bar.done == 3 * len(prompts)  # the stub server reports nothing


def test_a_clean_gain_that_is_not_above_zero_has_no_share(language, prompts):
    prediction = measure_prediction(language, ServerOf(lambda m, r: 1.0), prompts, seed=0, progress=Bar())
    assert (prediction.share is None) == (prediction.clean_gain.lower <= 0)


def test_true_responses_are_texts_as_the_server_writes_them():
    """A tokenizer that tidies spaces up wrote ` .` as `.` here, but not in a server's answer."""
    tokenizer = gemma()
    tokenizer.clean_up_tokenization_spaces = True
    tokens = tokenizer.convert_tokens_to_ids(["a", "▁", ".", "</s>"])
    assert tokenizer.decode(tokens, skip_special_tokens=True) == "a."
    assert references(SimpleNamespace(tokenizer=tokenizer), Prompts([b""], [[1]], [tokens])) == ["a ."]
