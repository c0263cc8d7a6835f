"""What `del-audit send` does: a prompt in, a message file out. It needs a client's folder, no language model."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mechanisms.client import Client
from mechanisms.client_bundle import certificate_of, load_client
from mechanisms.client_certificate import UNCERTIFIED, Uncertified
from mechanisms.encoder_file import write_whole
from mechanisms.errors import UserError
from mechanisms.keyring import trusted_keys


def send(
    bundle: Path,
    text: str | None,
    out: Path,
    certificate: Path | Uncertified | None = None,
    trust: Sequence[str] = (),
) -> int:
    """Writes the message of a prompt to a file, whole or not at all; returns exit code 0.

    text: the prompt; None reads standard input, which other users of the machine cannot see in the process list.
    certificate: its file; None for the one in the bundle, UNCERTIFIED for none. trust: public keys that may have signed
    it, as mechanisms.keyring.public_key takes them; where there are none, the user's own and trusted ones.
    Raises UserError as load_client and Client.release do, for a certificate whose attacks have become stronger since,
    and for an out that exists; then nothing is drawn or written.
    """
    if out.exists():
        raise UserError(f"Expected a file that does not exist yet, got {str(out)!r}.")
    client = _client(bundle, certificate, trust)
    try:
        prompt = sys.stdin.read() if text is None else text
    except UnicodeDecodeError:
        raise UserError("Expected text on standard input, got bytes that are none.") from None
    message = client.release(prompt)
    write_whole(out, message)
    print(f"{out}: {len(message)} bytes, {client.charged} tokens")
    return 0


def _client(bundle: Path, certificate: Path | Uncertified | None, trust: Sequence[str]) -> Client:
    if isinstance(certificate, Uncertified):
        return load_client(bundle, certificate=UNCERTIFIED)
    from del_audit.certificate.currency import require_current_attacks
    from del_audit.certificate.schema import require_schema

    signed = certificate_of(bundle, certificate)
    client = load_client(bundle, certificate=signed, trusted=trusted_keys(trust))
    require_schema(signed.whole)
    require_current_attacks(signed.body)
    return client
