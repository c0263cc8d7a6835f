"""The certificate as one HTML page that needs no network: verdict first, then why, then every figure with its kind."""

from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from del_audit.certificate import plots
from del_audit.certificate.table import (
    KINDS,
    at_most,
    by_bits,
    interval,
    is_baseline,
    number,
    percent,
    probe_rows,
    reasons,
    total_variation,
    unit_name,
    upper_end,
)

TEMPLATE = Path(__file__).with_name("report.html.j2")
SAID_STRONG = 10.0
"""Nats. Above this, an epsilon for one token says little by itself, and the page says so."""


def render(certificate: dict[str, Any]) -> str:
    """Returns the page: a function of the certificate alone, the same bytes for the same certificate.

    All of the certificate's text is escaped. Raises KeyError for a certificate without a field that the page shows.
    """
    c = certificate
    points, task = by_bits(c), c["utility"]["task"]
    probes = [
        ("attribute", "Attribute that must not leak", c["attribute"]),
        ("task", "Task that the server is meant to do", task),
    ]
    return _template().render(
        c=c,
        reasons=reasons(c),
        figures={name: Markup(svg) for name, svg in _figures(c)},
        caveats=list(_caveats(c)),
        probes=[(name, title, probe, probe_rows(probe)) for name, title, probe in probes if probe is not None],
        points=points if len(points) > 1 else [],
        conditions=list(dict.fromkeys([*c["utility"]["perplexity"], *c["utility"]["coherence"]])),
        hits=[hit == "1" for hit in c["example"]["hits"]],
        wire=_grouped(c["example"]["sent"]),
        configuration=yaml.safe_dump(c["configuration"], sort_keys=False, allow_unicode=True, width=100),
        policy=c["configuration"]["policy"],
        soft_prompt=yaml.safe_dump(c["soft_prompt"], sort_keys=False, allow_unicode=True) if c["soft_prompt"] else None,
        allowed_kind=kind_of(c["inversion"]["allowed"]),
    )


def kind_of(figure: Mapping[str, Any]) -> str:
    """Returns the label of a figure; figures of a guarantee without a kind of their own are proved."""
    return KINDS.get(str(figure.get("kind", "proved")), "estimate")


def _figures(certificate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "trade_off", plots.trade_off(certificate)
    yield "attacks", plots.attack_ladder(certificate)
    for name, inference in (("attribute", certificate["attribute"]), ("task", certificate["utility"]["task"])):
        if inference is not None:
            yield name, plots.probe(inference, name)
    yield "perplexity", plots.perplexity(certificate)
    yield "coherence", plots.coherence(certificate)
    if certificate["utility"]["other_bits"]:
        yield "bits", plots.bits(certificate)


def _caveats(certificate: Mapping[str, Any]) -> Iterator[str]:
    """Yields what a reader of the verdict must know besides: where a limit rests on measurement, not on proof."""
    inversion, policy = certificate["inversion"], certificate["configuration"]["policy"]
    token = next((g for g in certificate["guarantees"] if g["unit"] == "token"), None)
    if token is not None and upper_end(token["epsilon"]) > SAID_STRONG:
        yield (
            f"An epsilon of {at_most(token['epsilon'])} nats for one token is no strong promise by itself: the best "
            f"test tells the two worst words apart with advantage {at_most(total_variation(token))} "
            "(0 is a blind guess, 1 is certainty)."
        )
    limit, allowed = policy.get("attack_success_at_most"), upper_end(inversion["allowed"])
    strongest = next(a["success"] for a in inversion["attacks"] if a["name"] == inversion["strongest"])
    if limit is not None and strongest["upper"] <= limit < allowed:
        yield (
            f"The guarantee alone allows an attacker to read up to {percent(allowed, ROUND_CEILING)} of the tokens. "
            f"That attackers stay within {percent(limit)} is measured, with the attacks listed here; "
            "another attack may read more."
        )
    attribute = certificate["attribute"]
    if attribute is not None:
        advantage = attribute["advantage"]
        checked = policy.get("attribute_advantage_at_most") is not None
        yield (
            f"Over a whole text, a probe gets {interval(advantage)} of the way from chance to certainty about "
            f"{attribute['column']}" + ("." if checked else "; the policy sets no limit to that.")
        )


def _grouped(text: str) -> str:
    """Returns hexadecimal digits in pairs."""
    return " ".join(text[i : i + 2] for i in range(0, len(text), 2))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        at_most=at_most, interval=interval, number=number, percent=percent, unit_name=unit_name, kind=kind_of
    )
    environment.globals.update(is_baseline=is_baseline, total_variation=total_variation)
    return environment.get_template(TEMPLATE.name)
