"""What it costs to choose by private losses which layers are quantized: charged to the training's own epsilon.

A release of losses is a Gaussian release of a Poisson batch, as a step of DP-SGD is, with a noise and a batch of its
own. All of them are composed with all steps of the training (DPQuant, arXiv 2509.03472; docs/theory.md, theorem 11).
"""

from dataclasses import dataclass

from del_audit.accounting.dp_sgd import TrainingGuarantee, composed, training_guarantee
from del_audit.accounting.other_mechanisms import DpSgd
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError

LEAST_NOISE, MOST_NOISE = 0.5, 1000.0
"""Of the selection: less is never used, and more would be noise alone."""
_CLOSE = 1.01  # of the noise that is searched for


@dataclass(frozen=True, slots=True)
class ChargedSelection:
    """total: the guarantee of training and selection together. training: that of the training alone."""

    total: TrainingGuarantee
    training: TrainingGuarantee

    @property
    def share(self) -> float:
        """The share of the total epsilon that training alone would not spend."""
        return 1 - self.training.epsilon.upper / self.total.epsilon.upper if self.total.epsilon.upper else 0.0

    def to_dict(self) -> dict[str, Json]:
        """Returns what a card says of the selection's cost."""
        return {"epsilon_without": self.training.epsilon.upper, "share_of_epsilon": self.share}


def charged_selection(
    training: TrainingGuarantee, sample_rate: float, releases: int, epsilon: float
) -> ChargedSelection:
    """Returns training and a selection whose noise is the least, within 1%, with which both are within epsilon.

    sample_rate: of the batch that a release measures. Both accountants are within epsilon. Raises UserError where the
    training alone leaves nothing of epsilon.
    """
    run, delta = training.run, training.delta
    room = epsilon - training.epsilon.upper + (training.dp_accounting or 0.0)  # Opacus's figure may be the larger one

    def together(noise: float) -> float:
        return float(composed((run, DpSgd(noise, sample_rate, releases))).get_epsilon_for_delta(delta))

    low, high = LEAST_NOISE, LEAST_NOISE
    while together(high) > room:
        low, high = high, 2 * high
        if high > MOST_NOISE:
            raise UserError(
                f"Expected an epsilon above {training.epsilon.upper:.6g}, the training's alone, for the selection of "
                f"layers too, got {epsilon:.6g}. Choose a larger --selection-share."
            )
    while high > low * _CLOSE:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if together(middle) > room else (low, middle)
    while True:
        found = training_guarantee(
            run.noise_multiplier, run.sample_rate, run.steps, delta, DpSgd(high, sample_rate, releases)
        )
        if found.epsilon.upper <= epsilon:
            return ChargedSelection(found, training)
        high *= 1.05
        if high > MOST_NOISE:
            raise UserError(
                f"Expected two accountants to be within epsilon={epsilon:.6g}, got {found.epsilon.upper:.6g}. Choose a "
                "larger --selection-share."
            )
