"""The options of the commands on certificates: certify, verify, export and key. Nothing heavy is imported for them."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from del_audit.options import path
from del_audit.plain_text import json_text
from mechanisms.errors import UserError
from mechanisms.folder_lock import held

if TYPE_CHECKING:
    from del_audit.certificate.requirement import Requirement


def add_certify(commands: Any) -> None:
    """Adds `certify` to the commands."""
    certify = commands.add_parser(
        "certify",
        help="attack a configuration and certify it against its policy",
        description="Exit codes: 0 certified, 1 refused, 3 inconclusive, 2 user error.",
        allow_abbrev=False,
    )
    certify.add_argument("config", type=path("config"), help="YAML file of the configuration and its policy")
    certify.add_argument("--out", type=path("--out"), help="folder for the results (default: out/NAME)")
    certify.add_argument(
        "--key",
        type=path("--key"),
        help="private key that signs, PEM (default: your own, made at first use; see del-audit key)",
    )
    certify.add_argument("--json", action="store_true", help="print the certificate as JSON; the table goes to stderr")
    certify.set_defaults(run=_certify)


def add_verify(commands: Any) -> None:
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
    verify.add_argument("--json", action="store_true", help="print JSON with stable keys")
    verify.set_defaults(run=_verify)


def add_export(commands: Any) -> None:
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


def add_key(commands: Any) -> None:
    """Adds `key` and what it does to the commands."""
    key = commands.add_parser(
        "key",
        help="make, show or revoke a key that signs certificates",
        description="Your own key is key.pem in $DEL_AUDIT_CONFIG, $XDG_CONFIG_HOME/del-audit or ~/.config/del-audit; "
        "public keys in its folder trusted/ are those that you trust; lists in its folder revoked/ name those that "
        "nobody should trust any longer. DEL_AUDIT_KEY_PASSPHRASE opens encrypted keys.",
        allow_abbrev=False,
    )
    kinds = key.add_subparsers(title="what to do", required=True, metavar="new|show|revoke|revoked")
    new = kinds.add_parser("new", help="make a key", allow_abbrev=False)
    new.add_argument(
        "--out",
        type=path("--out", new=True),
        required=True,
        help="file for the private key; the public one goes to OUT.pub",
    )
    new.set_defaults(run=_key_new)
    show = kinds.add_parser("show", help="print the public key of a private one", allow_abbrev=False)
    show.add_argument(
        "key", type=path("key"), nargs="?", help="private key, PEM (default: your own, made at first use)"
    )
    show.set_defaults(run=_key_show)
    _add_revocation(kinds)


def _add_revocation(kinds: Any) -> None:
    revoke = kinds.add_parser(
        "revoke",
        help="never trust a key again",
        description="Adds the key to your signed list in the folder revoked/. No certificate that it signed is trusted "
        "any longer, whatever its date, also where the key is given with --trust.",
        allow_abbrev=False,
    )
    revoke.add_argument("key", metavar="KEY", help="public key: a PEM file, or text in base64 or hex")
    revoke.add_argument("--reason", default="", metavar="TEXT", help="why, one line, for whoever is refused")
    revoke.add_argument(
        "--key",
        dest="signer",
        type=path("--key"),
        metavar="PRIVATE",
        help="private key that signs the list (default: your own)",
    )
    revoke.set_defaults(run=_key_revoke)
    revoked = kinds.add_parser("revoked", help="list the keys that are revoked", allow_abbrev=False)
    revoked.set_defaults(run=_key_revoked)


def add_trust(command: argparse.ArgumentParser) -> None:
    """Adds --trust to a command."""
    command.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PUB",
        help="public key that may have signed it: a PEM file, or text in base64 or hex; may be given again "
        "(default: your own key and those in your folder trusted/)",
    )


def _certify(arguments: argparse.Namespace) -> int:
    folder = arguments.out or Path("out") / _name(arguments.config)
    with held(folder, folder):
        _name(arguments.config)  # a wrong file is said before the seconds that imports take
        from del_audit.certificate.command import certify

        if not arguments.json:
            return certify(arguments.config, folder, arguments.key)
        with contextlib.redirect_stdout(sys.stderr):
            code = certify(arguments.config, folder, arguments.key)
        print(json_text((folder / "certificate.json").read_text(encoding="utf8")))
        return code


def _name(config: Path) -> str:
    from del_audit.certificate.config import load_configuration

    return load_configuration(config).name


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
        arguments.against,
        require,
        arguments.strict,
    )
    accepts = arguments.accept_quick or (require is not None and require.accepts_quick)
    return run_verify(found, accepts, arguments.json)


def _requirement(path: Path) -> "Requirement":
    from del_audit.certificate.requirement import Requirement

    return Requirement.of(path)


def _export(arguments: argparse.Namespace) -> int:
    if arguments.model_card is None and arguments.junit is None:
        raise UserError("Expected --model-card, --junit or both, got neither. See del-audit export --help.")
    from del_audit.certificate.export_command import export

    return export(arguments.certificate, arguments.model_card, arguments.junit, arguments.trust, arguments.at)


def _key_new(arguments: argparse.Namespace) -> int:
    from del_audit.key_command import key_new

    return key_new(arguments.out)


def _key_show(arguments: argparse.Namespace) -> int:
    from del_audit.key_command import key_show

    return key_show(arguments.key)


def _key_revoke(arguments: argparse.Namespace) -> int:
    from del_audit.key_command import key_revoke

    return key_revoke(arguments.key, arguments.reason, arguments.signer)


def _key_revoked(_arguments: argparse.Namespace) -> int:
    from del_audit.key_command import key_revoked

    return key_revoked()
