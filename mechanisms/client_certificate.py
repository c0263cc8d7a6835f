"""What a client asks of a certificate before it sends anything: that it is trusted, in date, certified, and its own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from mechanisms.canonical_json import LARGEST
from mechanisms.curve_point import require_sound
from mechanisms.errors import UserError
from mechanisms.keyring import require_not_revoked
from mechanisms.signed_document import SignedDocument, fingerprint, open_signed
from mechanisms.small_file import read_small
from mechanisms.spec import QuantizerSpec
from mechanisms.terms import Terms

FORMAT = "del-audit certificate 2"
WHAT = "certificate"
CLOCK_SKEW = timedelta(minutes=5)
"""How far two machines' clocks may be apart."""


class Uncertified:
    """The type of UNCERTIFIED."""


UNCERTIFIED: Final = Uncertified()
"""Given in a certificate's place: run without one. Nobody then vouches for what is sent."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a client is about to run. encoder, tokenizer, model: sha256 of the table, the tokenizer.json, the model."""

    spec: QuantizerSpec
    encoder: str
    tokenizer: str
    model: str


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


def date(text: Any, name: str) -> datetime:
    """Returns an ISO date-time that states its zone, in UTC; raises UserError for anything else."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError("no zone")
        return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"Expected {name} to be an ISO date and time with a zone, got {str(text)[:100]!r}.") from None


def terms_of(
    certificate: SignedDocument, deployment: Deployment, trusted: Collection[bytes], now: datetime | None = None
) -> Terms:
    """Returns what a certificate allows this deployment; its policy's limits of a prompt and a session are limits here.

    trusted: public keys, 32 bytes each. now: with a zone; None asks the clock.
    Raises UserError for a key that is not trusted, a verdict that is not certified, another format, an expired one,
    and one of another spec, encoder table, tokenizer or model.
    """
    body = certificate.body
    require_trusted(certificate, trusted)
    if body.get("format") != FORMAT:
        raise UserError(f"Expected format {FORMAT!r}, got {str(body.get('format'))[:100]!r}.")
    if body.get("verdict") != "certified":
        raise UserError(f"Expected the verdict certified, got {str(body.get('verdict'))[:100]!r}.")
    expires = require_in_date(body, now if now is not None else datetime.now(UTC))
    try:
        _require_own(body, deployment)
        limits = [(limit["unit"], limit["tokens"]) for limit in body["configuration"]["policy"]["epsilon"]]
        prompt = min((tokens for unit, tokens in limits if unit == "prompt"), default=None)
        session = min((tokens for unit, tokens in limits if unit == "session"), default=None)
    except (KeyError, TypeError) as error:
        raise UserError(f"Expected a {WHAT} of the format {FORMAT!r}, got one that lacks or misuses {error}.") from None
    return Terms(prompt, session, expires)


def _require_own(body: Mapping[str, Any], deployment: Deployment) -> None:
    spec, hashes = QuantizerSpec(**body["spec"]), body["hashes"]
    if spec != deployment.spec or hashes["spec"] != spec.fingerprint.hex():
        raise UserError(f"Expected a {WHAT} of {deployment.spec}, got one of {spec}: it is not this client's.")
    for name in ("encoder", "tokenizer", "model"):
        wanted, got = getattr(deployment, name), hashes[name]
        if wanted != got:
            raise UserError(
                f"Expected a {WHAT} of the {name} {wanted[:12]}, got one of {str(got)[:12]}: it is not this client's."
            )
