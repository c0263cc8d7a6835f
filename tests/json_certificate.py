"""A certificate's functions for JSON values, which tests change: each takes them as its file would be read."""

import copy
import json
from typing import Any

from rich.console import Console

from del_audit.certificate import checks, proved, recompute, report, rows, summary
from del_audit.certificate import junit as xml
from del_audit.certificate import model_card as card
from del_audit.certificate.model import Body, Certificate
from del_audit.certificate.report import plots
from del_audit.certificate.typed import typed
from del_audit.configuration.policy import WrittenPolicy
from del_audit.configuration.verdict import Check
from mechanisms.spec import QuantizerSpec

Json = dict[str, Any]


def read(values: Json) -> Body:
    """Returns the certificate, or its body where it has no signature."""
    return typed(Certificate if "signature" in values else Body, values)


def policy_of(values: Json) -> WrittenPolicy:
    return WrittenPolicy.model_validate_json(json.dumps(values))


def checks_of(values: Json, policy: Json | None = None) -> list[Check]:
    return checks.checks_of(read(values), None if policy is None else policy_of(policy))


def guarantees_of(spec: QuantizerSpec, configuration: Json) -> list[Json]:
    found = proved.guarantees_of(spec, policy_of(configuration["policy"]))
    return [each.model_dump(mode="json") for each in found]


def recomputed(values: Json) -> Json:
    return recompute.recomputed(read(values)).model_dump(mode="json")


def render(values: Json) -> str:
    return report.render(read(values))


def draw(values: Json) -> dict[str, plots.Plot]:
    return plots.draw(read(values))


def by_bits(values: Json) -> list[rows.Point]:
    return rows.by_bits(read(values))


def print_summary(values: Json, console: Console) -> None:
    summary.print_summary(read(values), console)


def model_card(values: Json, fingerprint: str) -> str:
    return card.model_card(read(values), fingerprint)


def junit(values: Json, fingerprint: str) -> bytes:
    return xml.junit(read(values), fingerprint)


def changed(values: Json, **parts: Any) -> Json:
    return {**copy.deepcopy(values), **parts}
