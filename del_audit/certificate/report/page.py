"""The certificate as one HTML page that needs no network: verdict first, then why, then every figure with its kind.

The plots are inline SVG; a small script shows their exact figures where the pointer or a slider points. The page's
Content-Security-Policy runs that script and expiry.js, by their hashes, and nothing else.
"""

from collections.abc import Iterator
from decimal import ROUND_CEILING
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from del_audit.certificate.claimed_text import CLAIMED_EPSILON, claimed_text
from del_audit.certificate.model import Body, Curve, Reading
from del_audit.certificate.padding import PADDING, padding_of, padding_text
from del_audit.certificate.report import plots
from del_audit.certificate.rows import (
    MEANS,
    by_bits,
    by_condition,
    is_baseline,
    knowing_rows,
    probe_rows,
    slice_rows,
    sliced_attacks,
    states_meaning,
    terms,
)
from del_audit.certificate.split_section import SPLIT, split_keys
from del_audit.configuration.yaml_file import dump_yaml
from del_audit.show import readout
from del_audit.show.mechanism_line import mechanism_line
from del_audit.show.numbers import (
    KINDS,
    at_most,
    interval,
    number,
    percent,
    printable,
    upper_end,
)


class ShownReading(NamedTuple):
    """What an attack recovered of the example: each token as text with whether it is right, and how many are."""

    attack: str
    tokens: list[tuple[str, bool]]
    right: int


FOLDER = Path(__file__).parent
SAID_STRONG = 10.0
"""Nats. Above this, an epsilon for one token says little by itself, and the page says so."""
CURVE_TABLE = (1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9)
"""False alarms near which the trade-off curve is also given as a table."""


def render(certificate: Body) -> str:
    """Returns the page: a function of the certificate alone, the same bytes for the same certificate.

    One that is not signed yet says so. All of the certificate's text is escaped. Raises ValueError for a reading whose
    hits are not one per token.
    """
    c, policy = certificate, certificate.configuration.policy
    points, slices = by_bits(c), slice_rows(c.inversion, policy)
    probes = [
        ("attribute", "Attribute that must not leak", c.attribute),
        ("task", "Task that the server is meant to do", c.utility.task),
    ]
    kept = [(name, title, probe, probe_rows(probe)) for name, title, probe in probes if probe is not None]
    scripts = [readout.script(), _read("expiry.js")]
    figures = plots.draw(c)
    return _template().render(
        c=c,
        signature=getattr(c, "signature", None),
        reasons=c.reasons,
        contents=_contents(bool(kept)),
        figures=figures,
        panels=[panel.data(name) for name, plot in figures.items() for panel in plot.panels],
        caveats=list(_caveats(c)),
        terms=terms(c),
        between=list(dict.fromkeys((g.unit_name, g.adjacency) for g in c.guarantees)),
        mechanism=mechanism_line(c.spec),
        curve=_curve_rows(c.curve) if c.curve else [],
        probes=kept,
        points=points if len(points) > 1 else [],
        kinds={name: getattr(c.utility, name) for name in ("losses", "perplexity", "coherence")},
        conditions=by_condition(c.utility.perplexity, c.utility.coherence),
        meaning=MEANS if states_meaning(c.inversion) else "",
        slices=slices,
        knowing=knowing_rows(c.knowing) if c.knowing else [],
        baseline=next((a.name for a in c.inversion.attacks if is_baseline(a)), "without the release"),
        sliced=sliced_attacks(c.inversion),
        limited=any(row.limit is not None for row in slices),
        readings=[_reading(reading) for reading in c.examples.readings],
        wire=_grouped(c.examples.sent),
        configuration=dump_yaml(_written(c), width=100),
        soft_prompt=dump_yaml(c.soft_prompt, width=80) if c.soft_prompt else None,
        allowed_kind=KINDS[c.inversion.allowed.kind] if c.inversion.allowed else "",
        style=Markup(_read("report.css")),
        scripts=[Markup(script) for script in scripts],
        script_hashes=Markup(" ".join(map(readout.source, scripts))),
    )


def _written(certificate: Body) -> dict[str, Any]:
    """Returns the configuration as a file says it, with the keys that certificates state in sections of their own."""
    described: dict[str, Any] = certificate.configuration.model_dump(mode="json")
    described["data"] |= split_keys(certificate.sections.get(SPLIT))
    if padding := padding_of(certificate.sections.get(PADDING)):
        described["pad_to"] = list(padding.lengths)
    return described


def _caveats(certificate: Body) -> Iterator[str]:
    """Yields what a reader of the verdict must know besides: where a limit rests on measurement, not on proof."""
    inversion, policy = certificate.inversion, certificate.configuration.policy
    token = next((g for g in certificate.guarantees if g.unit == "token"), None)
    if token is not None and upper_end(token.epsilon) > SAID_STRONG:
        yield (
            f"An epsilon of {at_most(token.epsilon)} nats for one token is no strong promise by itself: the best "
            f"test tells the two worst words apart with advantage {at_most(token.advantage)} "
            "(0 is a blind guess, 1 is certainty)."
        )
    if (claimed := certificate.sections.get(CLAIMED_EPSILON)) and (said := claimed_text(claimed)):
        yield said
    if filled := padding_text(certificate.sections.get(PADDING)):
        yield filled
    limit, allowed = policy.attack_success_at_most, upper_end(inversion.allowed) if inversion.allowed else 1.0
    strongest = next(a.success for a in inversion.attacks if a.name == inversion.strongest)
    if limit is not None and strongest.upper <= limit < allowed:
        alone = f"The guarantee alone allows an attacker to read up to {percent(allowed, ROUND_CEILING)} of the tokens."
        if inversion.allowed is None:
            alone = "No proved guarantee bounds what an attacker reads."
        yield (
            f"{alone} That attackers stay within {percent(limit)} is measured, with the attacks listed here; "
            "another attack may read more."
        )
    attribute = certificate.attribute
    if attribute is not None:
        advantage = attribute.advantage
        checked = policy.attribute_advantage_at_most is not None
        yield (
            f"Over a whole text, a probe gets {interval(advantage)} of the way from chance to certainty about "
            f"{attribute.column}" + ("." if checked else "; the policy sets no limit to that.")
        )


def _contents(probed: bool) -> list[tuple[str, str]]:
    """Returns id and name of the sections."""
    whole = [("whole", "Whole texts")] if probed else []
    return [
        ("why", "Why"),
        ("guarantee", "Guarantee"),
        ("attacks", "Attacks"),
        *whole,
        ("utility", "Utility and bytes"),
        ("not-protected", "Not protected"),
        ("kinds", "Labels"),
        ("again", "Reproduce and check"),
    ]


def _curve_rows(curve: Curve) -> list[tuple[float, float, float | None]]:
    alpha = np.asarray(curve.alpha)
    nearest = dict.fromkeys(int(np.abs(alpha - wanted).argmin()) for wanted in CURVE_TABLE)
    limit = curve.gaussian_limit
    return [(curve.alpha[i], curve.exact[i], limit[i] if limit else None) for i in nearest]


def _reading(reading: Reading) -> ShownReading:
    """Returns what an attack read: the attack, each token as text with whether it is right, and how many are."""
    hits = [hit == "1" for hit in reading.hits]
    tokens = [(_shown(text), hit) for text, hit in zip(reading.read, hits, strict=True)]
    return ShownReading(reading.attack, tokens, sum(hits))


def _shown(token: str) -> str:
    """Returns a token's text with its line breaks visible and without control characters."""
    return printable(token.replace("\n", "↵"))


def _grouped(text: str) -> str:
    """Returns hexadecimal digits in pairs."""
    return " ".join(text[i : i + 2] for i in range(0, len(text), 2))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(at_most=at_most, interval=interval, number=number, percent=percent, shown=_shown)
    environment.globals.update(is_baseline=is_baseline)
    return environment.get_template("page.html.j2")


@cache
def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf8")
