import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm
from mechanisms.randomness import SimulatedRandomness
from mechanisms.training import PromptTraining, layer_selection, loop, private_prompt
from mechanisms.training.kernels import Kernel, kernel_for
from mechanisms.training.layer_selection import (
    Epochs,
    LowPrecision,
    ScheduledLayers,
    Selection,
    draw_layers,
    loss_differences,
    released_mean,
)
from mechanisms.training.low_precision import LayerPrecision, SwitchedLinear
from mechanisms.training.private_prompt import DpSgdSettings, document_gradients, train_private_prompt
from mechanisms.training.prompt_examples import PromptExamples, initial_vectors

pytest.importorskip("opacus")

FALSE_ALARM = 1e-6
COARSE = kernel_for("simulated-int4", torch.device("cpu"))
SELECTION = Selection(1.3, clip=0.2, batch=2, every=1)
DYNAMIC = LowPrecision(COARSE, "dynamic", 0.5, SELECTION)
SETTINGS = PromptTraining(
    steps=6, batch=2, virtual_tokens=5, window=40, shortest_prompt=5, shortest_response=5, warm_up=1, validate_every=2
)
SIMULATED = DpSgdSettings(0.8, clip_norm=0.5, simulate=True)


@pytest.fixture(scope="module")
def own_language(tiny_lm_folder):
    torch.set_num_threads(1)
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="module")
def examples(own_language, tiny_pipeline):
    return PromptExamples(own_language, (tiny_pipeline,), SETTINGS)


@pytest.fixture(scope="module")
def train(own_language, tiny_pipeline, public_documents):
    def run(folder, low=DYNAMIC, privacy=SIMULATED, settings=SETTINGS, **options):
        return train_private_prompt(
            own_language,
            (tiny_pipeline,),
            public_documents,
            public_documents[:2],
            settings,
            privacy,
            folder,
            {},
            low=low,
            **options,
        )

    return run


def noiseless(rows, clip=0.2):
    return released_mean(np.atleast_2d(rows), Selection(1e-12, clip, batch=4), SimulatedRandomness(0)) * 4


def most_that_one_document_adds():
    direction = np.full(6, 6**-0.5)
    return max(float(np.linalg.norm(noiseless(direction * norm))) / 0.2 for norm in (0.1, 0.2, 0.21, 3.0, 1e9))


def test_no_document_moves_a_release_by_more_than_the_clip():
    assert 0.999 < most_that_one_document_adds() <= 1 + 1e-9


def test_a_planted_release_without_clipping_is_found(monkeypatch):
    monkeypatch.setattr(layer_selection.np, "minimum", lambda one, ratio: np.ones_like(ratio))
    assert most_that_one_document_adds() > 5


def test_rows_are_clipped_together_and_those_not_finite_add_nothing():
    rows = np.random.default_rng(0).standard_normal((5, 6)) * np.array([[0.01], [0.05], [1.0], [9.0], [1.0]])
    each = [row * min(1, 0.2 / np.linalg.norm(row)) for row in rows]
    assert np.allclose(noiseless(rows), np.sum(each, axis=0), atol=1e-10)
    rows[1, 2], rows[3, 0] = math.nan, math.inf
    assert np.allclose(noiseless(rows), each[0] + each[2] + each[4], atol=1e-10)
    assert np.allclose(noiseless(np.zeros((0, 6))), 0, atol=1e-10)


def noise_alarm(scale):
    """Returns the probability of noise as far from the law of the settings as ours times scale is."""
    selection = Selection(1.7, clip=0.3, batch=8)
    found = released_mean(np.zeros((0, 20_000)), selection, SimulatedRandomness(7)) * (8 / (1.7 * 0.3)) * scale
    square = stats.chi2.cdf((found**2).sum(), len(found))
    return min(2 * min(square, 1 - square), stats.kstest(found, "norm").pvalue)


def test_the_noise_of_a_release_has_the_stated_size():
    assert noise_alarm(1.0) > FALSE_ALARM
    assert noise_alarm(0.95) < FALSE_ALARM
    assert noise_alarm(1.05) < FALSE_ALARM


def first_drawn(log_weights, draws=4000):
    found = [int(draw_layers(log_weights, 1, SimulatedRandomness(seed))[0]) for seed in range(draws)]
    return np.bincount(found, minlength=len(log_weights))


def test_layers_are_drawn_by_softmax_and_differ():
    weights = np.array([0.0, 1.0, -1.0, 0.5])
    law = np.exp(weights) / np.exp(weights).sum()
    assert stats.chisquare(first_drawn(weights), 4000 * law).pvalue > FALSE_ALARM
    assert stats.chisquare(first_drawn(np.zeros(4)), 4000 * law).pvalue < FALSE_ALARM
    assert sorted(draw_layers(weights, 4, SimulatedRandomness(0)).tolist()) == [0, 1, 2, 3]
    far = np.array([0.0, -900.0, 0.0, -900.0])
    assert sorted(draw_layers(far, 2, SimulatedRandomness(1)).tolist()) == [0, 2]


@pytest.mark.parametrize(
    ("steps", "rate", "every", "expected"),
    [
        (100, 0.1, 2, (10, 10, 5)),
        (101, 0.1, 2, (10, 11, 6)),
        (5, 0.01, 3, (5, 1, 1)),
        (7, 1.0, 1, (1, 7, 7)),
        (9, 1 / 3, 1, (3, 3, 3)),
    ],
)
def test_epochs_and_their_releases(steps, rate, every, expected):
    epochs = Epochs.of(steps, rate)
    assert (epochs.steps, epochs.count, epochs.releases(every)) == expected


def test_a_documents_differences_are_its_own(own_language, examples, public_documents):
    virtual = initial_vectors(own_language, SETTINGS)
    with LayerPrecision(own_language.model, COARSE) as layers:
        layers.choose([1])
        rows = loss_differences(examples, virtual, public_documents, 3, layers)
        assert layers.low == [1]
        assert rows.shape == (4, 2)
        assert (np.abs(rows) > 0).all()
        for place, document in enumerate(public_documents):
            assert np.array_equal(loss_differences(examples, virtual, [document], 3, layers)[0], rows[place])


class Exact:
    def __init__(self, weight):
        self.weight = weight

    def forward(self, inputs):
        return inputs @ self.weight.T

    def backward(self, gradient):
        return gradient @ self.weight


def test_a_kernel_that_rounds_nothing_has_no_differences(own_language, examples, public_documents):
    with LayerPrecision(own_language.model, Kernel("simulated-int8", True, Exact)) as layers:
        rows = loss_differences(examples, initial_vectors(own_language, SETTINGS), public_documents, 3, layers)
    assert np.abs(rows).max() < 1e-6


def test_in_low_precision_another_document_moves_no_bit_of_a_gradient(own_language, examples, public_documents):
    virtual = initial_vectors(own_language, SETTINGS).requires_grad_()
    with LayerPrecision(own_language.model, COARSE) as layers:
        layers.choose([0, 1])
        found = document_gradients(examples, virtual, public_documents, 0, 1)
        without = document_gradients(examples, virtual, public_documents[1:], 0, 1)
    assert torch.equal(found[1:], without)


def test_a_run_switches_layers_each_epoch_and_leaves_the_model_as_it_was(train, own_language, tmp_path):
    train(tmp_path / "out")
    assert not any(isinstance(module, SwitchedLinear) for module in own_language.model.modules())
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["quantization"] == {
        "schedule": "dynamic",
        "kernel": "simulated-int4",
        "simulated": True,
        "share_of_layers": 0.5,
        "selection": {
            "noise_multiplier": 1.3, "clip": 0.2, "batch": 2, "every": 1, "memory": 0.5, "sharpness": 2.0,
        },
    }  # fmt: skip
    assert card["selection_releases"] == 3
    assert [len(layers) for layers in card["quantized_layers"]] == [1, 1, 1]
    assert card["loss_last_10"] == []


def test_validation_is_in_full_precision(train, tmp_path):
    """Before the first step the loss is that of the model itself, whatever runs in low precision."""
    losses = []
    for name, low in (("none", None), ("static", LowPrecision(COARSE, "static", 1.0))):
        losses.append(train(tmp_path / name, low).validations)
    assert losses[0][0] == losses[1][0]
    assert losses[0][1:] != losses[1][1:]


def test_a_static_schedule_measures_nothing(train, tmp_path, monkeypatch):
    monkeypatch.setattr(private_prompt, "released_mean", None)
    train(tmp_path / "static", LowPrecision(COARSE, "static", 0.5))
    train(tmp_path / "drawn", LowPrecision(COARSE, "dynamic", 0.5))
    static, drawn = (json.loads((tmp_path / name / "card.json").read_text()) for name in ("static", "drawn"))
    assert (static["selection_releases"], len(static["quantized_layers"])) == (0, 1)
    assert (drawn["selection_releases"], len(drawn["quantized_layers"])) == (0, 3)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("saves", [True, False])
def test_a_killed_run_ends_the_same_and_makes_no_release_twice(train, tmp_path, monkeypatch, at, saves):
    """Killed in the step after its layers were chosen, with or without the checkpoint that an interruption leaves."""
    releases = []
    real_release, real_update, real_save = private_prompt.released_mean, loop._Trainer._update, loop._Trainer._save
    monkeypatch.setattr(private_prompt, "released_mean", lambda *given: releases.append(1) or real_release(*given))
    train(tmp_path / "whole")
    assert len(releases) == 3
    releases.clear()
    dead = []

    def update(trainer, bar):
        if trainer.history.step == at:
            dead.append(True)
            raise Killed
        real_update(trainer, bar)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Trainer, "_update", update)
        patch.setattr(loop._Trainer, "_save", lambda trainer: real_save(trainer) if saves or not dead else None)
        with pytest.raises(Killed):
            train(tmp_path / "cut")
    done = len(releases)
    assert done == at // 2 + 1
    train(tmp_path / "cut")
    assert len(releases) == 3
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()


def test_a_run_that_dies_while_it_saves_a_choice_goes_on(train, tmp_path, monkeypatch):
    """Two checkpoints are written at one step, before the choice and after it: the second must not break the first."""
    from mechanisms.training import checkpoint

    often = replace(SETTINGS, checkpoint_every=2)
    train(tmp_path / "whole")
    real, written = checkpoint.write_file, []

    def write(path, content):
        written.append(path.name)
        if len(written) == 6:  # the card of the second choice: its tensors are there
            raise Killed
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_file", write)
        with pytest.raises(Killed):
            train(tmp_path / "cut", settings=often)
    assert [name for name in written if name.endswith("s")][1:] == [
        f"checkpoint-00000002{a}.safetensors" for a in ("", "-again")
    ]
    train(tmp_path / "cut", settings=often)
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()


def test_another_kernel_does_not_go_on_with_a_run(train, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop._Trainer, "_update", lambda trainer, bar: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            train(tmp_path / "cut")
    with pytest.raises(UserError, match=r"card\.quantization\.kernel is 'simulated-int4' there"):
        train(tmp_path / "cut", replace(DYNAMIC, kernel=kernel_for("simulated-int8", torch.device("cpu"))))


def test_a_release_that_was_not_paid_for_is_never_made(own_language):
    with LayerPrecision(own_language.model, COARSE) as layers:
        measure = lambda step, source: np.zeros(2)  # noqa: E731
        scheduled = ScheduledLayers(layers, DYNAMIC, Epochs(2, 3), 0, SimulatedRandomness, measure)
        for step in (0, 2, 4):
            assert scheduled.prepare(step)
            assert not scheduled.prepare(step + 1)
        scheduled.restore({**scheduled.tensors(), "epochs": torch.tensor(0)})
        with pytest.raises(RuntimeError, match="release 4 of the selection was not paid for"):
            scheduled.prepare(0)


def test_lossy_layers_are_drawn_less_often(own_language):
    def chosen(seed):
        with LayerPrecision(own_language.model, COARSE) as layers:
            scheduled = ScheduledLayers(
                layers, DYNAMIC, Epochs(2, 3), 0, lambda step: SimulatedRandomness(seed, str(step)),
                lambda step, source: np.array([0.2, 0.0]),
            )  # fmt: skip
            scheduled.prepare(0)
            return layers.low[0]

    first = sum(chosen(seed) == 0 for seed in range(400))
    expected = 1 / (1 + math.exp(2.0))  # one clip more, at sharpness 2
    assert stats.binomtest(first, 400, expected).pvalue > FALSE_ALARM
    assert stats.binomtest(first, 400, 0.5).pvalue < FALSE_ALARM


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Selection(0.0), "noise_multiplier of the selection > 0"),
        (lambda: Selection(1.0, clip=math.inf), "clip of the selection > 0"),
        (lambda: Selection(1.0, batch=0), "batch >= 1"),
        (lambda: Selection(1.0, memory=1.0), r"memory of the selection in \[0, 1\)"),
        (lambda: LowPrecision(COARSE, "sometimes"), "schedule to be static or dynamic"),
        (lambda: LowPrecision(COARSE, "dynamic", 0.0), r"share in \(0, 1\]"),
        (lambda: LowPrecision(COARSE, "static", 0.5, SELECTION), "no selection for a static schedule"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
