"""`del-audit verify`: is a certificate whole, trusted, in date, and do its proved figures hold?"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from del_audit.commands.values import Commands, add_json, add_machine, add_trust, configured, path
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from del_audit.certificate.requirement import Requirement


def add_parser(commands: Commands) -> None:
    """Adds `verify` to the commands."""
    verify = commands.add_parser(
        "verify",
        help="is this certificate whole, trusted, in date, and do its proved figures hold?",
        description="Exit codes: 0 valid and certified; 1 changed, not trusted, expired, mismatched, or not certified; "
        "2 user error, also for a file that is no certificate.",
        allow_abbrev=False,
    )
    verify.add_argument("certificate", type=path("certificate"), help="certificate.json of `del-audit certify`")
    add_trust(verify)
    verify.add_argument(
        "--against", type=path("--against"), metavar="CONFIG", help="also compare this configuration and its assets"
    )
    verify.add_argument(
        "--no-recompute", action="store_true", help="do not compute the proved figures again: under half a second"
    )
    verify.add_argument(
        "--require",
        type=path("--require"),
        metavar="POLICY",
        help="YAML file of your own limits, which its figures must meet",
    )
    verify.add_argument("--accept-quick", action="store_true", help="accept quick assurance, the short list of attacks")
    verify.add_argument(
        "--strict", action="store_true", help="fail where a comparison had to be skipped or attempts are unknown"
    )
    verify.add_argument("--at", metavar="DATE", help="valid at this ISO date instead of now")
    add_machine(verify, beside="with --against: ")
    add_json(verify)
    verify.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.strict and arguments.no_recompute:
        raise UserError("Expected --strict without --no-recompute, which skips the proved figures, got both: drop one.")
    from del_audit.certificate.verify_command import run_verify, verify_file

    require = _requirement(arguments.require) if arguments.require is not None else None
    found = verify_file(
        arguments.certificate,
        arguments.trust,
        arguments.at,
        not arguments.no_recompute,
        configured(arguments.against, arguments) if arguments.against is not None else None,
        require,
        arguments.strict,
    )
    accepts = arguments.accept_quick or (require is not None and require.accepts_quick)
    return run_verify(found, accepts, arguments.json)


def _requirement(path: Path) -> "Requirement":
    from del_audit.certificate.requirement import Requirement

    return Requirement.of(path)
