"""A client's folder under its certificate: what `send` and the proxy ask before anything is sent."""

from collections.abc import Sequence
from pathlib import Path

from mechanisms.client import Client
from mechanisms.client_bundle import certificate_of, load_client
from mechanisms.client_certificate import UNCERTIFIED, Requirement, Uncertified, require_format, require_trusted
from mechanisms.keyring import trusted_keys
from mechanisms.signed_document import SignedDocument


def client_under(
    bundle: Path,
    certificate: Path | Uncertified | None,
    trust: Sequence[str] = (),
    accept_quick: bool = False,
    require: Requirement | None = None,
) -> Client:
    """Returns the client of a folder; certificate, trust, accept_quick and require as `send` takes them.

    Raises UserError as load_client does, and for a certificate whose attacks have become stronger since.
    """
    if isinstance(certificate, Uncertified):
        return load_client(bundle, certificate=UNCERTIFIED)
    signed = current_certificate(bundle, certificate, trust)
    trusted = trusted_keys(trust)
    return load_client(bundle, certificate=signed, trusted=trusted, accept_quick=accept_quick, require=require)


def current_certificate(bundle: Path, certificate: Path | None, trust: Sequence[str] = ()) -> SignedDocument:
    """Returns a folder's certificate, or another file's, if its key is trusted and no attack became stronger since.

    What it is of, and whether it has expired, is load_client's to ask. Raises UserError as its readers do.
    """
    from del_audit.certificate.attack_versions import require_current_attacks
    from del_audit.certificate.schema import require_schema
    from del_audit.certificate.typed import typed_body

    signed = certificate_of(bundle, certificate)
    require_trusted(signed, trusted_keys(trust))  # whatever a stranger wrote is not worth reading
    require_format(signed.body)
    require_schema(signed.whole)
    require_current_attacks(typed_body(signed.body))
    return signed
