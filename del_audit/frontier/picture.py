"""The picture: what is recovered across, what is left to use up, one mark per point with its intervals."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from del_audit.certificate.report.plots.drawing import LINE, Panel, figure, line, percent_of, tag, text
from del_audit.certificate.report.plots.scale import Scale, ends, linear, round_marks
from del_audit.configuration.named import Named
from del_audit.frontier.labels import Placed, place_labels
from del_audit.frontier.measured import Row
from del_audit.show.numbers import at_most, interval
from del_audit.statistics.figure import Figure

Stage = Literal["first", "second", "meaning"]
STAGES: tuple[Stage, ...] = ("second", "meaning", "first")
"""The more telling one first."""
WIDTH, TALL, TOP = 820, 400, 30
"""Pixels: across, where it is drawn alone; of the plot; and above it, for the title of its axis."""
LEFT, HEAD = 64, 60
"""Pixels left of the picture that is drawn alone, and above it."""
NOTE = "A mark is a mechanism at an epsilon of one token, in nats. Bars are 95% intervals over documents."
COLOURS = 8
SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    "M-4.5 -4.5h9v9h-9z",
    "M0 -6l6 6l-6 6l-6 -6z",
    "M0 -6l5.6 10h-11.2z",
)
TITLES: dict[Stage, tuple[str, str, str]] = {
    "first": (
        "What MAP recovers, and what a release tells",
        "tokens that MAP recovers",
        "information of a release, nats per token",
    ),
    "second": (
        "What attacks recover, and what is left to use",
        "tokens that the strongest attack recovers",
        "share of the clean gain that is left",
    ),
    "meaning": (
        "What attacks recover up to meaning, and what is left to use",
        "tokens that are recovered up to meaning",
        "share of the clean gain that is left",
    ),
}
STYLE = Path(__file__).with_name("picture.css")


@dataclass(frozen=True, slots=True)
class Mark:
    """A point as it is drawn: what is recovered of it, what is left to use, and both in words."""

    named: Named
    epsilon: float
    read: Figure
    use: Figure
    words: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing, as parts of an SVG, and what a pointer or a slider reads of it."""

    name: str
    title: str
    described: str
    height: int
    parts: tuple[Markup, ...]
    panel: Panel

    @property
    def inline(self) -> Markup:
        """The svg element of a page."""
        return figure(self.name, self.title, self.described, self.height, self.parts, gutter=True)


def picture(rows: Sequence[Row], stage: Stage, order: Sequence[Named]) -> Picture | None:
    """Returns the picture of a stage; None where no point was measured in it.

    first: what MAP recovers, and the information. second: the strongest attack, and the share of the clean gain, or the
    gain where the clean one is not told from zero. meaning: the same with what is recovered up to meaning.
    order: of the mechanisms, from which their colours follow.
    """
    shares = all(row.second.share for row in rows if row.second)
    found = (_first(row) if stage == "first" else _second(row, shares, stage == "meaning") for row in rows)
    marks = [mark for mark in found if mark is not None]
    if not marks:
        return None
    title, across, up = TITLES[stage]
    if stage != "first" and not shares:
        up = "gain, nats per token"
    low, high = ends(mark.use for mark in marks)
    x = linear(0.0, max(1e-3, 1.04 * ends(mark.read for mark in marks)[1]))
    y = linear(min(0.0, low), max(1e-3, 1.04 * high))
    legend = TOP + TALL + 2 * LINE + 22
    shown = [named for named in order if any(mark.named == named for mark in marks)]
    height = legend + LINE * len(shown)
    parts = (
        *_axes(x, y, across, up, _percent if shares and stage != "first" else lambda value: f"{value:g}"),
        *_marks(marks, order, x, y),
        *_legend(shown, order, legend),
    )
    rising = sorted(marks, key=lambda mark: mark.read.value)
    stops, texts = [x(mark.read.value) for mark in rising], [mark.words for mark in rising]
    panel = Panel("Point, by what is recovered", "x", (0, TOP / height, 1, TALL / height), stops, texts, 0)
    return Picture(f"frontier-{stage}", title, "; ".join(texts), height, parts, panel)


def standalone(drawn: Picture) -> str:
    """Returns the picture as an SVG document of its own: no network, light or dark as its reader's screen is."""
    wide, tall = LEFT + WIDTH + 24, HEAD + drawn.height + 16
    inside = tag("svg", *drawn.parts, x=LEFT, y=HEAD, width=WIDTH, height=drawn.height, overflow="visible")
    about = [
        tag(kind, said, id=f"{drawn.name}-{kind}") for kind, said in (("title", drawn.title), ("desc", drawn.described))
    ]
    back = tag("rect", width="100%", height="100%", style="fill: var(--card)")
    head = text(drawn.title, 0, 26, "head", dx=16), text(NOTE, 0, 44, "muted", dx=16)
    style = Markup("<style>{}</style>").format(Markup(STYLE.read_text(encoding="utf8")))
    whole = tag(
        "svg",
        *about,
        style,
        back,
        *head,
        inside,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {wide} {tall}",
        width=wide,
        height=tall,
        role="img",
        aria_labelledby=f"{drawn.name}-title {drawn.name}-desc",
        font_family="system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Verdana, sans-serif",
        font_size="12",
    )
    return f"{whole}\n"


def _first(row: Row) -> Mark | None:
    if row.first is None:
        return None
    first = row.first
    words = (
        f"{row.point.named.name}, epsilon {at_most(first.epsilon)} of a token, {at_most(first.prompt)} of a prompt: "
        f"MAP recovers {interval(first.map)}, information {interval(first.information)} nats per token, "
        f"{first.bytes_per_token:.4g} bytes per token"
    )
    return Mark(row.point.named, row.point.epsilon, first.map, first.information, words)


def _second(row: Row, shares: bool, meaning: bool) -> Mark | None:
    if row.second is None or row.first is None:
        return None
    second = row.second
    use = second.share if shares and second.share else second.gain
    left = f"{interval(second.share)} of the clean gain, " if second.share else ""
    words = (
        f"{row.point.named.name}, epsilon {at_most(row.first.epsilon)} of a token: {second.strongest.name} recovers "
        f"{interval(second.strongest.success)}, {interval(second.meaning)} up to meaning, {left}gain "
        f"{interval(second.gain)} nats per token"
    )
    read = second.meaning if meaning else second.strongest.success
    return Mark(row.point.named, row.point.epsilon, read, use, words)


def _axes(x: Scale, y: Scale, across: str, up: str, said: Callable[[float], str]) -> Iterator[Markup]:
    yield text(up, 0, TOP - 14, dx=-40)
    for mark in round_marks(y.low, y.high, 6):
        yield line(0, _down(y, mark), 1, _down(y, mark), "grid")
        yield text(said(mark), 0, _down(y, mark) + 4, "muted", "end", dx=-6)
    for mark in round_marks(x.low, x.high, 6):
        yield line(x(mark), TOP, x(mark), TOP + TALL, "grid")
        yield text(_percent(mark), x(mark), TOP + TALL + LINE, "muted", "middle")
    yield text(across, 0, TOP + TALL + 2 * LINE + 2, dx=-40)


def _marks(marks: Sequence[Mark], order: Sequence[Named], x: Scale, y: Scale) -> Iterator[Markup]:
    places = [(x(mark.read.value), _down(y, mark.use.value)) for mark in marks]
    for named in order:
        own = [place for place, mark in zip(places, marks, strict=True) if mark.named == named]
        for (x1, y1), (x2, y2) in itertools.pairwise(own):
            yield line(x1, y1, x2, y2, f"way {_colour(order, named)}")
    for (across, down), mark in zip(places, marks, strict=True):
        style = f"bar {_colour(order, mark.named)}"
        yield line(x(mark.read.lower), down, x(mark.read.upper), down, style)
        yield line(across, _down(y, mark.use.lower), across, _down(y, mark.use.upper), style)
    for (across, down), mark in zip(places, marks, strict=True):
        yield _shape(across, down, order, mark.named)
    wanted = [f"{mark.named.label} {mark.epsilon:g}" for mark in marks]
    for placed in place_labels([(share * WIDTH, down) for share, down in places], wanted, WIDTH, TOP, TOP + TALL):
        yield _label(placed)


def _label(placed: Placed) -> Markup:
    return text(placed.words, placed.x / WIDTH, placed.y, "wide", placed.anchor, dx=placed.dx)


def _legend(shown: Sequence[Named], order: Sequence[Named], top: float) -> Iterator[Markup]:
    for place, named in enumerate(shown):
        down = top + LINE * place
        yield tag("svg", _shape(0, 0, order, named), x=-34, y=f"{down - 4:g}", overflow="visible")
        yield text(named.title, 0, down, dx=-22)


def _shape(x: float, y: float, order: Sequence[Named], named: Named) -> Markup:
    at = order.index(named)
    mark = tag("path", class_=f"mark {_colour(order, named)}", d=SHAPES[(at + at // COLOURS) % len(SHAPES)])
    return tag("svg", mark, x=percent_of(x), y=f"{y:.4g}", overflow="visible")


def _colour(order: Sequence[Named], named: Named) -> str:
    return f"m{order.index(named) % COLOURS}"


def _down(y: Scale, value: float) -> float:
    return TOP + TALL * (1 - y(value))


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"
