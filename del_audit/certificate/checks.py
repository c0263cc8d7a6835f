"""The policy's limits against the figures of a certificate: a function of the certificate alone.

It takes the body as JSON values, so that whoever holds a certificate computes the same checks from the same figures,
and a verifier holds them against limits of its own. What a certificate of an older format lacks is undecided.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attacks.registry import Assurance, current_name, required_by
from del_audit.configuration.limits import CONTROLS
from del_audit.configuration.policy import EpsilonLimit, Policy
from del_audit.configuration.verdict import Check, Contender, unmeasured
from del_audit.statistics.bound import Bound
from del_audit.statistics.contradiction import contradicts
from del_audit.statistics.figure import Figure

Body = Mapping[str, Any]


def checks_of(body: Body, policy: Mapping[str, Any] | None = None) -> list[Check]:
    """Returns one check for each limit of a policy, and first the two that no policy can drop.

    body: needs configuration, guarantees, inversion, attribute, utility and bytes. policy: as JSON values; the body's
    own where it is None. Raises KeyError, TypeError or ValueError for a body that lacks a part.
    """
    asked = body["configuration"]["policy"] if policy is None else policy
    return [
        _within_the_guarantee(body),
        _assurance(body, asked),
        *_policy(asked).checks(CertificateFigures(body)),
    ]


def strongest(attacks: Sequence[Any]) -> Any:
    """Returns the attack of largest upper end, which covers the strongest attack's rate without correction."""
    return max(attacks, key=lambda attack: attack["success"]["upper"])


@dataclass(frozen=True, slots=True)
class CertificateFigures:
    """A certificate's figures, as the judge asks for them."""

    body: Body

    def epsilon(self, unit: str, tokens: int, sends: int, delta: float) -> Bound:
        """Proved epsilon (nats) at delta; raises KeyError for a certificate without that guarantee."""
        asked = (unit, tokens, sends, delta)
        for row in self.body["guarantees"]:
            if row["kind"] == "proved" and (row["unit"], row["tokens"], row.get("sends", 1), row["delta"]) == asked:
                found = row["epsilon"]
                return Bound(found["lower"], found["estimate"], found["upper"], "proved")
        raise KeyError(f"a proved guarantee of {unit}, {tokens} tokens, {sends} sends, delta {delta:g}")

    def bytes_per_token(self) -> float:
        """Payload on the wire, counted."""
        return float(self.body["bytes"]["a_token"])

    def success(self) -> list[Contender]:
        """Share of tokens recovered by each attack."""
        return [_contender(attack["name"], attack["success"], attack) for attack in self._attacks]

    def slice_success(self, name: str) -> list[Contender]:
        """Share of a slice's tokens recovered by each attack; no attack that lacks the slice is passed over."""
        found = []
        for attack in self._attacks:
            lacking: dict[str, Any] = {"why": "no such slice was measured"}
            part = next((part for part in attack["slices"] if part["name"] == name), lacking)
            found.append(_contender(attack["name"], part.get("success"), part))
        return found

    def worst_prompt(self) -> list[Contender]:
        """Share recovered of the prompt that is read best, by each attack; only repeated releases can decide it."""
        return [
            _contender(attack["name"], attack.get("worst_of_releases"), {"why": "no prompt was released repeatedly"})
            if attack.get("worst_of_releases") is None
            else _contender(attack["name"], attack["worst_of_releases"]["success"], attack["worst_of_releases"])
            for attack in self._attacks
        ]

    def attribute(self) -> tuple[str, Figure | None]:
        """The attribute's column, and the advantage of the strongest probe."""
        found = self.body["attribute"]
        return (found["column"], Figure(**found["advantage"])) if found else ("none", None)

    def gain(self, control: str) -> Figure | None:
        """Nats per token that the released prompt saves over a control."""
        utility = self.body["utility"]
        if control == CONTROLS[0]:
            return Figure(**utility["paired_gain"])
        found = utility.get("gains_over", {}).get(control)
        return Figure(**found) if found else None

    def share_of_gain(self) -> Figure | None:
        """The gain over another user's prompt, as a share of what the clean prompt gives."""
        found = self.body["utility"]["share_of_clean_gain"]
        return Figure(**found) if found else None

    def task(self) -> tuple[str, Figure | None, Figure | None]:
        """The task's column, its accuracy, and by how much it exceeds always naming the commonest class."""
        found = self.body["utility"]["task"]
        if not found:
            return "none", None, None
        over = found.get("over_majority")
        return found["column"], Figure(**found["accuracy"]), Figure(**over) if over else None

    @property
    def _attacks(self) -> Sequence[Any]:
        return list(self.body["inversion"]["attacks"])


def missing_attacks(body: Body, required: Iterable[str]) -> list[tuple[str, str]]:
    """Returns key and reason of each of the required attacks that gave no usable figure."""
    inversion = body["inversion"]
    usable = {current_name(attack["key"]) for attack in inversion["attacks"]}
    failed = {current_name(test["key"]): test["reason"] for test in inversion["unusable"] if "key" in test}
    return [
        (key, f"failed its self-test ({failed[name].rstrip('.')})" if name in failed else "was not run")
        for key, name in ((key, current_name(key)) for key in required)
        if name not in usable
    ]


def required_attacks(body: Body, level: Assurance) -> list[str]:
    """Returns the attacks that a level requires: today's, save where a certificate states those of its own day."""
    own = body["configuration"]["policy"].get("assurance")
    return list(body["requires"] if own == level and "requires" in body else required_by(level))


def _contender(name: str, success: Mapping[str, Any] | None, part: Mapping[str, Any]) -> Contender:
    if success is None:
        return Contender(name, None, why=part.get("why") or "no figure was given")
    return Contender(name, Figure(**success), part.get("above"))


def _within_the_guarantee(body: Body) -> Check:
    """Returns whether an attack on single tokens recovered more than theorem 6 allows: the implementation is broken."""
    inversion = body["inversion"]
    allowed, kappa = inversion["allowed"]["upper"], inversion["kappa"]
    below = [(a["name"], a["broken_below"]) for a in inversion["attacks"] if a["broken_below"] is not None]
    limit, asked = "attacks within the guarantee", f"at most {allowed:.4g} (theorem 6, kappa {kappa:.4g})"
    if not below:
        return unmeasured(limit, asked, "no attack on single tokens was run")
    broken = [name for name, rate in below if contradicts(rate, allowed)]
    reason = "No attack reads more than the guarantee allows: the implementation is not contradicted."
    if broken:
        reason = f"The implementation is broken: {', '.join(broken)} reads more than the guarantee allows."
    found = f"lower limit of the strongest attack on single tokens: {max(rate for _, rate in below):.4g}"
    return Check(limit, asked, found, "failed" if broken else "passed", reason)


def _assurance(body: Body, policy: Mapping[str, Any]) -> Check:
    """Returns whether every attack that the stated level of assurance requires was run and passed its self-test."""
    level: Assurance = policy.get("assurance", "full")
    required = required_attacks(body, level)
    limit, asked = f"attacks of {level} assurance", ", ".join(required)
    missing = missing_attacks(body, required)
    if not missing:
        return Check(limit, asked, "all of them", "passed", "Every attack that the level requires was run and works.")
    found = f"without {', '.join(key for key, _ in missing)}"
    reasons = "; ".join(f"{key} {why}" for key, why in missing)
    return Check(limit, asked, found, "inconclusive", f"An attack that was not made proves nothing: {reasons}.")


def _policy(values: Mapping[str, Any]) -> Policy:
    """Returns a certificate's policy, which the schema has seen; what an older format lacks has its default."""
    limits = tuple(EpsilonLimit.model_construct(**limit) for limit in values["epsilon"])
    return Policy.model_construct(**{**values, "epsilon": limits})
