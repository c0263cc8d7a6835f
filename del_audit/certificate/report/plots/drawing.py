"""Pieces of a plot: an SVG as wide as its place. Across is in percent and down in pixels, so that text keeps its size.

Colours are classes of the page's stylesheet, so that light, dark and print need one drawing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from del_audit.show.numbers import printable

LINE = 16
"""Pixels from one line of text to the next."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What a slider, and the pointer over a part of a plot, step through.

    label: what the slider is called. along: the axis of the steps, "x" or "y". place: x, y, width and height of the
    part as shares of the drawing. stops: where the steps stand along the axis, as shares of the place, rising. texts:
    what is shown at each. start: the step that is shown first. thick: pixels of the line that marks the step.
    """

    label: str
    along: str
    place: tuple[float, float, float, float]
    stops: Sequence[float]
    texts: Sequence[str]
    start: int
    thick: int = 1

    def data(self, plot: str) -> dict[str, object]:
        """Returns what the page's script needs."""
        stops, place = [round(stop, 5) for stop in self.stops], [round(share, 5) for share in self.place]
        return {
            "plot": plot,
            "along": self.along,
            "place": place,
            "stops": stops,
            "grid": list(self.texts),
            "unit": "",
            "thick": self.thick,
        }


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing, and what can be read of it."""

    svg: Markup
    panels: tuple[Panel, ...]


def tag(element: str, *inside: str, **attributes: object) -> Markup:
    """Returns an element; its text and its attributes are escaped, an underscore in a name is a hyphen.

    >>> tag("text", "a < b", class_="muted", text_anchor="end", x="50%")
    Markup('<text class="muted" text-anchor="end" x="50%">a &lt; b</text>')
    """
    given = "".join(Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), v) for key, v in attributes.items())
    return Markup("<{0}{1}>{2}</{0}>").format(element, Markup(given), Markup("").join(inside))


def figure(name: str, title: str, described: str, height: int, parts: Iterable[str], gutter: bool = False) -> Markup:
    """Returns the svg element with its title and description; gutter: whether room is left of it for an axis."""
    about = [tag(kind, printable(text), id=f"{name}-{kind}") for kind, text in (("title", title), ("desc", described))]
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "role": "img",
        "aria_labelledby": f"{name}-title {name}-desc",
        "class_": "gutter" if gutter else "full",
        "height": height,
    }
    return tag("svg", *about, *parts, **attributes)


def text(words: object, x: float, y: float, style: str = "", anchor: str = "start", dx: float = 0) -> Markup:
    """Returns words at a share of the width and at pixels from the top; dx: pixels to the right of that."""
    moved = {"dx": f"{dx:g}"} if dx else {}
    return tag("text", printable(words), class_=f"{style} {anchor}".strip(), x=percent_of(x), y=f"{y:g}", **moved)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """Returns a line between two points: shares of the width, pixels from the top."""
    return tag("line", class_=style, x1=percent_of(x1), y1=f"{y1:.4g}", x2=percent_of(x2), y2=f"{y2:.4g}")


def dot(x: float, y: float, radius: float, style: str) -> Markup:
    """Returns a circle."""
    return tag("circle", class_=style, cx=percent_of(x), cy=f"{y:.4g}", r=f"{radius:g}")


def bar(x: float, y: float, width: float, height: float, style: str) -> Markup:
    """Returns a bar from a share of the width, and pixels from the top, over a share of the width."""
    return tag("rect", class_=style, x=percent_of(x), y=f"{y:g}", width=percent_of(width), height=f"{height:g}")


def percent_of(share: float) -> str:
    """Returns a share of the width as SVG takes it."""
    return f"{round(100 * share, 3):g}%"
