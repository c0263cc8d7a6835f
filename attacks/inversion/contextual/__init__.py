"""A trained inverter that reads a whole prompt at once, in both directions; it needs no likelihood."""

from attacks.inversion.contextual.attack import ContextualAttacker, ContextualInverter
from attacks.inversion.contextual.settings import ContextualTraining, NetworkShape

__all__ = ["ContextualAttacker", "ContextualInverter", "ContextualTraining", "NetworkShape"]
