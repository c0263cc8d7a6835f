"""Where the labels of marks stand, so that none lies over another; what finds no room is left out."""

from collections.abc import Sequence
from dataclasses import dataclass

LETTER, TEXT = 6.6, 13.0
"""Pixels of a letter, about, and of a line of text."""
MARK = 7.0
"""Pixels from a mark's centre that its label keeps off."""
SIDES = (
    ("start", 6.0, -8.0),
    ("end", -6.0, -8.0),
    ("start", 6.0, 17.0),
    ("end", -6.0, 17.0),
)
"""Anchor, and pixels across and down from the mark, in the order in which they are tried."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Placed:
    """A label: the mark's place across, pixels from it, and the baseline, in pixels from the top."""

    words: str
    x: float
    y: float
    anchor: str
    dx: float


def place_labels(
    marks: Sequence[tuple[float, float]], words: Sequence[str], width: float, top: float, bottom: float
) -> list[Placed]:
    """Returns the labels that find room, each beside its mark: none over a mark, another label or the plot's edge.

    marks: their centres in pixels. width, top, bottom: of the plot, in pixels.

    >>> [placed.anchor for placed in place_labels([(10.0, 50.0), (96.0, 50.0)], ["one", "two"], 100.0, 0.0, 100.0)]
    ['start', 'end']
    """
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in marks]
    found = []
    for at, ((x, y), label) in enumerate(zip(marks, words, strict=True)):
        for anchor, dx, dy in SIDES:
            box = _box(label, x + dx, y + dy, anchor)
            inside = box[0] >= 0 and box[2] <= width and box[1] >= top and box[3] <= bottom
            if inside and not any(_over(box, other) for place, other in enumerate(taken) if place != at):
                taken.append(box)
                found.append(Placed(label, x, y + dy, anchor, dx))
                break
    return found


def _box(label: str, x: float, baseline: float, anchor: str) -> Box:
    long = LETTER * len(label)
    left = x if anchor == "start" else x - long
    return left, baseline - TEXT + 3, left + long, baseline + 3


def _over(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
