"""The certificate's figures in the rows that its table and its page both show."""

from collections.abc import Mapping, Sequence
from typing import Any

Figure = Mapping[str, Any]

CONDITIONS = (
    "released prompt",
    "another user's released prompt",
    "soft prompt alone",
    "no prompt",
    "clean prompt",
    "another user's clean prompt",
    "the prompt itself as answer",
    "an unrelated response",
)
"""What the server may see, the released prompt first; a certificate's file keeps no order of its own."""


def terms(certificate: Mapping[str, Any]) -> list[str]:
    """Returns what the verdict rests on and how often such a verdict is wrong, a sentence each; none in format 2."""
    if "assurance" not in certificate:
        return []
    policy, level = certificate["configuration"]["policy"], certificate["assurance"]
    times = "once" if policy["sends"] == 1 else f"{policy['sends']} times"
    rate, attempts = certificate["error_rate"], certificate["attempts"]["count"]
    wrong = f"A false verdict of certified has a chance of at most {rate['false_certified_at_most']:.1%} in one attempt"
    tried = "the number of attempts on this private split is unknown"
    if attempts == 1:
        tried = "this is the first attempt on this private split"
    elif attempts is not None:
        tried = f"over all {attempts} attempts on this private split at most {rate['over_all_attempts_at_most']:.1%}"
    return [
        f"Assurance: {level} (requires {', '.join(certificate['requires'])}).",
        f"Holds for prompts of at most {policy['prompt_tokens']} tokens, each text sent {times}: the client's ledger "
        "refuses more.",
        f"{wrong}; {tried} (estimate).",
    ]


def by_condition(*figures: Mapping[str, Any]) -> list[str]:
    """Returns the names of all the figures in the order of CONDITIONS, and those that are not among them last."""
    names = dict.fromkeys(name for some in figures for name in some)
    return [*(name for name in CONDITIONS if name in names), *(name for name in names if name not in CONDITIONS)]


def is_baseline(attack: Mapping[str, Any]) -> bool:
    """Returns whether an attack guesses without the release; its key says so, for a name may be anything."""
    return bool(attack["key"] == "baseline")


def probe_rows(probe: Mapping[str, Any]) -> list[tuple[str, Figure | None, Figure | None]]:
    """Returns name, balanced accuracy and accuracy of a probe between its floor and its ceiling, floor first."""
    return [
        ("always the commonest class", None, probe["majority_accuracy"]),
        ("another user's release", probe["other_users_release_balanced_accuracy"], None),
        (f"the release ({probe['features']})", probe["balanced_accuracy"], probe["accuracy"]),
        ("clean text", probe["clean_balanced_accuracy"], probe["clean_accuracy"]),
    ]


def by_bits(certificate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns what each number of bits gives, fewest first; the certified one is `own`.

    Each has bits, bytes a token, epsilon of a token, gain, success of the strongest attack, and whether it is on the
    frontier. The attacks are those on single tokens: with other bits no others are run.
    """
    free = (attack["success"] for attack in certificate["inversion"]["attacks"] if attack["context_free"])
    strongest = max(free, key=lambda success: float(success["upper"]))
    token = next((g for g in certificate["guarantees"] if g["unit"] == "token"), None)
    own = {
        "spec": certificate["spec"],
        "epsilon": token["epsilon"] if token else None,
        "gain": certificate["utility"]["paired_gain"],
        "success": strongest,
        "own": True,
    }
    others = [
        {
            "spec": other["spec"],
            "epsilon": other["epsilon"],
            "gain": other["paired_gain"],
            "success": other["strongest_attack"],
            "own": False,
        }
        for other in certificate["utility"]["other_bits"]
    ]
    points = [
        {**point, "bits": point["spec"]["bits"], "bytes": point["spec"]["bits"] * point["spec"]["dim"] / 8}
        for point in (own, *others)
    ]
    for point in points:
        point["frontier"] = not any(_better(other, point) for other in points)
    return sorted(points, key=lambda row: (row["bits"], not row["own"]))


def _better(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether one sends no more, leaks no more and gives no less than the other, and is better in something."""
    ours, theirs = ((p["bytes"], p["success"]["value"], -p["gain"]["value"]) for p in (one, other))
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def slice_rows(inversion: Mapping[str, Any], policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns what was read of each slice, in the attacks' order.

    Each has name, rule, limit of the policy or None, the baseline's figure or None (guess), and for each attack that
    reads the release a cell: its SliceFigure, or None where it has none of that name; strongest is the attack whose
    upper end is largest, None without any figure.
    """
    limits = policy.get("slice_success_at_most") or {}
    parts: dict[str, dict[str, Mapping[str, Any]]] = {}
    for attack in inversion["attacks"]:
        for part in attack["slices"]:
            parts.setdefault(part["name"], {})[attack["name"]] = part
    return [
        {
            "name": name,
            "rule": next(iter(by.values()))["rule"],
            "limit": limits.get(name),
            "guess": next((part["baseline"] for part in by.values() if part["baseline"] is not None), None),
            "cells": [(attack, by.get(attack)) for attack in sliced_attacks(inversion)],
            "strongest": _strongest(by, sliced_attacks(inversion)),
        }
        for name, by in parts.items()
    ]


def sliced_attacks(inversion: Mapping[str, Any]) -> list[str]:
    """Returns the names of the attacks that read the release and have slices."""
    return [a["name"] for a in inversion["attacks"] if a["slices"] and not is_baseline(a)]


def _strongest(by: Mapping[str, Mapping[str, Any]], attacks: Sequence[str]) -> str | None:
    measured = {name: by[name]["success"]["upper"] for name in attacks if name in by and by[name]["success"]}
    return max(measured, key=lambda name: float(measured[name])) if measured else None


def reasons(certificate: Mapping[str, Any]) -> list[str]:
    """Returns each limit that does not hold, or is not decided, with the reason; none for a certified configuration."""
    return [f"{c['limit']}: {c['reason']}" for c in certificate["checks"] if c["status"] != "passed"]
