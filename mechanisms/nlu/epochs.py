"""Epochs as steps of the training loop: step k is place k % batches in the order of epoch k // batches + 1."""

from collections.abc import Callable

from torch import Tensor

from mechanisms.training.loop import History, LoopPlan


def plan_of(epochs: int, batches: int, rate: float, weight_decay: float, patience: int, title: str) -> LoopPlan:
    """Returns the plan of so many epochs at a constant rate, each followed by a validation and a checkpoint."""
    return LoopPlan(
        epochs * batches,
        rate,
        decay="constant",
        weight_decay=weight_decay,
        validate_every=batches,
        patience=patience,
        checkpoint_every=batches,
        title=title,
    )


def step_of(loss: Callable[[int, int], Tensor], batches: int) -> Callable[[int], Tensor]:
    """Returns a step of the loop; loss: of an epoch from 1 and of a place in its order from 0."""
    return lambda step: loss(step // batches + 1, step % batches)


def records(history: History, batches: int) -> list[dict[str, float]]:
    """Returns a record of the start, and one of each epoch: the mean loss of its batches, and its validation."""
    found: list[dict[str, float]] = [{"validation": history.validations[0][1]}]
    for step, validation in history.validations[1:]:
        losses = history.losses[step - batches : step]
        found.append({"loss": sum(losses) / len(losses), "validation": validation})
    return found
