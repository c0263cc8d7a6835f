import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mechanisms.errors import UserError
from mechanisms.folder_lock import held
from mechanisms.randomness import simulation_generator
from mechanisms.training import LoopPlan, checkpoint, run
from mechanisms.training.checkpoint import RunFolder, made_once
from mechanisms.training.loop import PARAMETERS_FILE, Own, fit, perplexity

CARD = {"data": "none", "seed": 3}
PLAN = LoopPlan(9, 0.05, warm_up=2, validate_every=3, checkpoint_every=2)


class Regression:
    """Fits two parameters to noisy targets that are drawn from (seed, step); fails at the steps that it is told."""

    def __init__(self, fail_at=()):
        self.parameters = {"weight": torch.zeros(3, requires_grad=True), "bias": torch.zeros((), requires_grad=True)}
        self.fail_at = set(fail_at)
        self.seen = []

    def step(self, number):
        if number in self.fail_at:
            self.fail_at.remove(number)
            raise KeyboardInterrupt
        self.seen.append(number)
        generator = simulation_generator(3, "regression", str(number))
        inputs = torch.from_numpy(generator.standard_normal((4, 3))).float()
        targets = inputs @ torch.tensor([1.0, -2.0, 0.5]) + 0.3
        fitted = inputs @ self.parameters["weight"] + (self.parameters["bias"] if number % 2 else 0.0)
        return ((fitted - targets) ** 2).mean()

    def validate(self):
        return float(((self.parameters["weight"] - torch.tensor([1.0, -2.0, 0.5])) ** 2).sum())

    def run(self, folder, plan=PLAN, card=CARD, **options):
        return run(self.step, self.parameters, plan, folder, card, validate=self.validate, **options)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop") / "whole"
    return folder, Regression().run(folder)


def test_the_result_is_adamws_own(tmp_path):
    plan = LoopPlan(7, 0.05, warm_up=2, weight_decay=0.1)
    ours = Regression()
    run(ours.step, ours.parameters, plan, tmp_path / "out", CARD)
    theirs = Regression()
    optimiser = torch.optim.AdamW(theirs.parameters.values(), lr=1.0, weight_decay=0.1, foreach=False)
    for number in range(7):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * min((number + 1) / 2, 1) * (1 - number / 7)
        optimiser.zero_grad()
        theirs.step(number).backward()
        optimiser.step()
    found = load_file(tmp_path / "out" / PARAMETERS_FILE)
    assert found.keys() == ours.parameters.keys()
    for name, tensor in theirs.parameters.items():
        assert torch.equal(found[name], tensor.detach())


def test_the_rate_rises_then_falls_or_stays():
    assert [LoopPlan(4, 1.0, 2).rate(step) for step in range(4)] == pytest.approx([0.5, 0.75, 0.5, 0.25])
    assert [LoopPlan(4, 1.0, 2, "constant").rate(step) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    assert LoopPlan(4, 1.0).rate(0) == 1.0


@pytest.mark.parametrize("step", range(9))
@pytest.mark.parametrize("every", [1, 2, 100])
def test_a_run_interrupted_at_any_step_goes_on_to_the_same_bytes(whole, tmp_path, step, every):
    plan = LoopPlan(**{**plan_fields(PLAN), "checkpoint_every": every})
    with pytest.raises(KeyboardInterrupt):
        Regression({step}).run(tmp_path / "out", plan)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial").exists() == (step > 0)
    again = Regression()
    history = again.run(tmp_path / "out", plan)
    assert again.seen == list(range(step, 9))
    assert history == whole[1]
    assert content(tmp_path / "out") == content(whole[0])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_interrupted_again_and_again_gives_the_same_bytes(whole, tmp_path):
    for step in range(9):
        with pytest.raises(KeyboardInterrupt):
            Regression({step}).run(tmp_path / "out")
    Regression().run(tmp_path / "out")
    assert content(tmp_path / "out") == content(whole[0])


def test_an_interruption_inside_the_update_falls_back_to_the_last_checkpoint(whole, tmp_path, monkeypatch):
    calls = []
    real = torch.optim.AdamW.step

    def torn(optimiser, *rest):
        calls.append(1)
        real(optimiser, *rest)
        if len(calls) == 6:  # the parameters have moved, the history has not
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", torn)
        with pytest.raises(KeyboardInterrupt):
            Regression().run(tmp_path / "out")
    again = Regression()
    again.run(tmp_path / "out")
    assert again.seen == [4, 5, 6, 7, 8]
    assert content(tmp_path / "out") == content(whole[0])


@pytest.mark.parametrize("place", range(1, 12))
def test_an_interruption_while_a_checkpoint_is_written_leaves_a_whole_one(whole, tmp_path, monkeypatch, place):
    calls = []
    with monkeypatch.context() as patch:
        for module, name in ((checkpoint, "save_file"), (os, "replace"), (os, "fsync")):
            real = getattr(module, name)

            def cut(*arguments, real=real):
                calls.append(1)
                if len(calls) >= place:
                    raise KeyboardInterrupt
                return real(*arguments)

            patch.setattr(module, name, cut)
        with pytest.raises(KeyboardInterrupt):
            Regression().run(tmp_path / "out")
    Regression().run(tmp_path / "out")
    assert content(tmp_path / "out") == content(whole[0])


SCRIPT = """
import sys, time
from pathlib import Path
import torch
from mechanisms.models import load_causal_lm
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.spec import QuantizerSpec
from mechanisms.training import PromptTraining, loop, train_soft_prompt

torch.set_num_threads(1)
model, out, pause = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
language = load_causal_lm(model)
documents = [[(7 * i + 3 * j * j) % 384 for j in range(40)] for i in range(12)]
table = language.model.get_input_embeddings().weight.detach().numpy()
pipeline = assemble(table, documents, QuantizerSpec.from_mu(4, 6, 0.05, 30), EncoderSettings())
real = loop._Trainer._update

def slowly(trainer, bar):
    real(trainer, bar)
    print(trainer.history.step, flush=True)
    time.sleep(pause)

loop._Trainer._update = slowly
settings = PromptTraining(
    steps=12, batch=2, virtual_tokens=4, window=30, shortest_prompt=5, shortest_response=5, warm_up=2,
    validation_documents=3, validate_every=4, checkpoint_every=2,
)
train_soft_prompt(language, pipeline, documents, settings, out, {"data": "made"})
"""


def start(tiny_lm_folder, out, pause):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tiny_lm_folder), str(out), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bytes(tiny_lm_folder, tmp_path):
    for name, kills in (("whole", []), ("killed", [1, 5, 7, 12])):
        for last in kills:
            process = start(tiny_lm_folder, tmp_path / name, 0.05)
            for line in process.stdout:
                if int(line) >= last:
                    os.kill(process.pid, signal.SIGKILL)
                    break
            assert process.wait() == -signal.SIGKILL
            assert not (tmp_path / name).exists()
        assert start(tiny_lm_folder, tmp_path / name, 0).wait() == 0
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


def plan_fields(plan):
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


@pytest.mark.parametrize(
    ("plan", "card", "message"),
    [
        ({"learning_rate": 0.06}, {}, "loop.learning_rate is 0.05 there and 0.06 here"),
        ({"steps": 10}, {}, "loop.steps is 9 there and 10 here"),
        ({}, {"seed": 4}, "card.seed is 3 there and 4 here"),
        ({}, {"more": {"model": "x"}}, "card.more is None there"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_kept_until_it_is_discarded(tmp_path, plan, card, message):
    with pytest.raises(KeyboardInterrupt):
        Regression({5}).run(tmp_path / "out")
    before = content(tmp_path / "out.partial")
    changed = (LoopPlan(**{**plan_fields(PLAN), **plan}), {**CARD, **card})
    with pytest.raises(UserError, match=message):
        Regression().run(tmp_path / "out", *changed)
    assert content(tmp_path / "out.partial") == before
    again = Regression()
    again.run(tmp_path / "out", *changed, fresh=True)
    assert again.seen[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_not_published_must_agree_too(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Regression({5}).run(tmp_path / "out", unpublished={"private": "a"})
    with pytest.raises(UserError, match=r"unpublished\.private is 'a' there and 'b' here"):
        Regression().run(tmp_path / "out", unpublished={"private": "b"})
    Regression().run(tmp_path / "out", unpublished={"private": "a"}, keep_losses=False)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert "unpublished" not in card


def test_losses_that_are_private_are_kept_nowhere(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Regression({5}).run(tmp_path / "out", keep_losses=False)
    assert json.loads((tmp_path / "out.partial" / "checkpoint.json").read_text())["history"]["losses"] == []
    history = Regression().run(tmp_path / "out", keep_losses=False)
    assert history.losses == []
    assert json.loads((tmp_path / "out" / "card.json").read_text())["loss_last_10"] == []


@pytest.mark.parametrize("damage", ["tensors", "missing", "card", "no card"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        Regression({5}).run(tmp_path / "out")
    (tensors,) = (tmp_path / "out.partial").glob("*.safetensors")
    match damage:
        case "tensors":
            tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x01")
        case "missing":
            tensors.unlink()
        case "card":
            (tmp_path / "out.partial" / "checkpoint.json").write_text('{"file": 1')
        case _:
            (tmp_path / "out.partial" / "checkpoint.json").write_text("[]")
    with pytest.raises(UserError, match=r"out\.partial, got .*Delete it to start again"):
        Regression().run(tmp_path / "out")
    Regression().run(tmp_path / "out", fresh=True)


def test_folders_that_are_taken_are_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="does not exist yet"):
        Regression().run(tmp_path / "out")
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "mine").write_text("keep")
    with pytest.raises(UserError, match="something else"):
        Regression().run(tmp_path / "new", fresh=True)
    assert (tmp_path / "new.partial" / "mine").read_text() == "keep"
    with held(tmp_path / "busy.partial", tmp_path / "busy"), pytest.raises(UserError, match="no other process"):
        Regression().run(tmp_path / "busy")


def test_the_run_stops_when_validation_has_not_improved_and_keeps_the_best(tmp_path):
    values = iter([5.0, 3.0, 4.0, 2.0, 2.0, 2.5, 2.25, 1.0])
    fit = Regression()
    seen = []

    def validate():
        seen.append({name: tensor.detach().clone() for name, tensor in fit.parameters.items()})
        return next(values)

    plan = LoopPlan(100, 0.05, validate_every=2, patience=3)
    history = run(fit.step, fit.parameters, plan, tmp_path / "out", CARD, validate=validate)
    assert history.step == 12
    assert [step for step, _ in history.validations] == [0, 2, 4, 6, 8, 10, 12]
    assert history.best_step == 6
    found = load_file(tmp_path / "out" / PARAMETERS_FILE)
    assert all(torch.equal(found[name], seen[3][name]) for name in found)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert (card["steps_done"], card["best_step"]) == (12, 6)
    assert card["validation"][3] == {"step": 6, "loss": 2.0, "perplexity": math.exp(2.0)}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_before_the_update(tmp_path, value):
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(UserError, match="finite loss at step 1"):
        run(lambda k: weight.sum() * (value if k else 1), {"w": weight}, LoopPlan(3, 0.1), tmp_path / "out", CARD)
    assert torch.isfinite(weight).all()
    plan = LoopPlan(3, 0.1, validate_every=1)
    with pytest.raises(UserError, match="validation loss after 0"):
        run(lambda _: weight.sum(), {"w": weight}, plan, tmp_path / "new", CARD, validate=lambda: value)


def test_a_last_step_that_leaves_no_finite_result_writes_none(tmp_path):
    weight = torch.ones(2, requires_grad=True)

    def step(number):
        weight.grad = torch.tensor([math.nan if number == 2 else 1.0, 1.0])
        return torch.zeros(())

    with pytest.raises(UserError, match=r"finite w after 3 steps, got NaN or infinity: try a learning_rate below 0\.1"):
        run(step, {"w": weight}, LoopPlan(3, 0.1), tmp_path / "out", CARD)
    assert not (tmp_path / "out").exists()


def test_a_loss_without_the_parameters_is_a_fault(tmp_path):
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="does not depend"):
        run(lambda _: torch.zeros(()), {"w": weight}, LoopPlan(3, 0.1), tmp_path / "out", CARD)
    assert list(tmp_path.iterdir()) == []


def test_a_step_may_fill_the_gradient_itself(tmp_path):
    weight = torch.ones(2, requires_grad=True)

    def step(_):
        weight.grad = torch.tensor([1.0, -1.0])
        return torch.zeros(())

    run(step, {"w": weight}, LoopPlan(1, 0.1, decay="constant"), tmp_path / "out", CARD)
    assert weight.tolist() == pytest.approx([0.9, 1.1])


def test_a_failing_writer_leaves_the_checkpoint(tmp_path, whole):
    def failing(folder: Path):
        (folder / "half").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(UserError, match="full"):
        Regression().run(tmp_path / "out", write=failing)
    again = Regression()
    again.run(tmp_path / "out")
    assert again.seen == []
    assert content(tmp_path / "out") == content(whole[0])


def test_perplexity_of_a_huge_loss_is_finite():
    assert perplexity(math.log(7)) == pytest.approx(7)
    assert math.isfinite(perplexity(1e9))


def test_checkpoints_take_little_time(tmp_path):
    start = time.perf_counter()
    Regression().run(tmp_path / "out", LoopPlan(100, 0.01, checkpoint_every=1))
    assert time.perf_counter() - start < 10


class TestFit:
    """The loop alone: what is written is the caller's."""

    @staticmethod
    def descent(plan, found=None, **options):
        """Descends from 4; found: what the validations say, the loss itself where it is left out."""
        point = torch.tensor([4.0], requires_grad=True)
        found = iter(found) if found is not None else None
        history = fit(
            lambda step: (point**2 * (1 + 0.1 * step)).sum(),
            {"x": point},
            plan,
            validate=lambda: float(point.detach() ** 2) if found is None else next(found),
            **options,
        )
        return float(point.detach()), history

    def test_in_memory_it_gives_what_a_folder_gives(self, tmp_path):
        plan = LoopPlan(9, 0.1, validate_every=3, patience=2)
        with RunFolder(tmp_path / "out", {}) as kept:
            assert self.descent(plan, kept=kept) == self.descent(plan)

    def test_the_last_values_are_kept_where_they_are_asked_for_and_no_patience_cuts_short(self):
        plan, worse = LoopPlan(9, 0.1, decay="constant", validate_every=3, patience=1), [1.0, 2.0, 3.0, 4.0]
        last, history = self.descent(plan, worse, keep="last")
        assert history.step == 9
        assert last == self.descent(plan, None)[0]
        assert self.descent(plan, worse)[0] == 4.0

    def test_each_parameter_has_its_own_rate_and_decay(self):
        plan = LoopPlan(5, 0.1, warm_up=2, weight_decay=0.3)
        ours = {name: torch.tensor([1.0, -2.0], requires_grad=True) for name in "abc"}
        fit(lambda _: sum((t**2).sum() for t in ours.values()), ours, plan, own={"b": Own(0.02, 0.0)})
        theirs = {name: torch.tensor([1.0, -2.0], requires_grad=True) for name in "abc"}
        optimisers = [
            torch.optim.AdamW([theirs["a"], theirs["c"]], lr=0.1, weight_decay=0.3),
            torch.optim.AdamW([theirs["b"]], lr=0.02, weight_decay=0.0),
        ]
        for step in range(5):
            loss = sum((t**2).sum() for t in theirs.values())
            for optimiser, peak in zip(optimisers, (0.1, 0.02), strict=True):
                optimiser.zero_grad()
                optimiser.param_groups[0]["lr"] = peak * min((step + 1) / 2, 1.0) * (1 - step / 5)
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
        assert all(torch.equal(ours[name], theirs[name]) for name in "abc")

    def test_a_plan_without_a_title_shows_nothing(self, capsys):
        self.descent(LoopPlan(3, 0.1, validate_every=1, title=""))
        assert capsys.readouterr().err == ""


def test_processes_that_want_the_same_folder_wait_for_each_other(tmp_path):
    made, place = [], tmp_path / "cache" / "kept"

    def make(folder):
        made.append(folder)
        time.sleep(0.2)
        folder.mkdir()

    with ThreadPoolExecutor(4) as several:
        for each in [several.submit(made_once, place, make) for _ in range(4)]:
            each.result()
    assert made == [place]
    assert list(place.parent.iterdir()) == [place]
    with pytest.raises(RuntimeError, match="broke"):
        made_once(tmp_path / "cache" / "other", lambda _: (_ for _ in ()).throw(RuntimeError("broke")))
    made_once(tmp_path / "cache" / "other", make)  # the lock was given back
    assert made[1:] == [tmp_path / "cache" / "other"]


def test_a_cache_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a cache that can be written to"):
        made_once(tmp_path / "file" / "kept", lambda folder: folder.mkdir())
