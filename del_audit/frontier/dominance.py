"""Which point is better than which, where the intervals allow it; docs/how-to/frontier.md states the rule.

One point dominates another where what is recovered of it is told apart, and smaller, while its use is told apart, and
larger. Where each is better in one of the two, it is a trade-off. Where either is not told apart, nothing is said.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from del_audit.frontier.measured import Row
from del_audit.statistics.comparison import compare
from mechanisms.canonical_json import Json

Says = Literal["first dominates", "second dominates", "trade-off", "not told apart"]


@dataclass(frozen=True, slots=True)
class Relation:
    """What is said of two points, by their names."""

    first: str
    second: str
    says: Says

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return {"first": self.first, "second": self.second, "says": self.says}


def first_relations(rows: Sequence[Row]) -> list[Relation]:
    """Returns the relations of all pairs of measured points, by MAP and information; the intervals must not overlap."""
    found = []
    for one, other in itertools.combinations([row for row in rows if row.first is not None], 2):
        assert one.first is not None
        assert other.first is not None
        read = _apart((one.first.map.lower, one.first.map.upper), (other.first.map.lower, other.first.map.upper))
        told = _apart(
            (one.first.information.lower, one.first.information.upper),
            (other.first.information.lower, other.first.information.upper),
        )
        found.append(Relation(one.point.name, other.point.name, _says(read, told)))
    return found


def second_relations(rows: Sequence[Row], seed: int) -> list[Relation]:
    """Returns the relations of all pairs of fully attacked points, by the strongest attack and the paired gain.

    What is recovered is told apart where one's upper end, of its strongest attack, is below the other's lower limit,
    corrected for the number of attacks: exactly, and up to meaning too, since clusters of words hide the word and tell
    its meaning. Gains are of the same prompts: they are told apart by a test of signs over
    documents, corrected for all pairs (Holm). seed: of the test's draws.
    """
    done = {row.point.name: row.second for row in rows if row.second is not None}
    if len(done) < 2:
        return []
    documents = next(iter(done.values())).documents
    compared = compare({name: second.gains for name, second in done.items()}, seed, documents)
    larger = {(each.first, each.second): each.larger for each in compared.differences}
    found = []
    for names in itertools.combinations(done, 2):
        read = _apart(*((done[name].above, done[name].strongest.success.upper) for name in names))
        meant = _apart(*((done[name].meaning_above, done[name].meaning.upper) for name in names))
        better = larger[names]
        use = 0 if better is None else 1 if better == names[0] else -1
        found.append(Relation(*names, _says(read if read == meant else 0, use)))
    return found


def dominating(name: str, relations: Sequence[Relation]) -> list[str]:
    """Returns the points that dominate one."""
    firsts = [each.first for each in relations if each.second == name and each.says == "first dominates"]
    return firsts + [each.second for each in relations if each.first == name and each.says == "second dominates"]


def _apart(one: tuple[float, float], other: tuple[float, float]) -> int:
    """Returns 1 where the first interval is above the other, -1 where it is below, 0 where they overlap."""
    return int(one[0] > other[1]) - int(one[1] < other[0])


def _says(read: int, use: int) -> Says:
    if not read or not use:
        return "not told apart"
    if read == use:
        return "trade-off"
    return "first dominates" if use > 0 else "second dominates"
