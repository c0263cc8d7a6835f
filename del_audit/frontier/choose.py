"""Which points are attacked in full: those that nothing dominates by MAP and information, or that the user names."""

from collections.abc import Sequence

from del_audit.frontier.measured import First, Row
from mechanisms.errors import UserError

NEARLY_ALL = 0.95
"""Share of tokens that MAP recovers, above which there is nothing to compare."""


def choose(rows: Sequence[Row], most: int, named: Sequence[str]) -> list[Row]:
    """Returns the rows of the second stage, `most` at most, and writes into the others' `why` what speaks against them.

    named: points that are taken whatever else is there, as mechanism@epsilon. Of the others those that no other point
    dominates, in what MAP recovers and in what a release tells; if they are too many, evenly spread over what MAP
    recovers. Raises UserError for unknown names, and more than `most` of them.
    """
    require_named(rows, most, named)
    taken = [row for row in rows if row.point.name in named and row.first is not None]
    left = []
    for row in rows:
        if row.first is None or row in taken:
            continue
        row.why = why_not(row.first)
        if not row.why:
            left.append(row)
    rest = []
    for row in left:
        better = [other for other in left if other is not row and _dominates(other.first, row.first)]
        if better:
            row.why = f"no second stage: {better[0].point.name} tells no less, and MAP recovers no more of it"
        else:
            rest.append(row)
    rest.sort(key=lambda row: _of(row).map.value)
    kept = _spread(rest, most - len(taken))
    for row in rest:
        if row not in kept:
            row.why = f"no second stage: not among the {most} points of --points"
    return [row for row in rows if row in taken or row in kept]


def require_named(rows: Sequence[Row], most: int, named: Sequence[str]) -> None:
    """Raises UserError for named points that are unknown or left out, and for more of them than --points."""
    known = [row.point.name for row in rows if row.point.configuration is not None]
    for name in named:
        if name not in known:
            raise UserError(f"Expected the points of --full among {', '.join(known)}, got {name[:100]!r}.")
    if len(named) > most:
        raise UserError(f"Expected --points >= {len(named)}, the points of --full, got --points {most}.")


def why_not(first: First) -> str:
    """Returns why a point is not worth a second stage whatever the others are; "" where it is."""
    if first.map.value <= first.baseline.upper:
        return "no second stage: MAP is not above the interval of the commonest word"
    if first.map.value > NEARLY_ALL:
        return f"no second stage: MAP recovers more than {100 * NEARLY_ALL:g}% of the tokens"
    return ""


def _dominates(one: First | None, other: First | None) -> bool:
    """Returns whether one tells no less while MAP recovers no more, and one of the two is better."""
    assert one is not None
    assert other is not None
    read, told = one.map.value - other.map.value, one.information.value - other.information.value
    return read <= 0 <= told and (read, told) != (0, 0)


def _of(row: Row) -> First:
    assert row.first is not None
    return row.first


def _spread(rows: list[Row], count: int) -> list[Row]:
    """Returns at most so many rows, the first, the last, and what lies evenly between."""
    if len(rows) <= count:
        return rows
    if count < 2:
        return rows[len(rows) // 2 :][:count]
    return [rows[round(place * (len(rows) - 1) / (count - 1))] for place in range(count)]
