"""Attribute inference: what a whole prompt's release tells of its author."""

from attacks.attribute.probes import Probe, ProbeResult, fit_probe
from attacks.attribute.splits import QuantileClasses, bounded_rows, split_by_group
from attacks.attribute.views import VIEWS, Viewer, Views

__all__ = [
    "VIEWS",
    "Probe",
    "ProbeResult",
    "QuantileClasses",
    "Viewer",
    "Views",
    "bounded_rows",
    "fit_probe",
    "split_by_group",
]
