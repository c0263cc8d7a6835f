"""From limits and figures to a verdict: certified, refused or inconclusive, with a reason for each check."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

from pydantic import ConfigDict

from del_audit.statistics.bound import Bound
from del_audit.statistics.figure import Figure

Status = Literal["passed", "failed", "inconclusive"]
Verdict = Literal["certified", "refused", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Check:
    """One limit of the policy against what was proved or measured."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    limit: str
    """What is limited."""
    asked: str
    """What the policy asks."""
    found: str
    """What was proved or measured."""
    status: Status
    """Whether it holds."""
    reason: str
    """Why."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields under their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Contender:
    """What one attack recovered, held against a limit that all attacks share.

    figure: None where there is none, and then why says so. above: a lower limit of the rate; the chance that any
    contender's is wrong is at most half of 1 - confidence. None where none was measured: then it is approximate.
    """

    name: str
    figure: Figure | None
    above: float | None = None
    why: str = ""

    def certain(self, contenders: int) -> float:
        """Returns the lower limit: `above`, or the interval's own end moved out as a normal law's would be."""
        if self.above is not None or self.figure is None:
            return self.above or 0.0
        tail, figure = (1 - self.figure.confidence) / 2, self.figure
        wider = NormalDist().inv_cdf(tail / contenders) / NormalDist().inv_cdf(tail)
        return figure.value - (figure.value - figure.lower) * wider


def check_bound(limit: str, bound: Bound, at_most: float, unit: str) -> Check:
    """Returns the check of a proved bound: its upper end decides, there is nothing to sample."""
    asked, found = f"at most {at_most:g} {unit}", f"at most {bound.upper:.6g} {unit}"
    if bound.upper <= at_most:
        return Check(limit, asked, found, "passed", "The exact guarantee is within the limit.")
    return Check(limit, asked, found, "failed", f"The exact guarantee is {bound.estimate:.6g} {unit}, over the limit.")


def check_contenders(limit: str, contenders: Sequence[Contender], threshold: float) -> Check:
    """Returns the check of a rate that no attack may exceed.

    It fails where the lower limit of any attack, corrected for their number, is above the threshold. It passes only
    where the largest upper end is within it: that end covers the largest true rate without a correction, since the
    strongest attack's own interval fails with the stated probability, and the largest end is no smaller.
    """
    lacking = [each for each in contenders if each.figure is None]
    if not contenders or lacking:
        why = lacking[0].why if lacking else "it was not measured"
        return unmeasured(limit, f"at most {threshold:g}", why)
    measured = [(each, each.figure) for each in contenders if each.figure is not None]
    over = [pair for pair in measured if pair[0].certain(len(measured)) > threshold]
    attack, figure = max(over or measured, key=lambda pair: pair[1].lower if over else pair[1].upper)
    asked, found = f"at most {threshold:g} ({figure.unit})", f"{attack.name}: {_found(figure)}"
    if over:
        reason = (
            f"{attack.name} recovers more than {attack.certain(len(measured)):.4g}, which is beyond the limit, at "
            f"{figure.confidence:.0%} confidence over all {len(measured)} attacks."
        )
        return Check(limit, asked, found, "failed", reason)
    if figure.upper <= threshold:
        return Check(limit, asked, found, "passed", f"The whole {figure.confidence:.0%} interval is within the limit.")
    return Check(limit, asked, found, "inconclusive", _undecided(figure, threshold))


def check_figure(limit: str, figure: Figure | None, threshold: float, side: Literal["at most", "above"]) -> Check:
    """Returns the check of one estimate: the far end of its interval must be on the right side of the threshold.

    `above` is strict: a gain of 0 is no gain. It fails where the whole interval is on the wrong side, and is
    inconclusive where the interval holds the threshold, and where there is no figure.
    """
    if figure is None:
        return unmeasured(limit, f"{side} {threshold:g}", "it was not measured")
    asked, found = f"{side} {threshold:g} ({figure.unit})", _found(figure)
    percent = f"{figure.confidence:.0%}"
    if side == "at most":
        passed, failed = figure.upper <= threshold, figure.lower > threshold
    else:
        passed, failed = figure.lower > threshold, figure.upper <= threshold
    if passed:
        return Check(limit, asked, found, "passed", f"The whole {percent} interval is within the limit.")
    if failed:
        return Check(limit, asked, found, "failed", f"The whole {percent} interval is beyond the limit.")
    return Check(limit, asked, found, "inconclusive", _undecided(figure, threshold))


def unmeasured(limit: str, asked: str, why: str) -> Check:
    """Returns the check of a limit without a figure: nothing is decided."""
    return Check(limit, asked, "no figure", "inconclusive", f"Nothing can be said: {why}.")


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Returns refused where a check failed, else inconclusive where one is or there is none, else certified."""
    statuses = {check.status for check in checks}
    if "failed" in statuses:
        return "refused"
    return "certified" if statuses == {"passed"} else "inconclusive"


def _found(figure: Figure) -> str:
    return f"{figure.value:.4g} [{figure.lower:.4g}, {figure.upper:.4g}], {figure.sample:,} {figure.sample_unit}"


def _undecided(figure: Figure, threshold: float) -> str:
    from del_audit.statistics.sample_size import samples_needed  # heavy, and most checks have no use for it

    needed = samples_needed(figure, threshold)
    more = "no number of further samples is known to decide"
    if needed is not None:
        further = f"{max(1, needed - figure.sample):,} more {figure.sample_unit}"
        more = f"about {further} would decide, were the figure as measured"
    return f"The {figure.confidence:.0%} interval holds the limit: {more}."
