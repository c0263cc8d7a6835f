"""How the attacker's language model is adapted: numbers only, so that a certificate can name them."""

from dataclasses import dataclass

from mechanisms.errors import UserError
from mechanisms.training.loop import LoopPlan
from mechanisms.validation import at_least


@dataclass(frozen=True, slots=True)
class Adaptation:
    """AdamW on fresh releases of windows of public text, a share of whose documents only validates.

    rank: of the adapters, which every linear layer but the output has. steps, epochs: whichever is over first.
    short_steps: instead of steps, where a shipped adapter of the same model is gone on from. batch: windows a step.
    window: tokens of one. learning_rate: at its highest. levels: mu of the quantizers, and truth: shares of the words
    that are released truly by randomised response, at which the model practises in turn. say: weight of what the model
    says over the unigrams. sharpness: exponent of the posterior that wrong words are drawn by. clean: share of windows
    whose words left of a token are the true ones. again: share of steps whose wrong words are the model's own guesses.
    bfloat16: products in bfloat16, faster on new processors and coarser. Raises UserError for values out of range.
    """

    rank: int = 8
    steps: int = 128
    short_steps: int = 40
    epochs: float = 5.0
    batch: int = 24
    window: int = 64
    learning_rate: float = 7e-4
    warm_up: int = 15
    levels: tuple[float, ...] = (6.0, 8.5, 12.0, 17.0, 24.0)
    truth: tuple[float, ...] = (0.01, 0.06)
    say: float = 0.6
    sharpness: float = 1.5
    clean: float = 0.2
    again: float = 0.5
    validation_share: float = 0.05
    validation_windows: int = 16
    validate_every: int = 32
    checkpoint_every: int = 20
    bfloat16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "steps", "short_steps", "batch", "validation_windows"):
            at_least(name, getattr(self, name), 1)
        at_least("window", self.window, 2)
        if not self.levels and not self.truth:
            raise UserError("Expected levels or truth to practise at, got neither.")
        for name in ("clean", "again", "validation_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"Expected {name} in [0, 1], got {name}={getattr(self, name)!r}.")
        if not self.epochs > 0 or not self.say > 0:
            raise UserError(f"Expected epochs and say above 0, got epochs={self.epochs!r}, say={self.say!r}.")
        _ = self.plan(self.steps)

    def plan(self, steps: int) -> LoopPlan:
        """Returns the loop's part of the settings, for so many steps."""
        return LoopPlan(
            steps,
            self.learning_rate,
            self.warm_up,
            validate_every=self.validate_every,
            checkpoint_every=self.checkpoint_every,
            title="adapting the attacker's language model",
        )

    def steps_for(self, tokens: int, short: bool) -> int:
        """Returns the steps over so many tokens of public text; short: where a shipped adapter is gone on from."""
        most = self.short_steps if short else self.steps
        return max(1, min(most, round(self.epochs * tokens / (self.batch * self.window))))
