"""A language model that has learned to read after wrong words: low-rank adapters, trained on public text with noise."""

from attacks.inversion.adapted.adapter import Adapter
from attacks.inversion.adapted.attack import AdaptedBeam
from attacks.inversion.adapted.settings import Adaptation

__all__ = ["Adaptation", "AdaptedBeam", "Adapter"]
