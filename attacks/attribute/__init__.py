"""Attribute inference: what a whole prompt's release tells of its author."""

from attacks.attribute.features import FEATURES, Features, clean_features, pooled_features
from attacks.attribute.probes import Probe, ProbeResult, fit_probe

__all__ = ["FEATURES", "Features", "Probe", "ProbeResult", "clean_features", "fit_probe", "pooled_features"]
