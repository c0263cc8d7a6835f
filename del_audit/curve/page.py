"""The page of `del-audit curve`: the SVG, and every curve's value under the pointer; one file, no network.

The picture is embedded as it is, and the script that the report has too looks values up.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from del_audit.curve.curves import SMALLEST_DELTA, Curves, Picture
from del_audit.curve.figure import COLOURS, inline_svg, theorem
from del_audit.show import readout
from del_audit.show.numbers import at_most, number

TEMPLATE = Path(__file__).with_name("page.html.j2")
NOTHING = "certifies nothing"
_START = 0.05
"""The type I error that the page shows first."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What the pointer reads in one panel. Everything that is shown is computed at the grid's points, never in between.

    place: x, y, width and height as shares of the SVG. grid: the axis's values as text. columns: for each release, the
    texts of the exact curve, the Gaussian limit and Theorem 4.2 at each point. start: the point that is shown first.
    """

    symbol: str
    read: str
    unit: str
    exact: str
    place: tuple[float, float, float, float]
    grid: list[str]
    columns: list[tuple[list[str], list[str], list[str]]]
    start: int


def page(picture: Picture) -> str:
    """Returns the page as text, the same for the same picture; names of releases are escaped."""
    drawn, (left, right) = inline_svg(picture)
    trade_off = Panel(
        symbol="α",
        read="β",
        unit="",
        exact="at least",
        place=_shares(left, drawn),
        grid=[f"{alpha:g}" for alpha in picture.alpha],
        columns=[
            (_texts(c.beta, ROUND_FLOOR), _texts(c.limit_beta), _band(c, len(picture.alpha))) for c in picture.curves
        ],
        start=round(_START * (len(picture.alpha) - 1)),
    )
    privacy = Panel(
        symbol="ε",
        read="δ",
        unit=" nats",
        exact="at most",
        place=_shares(right, drawn),
        grid=_texts(picture.epsilon, ROUND_CEILING),  # delta falls: what is true at epsilon is true above it
        columns=[
            (_texts(c.delta, ROUND_CEILING), _texts(c.limit_delta), _certified(c, len(picture.epsilon)))
            for c in picture.curves
        ],
        start=int(np.searchsorted(picture.epsilon, picture.curves[0].epsilon.upper)),
    )
    rows = [
        {
            "name": c.release.name,
            "unit": c.release.unit_text,
            "trials": f"{c.trials:,}",
            "epsilon": at_most(c.epsilon.upper),
            "limit": number(c.limit.epsilon_ignoring_gamma(picture.delta)),
            "theorem": theorem(c.limit, picture.delta).removeprefix("Theorem 4.2").lstrip(": "),
            "mu": f"{c.limit.mu:.4g}",
            "gamma": number(c.limit.gamma, 2),
            "colour": colour,
        }
        for c, colour in zip(picture.curves, COLOURS, strict=False)
    ]
    return _template().render(
        svg=Markup(drawn),
        delta=number(picture.delta),
        panels=[trade_off, privacy],
        data=[
            {"plot": "curves", "along": "x", "unit": p.unit, "place": p.place, "grid": p.grid, "columns": p.columns}
            for p in (trade_off, privacy)
        ],
        rows=rows,
        script=Markup(readout.script()),
        script_source=Markup(readout.source(readout.script())),
    )


def _shares(place: tuple[float, float, float, float], drawn: str) -> tuple[float, float, float, float]:
    """Returns a place in the SVG's units as shares of its width and height."""
    found = re.search(r'viewBox="0 0 (\S+) (\S+)"', drawn)
    assert found is not None
    (x, y, w, h), width, height = place, float(found[1]), float(found[2])
    return x / width, y / height, w / width, h / height


def _texts(values: Iterable[float], rounding: str = ROUND_HALF_EVEN) -> list[str]:
    """Returns four digits each. What a float cannot hold well is rounded the same way: down to 0, else "< 1e-300"."""
    return [_text(float(value), rounding) for value in values]


def _text(value: float, rounding: str) -> str:
    if (
        value == 1
        or (value == 0 and rounding != ROUND_HALF_EVEN)
        or (value < SMALLEST_DELTA and rounding == ROUND_FLOOR)
    ):
        return f"{value:.0f}"
    return f"< {SMALLEST_DELTA:g}" if value < SMALLEST_DELTA else number(value, rounding=rounding)


def _band(curves: Curves, points: int) -> list[str]:
    if curves.band is None:
        return [NOTHING] * points
    lower, upper = (_texts(end, way) for end, way in zip(curves.band, (ROUND_FLOOR, ROUND_CEILING), strict=True))
    return [f"{low} to {high}" for low, high in zip(lower, upper, strict=True)]


def _certified(curves: Curves, points: int) -> list[str]:
    return [NOTHING] * points if curves.theorem_delta is None else _texts(curves.theorem_delta, ROUND_CEILING)


@cache
def _template() -> Template:
    loader = FileSystemLoader(TEMPLATE.parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE.name)
