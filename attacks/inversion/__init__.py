"""Token inversion, from the baseline that reads nothing to the strongest that is known."""

from attacks.inversion.adapted_beam import AdaptedBeam
from attacks.inversion.baseline import CommonestWord
from attacks.inversion.bayes import MaximumAPosteriori, MaximumLikelihood
from attacks.inversion.contextual import ContextualInverter
from attacks.inversion.contextual_beam import ContextualBeam
from attacks.inversion.language_prior import LanguageBeam
from attacks.inversion.masked_lm import InputInference
from attacks.inversion.nearest import CodeNeighbour, CosineNeighbour
from attacks.inversion.two_sided import TwoSided

__all__ = [
    "AdaptedBeam",
    "CodeNeighbour",
    "CommonestWord",
    "ContextualBeam",
    "ContextualInverter",
    "CosineNeighbour",
    "InputInference",
    "LanguageBeam",
    "MaximumAPosteriori",
    "MaximumLikelihood",
    "TwoSided",
]
