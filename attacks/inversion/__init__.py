"""Token inversion, from the baseline that reads nothing to the exact posterior."""

from attacks.inversion.baseline import CommonestWord
from attacks.inversion.bayes import MaximumAPosteriori, MaximumLikelihood
from attacks.inversion.nearest import NearestNeighbour

__all__ = ["CommonestWord", "MaximumAPosteriori", "MaximumLikelihood", "NearestNeighbour"]
