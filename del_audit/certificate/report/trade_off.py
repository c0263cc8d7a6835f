"""The interactive trade-off curve, on the normal quantiles of its still picture."""

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any

import numpy as np
from scipy.special import ndtri

from del_audit.certificate.plots import FLOOR, LEAST, TICKS, apart, probability
from del_audit.certificate.report.traces import CARD, INK, LIMIT, MAIN, MUTED, Plot, Trace, axis, plain, plot, trace
from del_audit.certificate.rows import is_baseline
from del_audit.certificate.table import number, percent, printable, upper_end


def trade_off(curve: Mapping[str, Any], inversion: Mapping[str, Any]) -> Plot:
    """Returns one token's trade-off curve, the bound of theorem 6, and the attacks that it speaks of."""
    alpha = np.asarray(curve["alpha"])
    inside = (alpha >= LEAST) & (alpha <= 1 - LEAST)
    data = [
        _curve(alpha[inside], np.asarray(curve[key])[inside], name, words, colour, dash)
        for key, name, words, colour, dash in (
            ("exact", "exact", "exact, computed", MAIN, "solid"),
            ("gaussian_limit", "Gaussian limit", "the paper's Gaussian limit, asymptotic", MUTED, "dash"),
        )
    ]
    ends = ndtri([LEAST, 1 - LEAST])
    guess = {"x": ends.tolist(), "y": ends[::-1].tolist(), "name": "blind guess", "hoverinfo": "skip"}
    data.append({**guess, "type": "scatter", "mode": "lines", "line": {"color": MUTED, "dash": "dot", "width": 1.2}})
    points = _marks(inversion)
    place = float(ndtri(np.clip(inversion["kappa"], LEAST, 1 - LEAST)))
    for group, symbol in (("fewest that theorem 6 allows", "diamond"), ("misses of attacks", "circle")):
        chosen = [point for point in points if point["group"] == group]
        colours = {"color": [p["fill"] for p in chosen], "line": {"color": [p["colour"] for p in chosen], "width": 1.5}}
        marks = {"symbol": symbol, "size": 9, **colours}
        places = {"x": [place] * len(chosen), "y": [p["y"] for p in chosen], "text": [p["text"] for p in chosen]}
        data.append(trace("scatter", group, marks, mode="markers", **places, cliponaxis=False))
    heights = apart([point["y"] for point in points], 0.47)
    labels = [
        {"x": place, "y": p["y"], "ax": place + 0.22, "ay": height, "axref": "x", "ayref": "y", "text": p["label"]}
        | {"xanchor": "left", "showarrow": True, "arrowhead": 0, "arrowwidth": 0.7, "arrowcolor": MUTED}
        | {"font": {"color": p["colour"], "size": 11}, "bgcolor": CARD, "align": "left"}
        for p, height in zip(points, heights, strict=True)
    ]
    axes = {}
    for side, low, ticks, title in (
        ("xaxis", LEAST, (1e-4, 0.01, 0.1, 0.5, 0.9, 0.99), "α: false alarms; for an attack κ"),
        ("yaxis", FLOOR, TICKS, "β: misses"),
    ):
        marked = {"tickvals": ndtri(ticks).tolist(), "ticktext": [probability(tick) for tick in ticks]}
        axes[side] = axis(title, range=ndtri([low, 1 - LEAST]).tolist(), zoom=True, **marked)
    return {**plot(data, 460, **axes), "wide": labels}


def _marks(inversion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the points at kappa, lowest first: theorem 6's fewest misses, and each attack's on single tokens."""
    kappa, least = percent(inversion["kappa"]), 1 - upper_end(inversion["allowed"])
    fewest = percent(least, ROUND_FLOOR)
    about = {
        "group": "fewest that theorem 6 allows",
        "colour": LIMIT,
        "fill": LIMIT,
        "label": f"theorem 6 allows {fewest}",
    }
    text = f"Fewest misses that theorem 6 allows at κ = {kappa}: {fewest}"
    points = [{**about, "y": _probit(least), "text": text}]
    for attack in inversion["attacks"]:
        if attack["context_free"]:
            name, missed = printable(attack["name"]), 1 - attack["success"]["value"]
            about = {"group": "misses of attacks", "colour": INK, "fill": CARD if is_baseline(attack) else INK}
            low, high = (1 - attack["success"][end] for end in ("upper", "lower"))
            ends = f"[{percent(low, ROUND_FLOOR)}, {percent(high, ROUND_CEILING)}]"
            label = f"{plain(name if len(name) <= 46 else name[:45] + '…')}, {percent(missed)}"
            text = f"{plain(name)}<br>misses {percent(missed)} {ends}"
            points.append({**about, "y": _probit(missed), "label": label, "text": text})
    return sorted(points, key=lambda point: float(point["y"]))


def _curve(alpha: Any, beta: Any, name: str, words: str, colour: str, dash: str) -> Trace:
    pairs = list(zip(alpha.tolist(), beta.tolist(), strict=True))
    text = [f"{words}<br>α = {number(a, 3)}, β = {number(b, 3, ROUND_FLOOR)}" for a, b in pairs]
    x, y = ndtri(alpha).tolist(), [_probit(b) for _, b in pairs]
    line = {"color": colour, "dash": dash, "width": 2}
    drawn = {"type": "scatter", "mode": "lines", "hoverinfo": "text", "name": name, "line": line}
    return {**drawn, "x": x, "y": y, "text": text}


def _probit(share: float) -> float:
    return float(ndtri(np.clip(share, FLOOR, 1 - LEAST)))
