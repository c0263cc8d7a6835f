"""How a task is trained, and on what."""

from dataclasses import dataclass, field

from torch import Tensor

from mechanisms.errors import UserError
from mechanisms.nlu.denoiser_training import SoftStart
from mechanisms.nlu.inputs import Inputs
from mechanisms.nlu.pairs import LabelledTokens
from mechanisms.nlu.reader import SPLIT_AND_DENOISE, ClassifierShape
from mechanisms.validation import at_least


@dataclass(frozen=True, slots=True)
class TaskTraining:
    """How a task is trained.

    First stage: the classifier on states of head_releases fresh releases, which it takes turns with, for as many
    epochs, head_epochs at most, as cross-validation over folds finds best.
    Second stage: epochs of soft tokens and classifier together, each on a fresh release; this runs the language model
    forwards and backwards, and epochs=0 leaves it out. It stops early on a share of the examples that is set aside.
    """

    classifier: ClassifierShape = SPLIT_AND_DENOISE
    soft: SoftStart = field(default_factory=SoftStart)
    head_epochs: int = 60
    head_releases: int = 1
    folds: int = 5
    head_rate: float = 3e-5
    epochs: int = 3
    patience: int = 2
    prompt_rate: float = 3e-3
    joint_head_rate: float = 3e-5
    weight_decay: float = 0.1
    batch: int = 16
    validation_share: float = 0.2
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("head_epochs", "head_releases", "folds", "patience", "batch"):
            at_least(name, getattr(self, name), 1)
        at_least("epochs", self.epochs, 0)
        for name in ("head_rate", "prompt_rate", "joint_head_rate"):
            if not getattr(self, name) > 0:
                raise UserError(f"Expected {name} > 0, got {name}={getattr(self, name)}.")
        if not 0 < self.validation_share < 1:
            raise UserError(f"Expected validation_share in (0, 1), got validation_share={self.validation_share}.")


@dataclass(frozen=True, slots=True)
class TaskData:
    """The examples to fit on and to stop by, and how the server comes to read them."""

    inputs: Inputs
    fitted: LabelledTokens
    aside: LabelledTokens

    def read(self, *purpose: str) -> list[Tensor]:
        """Returns what the server reads of a fresh release of the fitted part."""
        return self.inputs.rows(self.fitted.tokens, "task", *purpose)

    def read_aside(self) -> list[Tensor]:
        """Returns what the server reads of the part set aside, the same release each time."""
        return self.inputs.rows(self.aside.tokens, "task validation")
