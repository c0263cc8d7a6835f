"""From limits and figures to a verdict: certified, refused or inconclusive, with a reason for each check."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from del_audit.bound import Bound
from del_audit.evidence.figure import Figure

Status = Literal["passed", "failed", "inconclusive"]
Verdict = Literal["certified", "refused", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Check:
    """One limit of the policy against what was proved or measured."""

    limit: str
    asked: str
    found: str
    status: Status
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields under their names."""
        return asdict(self)


def check_bound(limit: str, bound: Bound, at_most: float, unit: str) -> Check:
    """Returns the check of a proved bound: its upper end decides, there is nothing to sample."""
    asked, found = f"at most {at_most:g} {unit}", f"at most {bound.upper:.6g} {unit}"
    if bound.upper <= at_most:
        return Check(limit, asked, found, "passed", "The exact guarantee is within the limit.")
    return Check(limit, asked, found, "failed", f"The exact guarantee is {bound.estimate:.6g} {unit}, over the limit.")


def check_figure(limit: str, figure: Figure, threshold: float, side: Literal["at most", "at least"]) -> Check:
    """Returns the check of an estimate: the far end of its interval must be on the right side of the threshold.

    It fails where the whole interval is on the wrong side, and is inconclusive where the interval holds the threshold.
    """
    far, near = (figure.upper, figure.lower) if side == "at most" else (figure.lower, figure.upper)
    sign = 1 if side == "at most" else -1
    asked = f"{side} {threshold:g} ({figure.unit})"
    percent = f"{figure.confidence:.0%}"
    found = f"{figure.value:.4g} [{figure.lower:.4g}, {figure.upper:.4g}], {figure.sample:,} {figure.sample_unit}"
    if sign * (far - threshold) <= 0:
        return Check(limit, asked, found, "passed", f"The whole {percent} interval is within the limit.")
    if sign * (near - threshold) > 0:
        return Check(limit, asked, found, "failed", f"The whole {percent} interval is beyond the limit.")
    from del_audit.evidence.sample_size import samples_needed  # heavy, and most checks have no use for it

    needed = samples_needed(figure, threshold)
    more = (
        f"about {max(1, needed - figure.sample):,} more {figure.sample_unit} would decide, were the rate as measured"
        if needed is not None
        else "the figure stands at the limit, and no sample size would decide"
    )
    return Check(limit, asked, found, "inconclusive", f"The {percent} interval holds the limit: {more}.")


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Returns refused where a check failed, else inconclusive where one is, else certified."""
    statuses = {check.status for check in checks}
    if "failed" in statuses:
        return "refused"
    return "inconclusive" if "inconclusive" in statuses else "certified"
