"""What `del-audit send` does: a prompt in, a message file out. It needs a client's folder, no language model."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mechanisms.client import Client
from mechanisms.client_bundle import certificate_of, load_client
from mechanisms.client_certificate import UNCERTIFIED, Requirement, Uncertified, require_format, require_trusted
from mechanisms.errors import UserError
from mechanisms.keyring import trusted_keys


def send(
    bundle: Path,
    text: str | None,
    out: Path,
    certificate: Path | Uncertified | None = None,
    trust: Sequence[str] = (),
    accept_quick: bool = False,
    require: Requirement | None = None,
) -> int:
    """Writes the message of a prompt to a file, whole or not at all; returns exit code 0.

    text: the prompt; None reads standard input, which other users of the machine cannot see in the process list.
    certificate: its file; None for the one in the bundle, UNCERTIFIED for none. trust: public keys that may have signed
    it, as mechanisms.keyring.public_key takes them; where there are none, the user's own and trusted ones.
    accept_quick, require: as client_certificate.terms_of takes them.
    Raises UserError as load_client and Client.release do, for a certificate whose attacks have become stronger since,
    and for an out that exists or cannot be made; then nothing is charged, drawn or written. Raises it also where the
    message cannot be written after it was charged, and says so.
    """
    if out.exists():
        raise UserError(f"Expected a file that does not exist yet, got {str(out)!r}.")
    client = _client(bundle, certificate, trust, accept_quick, require)
    try:
        prompt = sys.stdin.read() if text is None else text
    except UnicodeDecodeError:
        raise UserError("Expected text on standard input, got bytes that are none.") from None
    with _reserved(out) as place:
        message = client.release(prompt)
        try:
            place(message)
        except OSError as error:
            raise UserError(
                f"Expected a file that can be written, got {str(out)!r}: {error.strerror}. The message is lost, "
                f"and its {client.charged} tokens stay charged in your ledger: its noise was drawn. Free space or "
                "name another file with --out before you send again."
            ) from None
    print(f"{out}: {len(message)} bytes, {client.charged} tokens")
    return 0


def _client(
    bundle: Path,
    certificate: Path | Uncertified | None,
    trust: Sequence[str],
    accept_quick: bool,
    require: Requirement | None,
) -> Client:
    if isinstance(certificate, Uncertified):
        return load_client(bundle, certificate=UNCERTIFIED)
    from del_audit.certificate.currency import require_current_attacks
    from del_audit.certificate.schema import require_schema

    signed = certificate_of(bundle, certificate)
    trusted = trusted_keys(trust)
    require_trusted(signed, trusted)  # whatever a stranger wrote is not worth reading
    require_format(signed.body)
    require_schema(signed.whole)
    require_current_attacks(signed.body)
    return load_client(bundle, certificate=signed, trusted=trusted, accept_quick=accept_quick, require=require)


@contextmanager
def _reserved(out: Path) -> Iterator[Callable[[bytes], None]]:
    """Yields a function that writes out, whole and over no other file; a folder that cannot be written is said first.

    Raises UserError for such a folder; the function raises OSError.
    """
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise UserError(f"Expected a file that can be written, got {str(out)!r}: {error.strerror}.") from None
    try:
        with os.fdopen(handle, "wb") as stream:

            def place(data: bytes) -> None:
                stream.write(data)
                stream.flush()
                os.fsync(handle)
                os.fchmod(handle, 0o644)
                _link(beside, out)

            yield place
    finally:
        os.unlink(beside)


def _link(beside: str, out: Path) -> None:
    try:
        os.link(beside, out)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(out, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        out.write_bytes(Path(beside).read_bytes())
