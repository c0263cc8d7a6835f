"""What `del-audit send` does: a prompt in, a message file out. It needs a client's folder, no language model."""

import sys
from pathlib import Path

from mechanisms.client_bundle import load_client
from mechanisms.encoder_file import write_whole
from mechanisms.errors import UserError


def send(bundle: Path, text: str | None, out: Path) -> int:
    """Writes the message of a prompt to a file, whole or not at all; returns exit code 0.

    text: the prompt; None reads standard input, which other users of the machine cannot see in the process list.
    Raises UserError as load_client and Client.release do, and for an out that exists; then nothing is written.
    """
    if out.exists():
        raise UserError(f"Expected a file that does not exist yet, got {str(out)!r}.")
    client = load_client(bundle)
    try:
        prompt = sys.stdin.read() if text is None else text
    except UnicodeDecodeError:
        raise UserError("Expected text on standard input, got bytes that are none.") from None
    message = client.release(prompt)
    write_whole(out, message)
    print(f"{out}: {len(message)} bytes")
    return 0
