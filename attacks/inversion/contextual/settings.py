"""How large the inverter's network is, and how it is trained: numbers only, so that a certificate can name them."""

from dataclasses import dataclass

from mechanisms.errors import UserError
from mechanisms.training.loop import LoopPlan


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """A pre-norm transformer over the prompt. width: between the layers, a multiple of heads.

    reach: tokens to either side whose distance is told apart. rank: of the correction, at most the table's width.
    Raises UserError for values out of range.
    """

    layers: int = 4
    heads: int = 8
    width: int = 256
    reach: int = 32
    rank: int = 256

    def __post_init__(self) -> None:
        _at_least_one(self, "layers", "heads", "width", "reach", "rank")
        if self.width % self.heads:
            raise UserError(f"Expected width to be a multiple of heads={self.heads}, got width={self.width}.")


@dataclass(frozen=True, slots=True)
class ContextualTraining:
    """AdamW on fresh releases of windows of public text, a share of whose documents only validates.

    batch: windows a step. window: tokens; longer prompts are read in overlapping windows of as many. common: the
    commonest words, over all of which training's softmax runs; drawn: others, drawn by their prior each step, that
    stand for the rest. patience: validations without a better one after which
    training stops, 0 for never. bfloat16: products in bfloat16, faster on new processors and coarser; validation and
    attacks are float32. Raises UserError for values out of range.
    """

    steps: int = 2500
    batch: int = 16
    window: int = 64
    learning_rate: float = 2e-3
    warm_up: int = 50
    weight_decay: float = 0.01
    common: int = 4096
    drawn: int = 1024
    validation_share: float = 0.03
    validation_windows: int = 32
    validate_every: int = 250
    patience: int = 3
    checkpoint_every: int = 100
    bfloat16: bool = True

    def __post_init__(self) -> None:
        _at_least_one(self, "batch", "common", "drawn", "validation_windows", "validate_every")
        if self.window < 2:
            raise UserError(f"Expected window >= 2, got window={self.window}.")
        if not 0 < self.validation_share <= 0.5:
            raise UserError(f"Expected validation_share in (0, 0.5], got validation_share={self.validation_share}.")
        _ = self.plan

    @property
    def plan(self) -> LoopPlan:
        """The loop's part of the settings."""
        return LoopPlan(
            self.steps,
            self.learning_rate,
            self.warm_up,
            weight_decay=self.weight_decay,
            validate_every=self.validate_every,
            patience=self.patience,
            checkpoint_every=self.checkpoint_every,
            title="training the contextual inverter",
        )


def _at_least_one(settings: object, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < 1:
            raise UserError(f"Expected {name} >= 1, got {name}={getattr(settings, name)}.")
