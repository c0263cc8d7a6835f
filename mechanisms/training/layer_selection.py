"""Which layers of the frozen model run in low precision: fixed, or drawn anew each epoch by private losses.

DPQuant (arXiv 2509.03472). What a layer's rounding costs is measured on a sampled batch of private documents: each
document's differences of loss, one a layer, are clipped together, summed, noised and averaged. That is one Gaussian
release with subsampling, whose epsilon is paid for with the training's (del_audit.accounting.layer_selection).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.randomness import RandomSource, simulation_generator, uniforms
from mechanisms.training.documents import documents_sha256
from mechanisms.training.kernels import Kernel
from mechanisms.training.low_precision import LayerPrecision
from mechanisms.training.private_draws import normals
from mechanisms.training.prompt_examples import PromptExamples
from mechanisms.validation import at_least


@dataclass(frozen=True, slots=True)
class Selection:
    """How losses choose layers. noise_multiplier: of a release, over its clipping norm.

    clip: largest norm of a document's differences of loss, nats. batch: documents that a release samples, on average.
    every: epochs from one release to the next. memory: weight of earlier releases in the moving average. sharpness: a
    layer whose difference is larger by clip is less likely by exp(-sharpness).
    Raises UserError for values out of range.
    """

    noise_multiplier: float
    clip: float = 0.05
    batch: int = 4
    every: int = 2
    memory: float = 0.5
    sharpness: float = 2.0

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "clip", "sharpness"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"Expected a finite {name} of the selection > 0, got {name}={value}.")
        for name in ("batch", "every"):
            at_least(name, getattr(self, name), 1)
        if not 0 <= self.memory < 1:
            raise UserError(f"Expected memory of the selection in [0, 1), got memory={self.memory}.")


@dataclass(frozen=True, slots=True)
class LowPrecision:
    """Which share of the layers runs by which kernel. schedule: the same layers always, or others each epoch.

    selection: None draws the layers of an epoch uniformly, which costs no epsilon. Raises UserError for a share outside
    (0, 1], and for a static schedule with a selection.
    """

    kernel: Kernel
    schedule: Literal["static", "dynamic"] = "dynamic"
    share: float = 0.75
    selection: Selection | None = None

    def __post_init__(self) -> None:
        if self.schedule not in ("static", "dynamic"):
            raise UserError(f"Expected schedule to be static or dynamic, got schedule={self.schedule!r}.")
        if not 0 < self.share <= 1:
            raise UserError(f"Expected quantized share in (0, 1], got {self.share}.")
        if self.selection is not None and self.schedule == "static":
            raise UserError("Expected no selection for a static schedule, which measures nothing.")

    def to_dict(self) -> dict[str, Json]:
        """Returns what a card says of it."""
        return {
            "schedule": self.schedule,
            "kernel": self.kernel.name,
            "simulated": self.kernel.simulated,
            "share_of_layers": self.share,
            "selection": None if self.selection is None else asdict(self.selection),
        }


@dataclass(frozen=True, slots=True)
class Epochs:
    """steps: of one epoch, in which each document is read once on average. count: of the whole run, the last cut."""

    steps: int
    count: int

    @classmethod
    def of(cls, steps: int, rate: float) -> "Epochs":
        """Returns the epochs of a run of so many steps at this sample rate."""
        one = min(steps, math.ceil(1 / rate * (1 - 1e-12)))
        return cls(one, math.ceil(steps / one))

    def releases(self, every: int) -> int:
        """Returns how many releases of losses the run makes, one at the start of every so many epochs."""
        return math.ceil(self.count / every)


class ScheduledLayers:
    """The layers of each epoch, and the scores that chose them: what a run carries from step to step.

    measure: returns the released mean differences of loss at a step, nats, shape (layers,), drawing from the source it
    is given. A release is kept in a checkpoint before a step uses it, and is never made again.
    """

    def __init__(
        self,
        layers: LayerPrecision,
        low: LowPrecision,
        epochs: Epochs,
        seed: int,
        source: Callable[[int], RandomSource],
        measure: Callable[[int, RandomSource], NDArray[np.float64]],
    ) -> None:
        self._layers, self._low, self._epochs, self._seed = layers, low, epochs, seed
        self._source, self._measure = source, measure
        self._count = max(1, round(low.share * len(layers)))
        rows = 1 if low.schedule == "static" else epochs.count
        self._state = {
            "scores": torch.zeros(len(layers), dtype=torch.float64),
            "chosen": torch.zeros((rows, len(layers)), dtype=torch.uint8),
            "epochs": torch.zeros((), dtype=torch.int64),
            "releases": torch.zeros((), dtype=torch.int64),
        }

    def prepare(self, step: int) -> bool:
        """Switches the model to the layers of a step's epoch, which are chosen at its start; True where they were."""
        epoch = 0 if self._low.schedule == "static" else step // self._epochs.steps
        changed = epoch >= int(self._state["epochs"])
        if changed:
            self._state = self._chosen(epoch, step)
        self._layers.choose(np.flatnonzero(self._state["chosen"][epoch].numpy()).tolist())
        return changed

    def tensors(self) -> dict[str, Tensor]:
        """Returns what a checkpoint keeps."""
        return self._state

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes what a checkpoint has kept."""
        self._state = dict(tensors)

    def summary(self) -> dict[str, Json]:
        """Returns what a card says: the layers of each epoch, all of them releases or independent of the text."""
        chosen = self._state["chosen"][: int(self._state["epochs"])].numpy()
        return {
            "quantized_layers": [np.flatnonzero(row).tolist() for row in chosen],
            "selection_releases": int(self._state["releases"]),
        }

    def _chosen(self, epoch: int, step: int) -> dict[str, Tensor]:
        state, selection = self._state, self._low.selection
        scores, releases, chosen = state["scores"], int(state["releases"]), state["chosen"].clone()
        if self._low.schedule == "static":
            generator = simulation_generator(self._seed, "static layers")
            picked = generator.choice(len(self._layers), self._count, replace=False)
        else:
            source = self._source(step)
            if selection is not None and epoch % selection.every == 0:
                if releases >= self._epochs.releases(selection.every):
                    raise RuntimeError(f"release {releases + 1} of the selection was not paid for")
                found = torch.from_numpy(self._measure(step, source))
                scores = selection.memory * scores + (1 - selection.memory) * found if releases else found
                releases += 1
            bias = scores.numpy() * (-selection.sharpness / selection.clip) if selection else scores.numpy()
            picked = draw_layers(bias, self._count, source)
        chosen[epoch, torch.from_numpy(picked)] = 1
        done = {"epochs": torch.tensor(epoch + 1), "releases": torch.tensor(releases)}
        return {"scores": scores, "chosen": chosen, **done}


def draw_layers(log_weights: NDArray[np.float64], count: int, source: RandomSource) -> NDArray[np.int64]:
    """Returns count different layers, int64, drawn one after the other in proportion to exp(log_weights).

    Softmax probabilities, renormalised after each draw: the largest of the logarithms with Gumbel noise.
    """
    gumbel = -np.log(-np.log(uniforms((len(log_weights),), source)))
    return np.argsort(-(log_weights + gumbel), kind="stable")[:count]


@torch.no_grad()
def loss_differences(
    examples: PromptExamples, virtual: Tensor, documents: Sequence[Sequence[int]], step: int, layers: LayerPrecision
) -> NDArray[np.float64]:
    """Returns by how much each layer alone in low precision raises each document's mean loss, (documents, layers).

    nats. Each document is read on its own, with the same cut and noise each time, so its row depends on no other.
    """
    rows = np.zeros((len(documents), len(layers)))
    for row, document in zip(rows, documents, strict=True):
        losses = examples.repeated(virtual.detach(), [(documents_sha256([document]), document)], step)
        with layers.only([]):
            (full,) = losses()
        for layer in range(len(layers)):
            with layers.only([layer]):
                (low,) = losses()
            row[layer] = float(low.double().mean() - full.double().mean())
    return rows


def released_mean(differences: NDArray[np.float64], selection: Selection, source: RandomSource) -> NDArray[np.float64]:
    """Returns the noised mean of documents' differences, shape (layers,): rows clipped to norm clip, summed, noised.

    differences: shape (documents >= 0, layers). A row that is not finite adds nothing. The sum is divided by the mean
    batch, which is public.
    """
    finite = differences[np.isfinite(differences).all(axis=1)]
    norms = np.linalg.norm(finite, axis=1, keepdims=True)
    clipped = finite * np.minimum(1.0, selection.clip / np.maximum(norms, np.finfo(float).tiny))
    noise = normals((differences.shape[1],), source).numpy() * (selection.noise_multiplier * selection.clip)
    return np.asarray((clipped.sum(axis=0) + noise) / selection.batch)
