"""The options of the client's commands: bundle and send. Nothing heavy is imported for them."""

import argparse
from typing import Any

from del_audit.certificate.options import add_trust
from del_audit.options import path, whole
from mechanisms.errors import UserError


def add_bundle(commands: Any) -> None:
    """Adds `bundle` to the commands."""
    bundle = commands.add_parser(
        "bundle",
        help="write the client's folder of a configuration",
        description="Writes the table of codes, the tokenizer, a card and, where one is given, the certificate that "
        "the client runs under: all that a client needs, all of it public.",
        allow_abbrev=False,
    )
    bundle.add_argument("config", type=path("config"), help="YAML file of the configuration")
    bundle.add_argument(
        "--out", type=path("--out", new=True), required=True, help="folder for the client; must not exist yet"
    )
    bundle.add_argument(
        "--max-tokens",
        type=whole("max-tokens"),
        help="longest prompt (default: the model's context less the soft prompt and the evaluation's new tokens)",
    )
    bundle.add_argument(
        "--certificate",
        type=path("--certificate"),
        metavar="CERT",
        help="put this certificate into the folder, if it is of this client",
    )
    add_trust(bundle)
    bundle.set_defaults(run=_bundle)


def add_send(commands: Any) -> None:
    """Adds `send` to the commands."""
    send = commands.add_parser(
        "send",
        help="release a prompt into a message file; needs no language model",
        description="Sends nothing unless a certificate that you trust says that this very client was certified. What "
        "is sent is charged to your ledger before anything is drawn (del-audit ledger shows it).",
        allow_abbrev=False,
    )
    send.add_argument("bundle", type=path("bundle"), help="the client's folder, of `del-audit bundle`")
    send.add_argument("--text", help="the prompt (default: standard input, which no process list shows)")
    send.add_argument(
        "--out", type=path("--out", new=True), required=True, help="file for the message; must not exist yet"
    )
    send.add_argument(
        "--certificate", type=path("--certificate"), metavar="CERT", help="(default: certificate.json in the folder)"
    )
    send.add_argument(
        "--require",
        type=path("--require"),
        metavar="POLICY",
        help="YAML file of a policy that the certificate must meet as well",
    )
    send.add_argument(
        "--accept-quick", action="store_true", help="also under a certificate of the assurance quick: fewer attacks ran"
    )
    send.add_argument("--uncertified", action="store_true", help="send without a certificate: nobody vouches for it")
    add_trust(send)
    send.set_defaults(run=_send)


def _bundle(arguments: argparse.Namespace) -> int:
    from del_audit.certificate.config import load_configuration

    load_configuration(arguments.config)  # a wrong file is said before the seconds that imports take
    from del_audit.bundle import bundle

    return bundle(arguments.config, arguments.out, arguments.max_tokens, arguments.certificate, arguments.trust)


def _send(arguments: argparse.Namespace) -> int:
    asked = arguments.certificate is not None or arguments.trust or arguments.require is not None
    if arguments.uncertified and (asked or arguments.accept_quick):
        raise UserError(
            "Expected --uncertified without --certificate, --trust, --require and --accept-quick, got both: "
            "leave --uncertified out."
        )
    from del_audit.send import send
    from mechanisms.client_certificate import UNCERTIFIED

    certificate = UNCERTIFIED if arguments.uncertified else arguments.certificate
    require = None
    if arguments.require is not None:
        from del_audit.certificate.requirement import Requirement

        require = Requirement.of(arguments.require)
    return send(
        arguments.bundle, arguments.text, arguments.out, certificate, arguments.trust, arguments.accept_quick, require
    )
