"""The report's figures: inline SVG in the page's colours and fonts, the same bytes for the same certificate."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator, PercentFormatter
from scipy.special import ndtr, ndtri

from del_audit.certificate.rows import by_bits, by_condition, is_baseline
from del_audit.certificate.table import at_most, interval, percent, printable, upper_end

WIDTH = 6.2
"""Inches of 72 SVG units; the page scales them."""

FLOOR, LEAST = 1e-6, 1e-4
"""Where the axes of the trade-off curve end: misses and false alarms. What is less is drawn on the edge."""

TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)

INK, MUTED, RULE, MAIN, OTHER, LIMIT, CARD = (f"#0{i}0{i}0{i}" for i in range(1, 8))
_VARIABLES = {
    INK: "var(--ink, #1c1c1a)",
    MUTED: "var(--muted, #6b6a64)",
    RULE: "var(--rule, #d9d7ce)",
    MAIN: "var(--main, #2456a6)",
    OTHER: "var(--other, #9a988f)",
    LIMIT: "var(--limit, #b3261e)",
    CARD: "var(--card, #ffffff)",
}
"""Colours that nobody sees: each stands for a colour of the page, so that light and dark need one figure."""

_STYLE: dict[str, Any] = {
    "svg.hashsalt": "del-audit",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.color": RULE,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"

Row = tuple[str, Mapping[str, Any], bool]
"""Name, figure, and whether it is the one that the row of others is about."""


def trade_off(certificate: Mapping[str, Any]) -> str:
    """Returns one token's trade-off curve, the bound of theorem 6, and the attacks that it speaks of, at theirs."""
    curve, inversion = certificate["curve"], certificate["inversion"]
    kappa = inversion["kappa"]

    context_free = [attack for attack in inversion["attacks"] if attack["context_free"]]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        alpha = np.asarray(curve["alpha"])
        inside = (alpha >= LEAST) & (alpha <= 1 - LEAST)
        for key, label, colour, dashes in (
            ("exact", "exact", MAIN, "-"),
            ("gaussian_limit", "the paper's Gaussian limit (asymptotic)", MUTED, "--"),
        ):
            beta = np.clip(np.asarray(curve[key])[inside], FLOOR, 1 - FLOOR)
            drawn = np.append(alpha[inside], 1 - LEAST), np.append(beta, beta[-1])
            axes.plot(*drawn, dashes, color=colour, label=label, lw=1.8)
        ends = np.array([LEAST, 1 - LEAST])
        axes.plot(ends, 1 - ends, ":", color=MUTED, lw=1.2, label="blind guess")
        x = float(np.clip(kappa, LEAST, 1 - LEAST))
        least = 1 - upper_end(inversion["allowed"])
        points = [(least, f"fewest misses that theorem 6 allows, {percent(least, ROUND_FLOOR)}", "D", LIMIT, LIMIT)]
        for attack in context_free:
            missed = 1 - attack["success"]["value"]
            fill = CARD if is_baseline(attack) else INK
            points.append((missed, f"{_short(attack['name'])}, {percent(missed)}", "o", INK, fill))
        points.sort()
        heights = apart([float(ndtri(np.clip(y, FLOOR, 1 - LEAST))) for y, *_ in points], 0.47)
        for (y, words, marker, colour, fill), height in zip(points, heights, strict=True):
            axes.plot(
                [x], [np.clip(y, FLOOR, 1 - LEAST)], marker, color=colour, mfc=fill, ms=5.5, zorder=4, clip_on=False
            )
            behind = {"fc": CARD, "ec": "none", "pad": 1.0}
            place = float(ndtr(ndtri(x) + 0.22))
            axes.plot([x, place], [np.clip(y, FLOOR, 1 - LEAST), float(ndtr(height))], color=MUTED, lw=0.7)
            axes.text(place, float(ndtr(height)), words, va="center", color=colour, fontsize=8.5, bbox=behind, zorder=3)
        axes.set_xscale("function", functions=(_probit, ndtr))
        axes.set_yscale("function", functions=(_probit, ndtr))
        axes.set(xlim=(LEAST, 1 - LEAST), ylim=(FLOOR, 1 - LEAST))
        axes.set_xlabel("α: false alarms of a test; for an attack κ, right without looking", color=MUTED)
        axes.set_ylabel("β: misses", color=MUTED)
        for axis, marks in ((axes.xaxis, (1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99)), (axes.yaxis, TICKS)):
            axis.set_major_locator(FixedLocator(marks))
            axis.set_major_formatter(FuncFormatter(probability))
            axis.set_minor_locator(NullLocator())
        axes.grid()
        canvas.legend(loc="outside lower center", ncols=3, columnspacing=1.4, handlelength=1.8)

    attacks = "; ".join(f"{a['name']} misses {percent(1 - a['success']['value'])}" for a in context_free)
    fewest = percent(1 - upper_end(inversion["allowed"]), ROUND_FLOOR)
    described = f"At kappa {percent(kappa)}: theorem 6 allows as few misses as {fewest}; {attacks}."
    return _svg("trade-off", "Trade-off curve of one token", described, (WIDTH, 4.3), draw)


def attack_ladder(certificate: Mapping[str, Any]) -> str:
    """Returns what each attack reads, with intervals, against the bound, the policy's limit and the baseline."""
    inversion = certificate["inversion"]
    attacks = inversion["attacks"]
    limits = [(upper_end(inversion["allowed"]), "allowed by the guarantee (theorem 6)", "-")]
    policy = certificate["configuration"]["policy"].get("attack_success_at_most")
    if policy is not None:
        limits.append((policy, "limit of the policy", "--"))

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for place, attack in enumerate(attacks):
            colour = OTHER if is_baseline(attack) else MAIN
            success = attack["success"]
            axes.barh(place, success["value"], 0.46, color=colour)
            _whisker(axes, success, place, INK)
            if attack["rare"]:
                axes.plot(
                    [attack["rare"]["value"]], [place + 0.36], "o", mfc="none", color=MUTED, ms=4.5, clip_on=False
                )
                axes.plot([attack["rare"]["lower"], attack["rare"]["upper"]], [place + 0.36] * 2, color=MUTED, lw=1)
            _write_beside(axes, place, interval(success))
        for row, (value, label, dashes) in enumerate(limits):
            axes.axvline(value, color=LIMIT, ls=dashes, lw=1.4, clip_on=False)
            words, left = f"{label}, {percent(value, ROUND_CEILING)}", value > 0.5
            beside = value - 0.01 if left else value + 0.01
            axes.text(beside, -0.72 - 0.42 * row, words, ha="right" if left else "left", fontsize=8.5, color=LIMIT)
        axes.set(xlim=(0, 1), ylim=(len(attacks) - 0.4, -0.95 - 0.42 * (len(limits) - 1)))
        axes.set_yticks(range(len(attacks)), [wrapped(a["name"]) for a in attacks])
        axes.tick_params("y", length=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("share of tokens read; ○ the same among rarer words", color=MUTED)
        axes.grid(axis="x")

    described = "; ".join(f"{a['name']}: {interval(a['success'])}" for a in attacks)
    described += "; " + "; ".join(f"{label}: {percent(value, ROUND_CEILING)}" for value, label, _ in limits)
    return _svg("attacks", "What each attack reads", described, (WIDTH, 1.3 + 0.48 * len(attacks)), draw)


def probe(inference: Mapping[str, Any], name: str) -> str:
    """Returns a probe's balanced accuracy on the release, between another user's release and clean text."""
    rows: list[Row] = [
        ("another user's release", inference["other_users_release_balanced_accuracy"], False),
        ("the release", inference["balanced_accuracy"], True),
        ("clean text", inference["clean_balanced_accuracy"], False),
    ]
    marks = [(inference["chance"], f"chance, {percent(inference['chance'])}")]
    return _dots(name, f"Telling {inference['column']}", rows, "balanced accuracy", marks, shares=True)


def perplexity(certificate: Mapping[str, Any]) -> str:
    """Returns the perplexity of the true response in each condition, lower is better."""
    rows = _conditions(certificate["utility"]["perplexity"])
    return _dots("perplexity", "Perplexity of the true response", rows, "perplexity a token, lower is better", log=True)


def coherence(certificate: Mapping[str, Any]) -> str:
    """Returns the cosine of each condition's answer with the true response."""
    rows = _conditions(certificate["utility"]["coherence"])
    return _dots(
        "coherence", "Coherence with the true response", rows, "cosine of sentence embeddings, higher is nearer"
    )


def _conditions(figures: Mapping[str, Any]) -> list[Row]:
    return [(name, figures[name], name == "released prompt") for name in by_condition(figures)]


def bits(certificate: Mapping[str, Any]) -> str:
    """Returns gain and strongest attack against the bytes of a token, one point for each number of bits, at one mu."""
    points = by_bits(certificate)

    def draw(canvas: Canvas) -> None:
        panels = canvas.subplots(1, 2)
        for axes, key, label in zip(
            panels,
            ("gain", "success"),
            ("paired gain, nats a token", "strongest on single tokens, share read"),
            strict=True,
        ):
            for place, point in enumerate(points):
                f, colour = point[key], MAIN if point["own"] else MUTED
                axes.plot([place] * 2, [f["lower"], f["upper"]], color=colour, lw=1.6)
                axes.plot([place], [f["value"]], "o", color=colour, ms=6.5 if point["own"] else 5)
            labels = [f"{p['bytes']:g}\n{p['bits']} bits{' *' if p['own'] else ''}" for p in points]
            axes.set_xticks(range(len(points)), labels)
            axes.set_xlim(-0.5, len(points) - 0.5)
            low, high = axes.get_ylim()
            axes.set_ylim(min(0.0, low), max(0.0, high))
            axes.set_title(label, fontsize=9, loc="left", color=INK)
            axes.set_xlabel("bytes a token; * this configuration", color=MUTED)
            axes.tick_params("x", length=0)
            axes.grid(axis="y")
        panels[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    described = "; ".join(
        f"{p['bytes']:g} bytes a token, {p['bits']} bits: "
        f"epsilon of a token at most {at_most(p['epsilon']) if p['epsilon'] else 'not stated'}, "
        f"gain {interval(p['gain'])}, strongest attack {interval(p['success'])}"
        for p in points
    )
    return _svg("bits", "Utility and attack against bytes", described, (WIDTH, 2.9), draw)


def _dots(
    name: str,
    title: str,
    rows: Sequence[Row],
    label: str,
    marks: Sequence[tuple[float, str]] = (),
    log: bool = False,
    shares: bool = False,
) -> str:
    """Returns one dot with its interval a row, the value written beside it."""

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        if log:
            axes.set_xscale("log")
        for place, (_, f, own) in enumerate(rows):
            colour = MAIN if own else MUTED
            axes.plot([f["lower"], f["upper"]], [place] * 2, color=colour, lw=2.2 if own else 1.4)
            axes.plot([f["value"]], [place], "o", color=colour, ms=7 if own else 5)
            _write_beside(axes, place, interval(f))
        for value, words in marks:
            axes.axvline(value, color=OTHER, ls="--", lw=1.2)
            axes.text(value, -0.62, f" {words}", fontsize=8.5, color=MUTED)
        axes.set_ylim(len(rows) - 0.4, -0.95 if marks else -0.6)
        axes.set_yticks(range(len(rows)), [wrapped(n) for n, *_ in rows])
        axes.tick_params("y", length=0)
        if shares:
            axes.set_xlim(0, 1)
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        elif log:
            _plain_logarithms(axes)
        axes.set_xlabel(label, color=MUTED)
        axes.grid(axis="x")

    described = "; ".join([f"{n}: {interval(f)}" for n, f, _ in rows] + [words for _, words in marks])
    return _svg(name, title, described, (WIDTH, 0.85 + 0.3 * len(rows) + 0.15 * len(marks)), draw)


def _write_beside(axes: Axes, row: float, words: str) -> None:
    """Writes words to the right of the axes, level with a row."""
    axes.text(1.02, row, words, va="center", fontsize=8.5, color=INK, transform=axes.get_yaxis_transform())


def _plain_logarithms(axes: Axes) -> None:
    low, high = axes.get_xlim()
    few = (1.0, 2.0, 5.0) if high / low > 8 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axes.xaxis.set_major_locator(LogLocator(subs=few))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(FixedLocator([]))


def _whisker(axes: Axes, figure: Mapping[str, Any], place: float, colour: str) -> None:
    axes.plot([figure["lower"], figure["upper"]], [place] * 2, color=colour, lw=1.4, marker="|", ms=6)


def _probit(probability: Any) -> Any:
    """Returns the normal quantile: on this scale a Gaussian trade-off curve is a straight line."""
    return ndtri(np.clip(probability, 1e-12, 1 - 1e-12))


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Returns rising heights moved just so far that no two are nearer than the gap, the topmost staying in place."""
    moved = list(heights)
    for index in range(len(moved) - 2, -1, -1):
        moved[index] = min(moved[index], moved[index + 1] - gap)
    return moved


def probability(value: float, _: Any = None) -> str:
    """Returns a tick of the trade-off curve's axes in words."""
    if value >= LEAST:
        return f"{value:g}" if value > LEAST else "10⁻⁴"
    return "10" + str(round(float(np.log10(value)))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _short(text: str, width: int = 46) -> str:
    """Returns printable text of at most so many characters."""
    text = printable(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def wrapped(text: str, width: int = 24) -> str:
    """Returns printable text in lines of about so many characters, at most two."""
    text = printable(text)
    if len(text) <= width:
        return text
    cut = text.rfind(" ", 0, width)
    first, rest = (text[:cut], text[cut + 1 :]) if cut > 0 else (text[:width], text[width:])
    return f"{first}\n{rest if len(rest) <= width + 8 else rest[: width + 7] + '…'}"


def _svg(name: str, title: str, described: str, size: tuple[float, float], draw: Callable[[Canvas], None]) -> str:
    """Returns what `draw` drew as an svg element with title and description, ids of its own and no size of its own."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)  # type: ignore[arg-type]
        canvas = Canvas(figsize=size, layout="constrained")
        draw(canvas)
        stream = io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(canvas)
        canvas.savefig(stream, format="svg", metadata=nothing, transparent=True)
    root = ElementTree.fromstring(stream.getvalue())
    for parent in root.iter():
        for child in [c for c in parent if c.tag in (f"{_SVG}metadata", f"{_SVG}style")]:
            parent.remove(child)
    for element in root.iter():
        _adopt(element, name)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update({"xmlns": _SVG[1:-1], "role": "img", "aria-labelledby": f"{name}-title {name}-desc"})
    for place, (tag, text) in enumerate((("title", title), ("desc", described))):
        child = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        child.text = printable(text)
        root.insert(place, child)
    return ElementTree.tostring(root, encoding="unicode")


def _adopt(element: ElementTree.Element, name: str) -> None:
    """Makes an element part of the page: no namespace prefix, the figure's own ids, the page's colours and font."""
    element.tag = element.tag.removeprefix(_SVG)
    for key, value in list(element.attrib.items()):
        if key.startswith("{"):
            del element.attrib[key]
        if key == "id":
            value = f"{name}-{value}"
        elif key == f"{_LINK}href":
            key, value = "href", value.replace("#", f"#{name}-", 1)
        elif key == "style":
            value = "; ".join(part for part in value.split("; ") if not part.startswith("font-family"))
            value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
            for colour, variable in _VARIABLES.items():
                value = value.replace(colour, variable)
        element.attrib[key] = re.sub(r"url\(#", f"url(#{name}-", value)
