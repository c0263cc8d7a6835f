"""Attribute inference: what a whole prompt's release tells of its author."""

from attacks.attribute.features import FEATURES, Features, pooled_features
from attacks.attribute.probes import ProbeResult, best_probe

__all__ = ["FEATURES", "Features", "ProbeResult", "best_probe", "pooled_features"]
