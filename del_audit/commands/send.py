"""`del-audit send`: releases a prompt into a message file."""

import argparse

from del_audit.commands.values import Commands, add_new_folder, add_trust, path
from mechanisms.errors import UserError


def add_parser(commands: Commands) -> None:
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
    add_new_folder(send, "file for the message")
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


def _send(arguments: argparse.Namespace) -> int:
    asked = arguments.certificate is not None or arguments.trust or arguments.require is not None
    if arguments.uncertified and (asked or arguments.accept_quick):
        raise UserError(
            "Expected --uncertified without --certificate, --trust, --require and --accept-quick, got both: "
            "leave --uncertified out."
        )
    from del_audit.client.send import send
    from mechanisms.client_certificate import UNCERTIFIED

    certificate = UNCERTIFIED if arguments.uncertified else arguments.certificate
    require = None
    if arguments.require is not None:
        from del_audit.certificate.requirement import Requirement

        require = Requirement.of(arguments.require)
    return send(
        arguments.bundle, arguments.text, arguments.out, certificate, arguments.trust, arguments.accept_quick, require
    )
