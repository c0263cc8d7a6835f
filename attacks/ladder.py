"""The inversion attacks by the names that configurations and the command line use, weakest first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

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
from mechanisms.errors import UserError

AttackName = Literal[
    "baseline", "cosine", "inference", "code", "likelihood", "map", "beam", "two-sided", "contextual", "informed"
]
ALWAYS: tuple[AttackName, ...] = ("baseline", "map")
"""The yardstick, and the best that reads token by token: no result stands without them."""


def ladder(
    names: Sequence[AttackName], masked_lm: str | None = None, folder: Path | None = None
) -> list[InversionAttack]:
    """Returns the attacks of these names, weakest kind first.

    masked_lm: of input inference, as InputInference. folder: where trained attackers are kept, as ContextualInverter.
    Raises UserError for an unknown name, one that is given twice, and where one of ALWAYS is missing.
    """
    known = get_args(AttackName)
    for name in names:
        if name not in known:
            raise UserError(f"Expected attacks among {', '.join(known)}, got {name!r}.")
    if len(set(names)) != len(names) or not set(ALWAYS) <= set(names):
        raise UserError(f"Expected attacks without repetition, {' and '.join(ALWAYS)} among them, got {list(names)}.")
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
    return [attack for name, attack in made.items() if name in names]
