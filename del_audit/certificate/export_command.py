"""`del-audit export`: a certificate that verifies, as a section of a model card and as JUnit XML."""

import sys
from collections.abc import Sequence
from pathlib import Path

from del_audit.certificate.junit import junit
from del_audit.certificate.model_card import model_card
from del_audit.certificate.verify_command import verify_file
from del_audit.process.exit_codes import DONE, REFUSED
from mechanisms.files import Content, write_files


def export(path: Path, card: Path | None, xml: Path | None, trust: Sequence[str], at: str | None) -> int:
    """Writes what is asked for and returns 0, or writes nothing and returns 1 where the certificate does not verify.

    A valid certificate is exported whatever its verdict: a gate must see a refusal. Raises UserError as verify_file and
    write_files do.
    """
    found = verify_file(path, trust, at)
    if not found.valid or found.certificate is None or found.body is None:
        print(f"del-audit: not exported: {'; '.join(found.failures)}", file=sys.stderr)
        return REFUSED
    body, fingerprint = found.body, found.certificate.fingerprint
    contents: dict[Path, Content] = {}
    if card is not None:
        contents[card] = model_card(body, fingerprint).encode()
    if xml is not None:
        contents[xml] = junit(body, fingerprint)
    write_files(contents)
    print(f"Written: {', '.join(map(str, contents))}")
    return DONE
