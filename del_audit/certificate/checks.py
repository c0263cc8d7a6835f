"""The policy's limits against the figures of a certificate: a function of the certificate alone.

It takes the body as JSON values, so that whoever holds a certificate computes the same checks from the same figures.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from del_audit.bound import Bound
from del_audit.certificate.verdict import Check, check_bound, check_figure
from del_audit.evidence.figure import Figure

Body = Mapping[str, Any]


def checks_of(body: Body) -> list[Check]:
    """Returns one check for each limit of the policy, and first the one that no policy can drop.

    body: needs configuration.policy, guarantees, inversion, attribute, utility and bytes.
    Raises KeyError, TypeError or ValueError for a body that lacks what a limit is held against.
    """
    return [
        _within_the_guarantee(body),
        *_epsilons(body),
        *_attacks(body),
        *_slices(body),
        *_inferences(body),
        *_utility(body),
        *_bytes(body),
    ]


def strongest(attacks: list[Any]) -> Any:
    """Returns the attack of largest upper limit: its upper end covers the best attack's rate without correction.

    The best attack's own interval fails with the stated probability, and this upper end is no smaller.
    """
    return max(attacks, key=lambda attack: attack["success"]["upper"])


def _within_the_guarantee(body: Body) -> Check:
    """Returns whether an attack on single tokens read more than theorem 6 allows: then the implementation is broken."""
    inversion = body["inversion"]
    allowed, kappa = inversion["allowed"]["upper"], inversion["kappa"]
    below = {a["name"]: a["broken_below"] for a in inversion["attacks"] if a["broken_below"] is not None}
    broken = [name for name, limit in below.items() if limit > allowed]
    reason = "No attack reads more than the guarantee allows: the implementation is not contradicted."
    if broken:
        reason = f"The implementation is broken: {', '.join(broken)} reads more than the guarantee allows."
    return Check(
        "attacks within the guarantee",
        f"at most {allowed:.4g} (theorem 6, kappa {kappa:.4g})",
        f"lower limit of the strongest attack on single tokens: {max(below.values()):.4g}",
        "failed" if broken else "passed",
        reason,
    )


def _epsilons(body: Body) -> Iterator[Check]:
    for limit in body["configuration"]["policy"]["epsilon"]:
        unit, tokens, delta = limit["unit"], limit["tokens"], limit["delta"]
        proved = [g for g in body["guarantees"] if g["kind"] == "proved"]
        found = [g["epsilon"] for g in proved if (g["unit"], g["tokens"], g["delta"]) == (unit, tokens, delta)]
        if not found:
            raise KeyError(f"a proved guarantee of {unit}, {tokens} tokens, delta {delta:g}")
        where = f"{unit} of {tokens} tokens" if tokens > 1 else unit
        bound = Bound(found[0]["lower"], found[0]["estimate"], found[0]["upper"], "proved")
        yield check_bound(f"epsilon of a {where} at delta {delta:g}", bound, limit["at_most"], "nats")


def _attacks(body: Body) -> Iterator[Check]:
    policy, attacks = body["configuration"]["policy"], body["inversion"]["attacks"]
    if (limit := policy["attack_success_at_most"]) is not None:
        attack = strongest(attacks)
        yield check_figure(f"strongest attack ({attack['name']})", Figure(**attack["success"]), limit, "at most")
    if (limit := policy["worst_prompt_success_at_most"]) is not None:
        attack = max(attacks, key=lambda attack: attack["worst_prompt"]["upper"])
        yield check_figure(f"worst prompt ({attack['name']})", Figure(**attack["worst_prompt"]), limit, "at most")


def _slices(body: Body) -> Iterator[Check]:
    """Yields each slice's check: of the attack whose upper limit is largest there, or inconclusive without a figure."""
    for name, limit in sorted(body["configuration"]["policy"]["slice_success_at_most"].items()):
        parts = {a["name"]: s for a in body["inversion"]["attacks"] for s in a["slices"] if s["name"] == name}
        lacking = [attack for attack, part in parts.items() if part["success"] is None]
        if not parts or lacking:
            why = parts[lacking[0]]["why"] if parts else "no such slice was measured"
            asked = f"at most {limit:g} (share of {name} read)"
            yield Check(f"slice: {name}", asked, "no figure", "inconclusive", f"Nothing can be said: {why}.")
            continue
        attack, part = max(parts.items(), key=lambda item: item[1]["success"]["upper"])
        yield check_figure(f"slice: {name} ({attack})", Figure(**part["success"]), limit, "at most")


def _inferences(body: Body) -> Iterator[Check]:
    policy, attribute = body["configuration"]["policy"], body["attribute"]
    if (limit := policy["attribute_advantage_at_most"]) is not None:
        name = f"attribute advantage ({attribute['column']})"
        yield check_figure(name, Figure(**attribute["advantage"]), limit, "at most")


def _utility(body: Body) -> Iterator[Check]:
    policy, utility = body["configuration"]["policy"], body["utility"]
    if (limit := policy["paired_gain_at_least"]) is not None:
        yield check_figure("utility: paired gain", Figure(**utility["paired_gain"]), limit, "at least")
    if (limit := policy["task_accuracy_at_least"]) is not None:
        task = utility["task"]
        yield check_figure(f"utility: accuracy of {task['column']}", Figure(**task["accuracy"]), limit, "at least")


def _bytes(body: Body) -> Iterator[Check]:
    if (most := body["configuration"]["policy"]["bytes_per_token_at_most"]) is not None:
        sent = body["bytes"]["a_token"]
        reason = "Counted on the wire; the header comes once a message."
        yield Check("bytes a token", f"at most {most:g}", f"{sent:g}", "passed" if sent <= most else "failed", reason)
