"""Gain and strongest attack against the bytes of a token, at one mu."""

from collections.abc import Callable, Iterator, Sequence

from del_audit.certificate.model import Body
from del_audit.certificate.report.plots.drawing import LINE, Panel, Plot, dot, figure, line, text
from del_audit.certificate.report.plots.scale import ends, linear, round_marks
from del_audit.certificate.rows import Point, by_bits
from del_audit.show.numbers import at_most, interval
from del_audit.statistics.figure import Figure

PANEL, HEAD = 130, 38
"""Pixels of a panel, and of its title with the space above the panel."""
FEW = 5
"""Points whose bytes have room on a phone; of more, a phone shows the bits."""


def bits(certificate: Body) -> Plot | None:
    """Returns two panels, one above the other, with one point for each number of bits; None where there is but one."""
    if not certificate.utility.other_bits:
        return None
    points = by_bits(certificate)
    across = [(place + 0.5) / len(points) for place in range(len(points))]
    parts = [
        *_panel(points, across, "gain", "paired gain, nats per token", HEAD, lambda value: f"{value:.3g}"),
        *_panel(points, across, "success", "strongest on single tokens, share read", HEAD * 2 + PANEL, _percent),
    ]
    bottom = 2 * (HEAD + PANEL)
    few = len(points) <= FEW
    for place, point in zip(across, points, strict=True):
        style = "own" if point.own else "muted"
        parts.append(text(f"{point.bytes:g}", place, bottom + LINE, style if few else f"{style} wide", "middle"))
        parts.append(text(_bits(point) if few else point.bits, place, bottom + 2 * LINE, style, "middle"))
    titles = {"": "bytes per token"} if few else {" wide": "bytes per token, bits", " narrow": "bits"}
    for style, title in titles.items():
        words = f"{title}; bold: this configuration"
        parts.append(text(words, 0, bottom + 3 * LINE + 4, f"muted{style}", dx=-40))
    texts = [_words(point) for point in points]
    height = bottom + 3 * LINE + 10
    own = next(place for place, point in enumerate(points) if point.own)
    panel = Panel("Bytes per token", "x", (0, 0, 1, bottom / height), across, texts, own)
    title = "Utility and attack against bytes"
    return Plot(figure("bits", title, "; ".join(texts), height, parts, gutter=True), (panel,))


def _panel(
    points: Sequence[Point],
    across: Sequence[float],
    key: str,
    title: str,
    top: float,
    words: Callable[[float], str],
) -> Iterator[str]:
    low, high = ends(getattr(point, key) for point in points)
    low, high = min(0.0, low), max(0.0, high)
    scale = linear(low, high if high > low else low + 1)

    def level(value: float) -> float:
        return top + PANEL * (1 - scale(value))

    yield text(title, 0, top - 12, "", dx=-40)
    for mark in round_marks(scale.low, scale.high, 5):
        yield line(0, level(mark), 1, level(mark), "grid")
        yield text(words(mark), 0, level(mark) + 4, "muted", "end", dx=-6)
    for place, point in zip(across, points, strict=True):
        style, own = ("main", True) if point.own else ("muted", False)
        measured: Figure = getattr(point, key)
        yield line(place, level(measured.lower), place, level(measured.upper), f"stroke {style}")
        yield dot(place, level(measured.value), 5.5 if own else 4, f"fill {style}")


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def _bits(point: Point) -> str:
    return f"{point.bits} bit{'s' if point.bits > 1 else ''}"


def _words(point: Point) -> str:
    epsilon = f"ε of a token at most {at_most(point.epsilon)} nats" if point.epsilon else "ε not stated"
    own = ", this configuration" if point.own else ""
    measured = f"gain {interval(point.gain)} nats per token, strongest on single tokens {interval(point.success)}"
    return f"{point.bytes:g} bytes per token, {_bits(point)}{own}: {measured}, {epsilon}"
