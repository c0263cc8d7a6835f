"""How a soft prompt is trained: the settings, which a card records."""

from dataclasses import dataclass
from typing import Literal

from mechanisms.errors import UserError
from mechanisms.training.loop import LoopPlan
from mechanisms.validation import at_least


@dataclass(frozen=True, slots=True)
class PromptTraining:
    """How a soft prompt is trained. Documents are cut to window tokens; a random share of them is the noisy prompt.

    prompt_share: range of that share, (0.03, 0.2) in the paper; None cuts anywhere. No prompt is below shortest_prompt
    tokens and no response below shortest_response. init: "text" starts from the embeddings of initial_text, "random"
    from those of words drawn uniformly, "configured" from a soft prompt that is given.
    validation_documents: held out by lot, scored every validate_every steps; patience and checkpoint_every as of
    LoopPlan. Raises UserError for values out of range.
    """

    steps: int = 150
    batch: int = 4
    learning_rate: float = 1e-2
    warm_up: int = 10
    decay: Literal["linear", "constant"] = "linear"
    virtual_tokens: int = 20
    window: int = 112
    shortest_prompt: int = 16
    shortest_response: int = 16
    prompt_share: tuple[float, float] | None = None
    init: Literal["text", "random", "configured"] = "text"
    initial_text: str = (
        "The following is a noisy and scrambled drug review; continue it as its writer would, on the same topic."
    )
    validation_documents: int = 0
    validate_every: int = 50
    patience: int = 0
    checkpoint_every: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "warm_up", "virtual_tokens", "shortest_prompt", "shortest_response"):
            at_least(name, getattr(self, name), 1)
        shortest = self.shortest_prompt + self.shortest_response
        if self.window < shortest:
            raise UserError(f"Expected window >= {shortest}, shortest prompt and response, got window={self.window}.")
        if self.init not in ("text", "random", "configured"):
            raise UserError(f"Expected init to be text, random or configured, got init={self.init!r}.")
        if not self.initial_text:
            raise UserError("Expected initial_text to hold at least one word, got an empty text.")
        if self.validation_documents < 0:
            raise UserError(f"Expected validation_documents >= 0, got {self.validation_documents}.")
        if self.prompt_share is not None and not 0 < self.prompt_share[0] <= self.prompt_share[1] < 1:
            raise UserError(f"Expected prompt_share as 0 < least <= most < 1, got prompt_share={self.prompt_share}.")
        _ = self.plan

    @property
    def plan(self) -> LoopPlan:
        """The loop's part of the settings."""
        return LoopPlan(
            self.steps,
            self.learning_rate,
            self.warm_up,
            self.decay,
            validate_every=self.validate_every if self.validation_documents else 0,
            patience=self.patience,
            checkpoint_every=self.checkpoint_every,
            title="training the soft prompt",
        )
