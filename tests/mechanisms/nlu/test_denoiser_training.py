import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.nlu import (
    Clean,
    DenoiserShape,
    DenoiserTraining,
    SoftStart,
    denoiser_training,
    load_denoiser,
    train_denoiser,
)
from mechanisms.nlu.states import initial_soft_tokens, read_states

SOFT = SoftStart(4)
STATES = DenoiserTraining(DenoiserShape("states", 2, 2, 32), SOFT, epochs=6, batch=8, learning_rate=3e-3)
SETTINGS = {"states": STATES, "embeddings": replace(STATES, shape=replace(STATES.shape, place="embeddings"))}


def walks(count, seed):
    """Documents of a language in which a token's neighbours tell much of it."""
    generator = np.random.default_rng(seed)
    starts = generator.integers(100, 116, count)
    return [[int(start + 5 * step + generator.integers(0, 2)) for step in range(12)] for start in starts]


@pytest.fixture(scope="module")
def noisy(make_released):
    return make_released(8.0)


@pytest.fixture(scope="module")
def train(own_language, noisy):
    def run(folder, settings=STATES, documents=None, inputs=noisy):
        documents = documents if documents is not None else walks(64, 0)
        return train_denoiser(own_language, inputs, documents, settings, folder, {"data": "walks"})

    return run


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    base = tmp_path_factory.mktemp("denoisers")
    return {place: (train(base / place, settings), base / place) for place, settings in SETTINGS.items()}


@pytest.fixture(scope="module")
def held_out(own_language, noisy):
    """Noisy and clean sequences of documents and releases that no training has seen."""
    documents = walks(40, 99)
    embeddings = noisy.rows(documents, "held out"), Clean(own_language.model).rows(documents)
    soft = initial_soft_tokens(own_language, SOFT.text, SOFT.count)
    states = [[row.detach() for row in read_states(own_language.model, soft, side)] for side in embeddings]
    return {"embeddings": embeddings, "states": states}


@pytest.mark.parametrize("place", ["states", "embeddings"])
def test_squared_error_falls_on_held_out_text(trained, held_out, place):
    denoiser, _ = trained[place]
    seen, clean = (list(side) for side in held_out[place])
    told = denoiser.denoise(seen)
    raw_error, error = (float(((torch.cat(side) - torch.cat(clean)) ** 2).sum()) for side in (seen, told))
    assert error < 0.9 * raw_error
    lines = [denoiser.mean + denoiser.gain * (row - denoiser.noisy_mean) for row in seen]
    assert float(denoiser.error(told, clean)) < 0.95 * float(denoiser.error(lines, clean))


@pytest.mark.parametrize("place", ["states", "embeddings"])
def test_the_card_tells_the_run(trained, own_language, noisy, place):
    denoiser, folder = trained[place]
    card = json.loads((folder / "card.json").read_text())
    assert card["kind"] == "denoiser"
    assert card["data"] == "walks"
    assert card["base_model"]["sha256"] == own_language.record.sha256
    assert card["mechanism"] == noisy.mechanism.spec.fingerprint.hex()
    assert card["training"]["shape"] == denoiser.shape.to_dict()
    errors = [record["validation"] for record in card["history"]]
    assert min(errors) < errors[0] < card["raw_error"]
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_it_loads_back_to_the_same_values_frozen(trained, own_language, held_out):
    for place, (denoiser, folder) in trained.items():
        loaded = load_denoiser(folder, own_language)
        assert loaded.shape == denoiser.shape
        assert not any(parameter.requires_grad for parameter in loaded.parameters())
        assert all(map(torch.equal, loaded.denoise(held_out[place][0]), denoiser.denoise(held_out[place][0])))


def test_only_the_denoiser_is_trained(train, own_language, tmp_path):
    before = {name: tensor.clone() for name, tensor in own_language.model.state_dict().items()}
    train(tmp_path / "d", replace(STATES, epochs=1))
    assert all(torch.equal(before[name], tensor) for name, tensor in own_language.model.state_dict().items())
    assert all(parameter.grad is None for parameter in own_language.model.parameters())


def test_the_same_seed_gives_the_same_denoiser(train, tmp_path):
    short = replace(STATES, epochs=2)
    first = train(tmp_path / "a", short).state_dict()
    torch.manual_seed(77)
    same, other = train(tmp_path / "b", short).state_dict(), train(tmp_path / "c", replace(short, seed=1)).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["read.weight"], other["read.weight"])


def test_interrupted_training_goes_on_to_the_same_denoiser(train, tmp_path, monkeypatch):
    short = replace(STATES, epochs=3)
    whole = train(tmp_path / "whole", short).state_dict()
    real, calls = denoiser_training.by_length, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(denoiser_training, "by_length", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", short)
    assert not (tmp_path / "cut").exists()
    resumed = train(tmp_path / "cut", short).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]


def test_an_interrupted_run_of_other_data_is_refused(train, tmp_path, monkeypatch):
    real, calls = denoiser_training.by_length, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(denoiser_training, "by_length", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", SETTINGS["embeddings"])
    with pytest.raises(UserError, match="got another: pieces"):
        train(tmp_path / "cut", SETTINGS["embeddings"], walks(80, 1))


def test_epochs_take_turns_with_fresh_releases(train, tmp_path, noisy):
    purposes = []

    class Spy:
        private = True
        fingerprint = "spied"

        def rows(self, tokens, *purpose):
            purposes.append(purpose)
            return noisy.rows(tokens, *purpose)

    train(tmp_path / "d", replace(SETTINGS["embeddings"], epochs=3, releases=2), inputs=Spy())
    assert sorted(purposes) == [("denoiser", "0"), ("denoiser", "1"), ("denoiser validation",)]


def test_what_cannot_be_trained_is_refused(train, own_language, tmp_path):
    with pytest.raises(UserError, match="got clean embeddings"):
        train(tmp_path / "d", inputs=Clean(own_language.model))
    with pytest.raises(UserError, match="two public documents of 4 tokens or more, got 1"):
        train(tmp_path / "d", documents=[[1, 2, 3], [], [1, 2, 3, 4]])
    (tmp_path / "d").mkdir()
    with pytest.raises(UserError, match="does not exist yet"):
        train(tmp_path / "d")


def test_a_denoiser_of_another_model_is_refused(trained, own_language):
    other = LanguageModel(own_language.model, own_language.tokenizer, replace(own_language.record, sha256="0" * 64))
    with pytest.raises(UserError, match="train one for this model"):
        load_denoiser(trained["states"][1], other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs >= 1"),
        ({"releases": 0}, "releases >= 1"),
        ({"window": 3}, "window >= 4"),
        ({"validation_share": 1.0}, r"validation_share in \(0, 1\)"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        DenoiserTraining(**options)
    with pytest.raises(UserError, match="virtual_tokens >= 1"):
        SoftStart(0)
