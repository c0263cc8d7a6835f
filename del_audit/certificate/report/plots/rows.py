"""A plot with one row a figure: its name, its value and interval in words, and below them the mark."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from del_audit.certificate.report.plots.drawing import LINE, Panel, Plot, bar, dot, figure, line, text
from del_audit.certificate.report.plots.scale import Scale
from del_audit.show.numbers import interval, printable, short
from del_audit.statistics.figure import Figure

HEAD, ROW, SECOND = 2 * LINE, 60, 14
"""Pixels of a row's two lines of text, of a row with its mark and the space below, and of one figure more."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a plot.

    style: the class that colours its mark. own: whether it is the row that the others are compared with. second: a
    figure below the first, and what it is called. bar: whether the mark is a bar from the axis's low end; else it is a
    dot. by: whose figure it is, where the name does not say it.
    """

    name: str
    figure: Figure
    style: str
    own: bool = False
    second: tuple[str, Figure] | None = None
    bar: bool = False
    by: str = ""

    @property
    def words(self) -> str:
        """What is read of the row: its name, the figure with its interval, and the size of its sample."""
        by = f" by {self.by}" if self.by else ""
        read = f"{self.name}: {interval(self.figure)}{by}, {self.figure.sample:,} {self.figure.sample_unit}"
        return printable(read + (f"; {self.second[0]} {interval(self.second[1])}" if self.second else ""))


@dataclass(frozen=True, slots=True)
class Ruler:
    """A value that every row is held against, with its words; style: the class that colours it."""

    value: float
    words: str
    style: str


def rows_plot(
    name: str,
    title: str,
    rows: Sequence[Row],
    scale: Scale,
    marks: Sequence[float],
    mark_text: Callable[[float], str],
    axis: str,
    slider: str,
    rulers: Sequence[Ruler] = (),
) -> Plot:
    """Returns the plot. marks: values that the axis names. axis, slider: what each is called."""
    pitch = ROW + (SECOND if any(row.second for row in rows) else 0)
    top = LINE * len(rulers) + (8 if rulers else 0)
    bottom = top + pitch * len(rows)
    height = bottom + 2 * LINE + 6
    parts: list[str] = [line(scale(mark), top, scale(mark), bottom, "grid") for mark in marks]
    for place, ruler in enumerate(rulers):
        parts.append(_label(ruler, scale(ruler.value), LINE * (place + 1) - 4))
    for place, row in enumerate(rows):
        parts += _row(row, top + pitch * place, scale, rulers)
    parts += [text(mark_text(mark), scale(mark), bottom + 13, "muted", _anchor(scale(mark))) for mark in marks]
    parts.append(text(axis, 0, bottom + 13 + LINE + 2, "muted"))
    described = "; ".join([f"{row.name}: {interval(row.figure)}" for row in rows] + [ruler.words for ruler in rulers])
    panel = Panel(
        label=slider,
        along="y",
        place=(0, top / height, 1, (bottom - top) / height),
        stops=[(place + 0.5) / len(rows) for place in range(len(rows))],
        texts=[row.words for row in rows],
        start=next((place for place, row in enumerate(rows) if row.own), 0),
        thick=pitch - 4,
    )
    return Plot(figure(name, title, described, height, parts), (panel,))


def _row(row: Row, top: float, scale: Scale, rulers: Sequence[Ruler]) -> Iterator[str]:
    level = top + HEAD + 11
    yield text(short(row.name, 44), 0, top + 14, "own" if row.own else "")
    yield text(interval(row.figure), 0, top + 14 + LINE, "own" if row.own else "muted")
    low, value, high = map(scale, (row.figure.lower, row.figure.value, row.figure.upper))
    if row.bar:
        yield bar(0, level - 7, value, 14, f"fill {row.style}")
        yield line(low, level, high, level, "whisker")
        yield from (line(end, level - 4, end, level + 4, "whisker") for end in (low, high))
    else:
        yield line(low, level, high, level, f"thick {row.style}" if row.own else f"stroke {row.style}")
        yield dot(value, level, 5.5 if row.own else 4, f"fill {row.style}")
    if row.second:
        low, value, high = map(scale, (row.second[1].lower, row.second[1].value, row.second[1].upper))
        yield line(low, level + SECOND + 2, high, level + SECOND + 2, "stroke muted")
        yield dot(value, level + SECOND + 2, 3.5, "ring")
    for ruler in rulers:
        place = scale(ruler.value)
        yield line(place, level - 9, place, level + (SECOND + 8 if row.second else 10), f"ruler {ruler.style}")


def _label(ruler: Ruler, place: float, level: float) -> str:
    left = place > 0.5
    return text(ruler.words, place, level, ruler.style, "end" if left else "start", dx=-2 if left else 2)


def _anchor(place: float) -> str:
    return "start" if place < 0.02 else "end" if place > 0.98 else "middle"
