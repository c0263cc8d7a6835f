"""`del-audit certify`: configuration in, certificate and report out."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from del_audit.accounting import guarantee
from del_audit.certificate.config import load_configuration
from del_audit.certificate.document import body_of
from del_audit.certificate.evidence import build, gather, load_assets
from del_audit.certificate.report import render
from del_audit.certificate.table import print_summary
from del_audit.certificate.verdict import Verdict
from del_audit.quiet import silence_libraries
from mechanisms.errors import UserError

EXIT_CODES: dict[Verdict, int] = {"certified": 0, "refused": 1, "inconclusive": 3}


def certify(config_path: Path, out: Path | None) -> int:
    """Certifies a configuration, writes certificate.json and report.html to out, and returns the exit code.

    out: a folder, `out/NAME` where it is None. Both files are complete or not there: written beside, then renamed.
    Returns 0 for certified, 1 for refused, 3 for inconclusive. Raises UserError for what a user can mend.
    """
    started = time.monotonic()
    configuration = load_configuration(config_path)
    folder = out if out is not None else Path("out") / configuration.name
    _prepare(folder)
    guarantee(configuration.mechanism.spec(), proved=True)  # fails now, not after minutes, where nothing can be proved
    silence_libraries()
    assets = load_assets(configuration)
    pipeline = build(configuration, assets, configuration.mechanism.spec())
    evidence = gather(configuration, assets, pipeline)
    seconds = time.monotonic() - started
    certificate = body_of(configuration, assets, pipeline, evidence, seconds)
    write_results(certificate, folder)
    console = Console()
    print_summary(certificate, console)
    console.print(f"\nWritten: {folder / 'certificate.json'}, {folder / 'report.html'} ({seconds:.0f} s)")
    return EXIT_CODES[certificate["verdict"]]


def write_results(certificate: dict[str, Any], folder: Path) -> None:
    """Writes certificate.json and report.html; raises UserError where the folder cannot be written."""
    text = json.dumps(certificate, indent=2, allow_nan=False) + "\n"
    page = render(certificate)
    for name, content in (("report.html", page), ("certificate.json", text)):
        _write(folder / name, content)


def _prepare(folder: Path) -> None:
    """Makes the folder now, so that a wrong path is not found out after minutes of work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("not writable")
    except OSError as error:
        raise UserError(f"Expected --out to be a folder that can be written, got {str(folder)!r}: {error}.") from None


def _write(path: Path, content: str) -> None:
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf8") as stream:
            stream.write(content)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"Expected to write {str(path)!r}: {error}.") from None
    finally:
        Path(beside).unlink(missing_ok=True)
