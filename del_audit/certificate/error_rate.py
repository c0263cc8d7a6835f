"""How often a verdict of "certified" is wrong, stated with the number of attempts on the same people."""

from del_audit.certificate.model import ErrorRate

TAIL = 0.025
"""Chance that one end of a 95% interval is on the wrong side of the truth."""


def error_rate_of(attempts: int | None) -> ErrorRate:
    """Returns what a certificate says of its own error. attempts: None where the log does not know their number.

    A certificate passes only where every limit does. Where a limit is truly missed, its own interval must have failed
    for the verdict to be wrong, so the number of limits does not raise the chance; the number of attempts does.
    """
    return ErrorRate(
        false_certified_at_most=TAIL,
        over_all_attempts_at_most=None if attempts is None else min(1.0, TAIL * attempts),
        kind="estimated: each interval's stated level, at the truth nearest to the limit that is missed",
    )
