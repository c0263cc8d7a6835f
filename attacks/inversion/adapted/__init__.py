"""Low-rank adapters with which a language model reads after wrong words, trained on public text through noise."""

from attacks.inversion.adapted.adapter import Adapter
from attacks.inversion.adapted.settings import Adaptation

__all__ = ["Adaptation", "Adapter"]
