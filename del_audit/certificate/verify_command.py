"""`del-audit verify`: a certificate in, what holds of it out, and an exit code for a gate."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from del_audit.certificate.verify import Verification, verify
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.process.exit_codes import DONE, REFUSED
from del_audit.show.console import printable
from mechanisms.canonical_json import LARGEST
from mechanisms.client_certificate import WHAT
from mechanisms.errors import UserError
from mechanisms.keyring import trusted_keys
from mechanisms.small_file import read_small

if TYPE_CHECKING:
    from del_audit.certificate.requirement import Requirement


def verify_file(
    path: Path,
    trust: Sequence[str] = (),
    at: str | None = None,
    recompute: bool = True,
    against: ConfigurationFile | None = None,
    require: "Requirement | None" = None,
    strict: bool = False,
) -> Verification:
    """Returns what holds of a certificate's file; trust: public keys as mechanisms.keyring.public_key takes them.

    at: the ISO date, or date and time (UTC where it names no zone), that it is to be valid at; None asks the clock.
    Raises UserError as `verify` does, and for a file, a key or a date that cannot be read.
    """
    data = read_small(path, LARGEST, WHAT)
    return verify(data, trusted_keys(trust), moment(at), recompute, against, require, strict)


def moment(at: str | None) -> datetime:
    """Returns the time that an ISO date names, with a zone, or now; raises UserError for text that is none."""
    if at is None:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(at)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UserError(f"Expected --at to be an ISO date, such as 2027-01-31, got at={at!r}.") from None


def run_verify(found: Verification, accept_quick: bool, as_json: bool) -> int:
    """Prints what holds of a certificate and returns the exit code: 0 valid and certified, 1 anything else.

    accept_quick: whether quick assurance is enough.
    """
    print(json.dumps(found.to_dict(), indent=2) if as_json else render(found, accept_quick))
    return DONE if passes(found, accept_quick) else REFUSED


def passes(found: Verification, accept_quick: bool) -> bool:
    """Returns whether a gate may open: valid, certified, at a level that is accepted, and no rule of today broken."""
    enough = found.assurance != "quick" or accept_quick
    return found.verdict == "certified" and enough and all(step.status != "failed" for step in found.today)


def render(found: Verification, accept_quick: bool = False) -> str:
    """Returns the steps as lines of text, and what they come to."""
    width = max(len(step.name) for step in (*found.steps, *found.today))
    lines = [f"{step.status:8}{step.name:{width}}  {printable(step.reason)}" for step in found.steps]
    if found.today:
        lines += ["", "Under today's rules (its format is older; clients refuse what does not pass):"]
        told = {"passed": "passed", "failed": "failed", "skipped": "unknown"}
        lines += [f"{told[step.status]:8}{step.name:{width}}  {printable(step.reason)}" for step in found.today]
        lines.append("")
    return "\n".join([*lines, *_conclusion(found, accept_quick)])


def _conclusion(found: Verification, accept_quick: bool) -> list[str]:
    if not found.valid:
        return ["Invalid: this certificate proves nothing here."]
    if found.verdict != "certified" and found.certificate is not None:
        reasons = [f"  - {printable(reason)}" for reason in found.certificate.body["reasons"]]
        return [f"Valid, but the verdict is {found.verdict}:", *reasons]
    if any(step.status == "failed" for step in found.today):
        return ["Valid under the rules of its day, but today's rules refuse it: certify again."]
    if any(step.status != "passed" for step in found.today):
        return ["Valid: certified under the rules of its day. Clients ask for today's: certify again."]
    if found.assurance == "quick" and not accept_quick:
        return [
            "Valid: quick. It was certified with the short list of attacks, and this gate asks for full assurance.",
            "Certify with `assurance: full`, or say that quick is enough: --accept-quick.",
        ]
    return ["Valid: quick (the short list of attacks)." if found.assurance == "quick" else "Valid: certified."]
