"""What a client asks of a certificate before it sends anything: that it is trusted, in date, certified, and its own."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from mechanisms.canonical_json import LARGEST
from mechanisms.curve_point import require_sound
from mechanisms.errors import UserError
from mechanisms.keyring import require_not_revoked
from mechanisms.padding import SECTION, Padding
from mechanisms.registry import described
from mechanisms.signed_document import SignedDocument, fingerprint, open_signed
from mechanisms.small_file import read_small
from mechanisms.terms import Deployment, Terms

FORMAT = "del-audit certificate 6"
FORMATS = ("del-audit certificate 3", "del-audit certificate 4", "del-audit certificate 5", FORMAT)
"""What clients hold to: all limit how often a text is sent."""
OLDER = ("del-audit certificate 1", "del-audit certificate 2")
WHAT = "certificate"
UNITS = ("token", "phrase", "prompt", "session")
MOST_DAYS = 36_500
"""Days of a session at most: a hundred years."""
CLOCK_SKEW = timedelta(minutes=5)
"""How far two machines' clocks may be apart."""


class Uncertified:
    """The type of UNCERTIFIED."""


UNCERTIFIED: Final = Uncertified()
"""Given in a certificate's place: run without one. Nobody then vouches for what is sent."""


class Requirement(Protocol):
    """What whoever runs a client asks of its certificate beyond what the certificate says of itself."""

    @property
    def accepts_quick(self) -> bool:
        """Whether a certificate of the assurance quick will do."""
        ...

    def require_met(self, body: Mapping[str, Any]) -> None:
        """Raises UserError unless the body of a certificate meets the requirement."""
        ...


def read_certificate(path: Path) -> SignedDocument:
    """Returns the certificate in a file, its signature verified; raises UserError as read_small and open_signed do."""
    return open_signed(read_small(path, LARGEST, WHAT), WHAT)


def require_trusted(certificate: SignedDocument, trusted: Collection[bytes]) -> None:
    """Raises UserError unless the key that signed is trusted, and was not revoked. trusted: public keys, 32 bytes each.

    Raises it also as keyring.require_not_revoked does for lists of revoked keys that cannot be believed.
    """
    require_sound(certificate.key, f"a {WHAT} by an Ed25519 public key")
    require_not_revoked(certificate.key)
    if certificate.key not in trusted:
        known = ", ".join(sorted(map(fingerprint, trusted))) or "none"
        raise UserError(
            f"Expected a {WHAT} signed by a trusted key ({known}), got one signed by {certificate.fingerprint}: "
            "give its public key with --trust, or put it into the trusted folder, if you know whose it is."
        )


def require_in_date(body: Mapping[str, Any], now: datetime) -> datetime:
    """Returns when the certificate expires; raises UserError where that has passed, or where it is from the future."""
    made, expires = (date(body.get(key), key) for key in ("made", "expires"))
    if now >= expires:
        raise UserError(f"Expected a {WHAT} that has not expired, got one that expired on {expires}: certify again.")
    if made > now + CLOCK_SKEW:
        raise UserError(f"Expected a {WHAT} made before now ({now}), got one made on {made}.")
    return expires


def date(text: object, name: str) -> datetime:
    """Returns an ISO date-time that states its zone, in UTC; raises UserError for anything else."""
    try:
        found = datetime.fromisoformat(text if isinstance(text, str) else "")
        if found.tzinfo is None:
            raise ValueError("no zone")
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserError(f"Expected {name} to be an ISO date and time with a zone, got {str(text)[:100]!r}.") from None


def terms_of(
    certificate: SignedDocument,
    deployment: Deployment,
    trusted: Collection[bytes],
    now: datetime | None = None,
    *,
    accept_quick: bool = False,
    require: Requirement | None = None,
) -> Terms:
    """Returns what a certificate allows this deployment; what its policy assumes of the client is a limit here.

    trusted: public keys, 32 bytes each. now: with a zone; None asks the clock. accept_quick: whether a certificate of
    the assurance quick will do. require: asked last, and decides about quick in the place of accept_quick.
    Raises UserError for a key that is not trusted or was revoked, an older format, a verdict that is not certified, an
    expired one, one of another spec, public file, tokenizer or model, one that lacks a limit, a quick one that is not
    accepted, and where the requirement is not met.
    """
    body = certificate.body
    require_trusted(certificate, trusted)
    require_format(body)
    if body.get("verdict") != "certified":
        raise UserError(f"Expected the verdict certified, got {str(body.get('verdict'))[:100]!r}.")
    expires = require_in_date(body, now if now is not None else datetime.now(UTC))
    try:
        _require_own(body, deployment)
        policy = body["configuration"]["policy"]
        for level in (policy["assurance"], body.get("assurance", policy["assurance"])):  # asked for, and reached
            _require_assurance(level, accept_quick if require is None else require.accepts_quick)
        terms = _terms(policy, expires, Padding.of_section(body.get("sections", {}).get(SECTION)))
        if require is not None:
            require.require_met(body)
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"Expected a {WHAT} of the format {FORMAT!r}, got one that lacks or misuses {error}: certify again."
        ) from None
    return terms


def require_format(body: Mapping[str, Any]) -> None:
    """Raises UserError unless a certificate's body has the format that clients hold to, which it says first."""
    found = body.get("format")
    if found in OLDER:
        raise UserError(
            f"Expected format {FORMAT!r}, got {found!r}: it was given under older rules, which did not limit how often "
            "a text is sent. Certify again (`del-audit certify CONFIG`)."
        )
    if found not in FORMATS:
        raise UserError(f"Expected format {FORMAT!r}, got {str(found)[:100]!r}.")


def _require_assurance(found: object, accept_quick: bool) -> None:
    if found not in ("full", "quick"):
        raise UserError(f"Expected the assurance full or quick, got {str(found)[:100]!r}: certify again.")
    if found == "quick" and not accept_quick:
        raise UserError(
            f"Expected a {WHAT} of the assurance full, got a quick one, for which fewer attacks were run: certify "
            "again with `assurance: full` in the policy."
        )


def _terms(policy: Mapping[str, Any], expires: datetime, padding: Padding | None) -> Terms:
    limits = {unit: [_count(policy["prompt_tokens"], "prompt_tokens")] if unit == "prompt" else [] for unit in UNITS}
    for limit in policy["epsilon"]:
        if limit["unit"] not in limits:
            raise UserError(f"Expected a unit of {', '.join(UNITS)}, got {str(limit['unit'])[:100]!r}: certify again.")
        limits[limit["unit"]].append(_count(limit["tokens"], "tokens"))
    return Terms(
        prompt_tokens=min(limits["prompt"]),
        sends=_count(policy["sends"], "sends"),
        session_tokens=min(limits["session"], default=None),
        period=timedelta(days=_count(policy["session_days"], "session_days", MOST_DAYS)),
        until=expires,
        padding=padding,
    )


def _count(value: object, name: str, most: int = 2**53) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise UserError(
            f"Expected {name} of the {WHAT}'s policy in 1..{most}, got {str(value)[:100]!r}: certify again."
        )
    return value


def _require_own(body: Mapping[str, Any], deployment: Deployment) -> None:
    try:
        spec, hashes = described(body["spec"]), body["hashes"]
    except UserError as error:
        raise UserError(f"Expected a {WHAT} of a known spec, got one that lacks or misuses it: {error}") from None
    if spec != deployment.spec or hashes["spec"] != spec.fingerprint.hex():
        raise UserError(f"Expected a {WHAT} of {deployment.spec}, got one of {spec}: it is not this client's.")
    for name in ("encoder", "tokenizer", "model"):
        wanted, got = getattr(deployment, name), hashes[name]
        if wanted != got:
            raise UserError(
                f"Expected a {WHAT} of the {name} {wanted[:12]}, got one of {str(got)[:12]}: it is not this client's."
            )
