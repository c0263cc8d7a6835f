"""Every figure of a certificate that needs no measurement, computed again and held against what is written."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from del_audit.certificate.checks import checks_of
from del_audit.certificate.proved import bytes_of, proved_of
from del_audit.certificate.schema import FORMAT_2
from del_audit.configuration.asked import prompt_tokens_of
from del_audit.configuration.verdict import verdict_of
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

TOLERANCE = 1e-6
"""How far two computations of the same figure may be apart, relative to it: other libraries round otherwise."""
ENDS = ("lower", "estimate", "upper")


def require_recomputed(body: Mapping[str, Any]) -> int:
    """Returns how many figures agree with those computed again; body: of a certificate that keeps to the schema.

    Raises UserError, which names the place, for a figure that differs by more than TOLERANCE, for two enclosures of the
    same figure that have no number in common, and where the computed figures lead to another verdict.
    """
    computed = _computed(body)
    if body["format"] == FORMAT_2:
        _as_in_format_2(computed["guarantees"], body["guarantees"])
    stored = {
        "guarantees": body["guarantees"],
        "curve": body["curve"],
        "inversion": {"allowed": body["inversion"]["allowed"]},
        "utility": {"other_bits": [{"epsilon": other["epsilon"]} for other in body["utility"]["other_bits"]]},
        "bytes": body["bytes"],
    }
    if differs := next(differences(stored, computed), None):
        raise UserError(f"Expected the figures that this installation computes, got {differs}.")
    again = {
        **body,
        "guarantees": computed["guarantees"],
        "inversion": {**body["inversion"], **computed["inversion"]},
        "bytes": computed["bytes"],
    }
    if body["format"] != FORMAT_2 and (verdict := verdict_of(checks_of(again))) != body["verdict"]:
        raise UserError(f"Expected the verdict {verdict}, which the computed figures lead to, got {body['verdict']}.")
    return sum(1 for _ in _numbers(computed))


def _as_in_format_2(computed: list[dict[str, Any]], stored: list[dict[str, Any]]) -> None:
    """Leaves out what that format did not say, every figure being of one send, and keeps its own words for whom."""
    for row, own in zip(computed, stored, strict=False):
        del row["sends"]
        row["adjacency"] = own["adjacency"]


def differences(stored: Any, computed: Any, where: str = "") -> Iterator[str]:
    """Yields each place where two parts of a certificate differ, with what stands there and what was computed."""
    if isinstance(computed, Mapping) and isinstance(stored, Mapping):
        if set(stored) != set(computed):
            yield f"{where}: keys {sorted(stored)}, computed {sorted(computed)}"
            return
        if set(ENDS) <= set(computed) and not _overlap(stored, computed):
            yield f"{where}: {_enclosure(stored)}, computed {_enclosure(computed)}, which has no number in common"
            return
        for key in computed:
            yield from differences(stored[key], computed[key], f"{where}.{key}" if where else key)
    elif isinstance(computed, list) and isinstance(stored, list):
        if len(stored) != len(computed):
            yield f"{where}: {len(stored)} values, computed {len(computed)}"
            return
        for index, (one, other) in enumerate(zip(stored, computed, strict=True)):
            yield from differences(one, other, f"{where}.{index}")
    elif not _same(stored, computed):
        yield f"{where}: {stored!r}, computed {computed!r}"


def _computed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the computed figures in the certificate's own places."""
    found = proved_of(body)
    configuration, spec = body["configuration"], QuantizerSpec(**body["spec"])
    tokens = prompt_tokens_of(configuration)
    width = body["bytes"]["a_prompt_of_clean_float32"] // (4 * tokens)  # the model's, which is not here to be asked
    return {
        "guarantees": found["guarantees"],
        "curve": found["curve"],
        "inversion": {"allowed": found["allowed"]},
        "utility": {"other_bits": [{"epsilon": epsilon} for epsilon in found["other_bits"]]},
        "bytes": bytes_of(spec, configuration, width),
    }


def _same(stored: Any, computed: Any) -> bool:
    numbers = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in (stored, computed)]
    if all(numbers):
        return math.isclose(stored, computed, rel_tol=TOLERANCE, abs_tol=1e-12)
    return type(stored) is type(computed) and bool(stored == computed)


def _overlap(stored: Mapping[str, Any], computed: Mapping[str, Any]) -> bool:
    return bool(
        stored["lower"] <= stored["estimate"] <= stored["upper"]
        and stored["lower"] <= computed["upper"]
        and computed["lower"] <= stored["upper"]
    )


def _enclosure(bound: Mapping[str, Any]) -> str:
    return f"[{bound['lower']!r}, {bound['upper']!r}]"


def _numbers(part: Any) -> Iterator[float]:
    if isinstance(part, Mapping | list):
        for child in part.values() if isinstance(part, Mapping) else part:
            yield from _numbers(child)
    elif isinstance(part, int | float) and not isinstance(part, bool):
        yield part
