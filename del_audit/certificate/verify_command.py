"""`del-audit verify`: a certificate in, what holds of it out, and an exit code for a gate."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from del_audit.certificate.verify import Verification, verify
from del_audit.plain_text import printable
from mechanisms.canonical_json import LARGEST
from mechanisms.client_certificate import WHAT
from mechanisms.errors import UserError
from mechanisms.keyring import trusted_keys
from mechanisms.small_file import read_small


def verify_file(
    path: Path,
    trust: Sequence[str] = (),
    at: str | None = None,
    recompute: bool = True,
    against: Path | None = None,
) -> Verification:
    """Returns what holds of a certificate's file; trust: public keys as mechanisms.keyring.public_key takes them.

    at: the ISO date, or date and time (UTC where it names no zone), that it is to be valid at; None asks the clock.
    Raises UserError as `verify` does, and for a file, a key or a date that cannot be read.
    """
    data = read_small(path, LARGEST, WHAT)
    return verify(data, trusted_keys(trust), moment(at), recompute, against)


def moment(at: str | None) -> datetime:
    """Returns the time that an ISO date names, with a zone, or now; raises UserError for text that is none."""
    if at is None:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(at)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UserError(f"Expected --at to be an ISO date, such as 2027-01-31, got at={at!r}.") from None


def run_verify(
    path: Path, trust: Sequence[str], at: str | None, recompute: bool, against: Path | None, as_json: bool
) -> int:
    """Prints what holds of a certificate and returns the exit code: 0 valid and certified, 1 anything else.

    Raises UserError as verify_file does.
    """
    found = verify_file(path, trust, at, recompute, against)
    print(json.dumps(found.to_dict(), indent=2) if as_json else render(found))
    return 0 if found.verdict == "certified" else 1


def render(found: Verification) -> str:
    """Returns the steps as lines of text, and what they come to."""
    width = max(len(step.name) for step in found.steps)
    lines = [f"{step.status:8}{step.name:{width}}  {printable(step.reason)}" for step in found.steps]
    if not found.valid:
        return "\n".join([*lines, "Invalid: this certificate proves nothing here."])
    if found.verdict != "certified" and found.certificate is not None:
        reasons = (f"  - {printable(reason)}" for reason in found.certificate.body["reasons"])
        return "\n".join([*lines, f"Valid, but the verdict is {found.verdict}:", *reasons])
    return "\n".join([*lines, "Valid: certified."])
