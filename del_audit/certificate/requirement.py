"""What a verifier asks of a certificate: limits of its own, held against the certificate's figures by the one judge."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from del_audit.certificate.checks import checks_of
from del_audit.certificate.model import Body
from del_audit.certificate.schema import FORMAT_2
from del_audit.certificate.typed import typed_body
from del_audit.configuration.policy import Policy
from del_audit.configuration.verdict import Check
from del_audit.configuration.yaml_file import load_yaml
from mechanisms.errors import UserError


@dataclass(frozen=True, slots=True)
class Requirement:
    """A policy that a certificate of any other policy is held against; `load_client(require=...)` takes one."""

    policy: Policy

    @classmethod
    def of(cls, path: Path) -> "Requirement":
        """Returns the requirement of a YAML file with the keys of a configuration's policy.

        Raises UserError as load_yaml does, and for a limit that nothing can miss.
        """
        return cls(load_yaml(path, Policy, "policy"))

    @property
    def accepts_quick(self) -> bool:
        """Whether a certificate of quick assurance may satisfy it."""
        return self.policy.assurance == "quick"

    def checks(self, body: Body) -> list[Check]:
        """Returns each limit of the verifier's against the certificate's figures, and what the two must share.

        Guarantees at the verifier's own units are computed, at as many sends as the certificate allows.
        Raises UserError where they cannot be.
        """
        from del_audit.certificate.proved import guarantees_of  # heavy

        asked = self.policy.model_copy(update={"sends": body.configuration.policy.sends})
        guarantees = guarantees_of(body.spec, asked)
        return [*self._terms(body), *checks_of(body.model_copy(update={"guarantees": guarantees}), asked)]

    def require_met(self, body: Mapping[str, Any]) -> None:
        """Raises UserError, which names each limit that the certificate does not meet.

        body: of a certificate that keeps to the schema of its format, as JSON values.
        """
        if unmet := [check for check in self.checks(typed_body(body)) if check.status != "passed"]:
            told = "; ".join(f"{check.limit} {check.asked}, found {check.found}" for check in unmet)
            raise UserError(f"Expected a certificate that meets the required policy, got one that does not: {told}.")

    def _terms(self, body: Body) -> Iterator[Check]:
        """Yields whether the certificate's client sends as seldom, as briefly and in sessions as short as asked."""
        ours, theirs, stated = self.policy, body.configuration.policy, body.format != FORMAT_2
        sends = theirs.sends if stated else None
        yield _term("sends of a text", f"evidence at {ours.sends} or more", sends, (sends or 0) >= ours.sends)
        if "prompt_tokens" in ours.model_fields_set:
            tokens = theirs.prompt_tokens if stated else None
            yield _term("tokens of a prompt", f"exactly {ours.prompt_tokens}", tokens, tokens == ours.prompt_tokens)
        sessions = [limit.tokens for limit in ours.epsilon if limit.unit == "session" and limit.tokens]
        if sessions:
            caps = [limit.tokens for limit in theirs.epsilon if limit.unit == "session" and limit.tokens]
            cap, days = min(caps, default=None), theirs.session_days if stated else 0
            held = cap is not None and cap <= min(sessions) and days >= ours.session_days
            found = None if cap is None else f"{cap} in {days} days"
            yield _term("tokens of a session", f"at most {min(sessions)} in {ours.session_days} days", found, held)


def _term(limit: str, asked: str, found: object, held: bool) -> Check:
    reason = "The certificate's client holds to it." if held else "The certificate's client may do otherwise."
    told = "not stated" if found is None else str(found)
    return Check(limit, asked, told, "passed" if held else "failed", reason)
