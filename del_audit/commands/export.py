"""`del-audit export`: a certificate as a section of a model card, and as JUnit XML."""

import argparse

from del_audit.commands.values import Commands, add_trust, path
from mechanisms.errors import UserError


def add_parser(commands: Commands) -> None:
    """Adds `export` to the commands."""
    export = commands.add_parser(
        "export",
        help="a certificate as a section of a model card, and as JUnit XML",
        description="Only of a certificate that verifies. Exit codes: 0 written, 1 it does not verify, 2 user error.",
        allow_abbrev=False,
    )
    export.add_argument("certificate", type=path("certificate"), help="certificate.json of `del-audit certify`")
    export.add_argument(
        "--model-card", type=path("--model-card", new=True), metavar="FILE.md", help="Markdown to write"
    )
    export.add_argument(
        "--junit", type=path("--junit", new=True), metavar="FILE.xml", help="JUnit XML to write, a test case a check"
    )
    add_trust(export)
    export.add_argument("--at", metavar="DATE", help="valid at this ISO date instead of now")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    if arguments.model_card is None and arguments.junit is None:
        raise UserError("Expected --model-card, --junit or both, got neither. See del-audit export --help.")
    from del_audit.certificate.export_command import export

    return export(arguments.certificate, arguments.model_card, arguments.junit, arguments.trust, arguments.at)
