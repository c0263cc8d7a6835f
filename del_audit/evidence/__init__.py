"""What is measured, each figure with its uncertainty."""

from del_audit.evidence.figure import Figure
from del_audit.evidence.intervals import balanced_rate, bootstrap_mean, rate

__all__ = ["Figure", "balanced_rate", "bootstrap_mean", "rate"]
