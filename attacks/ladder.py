"""The inversion attacks that a list of names stands for, weakest kind first."""

from collections.abc import Sequence
from dataclasses import replace
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
from attacks.ranking import DEPTH


def ladder(
    names: Sequence[AttackName], masked_lm: str | None = None, folder: Path | None = None, depth: int = DEPTH
) -> dict[AttackName, InversionAttack]:
    """Returns the attacks of these names under them, weakest kind first.

    masked_lm: of input inference, as InputInference. folder: where trained attackers are kept, as ContextualInverter.
    depth: guesses kept a token; the first does not hang on it, and one alone is found much faster.
    Raises UserError as checked_names does.
    """
    asked = checked_names(names)
    inverter = ContextualInverter(folder=folder, depth=depth)
    made: dict[AttackName, InversionAttack] = {
        "baseline": CommonestWord(),
        "cosine": CosineNeighbour(depth=depth),
        "inference": InputInference(masked_lm),
        "code": CodeNeighbour(depth=depth),
        "likelihood": MaximumLikelihood(depth=depth),
        "map": MaximumAPosteriori(depth=depth),
        "beam": LanguageBeam(depth=depth),
        "two-sided": TwoSided(depth=depth),
        "contextual": inverter,
        "informed": InformedBeam(inverter, replace(InformedBeam().beam, depth=depth)),
    }
    return {name: attack for name, attack in made.items() if name in asked}
