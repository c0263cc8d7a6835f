"""What `del-audit send` does: a prompt in, a message file out. It needs a client's folder, no language model."""

import codecs
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from del_audit.client.certified import client_under
from mechanisms.client_certificate import Requirement, Uncertified
from mechanisms.errors import UserError
from mechanisms.files import reserved


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
    Raises UserError as load_client and Client.release do, for a prompt that is no UTF-8, for a certificate whose
    attacks have become stronger since, and for an out that exists or cannot be made; then nothing is charged, drawn or
    written. Raises it also where the message cannot be written after it was charged, and says so.
    """
    if out.exists():
        raise UserError(f"Expected a file that does not exist yet, got {str(out)!r}.")
    client = client_under(bundle, certificate, trust, accept_quick, require)
    prompt = _read_prompt() if text is None else _as_given(text)
    with reserved(out, new=True) as place:
        message = client.release(prompt)
        place(
            message,
            f"The message is lost, and its {client.charged} tokens stay charged in your ledger: its noise was drawn. "
            "Free space or name another file with --out before you send again.",
        )
    print(f"{out}: {len(message)} bytes, {client.charged} tokens")
    return 0


def _read_prompt() -> str:
    """Returns the text on standard input, in UTF-8 whatever the locale, with one kind of line end and no mark.

    Raises UserError for bytes that are no UTF-8, and where nothing can be read.
    """
    try:
        stream = getattr(sys.stdin, "buffer", sys.stdin)
        data = b"" if stream is None else stream.read()
    except (OSError, ValueError) as error:
        raise UserError(f"Expected text on standard input, got none that can be read: {error}.") from None
    if isinstance(data, str):  # a stream of text that a program put there
        data = data.encode("utf8", "surrogatepass")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(
            "Expected UTF-8 text on standard input, got the byte order mark of UTF-16: convert it to UTF-8."
        )
    mark = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    try:
        text = data[mark:].decode("utf8")
    except UnicodeDecodeError as error:
        at = mark + error.start
        raise UserError(
            f"Expected UTF-8 text on standard input, got the byte 0x{data[at]:02x} at offset {at}: convert it to UTF-8."
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _as_given(text: str) -> str:
    """Returns the text of --text; raises UserError where its bytes were no UTF-8, which Python gives as surrogates."""
    try:
        text.encode("utf8")
        return text
    except UnicodeEncodeError as error:
        got, at = f"half a surrogate pair {text[error.start]!r}", error.start
    try:
        data = os.fsencode(text)  # what was typed, whatever the locale made of it
        return data.decode("utf8")
    except UnicodeDecodeError as error:
        got, at = f"the byte 0x{data[error.start]:02x}", error.start
    except UnicodeEncodeError:
        pass  # no program's argument: text that somebody put together
    raise UserError(
        f"Expected --text in UTF-8, got {got} at offset {at}: convert it, or leave --text out and send UTF-8 on "
        "standard input."
    )
