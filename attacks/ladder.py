"""The inversion attacks that a list of names stands for, weakest kind first."""

from collections.abc import Sequence
from pathlib import Path

from attacks.base import InversionAttack
from attacks.inversion import (
    CodeNeighbour,
    CommonestWord,
    ContextualInverter,
    CosineNeighbour,
    InformedBeam,
    InputInference,
    LanguageBeam,
    MaximumAPosteriori,
    MaximumLikelihood,
    TwoSided,
)
from attacks.names import AttackName, checked_names


def ladder(
    names: Sequence[AttackName], masked_lm: str | None = None, folder: Path | None = None
) -> list[InversionAttack]:
    """Returns the attacks of these names, weakest kind first.

    masked_lm: of input inference, as InputInference. folder: where trained attackers are kept, as ContextualInverter.
    Raises UserError as checked_names does.
    """
    asked = checked_names(names)
    made: dict[AttackName, InversionAttack] = {
        "baseline": CommonestWord(),
        "cosine": CosineNeighbour(),
        "inference": InputInference(masked_lm),
        "code": CodeNeighbour(),
        "likelihood": MaximumLikelihood(),
        "map": MaximumAPosteriori(),
        "beam": LanguageBeam(),
        "two-sided": TwoSided(),
        "contextual": ContextualInverter(folder=folder),
        "informed": InformedBeam(ContextualInverter(folder=folder)),
    }
    return [attack for name, attack in made.items() if name in asked]
