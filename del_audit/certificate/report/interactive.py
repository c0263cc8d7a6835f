"""The report's interactive plots, as data for plotly.js: what the page's script draws over the still pictures.

Every text is made here, rounded as everywhere, and escaped; colours are names of the page's variables (`--main`), which
the script looks up again whenever the scheme changes. Hovering shows `text`, never a template.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING
from types import MappingProxyType
from typing import Any

import numpy as np

from del_audit.certificate.report.traces import (
    CARD,
    LIMIT,
    MAIN,
    MUTED,
    OTHER,
    Plot,
    Trace,
    axis,
    measured,
    plain,
    plot,
    point_text,
    row_label,
    ruler,
    trace,
)
from del_audit.certificate.report.trade_off import trade_off
from del_audit.certificate.rows import by_bits, by_condition, is_baseline
from del_audit.certificate.table import at_most, interval, percent, upper_end

ROW, FRAME = 48, 130
"""Pixels of a row of two or three lines, and of axes and legend together."""
OWN, DOT = 11, 8
"""Pixels of the dot that the row of others is about, and of theirs."""


def interactive(certificate: Mapping[str, Any]) -> dict[str, Plot]:
    """Returns each plot under the name of the still picture that it stands for."""
    return dict(_plots(certificate))


def _plots(certificate: Mapping[str, Any]) -> Iterator[tuple[str, Plot]]:
    utility = certificate["utility"]
    yield "trade_off", trade_off(certificate["curve"], certificate["inversion"])
    yield "attacks", _ladder(certificate)
    for name, inference in (("attribute", certificate["attribute"]), ("task", utility["task"])):
        if inference is not None:
            yield name, _probe(inference)
    scale = _logarithmic(utility["perplexity"].values())
    yield "perplexity", _dots(_conditions(utility["perplexity"]), "perplexity a token,<br>lower is better", scale)
    yield "coherence", _dots(_conditions(utility["coherence"]), "cosine of sentence embeddings,<br>higher is nearer")
    if utility["other_bits"]:
        yield "bits", _bits(by_bits(certificate))


def _ladder(certificate: Mapping[str, Any]) -> Plot:
    inversion, policy = certificate["inversion"], certificate["configuration"]["policy"]
    attacks = inversion["attacks"]
    places = list(range(len(attacks)))
    success = [a["success"] for a in attacks]
    bars = measured("all words", success, [OTHER if is_baseline(a) else MAIN for a in attacks])
    texts = [point_text(attack["name"], attack["success"]) for attack in attacks]
    data = [trace("bar", y=places, text=texts, orientation="h", width=0.46, showlegend=False, **bars)]
    rare = [(place, a) for place, a in zip(places, attacks, strict=True) if a["rare"]]
    if rare:
        rings = measured("rarer words", [a["rare"] for _, a in rare], CARD)
        rings["marker"].update(symbol="circle", size=8, line={"color": MUTED, "width": 1.5})
        texts = [f"{plain(a['name'])}<br>rarer words {interval(a['rare'])}" for _, a in rare]
        data.append(trace("scatter", y=[p + 0.36 for p, _ in rare], text=texts, mode="markers", **rings))
    limits = [(upper_end(inversion["allowed"]), "allowed by theorem 6", "solid")]
    if (asked := policy.get("attack_success_at_most")) is not None:
        limits.append((asked, "limit of the policy", "dash"))
    ends = [-0.6, len(attacks) - 0.4]
    for value, name, dash in limits:
        data.append(ruler(f"{name}, {percent(value, ROUND_CEILING)}", value, ends, LIMIT, dash))
    labels = [row_label(a["name"], a["success"]) for a in attacks]
    rows = axis("", range=ends[::-1], tickvals=places, ticktext=labels, showgrid=False)
    shares = axis("share of tokens read", range=[0, 1.01], tickformat=".0%")
    return plot(data, FRAME + ROW * len(attacks), xaxis=shares, yaxis=rows)


def _probe(inference: Mapping[str, Any]) -> Plot:
    rows = [
        ("another user's release", inference["other_users_release_balanced_accuracy"], False),
        ("the release", inference["balanced_accuracy"], True),
        ("clean text", inference["clean_balanced_accuracy"], False),
    ]
    share = {"range": [0, 1], "tickformat": ".0%"}
    return _dots(rows, "balanced accuracy", share, chance=inference["chance"])


def _conditions(figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], bool]]:
    return [(name, figures[name], name == "released prompt") for name in by_condition(figures)]


def _logarithmic(figures: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a logarithmic scale with few round ticks, so that they do not run into each other on a phone."""
    ends = [float(figure[end]) for figure in figures for end in ("lower", "upper")]
    round_numbers = (step * 10.0**power for power in range(-3, 12) for step in (1, 2, 3, 5))
    ticks = [tick for tick in round_numbers if min(ends) / 1.1 <= tick <= max(ends) * 1.1]
    return {"type": "log", **({"tickvals": ticks} if 2 <= len(ticks) <= 6 else {"nticks": 4})}


def _dots(
    rows: Sequence[tuple[str, Mapping[str, Any], bool]],
    label: str,
    scale: Mapping[str, Any] = MappingProxyType({}),
    chance: float | None = None,
) -> Plot:
    """Returns one dot with its interval a row; scale: of the axis, where it is not linear."""
    places = list(range(len(rows)))
    dots = measured("", [figure for _, figure, _ in rows], [MAIN if own else MUTED for *_, own in rows])
    dots["marker"].update(size=[OWN if own else DOT for *_, own in rows], symbol="circle")
    texts = [point_text(name, figure) for name, figure, _ in rows]
    data = [trace("scatter", y=places, text=texts, mode="markers", showlegend=False, **dots)]
    ends = [-0.6, len(rows) - 0.4]
    if chance is not None:
        data.append(ruler(f"chance, {percent(chance)}", chance, ends, OTHER, "dash"))
    labels = [row_label(name, figure) for name, figure, _ in rows]
    across = axis("", range=ends[::-1], tickvals=places, ticktext=labels, showgrid=False)
    height = 75 + ROW * len(rows) + (40 if chance is not None else 0)
    return plot(data, height, xaxis=axis(label, **scale), yaxis=across)


def _bits(points: Sequence[Mapping[str, Any]]) -> Plot:
    """Returns two panels over the bytes of a token: gain, and the strongest attack."""
    gain, gain_axes = _panel(points, "gain", "gain, nats a token", "", [0.0, 0.4])
    success, success_axes = _panel(points, "success", "share read", "2", [0.62, 1.0], tickformat=".0%")
    return plot([gain, success], 320, **gain_axes, **success_axes)


def _panel(
    points: Sequence[Mapping[str, Any]], key: str, title: str, number: str, domain: Sequence[float], **values: Any
) -> tuple[Trace, dict[str, Any]]:
    """Returns a panel's trace and its two axes; number: what plotly counts panels with, "" for the first."""
    sent = [float(point["bytes"]) for point in points]
    dots = measured(title, [p[key] for p in points], [MAIN if p["own"] else MUTED for p in points], along="y")
    dots["marker"].update(size=[OWN if p["own"] else DOT for p in points])
    texts = [_point_text(point, key) for point in points]
    drawn = trace(
        "scatter", x=sent, text=texts, mode="markers", xaxis=f"x{number}", yaxis=f"y{number}", showlegend=False, **dots
    )
    bytes_axis = axis(
        "bytes a token",
        type="log",
        range=np.log10([sent[0] / 1.6, sent[-1] * 1.6]).tolist(),
        tickvals=sent,
        tickfont={"size": 10},
        ticktext=[f"{p['bytes']:g}{'*' if p['own'] else ''}" for p in points],
        domain=list(domain),
        anchor=f"y{number}",
    )
    up = axis(title, rangemode="tozero", anchor=f"x{number}", **values)
    return drawn, {f"xaxis{number}": bytes_axis, f"yaxis{number}": up}


def _point_text(point: Mapping[str, Any], key: str) -> str:
    epsilon = f"ε ≤ {at_most(point['epsilon'])} nats a token" if point["epsilon"] else "ε not stated"
    words = {"gain": "gain", "success": "strongest on single tokens"}[key]
    own = ", this configuration" if point["own"] else ""
    return f"{point['bytes']:g} bytes, {point['bits']} bits{own}<br>{words} {interval(point[key])}<br>{epsilon}"
