"""Attribute inference: what a whole prompt's release tells of its author."""

from attacks.attribute.features import FEATURES, Features, clean_features, pooled_features
from attacks.attribute.probes import Probe, ProbeResult, fit_probe
from attacks.attribute.splits import QuantileClasses, split_by_group
from attacks.attribute.views import VIEWS, Viewer, Views

__all__ = [
    "FEATURES",
    "VIEWS",
    "Features",
    "Probe",
    "ProbeResult",
    "QuantileClasses",
    "Viewer",
    "Views",
    "clean_features",
    "fit_probe",
    "pooled_features",
    "split_by_group",
]
