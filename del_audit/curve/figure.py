"""The picture of `del-audit curve`: two panels in the report's style, drawn once for SVG, PNG and the page."""

import io
import math
import re
from collections.abc import Mapping
from decimal import ROUND_FLOOR
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from del_audit.accounting.gaussian_limit import GaussianLimit
from del_audit.curve.curves import Curves, Picture
from del_audit.curve.style import INK, MUTED, STYLE, VARIABLES, inline
from del_audit.service.provenance import versions
from del_audit.show.numbers import at_most, number, short

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which colour-blind readers tell apart; legible on white and on black."""

NAME = "curves"
"""What every id of the SVG begins with."""

BAND, DOTS = 0.13, (0, (1, 1.2))
_REAL = {stand_in: variable[-8:-1] for stand_in, variable in VARIABLES.items()}
_LEFT_OUT = "Theorem 4.2 certifies nothing"


def svg(picture: Picture) -> str:
    """Returns the picture as an SVG document: text is text, fonts are the reader's, on white."""
    drawn, _ = inline_svg(picture)
    drawn = re.sub(r"var\(--\w+, (#\w{6})\)", r"\1", drawn)
    drawn = drawn.replace("<svg ", '<svg font-family="DejaVu Sans, Verdana, sans-serif" ', 1)
    return drawn.replace("</desc>", '</desc><rect width="100%" height="100%" fill="#ffffff"/>', 1) + "\n"


def inline_svg(picture: Picture) -> tuple[str, list[tuple[float, float, float, float]]]:
    """Returns an svg element in the page's colours, and each panel's (x, y, width, height) in its units."""
    kept: list[Canvas] = []

    def draw(canvas: Canvas) -> None:
        kept.append(canvas)
        _draw(canvas, picture, {stand_in: stand_in for stand_in in _REAL})

    size = _size(picture)
    drawn = inline(NAME, "Trade-off and privacy curves", described(picture), size, draw)
    width, height = (72 * inches for inches in size)
    places = [axes.get_position().bounds for axes in kept[0].axes]
    return drawn, [(x * width, (1 - y - h) * height, w * width, h * height) for x, y, w, h in places]


def png(picture: Picture, dots_per_inch: int = 150) -> bytes:
    """Returns the picture as a PNG, 11 inches wide."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        style = {key: _REAL.get(value, value) if isinstance(value, str) else value for key, value in STYLE.items()}
        matplotlib.rcParams.update(style)  # type: ignore[arg-type]
        canvas = Canvas(figsize=_size(picture), layout="constrained", dpi=dots_per_inch)
        _draw(canvas, picture, _REAL)
        stream = io.BytesIO()
        FigureCanvasAgg(canvas)
        canvas.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def described(picture: Picture) -> str:
    """Returns what the picture shows, in words."""
    return " ".join(f"{c.release.name}: {_stated(c, picture.delta)}." for c in picture.curves)


def caption(picture: Picture) -> str:
    """Returns the units, the kind of the exact figures, and the versions that made them."""
    units = dict.fromkeys(c.release.unit for c in picture.curves)
    made = {name: version for name, version in versions().items() if name in ("del-audit", "numpy", "scipy")}
    return (
        f"Unit{'s' if len(units) > 1 else ''}: {', '.join(units)}. Exact: {picture.curves[0].epsilon.kind}. "
        f"{', '.join(f'{name} {version}' for name, version in made.items())}."
    )


def theorem(limit: GaussianLimit, delta: float) -> str:
    """Returns what Theorem 4.2 says of epsilon at delta, rounded to the safe side."""
    if limit.smallest_certified_delta >= 1:
        return _LEFT_OUT
    certified = limit.epsilon_certified(delta)
    if certified is None:
        return f"Theorem 4.2: no ε for δ < {number(limit.smallest_certified_delta, rounding=ROUND_FLOOR)}"
    return f"Theorem 4.2: ε ≤ {at_most(certified)}"


def _stated(curves: Curves, delta: float) -> str:
    return f"ε ≤ {at_most(curves.epsilon.upper)} ({curves.release.unit_text}); {theorem(curves.limit, delta)}"


def _size(picture: Picture) -> tuple[float, float]:
    return 11.0, 5.6 + 0.19 * max(0, len(picture.curves) - 3)


def _draw(canvas: Canvas, picture: Picture, paint: Mapping[str, str]) -> None:
    left, right = canvas.subplots(1, 2)
    for place, (curves, colour) in enumerate(zip(picture.curves, COLOURS, strict=False)):
        _trade_off(left, picture, curves, colour, place)
        _privacy(right, picture, curves, colour, place)
    _trade_off_axes(left, paint[MUTED])
    _privacy_axes(right, picture, paint[MUTED])
    canvas.suptitle(f"Exact guarantees of DEL releases\n{caption(picture)}", x=0.008, ha="left", fontsize=9)
    _legends(canvas, picture, paint)


def _trade_off(axes: Axes, picture: Picture, curves: Curves, colour: str, place: int) -> None:
    if curves.band is not None:
        axes.fill_between(picture.alpha, *curves.band, color=colour, alpha=BAND, lw=0, gid=f"band-{place}")
    axes.plot(*curves.corners, color=colour, lw=1.8, clip_on=False, gid=f"exact-beta-{place}")
    axes.plot(picture.alpha, curves.limit_beta, "--", color=colour, lw=1.2, gid=f"limit-beta-{place}")


def _trade_off_axes(axes: Axes, muted: str) -> None:
    axes.plot([0, 1], [1, 0], ":", color=muted, lw=1, gid="guess")
    axes.annotate("blind guess, β = 1 − α", (0.5, 0.5), (6, 4), textcoords="offset points", color=muted, fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="α: false alarms of a test", ylabel="β: misses of the best test")
    axes.set_title("Trade-off function: higher is more private", fontsize=10, loc="left")


def _privacy(axes: Axes, picture: Picture, curves: Curves, colour: str, place: int) -> None:
    if curves.theorem_delta is not None:
        axes.plot(picture.epsilon, curves.theorem_delta, ls=DOTS, color=colour, lw=1.8, gid=f"theorem-delta-{place}")
    below = picture.bottom / 1e3
    for key, dashes, width, delta in (("exact", "-", 1.8, curves.delta), ("limit", "--", 1.2, curves.limit_delta)):
        visible = np.maximum(delta, below)
        axes.plot(picture.epsilon, visible, dashes, color=colour, lw=width, gid=f"{key}-delta-{place}")
    axes.plot([curves.epsilon.upper], [picture.delta], "o", color=colour, ms=5, zorder=4, gid=f"mark-{place}")


def _privacy_axes(axes: Axes, picture: Picture, muted: str) -> None:
    last, scale = float(picture.epsilon[-1]), ""
    axes.axhline(picture.delta, color=muted, lw=1, ls=":", gid="delta")
    axes.annotate(
        f"δ = {number(picture.delta)}",
        (1, picture.delta),
        (3, 0),
        axes.get_yaxis_transform(),
        "offset points",
        color=muted,
        fontsize=8,
        va="center",
    )
    axes.set_yscale("log")
    decades = -math.floor(math.log10(picture.bottom))
    axes.yaxis.set_major_locator(FixedLocator([10.0**-power for power in range(0, decades + 1, -(-decades // 6))]))
    axes.yaxis.set_major_formatter(FuncFormatter(_power))
    axes.yaxis.set_minor_locator(NullLocator())
    if picture.square_root:
        axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
        axes.xaxis.set_major_locator(FixedLocator(_square_root_ticks(last)))
        scale = ", square-root scale"
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
    axes.set(xlim=(0, last), ylim=(picture.bottom, 2), xlabel=f"ε (nats){scale}", ylabel="δ (probability)")
    axes.set_title("Privacy curve: lower is more private", fontsize=10, loc="left")


def _square_root_ticks(last: float) -> list[float]:
    """Returns 0 and round numbers up to the last, far enough from each other to be read."""
    ticks = [0.0]
    for tick in (step * 10.0**power for power in range(-12, 13) for step in (1, 2, 5)):
        if tick <= last and np.sqrt(tick / last) - np.sqrt(ticks[-1] / last) >= 0.06:
            ticks.append(tick)
    return ticks


def _power(value: float, _: object = None) -> str:
    exponent = str(round(math.log10(value)))
    return "1" if exponent == "0" else "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _legends(canvas: Canvas, picture: Picture, paint: Mapping[str, str]) -> None:
    ink = paint[INK]
    releases = [Line2D([], [], color=colour, lw=3) for _, colour in zip(picture.curves, COLOURS, strict=False)]
    names = [f"{short(c.release.name)}: {_stated(c, picture.delta)}" for c in picture.curves]
    kinds: list[Any] = [Line2D([], [], color=ink, lw=1.8), Line2D([], [], color=ink, lw=1.3, ls="--")]
    words = ["exact", "Gaussian limit, γ ignored (asymptotic, no bound)"]
    if any(c.band is not None for c in picture.curves):
        kinds.append((Patch(color=ink, alpha=BAND, lw=0), Line2D([], [], color=ink, lw=1.8, ls=DOTS)))
        words.append("Theorem 4.2: its band of β, the δ it certifies")
    title = f"ε in nats at δ = {number(picture.delta)} (●), exact"
    canvas.legend(releases, names, title=title, alignment="left", loc="outside lower left")
    canvas.legend(kinds, words, loc="outside lower right", handler_map={tuple: HandlerTuple(ndivide=None)})
