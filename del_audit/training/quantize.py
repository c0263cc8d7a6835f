"""The options of `train prompt --quantize`: which layers run in low precision, and what choosing them costs."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from del_audit.accounting.dp_sgd import TrainingGuarantee
from del_audit.accounting.layer_selection import ChargedSelection, charged_selection
from mechanisms.errors import UserError
from mechanisms.placement import usable_device
from mechanisms.training.kernels import Kernel, KernelName, kernel_for
from mechanisms.training.layer_selection import Epochs, LowPrecision, Selection

Schedule = Literal["static", "dynamic"]
MOST_SHARE = 0.5
"""Of epsilon for the selection."""


@dataclass(frozen=True, slots=True)
class Quantize:
    """share: of the layers in low precision. selection_share: of epsilon, what the releases of losses may take.

    batch, every, clip: of a release, as of mechanisms.training.layer_selection.Selection. A selection_share of 0, and
    the static schedule, measure nothing. Raises UserError for values out of range.
    """

    schedule: Schedule = "dynamic"
    kernel: KernelName | Literal["auto"] = "auto"
    share: float = 0.75
    selection_share: float = 0.01
    batch: int = 4
    every: int = 2
    clip: float = 0.05

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise UserError(f"Expected quantize to be none, static or dynamic, got quantize={self.schedule!r}.")
        if not 0 <= self.selection_share <= MOST_SHARE:
            raise UserError(f"Expected selection-share in [0, {MOST_SHARE}], got {self.selection_share}.")
        if not 0 < self.share <= 1:
            raise UserError(f"Expected quantized-share in (0, 1], got {self.share}.")
        _ = self._selection(1.0)

    @property
    def selects(self) -> bool:
        """Whether private losses choose the layers."""
        return self.schedule == "dynamic" and self.selection_share > 0

    def kernel_on(self, device: str, spread: bool = False) -> Kernel:
        """Returns the kernel for a configuration's device; Raises UserError where it lacks it.

        spread: whether the model is held by several devices, which no kernel reads.
        """
        if spread:
            raise UserError("Expected one device to quantize on, got device_map. Remove it or use --quantize none.")
        return kernel_for(self.kernel, torch.device(usable_device(device)))

    def training_epsilon(self, epsilon: float) -> float:
        """Returns what the training alone may spend of epsilon."""
        return epsilon * (1 - self.selection_share) if self.selects else epsilon

    def charged(
        self, kernel: Kernel, training: TrainingGuarantee, documents: int, epsilon: float
    ) -> tuple[LowPrecision, ChargedSelection | None]:
        """Returns the layers' plan, and, where losses choose them, the guarantee of training and selection together.

        documents: private ones. Raises UserError for fewer than a release samples, and as charged_selection does.
        """
        if not self.selects:
            return LowPrecision(kernel, self.schedule, self.share), None
        if documents < self.batch:
            raise UserError(f"Expected selection-batch <= {documents}, the private documents, got {self.batch}.")
        releases = Epochs.of(training.run.steps, training.run.sample_rate).releases(self.every)
        found = charged_selection(training, self.batch / documents, releases, epsilon)
        assert found.total.selection is not None
        selection = self._selection(found.total.selection.noise_multiplier)
        return LowPrecision(kernel, self.schedule, self.share, selection), found

    def _selection(self, noise_multiplier: float) -> Selection:
        return Selection(noise_multiplier, self.clip, self.batch, self.every)
