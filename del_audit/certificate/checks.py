"""The policy's limits against the figures of a certificate: a function of the certificate alone.

Whoever holds a certificate computes the same checks from the same figures, and a verifier holds them against limits of
its own. What a certificate of an older format lacks is undecided.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attacks.registry import Assurance, current_name, required_by
from del_audit.certificate.model import Attack, Findings
from del_audit.configuration.limits import CONTROLS, Unit, list_contenders, most_recovered
from del_audit.configuration.policy import WrittenPolicy
from del_audit.configuration.verdict import Check, Contender, unmeasured
from del_audit.statistics.bound import Bound
from del_audit.statistics.contradiction import contradicts
from del_audit.statistics.figure import Figure


def checks_of(findings: Findings, policy: WrittenPolicy | None = None) -> list[Check]:
    """Returns one check for each limit of a policy, and first the two that no policy can drop.

    policy: the findings' own where it is None. Raises KeyError where a guarantee that it limits is not stated.
    """
    asked = findings.configuration.policy if policy is None else policy
    return [
        *_within_the_guarantee(findings),
        _assurance(findings, asked.assurance),
        *asked.checks(CertificateFigures(findings)),
    ]


def strongest(attacks: Sequence[Attack]) -> Attack:
    """Returns the attack of largest upper end, which covers the strongest attack's rate without correction."""
    return max(attacks, key=lambda attack: attack.success.upper)


@dataclass(frozen=True, slots=True)
class CertificateFigures:
    """A certificate's figures, as the policy asks for them."""

    findings: Findings

    def epsilon(self, unit: Unit, tokens: int, sends: int, delta: float) -> Bound:
        """Proved epsilon (nats) at delta; raises KeyError for a certificate without that guarantee."""
        for row in self.findings.guarantees:
            if row.kind == "proved" and (row.unit, row.tokens, row.sends, row.delta) == (unit, tokens, sends, delta):
                return Bound(row.epsilon.lower, row.epsilon.estimate, row.epsilon.upper, "proved")
        raise KeyError(f"a proved guarantee of {unit}, {tokens} tokens, {sends} sends, delta {delta:g}")

    def success(self) -> list[Contender]:
        """Share of tokens recovered by each attack."""
        return [Contender(attack.name, attack.success, attack.above) for attack in self._attacks]

    def meaning(self) -> list[Contender]:
        """Share of tokens recovered up to meaning by each attack; one that stopped early has none."""
        why = "an attack has no figure up to meaning: it stopped early, or the certificate is of an older format"
        return [Contender(attack.name, attack.meaning, attack.meaning_above, why) for attack in self._attacks]

    def slice_success(self, name: str) -> list[Contender]:
        """Share of a slice's tokens recovered by each attack; no attack that lacks the slice is passed over."""
        found = []
        for attack in self._attacks:
            part = next((part for part in attack.slices if part.name == name), None)
            if part is None or part.success is None:
                why = "no such slice was measured" if part is None else part.why or "no figure was given"
                found.append(Contender(attack.name, None, why=why))
            else:
                found.append(Contender(attack.name, part.success, part.above))
        return found

    def worst_prompt(self) -> list[Contender]:
        """Share recovered of the prompt that is read best, by each attack; only repeated releases can decide it."""
        return [
            Contender(attack.name, None, why="no prompt was released repeatedly")
            if attack.worst_of_releases is None
            else Contender(attack.name, attack.worst_of_releases.success, attack.worst_of_releases.above)
            for attack in self._attacks
        ]

    def known_context(self) -> Figure | None:
        """Share of tokens recovered by who knows the context: of the attackers the one whose share may be largest."""
        knowing = self.findings.knowing
        return most_recovered(each.success for each in knowing.contexts.values()) if knowing else None

    def lists(self) -> list[Contender]:
        """Share of texts picked out of a list, for each list that was tried."""
        knowing = self.findings.knowing
        return list_contenders(knowing.lists, knowing.lists_why or "no text was long enough") if knowing else []

    def attribute(self) -> tuple[str, Figure | None]:
        """The attribute's column, and the advantage of the strongest probe."""
        found = self.findings.attribute
        return (found.column, found.advantage) if found else ("none", None)

    def gain(self, control: str) -> Figure | None:
        """Nats per token that the released prompt saves over a control."""
        utility = self.findings.utility
        return utility.paired_gain if control == CONTROLS[0] else utility.gains_over.get(control)

    def share_of_gain(self) -> Figure | None:
        """The gain over another user's prompt, as a share of what the clean prompt gives."""
        return self.findings.utility.share_of_clean_gain

    def task(self) -> tuple[str, Figure | None, Figure | None]:
        """The task's column, its accuracy, and by how much it exceeds always naming the commonest class."""
        found = self.findings.utility.task
        return (found.column, found.accuracy, found.over_majority) if found else ("none", None, None)

    def bytes_per_token(self) -> float:
        """Payload on the wire, counted."""
        return self.findings.bytes.a_token

    @property
    def _attacks(self) -> Sequence[Attack]:
        return self.findings.inversion.attacks


def missing_attacks(findings: Findings, required: Iterable[str]) -> list[tuple[str, str]]:
    """Returns key and reason of each of the required attacks that gave no usable figure."""
    inversion = findings.inversion
    usable = {current_name(attack.key) for attack in inversion.attacks}
    failed = {current_name(test.key): test.reason for test in inversion.unusable if test.key is not None}
    return [
        (key, f"failed its self-test ({failed[name].rstrip('.')})" if name in failed else "was not run")
        for key, name in ((key, current_name(key)) for key in required)
        if name not in usable
    ]


def required_attacks(findings: Findings, level: Assurance) -> Sequence[str]:
    """Returns the attacks that a level requires: today's, save where a certificate states those of its own day."""
    own = findings.configuration.policy.assurance
    return findings.requires if findings.requires and own == level else required_by(level, findings.has_codes)


def _within_the_guarantee(findings: Findings) -> list[Check]:
    """Returns whether an attack on single tokens recovered more than is allowed: then the implementation is broken.

    No check for a mechanism without a proved guarantee: nothing is allowed or forbidden by one.
    """
    inversion = findings.inversion
    if inversion.allowed is None:
        return []
    allowed, kappa = inversion.allowed.upper, inversion.kappa
    below = [(attack.name, attack.broken_below) for attack in inversion.attacks if attack.broken_below is not None]
    limit = "attacks within the guarantee"
    asked = f"at most {allowed:.4g} ({inversion.allowed.theorem}, kappa {kappa:.4g})"
    if not below:
        return [unmeasured(limit, asked, "no attack on single tokens was run")]
    broken = [name for name, rate in below if contradicts(rate, allowed)]
    known = findings.knowing.contexts.values() if findings.knowing else ()
    if any(contradicts(each.broken_below, each.broken_above) for each in known):
        broken.append("who knows the context")
    reason = "No attack reads more than the guarantee allows: the implementation is not contradicted."
    if broken:
        reason = f"The implementation is broken: {', '.join(broken)} reads more than the guarantee allows."
    found = f"lower limit of the strongest attack on single tokens: {max(rate for _, rate in below):.4g}"
    return [Check(limit, asked, found, "failed" if broken else "passed", reason)]


def _assurance(findings: Findings, level: Assurance) -> Check:
    """Returns whether every attack that the stated level of assurance requires was run and passed its self-test."""
    required = required_attacks(findings, level)
    limit, asked = f"attacks of {level} assurance", ", ".join(required)
    missing = missing_attacks(findings, required)
    if not missing:
        return Check(limit, asked, "all of them", "passed", "Every attack that the level requires was run and works.")
    found = f"without {', '.join(key for key, _ in missing)}"
    reasons = "; ".join(f"{key} {why}" for key, why in missing)
    return Check(limit, asked, found, "inconclusive", f"An attack that was not made proves nothing: {reasons}.")
