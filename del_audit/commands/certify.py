"""`del-audit certify`: attacks a configuration and certifies it against its policy."""

import argparse
import contextlib
import sys
from pathlib import Path

from del_audit.commands.values import (
    Commands,
    add_config,
    add_machine,
    add_workers,
    configured,
    path,
    workers_of,
)
from del_audit.configuration.changed_file import ChangedFile, ConfigurationFile
from del_audit.show.console import json_text
from mechanisms.folder_lock import held


def add_parser(commands: Commands) -> None:
    """Adds `certify` to the commands."""
    certify = commands.add_parser(
        "certify",
        help="attack a configuration and certify it against its policy",
        description="A run that was cut off goes on where the same command finds its OUT.partial. Exit codes: 0 "
        "certified, 1 refused, 3 inconclusive, 2 user error.",
        allow_abbrev=False,
    )
    add_config(certify, "the configuration and its policy")
    certify.add_argument("--out", type=path("--out"), help="folder for the results (default: out/NAME)")
    certify.add_argument(
        "--key",
        type=path("--key"),
        help="private key that signs, PEM (default: your own, made at first use; see del-audit key)",
    )
    certify.add_argument(
        "--quick",
        action="store_true",
        help="the short list of attacks in place of the file's; clients accept it only where they are told to",
    )
    add_machine(certify)
    add_workers(certify)
    certify.add_argument("--json", action="store_true", help="print the certificate as JSON; the table goes to stderr")
    certify.set_defaults(run=_certify)


def _certify(arguments: argparse.Namespace) -> int:
    config = configured(arguments.config, arguments)
    if arguments.quick:
        config = _quick(config)
    folder = arguments.out or Path("out") / _name(config)
    with held(folder, folder):
        _name(config)  # a wrong file is said before the seconds that imports take
        workers = workers_of(arguments)
        from del_audit.certificate.certify import certify

        if not arguments.json:
            return certify(config, folder, arguments.key, workers)
        with contextlib.redirect_stdout(sys.stderr):
            code = certify(config, folder, arguments.key, workers)
        print(json_text((folder / "certificate.json").read_text(encoding="utf8")))
        return code


def _quick(config: ConfigurationFile) -> ConfigurationFile:
    """Returns a configuration's file with the assurance quick, and the attacks that it requires."""
    from attacks.registry import required_by

    file, changes = (config.path, config.changes) if isinstance(config, ChangedFile) else (config, {})
    quick = {"policy.assurance": "quick", "evaluation.attacks": list(required_by("quick"))}
    return ChangedFile(file, {**changes, **quick})


def _name(config: ConfigurationFile) -> str:
    from del_audit.configuration.configuration import load_configuration

    return load_configuration(config).name
