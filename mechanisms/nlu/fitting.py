"""One training loop: AdamW by epochs, early stop on a validation loss, a file that an interrupted run goes on from."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mechanisms.errors import UserError
from mechanisms.nlu.storage import read_progress, write_progress


@dataclass(frozen=True, slots=True)
class Problem:
    """What is fitted.

    module: holds all that the fit changes; the best epoch's values are put back into it at the end.
    groups: parameter groups of AdamW. losses: the differentiable losses of an epoch's batches, a function of the
    epoch alone. validate: the loss that decides. prepare: sets what is computed once, not trained, before a first
    epoch. identity: names everything that the result depends on. keep: the epoch of least
    validation loss, the start among them, or the last one, which then no patience cuts short.
    """

    module: nn.Module
    groups: list[dict[str, Any]]
    losses: Callable[[int], Iterable[Tensor]]
    validate: Callable[[], float]
    identity: str
    label: str
    prepare: Callable[[], None] = lambda: None
    keep: Literal["best", "last"] = "best"


def fit(problem: Problem, epochs: int, patience: int, progress_file: Path) -> list[dict[str, float]]:
    """Returns a record of each epoch, {"loss", "validation"}; the first is of the start, whose loss is not a number.

    Stops after patience epochs without a better validation loss. The state is written after each epoch; a run that
    was interrupted goes on from there, to the same result. Nothing here draws random numbers.

    Raises UserError where progress_file is of another run, and where a loss is not finite.
    """
    optimiser = torch.optim.AdamW(problem.groups)
    found = read_progress(progress_file)
    if found is None:
        problem.prepare()
        best = _copied(problem.module)
        history = [{"loss": math.nan, "validation": _finite(problem.validate(), problem.label)}]
        _write(progress_file, problem, optimiser, best, history)
    else:
        best, history = _resume(progress_file, problem, optimiser, *found)
    with tqdm(total=epochs, initial=len(history) - 1, desc=problem.label, unit="epoch") as bar:
        while len(history) <= epochs and len(history) - 1 - _kept_epoch(problem, history) < patience:
            losses = []
            for loss in problem.losses(len(history)):
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                losses.append(_finite(float(loss.detach()), problem.label))
                bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            validation = _finite(problem.validate(), problem.label)
            history.append({"loss": sum(losses) / len(losses), "validation": validation})
            if _kept_epoch(problem, history) == len(history) - 1:
                best = _copied(problem.module)
            _write(progress_file, problem, optimiser, best, history)
            bar.update()
    problem.module.load_state_dict(best)
    return history


def freeze(module: nn.Module) -> None:
    """Ends training: no parameter takes gradients any more, and those that are left are dropped."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None


def _kept_epoch(problem: Problem, history: list[dict[str, float]]) -> int:
    """Returns which record's values are to be kept; the first of those with the least validation loss."""
    values = [record["validation"] for record in history]
    return len(values) - 1 if problem.keep == "last" else values.index(min(values))


def _finite(loss: float, label: str) -> float:
    if not math.isfinite(loss):
        raise UserError(f"Expected a finite loss in {label}, got {loss}: a lower learning rate may help.")
    return loss


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _write(
    path: Path,
    problem: Problem,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    history: list[dict[str, float]],
) -> None:
    tensors = {f"now {name}": tensor for name, tensor in _copied(problem.module).items()}
    tensors |= {f"best {name}": tensor for name, tensor in best.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"adam {index} {name}": torch.as_tensor(value) for name, value in moments.items()}
    write_progress(path, tensors, {"identity": problem.identity, "history": history})


def _resume(
    path: Path, problem: Problem, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], state: dict[str, Any]
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Puts back the state after the last whole epoch; returns the best values and the history so far."""
    if state.get("identity") != problem.identity:
        raise UserError(
            f"Expected {path} to be of a run with the same data and settings, got another's: "
            f"delete it to start again, or train into another folder."
        )
    parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition(" ")
        if kind == "adam":
            index, _, moment = name.partition(" ")
            moments.setdefault(int(index), {})[moment] = tensor
        else:
            parts[kind][name] = tensor
    problem.module.load_state_dict(parts["now"])
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    return parts["best"], list(state["history"])
