import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.nlu import (
    PLAIN,
    SPLIT_AND_DENOISE,
    Clean,
    Denoiser,
    DenoiserShape,
    DenoiserTraining,
    LabelledTokens,
    SoftStart,
    TaskTraining,
    load_task,
    score_task,
    train_denoiser,
    train_task,
)
from mechanisms.nlu import reader as task_reader
from mechanisms.nlu.states import initial_soft_tokens

RATES = {"head_rate": 1e-2, "prompt_rate": 1e-3, "joint_head_rate": 1e-2}
SETTINGS = TaskTraining(PLAIN, SoftStart(4), head_epochs=8, epochs=2, batch=8, **RATES)
FULL = replace(SETTINGS, classifier=SPLIT_AND_DENOISE)


@pytest.fixture(scope="module")
def examples(make_task):
    return make_task(160, 0)


@pytest.fixture(scope="module")
def few(examples):
    return examples.take(range(24))


@pytest.fixture(scope="module")
def denoisers(own_language, gentle, harsh, make_task, tmp_path_factory):
    """A denoiser of each mechanism, trained on pairs of which no label is known."""
    base = tmp_path_factory.mktemp("denoisers")
    settings = DenoiserTraining(DenoiserShape("states", 2, 2, 16), SETTINGS.soft, epochs=2)
    documents = make_task(40, 7).tokens
    return {
        name: train_denoiser(own_language, inputs, documents, settings, base / name, {})
        for name, inputs in (("gentle", gentle), ("harsh", harsh))
    }


@pytest.fixture(scope="module")
def train(own_language, gentle, few):
    def run(folder, settings=SETTINGS, data=few, inputs=gentle, denoiser=None):
        return train_task(own_language, inputs, data, settings, folder, {"data": "topics"}, denoiser)

    return run


@pytest.fixture(scope="module")
def trained(train, examples, gentle, harsh, denoisers, tmp_path_factory):
    """Both paths through a gentle and a harsh mechanism, on all examples."""
    base = tmp_path_factory.mktemp("tasks")
    return {
        (path, name): (
            train(
                base / f"{path}-{name}",
                FULL if path == "denoised" else SETTINGS,
                examples,
                inputs,
                denoisers[name] if path == "denoised" else None,
            ),
            base / f"{path}-{name}",
        )
        for path in ("plain", "denoised")
        for name, inputs in (("gentle", gentle), ("harsh", harsh))
    }


def accuracy(scores, labels):
    return float((scores.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("path", ["plain", "denoised"])
def test_a_task_is_learned_through_little_noise_and_not_through_much(trained, make_task, examples, gentle, harsh, path):
    test = make_task(200, 1)
    gentle_scores = score_task(trained[path, "gentle"][0], gentle, examples, test)
    harsh_scores = score_task(trained[path, "harsh"][0], harsh, examples, test)
    assert accuracy(gentle_scores.released, test.labels) > 0.75
    # one fair coin a test example: outside 0.33..0.67 with probability under 1e-6
    for guess in (harsh_scores.released, gentle_scores.other, harsh_scores.other):
        assert 0.33 < accuracy(guess, test.labels) < 0.67


@pytest.mark.parametrize("path", ["plain", "denoised"])
def test_it_loads_back_to_identical_scores(trained, own_language, make_task, gentle, path):
    reader, folder = trained[path, "gentle"]
    rows = gentle.rows(make_task(20, 2).tokens, "reload")
    loaded = load_task(folder, own_language)
    np.testing.assert_array_equal(loaded.scores(rows), reader.scores(rows))
    assert not any(parameter.requires_grad for parameter in loaded.parts.parameters())
    assert (loaded.parts.denoiser is None) == (path == "plain")


def test_the_card_tells_the_run(trained, own_language, gentle):
    _, folder = trained["plain", "gentle"]
    card = json.loads((folder / "card.json").read_text())
    assert card["classes"] == ["body", "time"]
    assert card["data"] == "topics"
    assert card["mechanism"] == gentle.mechanism.spec.fingerprint.hex()
    assert card["base_model"]["sha256"] == own_language.record.sha256
    assert card["training"]["soft"]["count"] == 4
    assert card["history"]["head"][0]["validation"] == pytest.approx(np.log(2), rel=1e-6)
    assert card["history"]["head"][-1]["validation"] < 0.6
    assert len(card["history"]["joint"]) >= 2


def test_only_soft_tokens_and_classifier_are_trained(train, own_language, denoisers, tmp_path):
    model = own_language.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    denoiser_before = {name: tensor.clone() for name, tensor in denoisers["gentle"].state_dict().items()}
    reader = train(tmp_path / "t", replace(FULL, patience=9, epochs=1), denoiser=denoisers["gentle"])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    after = reader.parts.denoiser.state_dict()
    assert all(torch.equal(denoiser_before[name], after[name]) for name in denoiser_before)
    for parameter in (*model.parameters(), *reader.parts.denoiser.parameters()):
        assert parameter.grad is None
        assert not parameter.requires_grad


def test_the_second_stage_moves_the_soft_tokens_and_zero_epochs_leave_them(train, own_language, examples, tmp_path):
    start = initial_soft_tokens(own_language, SETTINGS.soft.text, 4)
    data, settings = examples.take(range(80)), replace(SETTINGS, head_epochs=1, patience=9)
    still = train(tmp_path / "still", replace(settings, epochs=0), data)
    moved = train(tmp_path / "moved", settings, data)
    assert torch.equal(still.parts.soft, start)
    assert (moved.parts.soft - start).abs().sum(1).min() > 0


def test_every_joint_epoch_reads_a_fresh_release(train, tmp_path, gentle):
    purposes = []

    class Spy:
        private = True
        fingerprint = "spied"

        def rows(self, tokens, *purpose):
            purposes.append(purpose)
            return gentle.rows(tokens, *purpose)

    train(tmp_path / "t", replace(SETTINGS, head_releases=2, head_epochs=3, patience=9), inputs=Spy())
    releases = [purpose for purpose in purposes if purpose != ("task validation",)]
    assert releases == [("task", "head", "0"), ("task", "head", "1"), ("task", "joint", "1"), ("task", "joint", "2")]


def test_the_same_seed_gives_the_same_scores(train, tmp_path, gentle, few):
    rows = gentle.rows(few.tokens, "seed")
    first = train(tmp_path / "a", FULL).scores(rows)
    torch.manual_seed(99)
    np.testing.assert_array_equal(train(tmp_path / "b", FULL).scores(rows), first)
    assert not np.array_equal(train(tmp_path / "c", replace(FULL, seed=1)).scores(rows), first)


def interrupted_at(patch, call):
    """Interrupts the call-th time that the language model is read for the soft tokens' gradients; 0 in the head."""
    real, calls = task_reader.read_states, []

    def read(model, soft, *others):
        calls.extend([1] * (soft.requires_grad and torch.is_grad_enabled()))
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(model, soft, *others)

    patch.setattr(task_reader, "read_states", read)


@pytest.mark.parametrize("call", [0, 1, 2, 3, 4, 6])
def test_interrupted_training_goes_on_to_the_same_result(train, tmp_path, monkeypatch, gentle, few, call):
    settings = replace(FULL, patience=9)
    rows = gentle.rows(few.tokens, "resume")
    expected = train(tmp_path / "whole", settings).scores(rows)
    with monkeypatch.context() as patch:
        interrupted_at(patch, call)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == (["cut.partial"] if call > 1 else []) + ["whole"]
    np.testing.assert_array_equal(train(tmp_path / "cut", settings).scores(rows), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]
    cards = [json.loads((tmp_path / name / "card.json").read_text()) for name in ("cut", "whole")]
    assert cards[0] == cards[1]


KILLED = """
import json, os, signal, sys
from pathlib import Path
import numpy as np, torch
from mechanisms.models import load_causal_lm
from mechanisms.nlu import PLAIN, LabelledTokens, Released, SoftStart, TaskTraining, states, reader, train_task
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.spec import QuantizerSpec

torch.set_num_threads(1)
given = json.loads(sys.argv[1])
language = load_causal_lm(given["model"])
table = language.model.get_input_embeddings().weight.detach().numpy()
spec = QuantizerSpec.from_mu(4, 12, 0.05, 400.0)
inputs = Released(assemble(table, given["documents"], spec, EncoderSettings(), "linear"), 0)
tokens = tuple(map(tuple, given["tokens"]))
examples = LabelledTokens(tokens, np.array(given["labels"]), ("body", "time"))
settings = TaskTraining(
    PLAIN, SoftStart(4), head_epochs=8, epochs=2, batch=8, head_rate=1e-2, prompt_rate=1e-3, patience=9
)
real, calls = reader.read_states, []

def counting(model, soft, rows, bfloat16=False):
    calls.extend([1] * soft.requires_grad * torch.is_grad_enabled())
    if len(calls) == given["kill_at"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(model, soft, rows, bfloat16)

reader.read_states = counting
done = train_task(language, inputs, examples, settings, Path(given["folder"]), {})
print(json.dumps(done.scores(inputs.rows(tokens, "end")).tolist()))
"""


@pytest.mark.slow
def test_killed_training_goes_on_to_the_same_result(tiny_lm_folder, public_documents, few, tmp_path):
    def run(folder, kill_at=-1):
        given = {"model": str(tiny_lm_folder), "documents": public_documents, "folder": str(tmp_path / folder)}
        given |= {"tokens": few.tokens, "labels": few.labels.tolist(), "kill_at": kill_at}
        return subprocess.run([sys.executable, "-c", KILLED, json.dumps(given)], capture_output=True, text=True)

    whole = run("whole")
    assert whole.returncode == 0, whole.stderr
    assert run("cut", kill_at=5).returncode == -signal.SIGKILL
    assert not (tmp_path / "cut").exists()
    assert (tmp_path / "cut.partial" / "checkpoint.json").exists()
    resumed = run("cut")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout) == json.loads(whole.stdout)


def test_a_broken_quantizer_trains_on_nothing(train, tmp_path, broken_quantizer):
    with pytest.raises(RuntimeError, match="the quantizer is broken"):
        train(tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_what_cannot_be_trained_is_refused(train, own_language, denoisers, few, tmp_path):
    with pytest.raises(UserError, match="a denoiser is given nothing but releases"):
        train(tmp_path / "t", inputs=Clean(own_language.model), denoiser=denoisers["gentle"])
    with pytest.raises(UserError, match="denoiser of width 32, got width 8"):
        train(tmp_path / "t", denoiser=Denoiser(8, DenoiserShape(inner=4, heads=2), 0))
    lonely = LabelledTokens(few.tokens[:3], np.array([0, 0, 1]), few.classes)
    with pytest.raises(UserError, match="two examples or more of class 'time'"):
        train(tmp_path / "t", data=lonely)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "t").mkdir()
    with pytest.raises(UserError, match="does not exist yet"):
        train(tmp_path / "t")


def test_an_interrupted_run_of_other_settings_is_refused(train, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupted_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "t")
    with pytest.raises(UserError, match=r"got another: training.seed is 0 there and 1 here"):
        train(tmp_path / "t", replace(SETTINGS, seed=1))


def test_a_task_of_another_model_is_refused(trained, own_language):
    other = LanguageModel(own_language.model, own_language.tokenizer, replace(own_language.record, sha256="0" * 64))
    with pytest.raises(UserError, match="train one for this model"):
        load_task(trained["plain", "gentle"][1], other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_epochs": 0}, "head_epochs >= 1"),
        ({"epochs": -1}, "epochs >= 0"),
        ({"batch": 0}, "batch >= 1"),
        ({"prompt_rate": 0.0}, "prompt_rate > 0"),
        ({"validation_share": 0.0}, r"validation_share in \(0, 1\)"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        TaskTraining(**options)
