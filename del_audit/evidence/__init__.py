"""What is measured, each figure with its uncertainty."""

from del_audit.evidence.bootstrap import bootstrap_mean, bootstrap_ratio
from del_audit.evidence.figure import Figure
from del_audit.evidence.intervals import balanced_rate, rate

__all__ = ["Figure", "balanced_rate", "bootstrap_mean", "bootstrap_ratio", "rate"]
