"""What plotly.js is given, piece by piece: traces, axes and texts in the page's colours, escaped and rounded."""

from collections.abc import Mapping, Sequence
from typing import Any

from del_audit.certificate.plots import wrapped
from del_audit.certificate.table import interval, printable

Trace = dict[str, Any]
Plot = dict[str, Any]
"""data and layout as plotly.js takes them; wide: annotations for a plot that has room for them."""

INK, MUTED, RULE, MAIN, OTHER, LIMIT, CARD = "--ink", "--muted", "--rule", "--main", "--other", "--limit", "--card"


def plain(text: object) -> str:
    """Returns text that plotly shows as it is: it takes some tags and entities for markup."""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def measured(name: str, figures: Sequence[Mapping[str, Any]], colour: Any, along: str = "x") -> dict[str, Any]:
    """Returns values with their intervals along an axis."""
    above = [figure["upper"] - figure["value"] for figure in figures]
    below = [figure["value"] - figure["lower"] for figure in figures]
    error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": INK, "thickness": 1.4}
    values = [figure["value"] for figure in figures]
    return {
        "name": name,
        along: values,
        f"error_{along}": {**error, "width": 4},
        "marker": {"color": colour, "opacity": 1},
    }


def trace(kind: str, name: str = "", marker: Mapping[str, Any] | None = None, **given: Any) -> Trace:
    """Returns a trace whose points show their text, and nothing else, when they are pointed at."""
    hidden = {"textposition": "none"} if kind == "bar" else {}  # it is for hovering, not written on the bars
    return {"type": kind, "hoverinfo": "text", "name": name, "marker": marker, **hidden} | given


def ruler(words: str, value: float, ends: Sequence[float], colour: str, dash: str) -> Trace:
    """Returns a line across all rows, named in the legend."""
    line = {"color": colour, "dash": dash, "width": 2}
    drawn = {"type": "scatter", "mode": "lines", "hoverinfo": "text", "name": words, "line": line, "showlegend": True}
    return {**drawn, "x": [value] * 2, "y": list(ends), "text": [words] * 2}


def row_label(name: str, figure: Mapping[str, Any]) -> str:
    """Returns the label of a row: its name in short lines, and the figure below."""
    return "<br>".join(plain(line) for line in wrapped(name).split("\n")) + f"<br><i>{interval(figure)}</i>"


def point_text(name: str, figure: Mapping[str, Any]) -> str:
    """Returns what pointing at a figure shows."""
    return f"{plain(name)}<br>{interval(figure)}, {figure['sample']:,} {plain(figure['sample_unit'])}"


def axis(title: str, zoom: bool = False, **given: Any) -> dict[str, Any]:
    """Returns an axis in the page's colours; zoom: whether a pointer may change its range."""
    style = {
        "gridcolor": RULE,
        "linecolor": RULE,
        "zeroline": False,
        "automargin": True,
        "fixedrange": not zoom,
        "tickangle": 0,
    }
    return {"title": {"text": title, "font": {"color": MUTED, "size": 12}, "standoff": 10}, **style, **given}


def plot(data: Sequence[Trace], height: int, **axes: Any) -> Plot:
    """Returns traces and axes as one plot with its legend below; height: pixels."""
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "y": 0, "yanchor": "bottom"}
    hover = {"bgcolor": CARD, "bordercolor": MUTED, "align": "left", "font": {"color": INK}}
    layout = {"height": height, "margin": {"l": 10, "r": 12, "t": 12, "b": 10}, "hovermode": "closest"}
    colours = {"paper_bgcolor": CARD, "plot_bgcolor": CARD, "font": {"color": INK, "size": 12}}
    return {"data": list(data), "layout": {**layout, **colours, "legend": legend, "hoverlabel": hover, **axes}}
