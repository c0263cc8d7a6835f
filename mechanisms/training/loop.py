"""The one training loop: optimiser, schedule, validation, early stop, and checkpoints that a killed run goes on from.

A run that is killed at any step and started again gives bit for bit what an uninterrupted one gives on that machine,
if step k draws all that is random in it from (seed, k): `simulation_generator(seed, "purpose", str(k))`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.training.checkpoint import RunFolder
from mechanisms.validation import at_least

PARAMETERS_FILE = "parameters.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """AdamW for so many steps, with a linear warm-up, then a linear decay to 0 or a constant rate.

    validate_every: steps between validations, 0 for none. patience: validations without a lower loss after which the
    run stops, 0 for never. checkpoint_every: steps between checkpoints; it does not change the result. title: of the
    progress bar; there is none where it is empty.
    Raises UserError for values out of range.
    """

    steps: int
    learning_rate: float
    warm_up: int = 0
    decay: Literal["linear", "constant"] = "linear"
    weight_decay: float = 0.0
    validate_every: int = 0
    patience: int = 0
    checkpoint_every: int = 50
    title: str = "training"

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("warm_up", 0),
            ("validate_every", 0),
            ("patience", 0),
            ("checkpoint_every", 1),
        ):
            at_least(name, getattr(self, name), least)
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UserError(f"Expected a finite learning_rate > 0, got learning_rate={self.learning_rate}.")
        if self.decay not in ("linear", "constant"):
            raise UserError(f"Expected decay to be linear or constant, got decay={self.decay!r}.")

    def rate(self, step: int, peak: float | None = None) -> float:
        """Returns the learning rate of a step, counted from 0; peak: instead of the plan's learning_rate."""
        rising = min((step + 1) / self.warm_up, 1.0) if self.warm_up else 1.0
        highest = self.learning_rate if peak is None else peak
        return highest * rising * (1 - step / self.steps if self.decay == "linear" else 1.0)


@dataclass(frozen=True, slots=True)
class Own:
    """The learning rate and weight decay of a parameter that are not its plan's."""

    learning_rate: float
    weight_decay: float


class Carried(Protocol):
    """What a run carries from step to step besides its parameters and the optimiser's moments."""

    def prepare(self, step: int) -> bool:
        """Makes ready for a step; True where what is carried has changed, and is to be kept before the step."""

    def tensors(self) -> dict[str, Tensor]:
        """Returns what a checkpoint keeps."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes what a checkpoint has kept."""

    def summary(self) -> dict[str, Json]:
        """Returns what the result's card says of it."""


@dataclass(slots=True)
class History:
    """What a run has done: the loss of each step, and the validations as (steps done, loss), all in nats a token.

    best_step: steps done when the validation loss was lowest: the result is of that step, or of the last without any.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0

    def stale(self) -> int:
        """Returns the validations since the best."""
        return sum(step > self.best_step for step, _ in self.validations)

    def summary(self) -> dict[str, Json]:
        """Returns what a card says of the run; perplexity is exp(loss)."""
        return {
            "steps_done": self.step,
            "best_step": self.best_step if self.validations else self.step,
            "loss_first_10": self.losses[:10],
            "loss_last_10": self.losses[-10:],
            "validation": [
                {"step": step, "loss": loss, "perplexity": perplexity(loss)} for step, loss in self.validations
            ],
        }


def run(
    step: Callable[[int], Tensor],
    parameters: Mapping[str, Tensor],
    plan: LoopPlan,
    folder: Path,
    card: Mapping[str, Json],
    *,
    validate: Callable[[], float] | None = None,
    write: Callable[[Path], None] | None = None,
    fresh: bool = False,
    keep_losses: bool = True,
    unpublished: Mapping[str, Json] | None = None,
    carried: Carried | None = None,
) -> History:
    """Trains parameters in place, makes folder appear with the result and a card, and returns the history.

    step: takes the step's number from 0 and returns its loss, shape (); one that has filled `.grad` itself returns
    a loss without a graph. parameters: leaf tensors that require gradients. card: JSON values that name all that
    decides the result besides the plan (settings, data, base model); it is what a checkpoint must agree with.
    validate: returns the held-out loss of the parameters as they are, and draws the same each time. write: puts
    the result into the folder it is given; without it, PARAMETERS_FILE. keep_losses: False where losses are private.
    unpublished: what a checkpoint must agree with besides, and the card must not show, such as a hash of private text.
    carried: kept in each checkpoint, and at once where it has changed.

    A run that stopped is gone on with where the same call finds its FOLDER.partial; fresh discards that.
    Raises UserError for a folder that exists, a checkpoint of another run, and a loss or result that is not finite.
    """
    settings = {key: value for key, value in asdict(plan).items() if key not in ("checkpoint_every", "title")}
    shapes = {name: list(tensor.shape) for name, tensor in parameters.items()}
    identity = {"card": dict(card), "loop": settings, "parameters": shapes, "unpublished": dict(unpublished or {})}
    with RunFolder(folder, identity, fresh) as kept:
        history = fit(step, parameters, plan, kept, validate=validate, keep_losses=keep_losses, carried=carried)
        more = carried.summary() if carried is not None else {}
        versions = {name: version(name) for name in ("torch", "transformers")}
        kept.publish(
            write or (lambda beside: save_file(_copies(parameters), beside / PARAMETERS_FILE)),
            {**card, "loop": settings, **history.summary(), **more, "versions": versions},
        )
    return history


def fit(
    step: Callable[[int], Tensor],
    parameters: Mapping[str, Tensor],
    plan: LoopPlan,
    kept: RunFolder | None = None,
    *,
    validate: Callable[[], float] | None = None,
    keep_losses: bool = True,
    keep: Literal["best", "last"] = "best",
    own: Mapping[str, Own] | None = None,
    carried: Carried | None = None,
) -> History:
    """Trains parameters in place and returns the history; where and how the result is written is the caller's.

    step, parameters, validate, keep_losses, carried: as run takes them. kept: an entered folder, whose checkpoint is
    gone on from; None keeps nothing. keep: the values of least validation loss, or the last ones, which then no
    patience cuts short. own: of parameters that have another learning rate or weight decay than the plan's.
    Raises UserError for a checkpoint of another run, and a loss or result that is not finite.
    """
    trainer = _Trainer(step, parameters, plan, kept, validate, keep_losses, keep, own or {}, carried)
    trainer.advance()
    trainer.restore_best()
    trainer.require_finite()
    return trainer.history


def perplexity(loss: float) -> float:
    """Returns exp(loss), the largest float where that is larger."""
    return math.exp(min(loss, 709.0))


class _Trainer:
    """The state of a run. Between steps it is whole; `_updating` says when it is not."""

    def __init__(
        self,
        step: Callable[[int], Tensor],
        parameters: Mapping[str, Tensor],
        plan: LoopPlan,
        kept: RunFolder | None,
        validate: Callable[[], float] | None,
        keep_losses: bool,
        keep: Literal["best", "last"],
        own: Mapping[str, Own],
        carried: Carried | None,
    ) -> None:
        self._step, self._parameters, self._plan, self._kept = step, parameters, plan, kept
        self._validate = validate if plan.validate_every else None
        self._keep_losses, self._keep_best = keep_losses, keep == "best"
        self._carried = carried
        common = Own(plan.learning_rate, plan.weight_decay)
        groups: dict[Own, list[Tensor]] = {}
        for name, tensor in parameters.items():
            groups.setdefault(own.get(name, common), []).append(tensor)
        self._peaks = [group.learning_rate for group in groups]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": tensors, "lr": group.learning_rate, "weight_decay": group.weight_decay}
                for group, tensors in groups.items()
            ],
            foreach=False,
        )
        self.history = History()
        self._best = _copies(parameters)
        self._saved_step = 0
        self._updating = False
        if kept is not None and (found := kept.load()) is not None:
            self._resume(*found)

    def advance(self) -> None:
        """Runs the steps that are left; an error or an interruption leaves a checkpoint of the last whole step."""
        history, plan = self.history, self._plan
        patience, silent = plan.patience if self._keep_best else 0, not plan.title
        try:
            with tqdm(total=plan.steps, initial=history.step, desc=plan.title, unit="step", disable=silent) as bar:
                self._validate_if_due(bar)
                while history.step < plan.steps and not (patience and history.stale() >= patience):
                    if self._carried is not None and self._carried.prepare(history.step):
                        self._save()
                    self._update(bar)
                    if history.step % plan.checkpoint_every == 0:
                        self._save()
                    self._validate_if_due(bar)
        finally:
            if not self._updating and history.step > self._saved_step:
                self._save()

    def restore_best(self) -> None:
        """Gives the parameters the values with the lowest validation loss."""
        if self._validate is not None and self._keep_best:
            _copy_into(self._parameters, self._best)

    def require_finite(self) -> None:
        """Raises UserError for parameters that the last step left without a finite value: no result is written."""
        for name, tensor in self._parameters.items():
            if not bool(torch.isfinite(tensor).all()):
                raise UserError(
                    f"Expected finite {name} after {self.history.step} steps, got NaN or infinity: "
                    f"try a learning_rate below {self._plan.learning_rate:g}."
                )

    def _update(self, bar: "tqdm[NoReturn]") -> None:
        self._optimiser.zero_grad(set_to_none=True)
        for group, peak in zip(self._optimiser.param_groups, self._peaks, strict=True):
            group["lr"] = self._plan.rate(self.history.step, peak)
        loss = self._step(self.history.step)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(
                f"Expected a finite loss at step {self.history.step}, got {value}: "
                f"try a learning_rate below {self._plan.learning_rate:g}."
            )
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        if all(tensor.grad is None for tensor in self._parameters.values()):
            raise RuntimeError("the loss does not depend on the trained parameters")
        self._updating = True
        self._optimiser.step()
        self.history.step += 1
        if self._keep_losses:
            self.history.losses.append(value)
        self._updating = False
        bar.update()
        if self._keep_losses:
            bar.set_postfix(self._shown(loss=f"{value:.3f}"), refresh=False)

    def _validate_if_due(self, bar: "tqdm[NoReturn]") -> None:
        """Validates before the first step, after every so many, and after the last; never twice at one step."""
        history, plan = self.history, self._plan
        due = self._validate is not None and (history.step % plan.validate_every == 0 or history.step == plan.steps)
        if not due or (history.validations and history.validations[-1][0] == history.step):
            return
        assert self._validate is not None
        with torch.no_grad():
            loss = float(self._validate())
        if not math.isfinite(loss):
            raise UserError(f"Expected a finite validation loss after {history.step} steps, got {loss}.")
        best = min((seen for _, seen in history.validations), default=math.inf)
        if loss < best or not history.validations:
            self._best, history.best_step = _copies(self._parameters), history.step
        history.validations.append((history.step, loss))
        bar.set_postfix(self._shown(), refresh=False)

    def _shown(self, **more: str) -> dict[str, str]:
        validations = self.history.validations
        return {**more, "validation ppl": f"{perplexity(validations[-1][1]):.4g}"} if validations else more

    def _save(self) -> None:
        if self._kept is None:
            return
        tensors = {f"parameter.{name}": tensor for name, tensor in self._parameters.items()}
        if self._validate is not None:
            tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        for name, tensor in self._parameters.items():
            moments = self._optimiser.state.get(tensor, {})
            tensors |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS if moment in moments}
        if self._carried is not None:
            tensors |= {f"carried.{name}": tensor for name, tensor in self._carried.tensors().items()}
        self._kept.save(tensors, {"history": asdict(self.history)}, self.history.step)
        self._saved_step = self.history.step

    def _resume(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        history = state["history"]
        validations = [(int(step), float(loss)) for step, loss in history["validations"]]
        self.history = History(history["step"], history["losses"], validations, history["best_step"])
        self._saved_step = self.history.step
        _copy_into(self._parameters, {name: tensors[f"parameter.{name}"] for name in self._parameters})
        if self._carried is not None:
            kept = {name.removeprefix("carried."): tensor for name, tensor in tensors.items() if "carried." in name}
            self._carried.restore(kept)
        if self._validate is not None:
            self._best = {name: tensors[f"best.{name}"] for name in self._parameters}
        for name, tensor in self._parameters.items():
            if f"step.{name}" in tensors:
                moments = {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS}
                self._optimiser.state[tensor] = {
                    moment: value if moment == "step" else value.to(tensor.device) for moment, value in moments.items()
                }


def _copies(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().contiguous() for name, tensor in parameters.items()}


@torch.no_grad()
def _copy_into(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, tensor in parameters.items():
        tensor.copy_(values[name])
