"""Tests of batch coupling: what is released of a row does not depend on the rows beside it."""

import numpy as np

from del_audit.evidence.verification.binomial import Counts
from del_audit.evidence.verification.design import NEIGHBOURS
from del_audit.evidence.verification.finding import Measurement, Part, smallest
from del_audit.evidence.verification.fitting import fit, followed
from del_audit.evidence.verification.sample import Sample
from mechanisms.levels import ZERO_LEVEL

_MEANING = (
    "A token's release depends on other tokens of its call. The accountant takes tokens one by one, so its figures do "
    "not hold. Look for ranges, means or norms taken over the batch."
)


def batch_tests(main: Sample) -> list[Measurement]:
    """Returns the tests of probe rows among each kind of neighbours, and of all rows against those beside them."""
    return [
        Measurement("batch", "probe rows", *_probes(main), _MEANING),
        Measurement("batch", "small values", *fit(main.of_kind("narrow"), "calls of small values only"), _MEANING),
        Measurement("batch", "neighbours", *neighbours(main), _MEANING),
    ]


def _probes(main: Sample) -> Part:
    groups = {label: main.where(main.probe & (main.label == label)) for label in NEIGHBOURS}
    return smallest(fit(rows, f"a row with neighbours: {label}") for label, rows in groups.items() if len(rows))


def neighbours(main: Sample) -> Part:
    """Returns whether counts follow the values of the row before or after theirs, or of the others on average."""
    if not len(main):
        return Part(1.0, "Nothing to test: nothing was released.")
    centred = main.levels.astype(np.int64) - ZERO_LEVEL
    call, sides = main.call, {"row before theirs": 1, "row after theirs": -1}
    corners, parts = main.where(main.corner), []
    for what, step in sides.items():
        beside = np.where((np.roll(call, step) == call)[:, None], np.roll(centred, step, axis=0), 0)
        parts.append(followed(corners, np.sign(beside)[main.corner], what))
    others = _sums(centred, call) - centred
    parts.append(followed(corners, np.sign(others)[main.corner], "other rows' mean"))
    return smallest(parts)


def _sums(centred: Counts, call: Counts) -> Counts:
    """Returns the sum over each row's call, shape (rows, dim)."""
    starts = np.flatnonzero(np.diff(call, prepend=-1))
    totals = np.add.reduceat(centred, starts, axis=0)
    return np.asarray(np.repeat(totals, np.diff(np.append(starts, len(call))), axis=0))
