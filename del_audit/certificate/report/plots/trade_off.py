"""One token's trade-off curve, the bound of theorem 6, and the attacks that it speaks of."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR

from del_audit.certificate.model import Allowed, Body, Curve, Inversion
from del_audit.certificate.report.plots.drawing import LINE, Panel, Plot, figure, line, percent_of, tag, text
from del_audit.certificate.report.plots.scale import apart, probit
from del_audit.certificate.rows import is_baseline
from del_audit.show.numbers import number, percent, printable, short, upper_end

FLOOR, LEAST = 1e-6, 1e-4
"""Where the axes end: misses and false alarms. What is less is drawn on the edge."""

ACROSS = probit(LEAST, 1 - LEAST)
UP = probit(FLOOR, 1 - LEAST)
TOLD_AT = (1e-4, 0.01, 0.1, 0.5, 0.9, 0.99)
MISSES = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
TOP, HIGH = 26, 330
"""Pixels above the plot, and of the plot."""
START = 0.05
"""The false alarms that are read first."""
STRIP = 0.04
"""Share of the width on either side of kappa where the pointer reads the points and not the curve."""

LIMIT = ("stroke muted dashed", "the paper's Gaussian limit (asymptotic)")
LEGEND = (
    ("thick main", "exact"),
    LIMIT,
    ("stroke muted dotted", "blind guess"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """What stands at kappa: its misses, the label where there is room and where there is little, what is read of it."""

    misses: float
    label: str
    narrow: str
    words: str
    style: str


def trade_off(certificate: Body) -> Plot | None:
    """Returns the plot, on normal quantiles: misses of the best test, and of each attack at kappa.

    None for a mechanism without a proved guarantee.
    """
    curve, inversion = certificate.curve, certificate.inversion
    if curve is None or inversion.allowed is None:
        return None
    shown = [place for place, alpha in enumerate(curve.alpha) if LEAST <= alpha <= 1 - LEAST]
    alphas = [curve.alpha[place] for place in shown]
    points, kappa = _points(inversion, inversion.allowed), ACROSS(inversion.kappa)
    legend = [entry for entry in LEGEND if curve.gaussian_limit or entry is not LIMIT]
    height = TOP + HIGH + 2 * LINE + len(legend) * LINE + 12
    parts = [*_axes(), line(0, _level(1 - LEAST), 1, _level(LEAST), "stroke muted dotted")]
    for values, style in ((curve.gaussian_limit, "stroke muted dashed"), (curve.exact, "thick main")):
        if values is not None:
            parts.append(_curve(alphas, [values[place] for place in shown], style))
    parts += [*_labels(points, kappa), *_legend(legend)]
    panels = (
        Panel(
            label="α, false alarms",
            along="x",
            place=(0, TOP / height, 1, HIGH / height),
            stops=[ACROSS(alpha) for alpha in alphas],
            texts=[_read(curve, place) for place in shown],
            start=min(range(len(alphas)), key=lambda place: abs(alphas[place] - START)),
        ),
        Panel(
            label="Points at κ",
            along="y",
            place=(min(max(0, kappa - STRIP), 1 - 2 * STRIP), TOP / height, 2 * STRIP, HIGH / height),
            stops=[(_level(point.misses) - TOP) / HIGH for point in points],
            texts=[point.words for point in points],
            start=len(points) - 1,
            thick=3,
        ),
    )
    title, described = "Trade-off curve of one token", _described(inversion, inversion.allowed)
    return Plot(figure("trade-off", title, described, height, parts, gutter=True), panels)


def _level(misses: float) -> float:
    """Returns pixels from the top."""
    return TOP + HIGH * (1 - UP(misses))


def _read(curve: Curve, place: int) -> str:
    beta = f"β at least {number(curve.exact[place], 3, ROUND_FLOOR)} (exact, computed)"
    read = f"α = {number(curve.alpha[place], 3)}: {beta}"
    if curve.gaussian_limit is None:
        return read
    return f"{read}; {number(curve.gaussian_limit[place], 3)} (the paper's Gaussian limit, asymptotic)"


def _described(inversion: Inversion, allowed: Allowed) -> str:
    fewest = percent(1 - upper_end(allowed), ROUND_FLOOR)
    free = [attack for attack in inversion.attacks if attack.context_free]
    attacks = "; ".join(f"{attack.name} misses {percent(1 - attack.success.value)}" for attack in free)
    return f"At kappa {percent(inversion.kappa)}: {allowed.theorem} allows as few misses as {fewest}; {attacks}."


def _points(inversion: Inversion, allowed: Allowed) -> list[Point]:
    """Returns the fewest misses that are allowed, and those of each attack on single tokens, most misses first."""
    kappa, least = percent(inversion.kappa), 1 - upper_end(allowed)
    fewest, room = percent(least, ROUND_FLOOR), _letters(ACROSS(inversion.kappa))
    label = f"fewest misses that {allowed.theorem} allows, {fewest}"
    words = f"Fewest misses that {allowed.theorem} allows at κ = {kappa}: {fewest}"
    points = [Point(least, label, f"{allowed.theorem}, {fewest}", words, "limit")]
    for attack in inversion.attacks:
        if attack.context_free:
            name, success = printable(attack.name), attack.success
            missed = percent(1 - success.value)
            low, high = (1 - success.upper, 1 - success.lower)
            ends = f"[{percent(low, ROUND_FLOOR)}, {percent(high, ROUND_CEILING)}]"
            wide, narrow = (f"{short(name, letters)}, {missed}" for letters in (44, room))
            style = "baseline" if is_baseline(attack) else "attack"
            words = f"{name}: misses {missed} {ends} at κ = {kappa}"
            points.append(Point(1 - success.value, wide, narrow, words, style))
    return sorted(points, key=lambda point: -point.misses)


def _letters(kappa: float) -> int:
    """Returns how much of a name fits beside the points on a phone, where the plot is some 260 pixels wide."""
    return min(18, int((260 * max(kappa, 1 - kappa) - 15) / 6.3) - 8)


def _axes() -> Iterator[str]:
    for alpha in TOLD_AT:
        yield line(ACROSS(alpha), TOP, ACROSS(alpha), TOP + HIGH, "grid")
        yield text(probability(alpha), ACROSS(alpha), TOP + HIGH + LINE, "muted", "middle")
    for beta in MISSES:
        yield line(0, _level(beta), 1, _level(beta), "grid")
        yield text(probability(beta), 0, _level(beta) + 4, "muted", "end", dx=-6)
    yield text("β: misses", 0, 14, "muted", dx=-40)
    yield text("α: false alarms; for an attack κ", 0, TOP + HIGH + 2 * LINE + 2, "muted", dx=-40)


def _curve(alphas: Sequence[float], betas: Sequence[float], style: str) -> str:
    """Returns a curve: a drawing of its own that is stretched to the width, since a path knows no percentages."""
    points = [(1000 * ACROSS(a), _level(b) - TOP) for a, b in zip(alphas, betas, strict=True)]
    points.append((1000, points[-1][1]))
    path = "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = tag("path", d=path, class_=style)
    box = {"viewBox": f"0 0 1000 {HIGH}", "preserveAspectRatio": "none"}
    return tag("svg", drawn, y=TOP, width="100%", height=HIGH, **box)


def _labels(points: Sequence[Point], kappa: float) -> Iterator[str]:
    """Yields the points at kappa, with labels beside them that are moved apart."""
    side, anchor = (1, "start") if kappa < 0.5 else (-1, "end")
    heights = apart([-_level(point.misses) for point in reversed(points)], LINE + 1)
    for point, height in zip(points, reversed(heights), strict=True):
        down = -height - _level(point.misses)
        leader = tag("path", class_="stroke muted thin", d=f"M{7 * side},0L{18 * side},{down:.1f}")
        shape = {"class_": point.style, "d": "M0,-6L6,0 0,6 -6,0Z"}
        mark = tag("path", **shape) if point.style == "limit" else tag("circle", class_=point.style, r=4)
        words = [
            text(label, 0, down + 4, f"{width} {point.style}", anchor, dx=21 * side)
            for label, width in ((point.label, "wide"), (point.narrow, "narrow"))
        ]
        yield tag("svg", leader, mark, *words, x=percent_of(kappa), y=f"{_level(point.misses):.1f}")


def _legend(legend: Sequence[tuple[str, str]]) -> Iterator[str]:
    for place, (style, words) in enumerate(legend):
        level = TOP + HIGH + 3 * LINE + 6 + LINE * place
        sample = tag("path", class_=style, d=f"M-40,{level:g}h26")
        yield sample
        yield text(words, 0, level + 4, "", dx=-6)


def probability(value: float) -> str:
    """Returns a mark of the axes in words.

    >>> probability(0.01), probability(1e-4)
    ('0.01', '10⁻⁴')
    """
    if value > LEAST:
        return f"{value:g}"
    return "10" + str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
