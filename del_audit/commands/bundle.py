"""`del-audit bundle`: the client's folder of a configuration."""

import argparse

from del_audit.commands.values import (
    Commands,
    add_config,
    add_machine,
    add_new_folder,
    add_trust,
    configured,
    path,
    whole,
)


def add_parser(commands: Commands) -> None:
    """Adds `bundle` to the commands."""
    bundle = commands.add_parser(
        "bundle",
        help="write the client's folder of a configuration",
        description="Writes the public file that the mechanism needs (for DEL the table of codes), the tokenizer, a "
        "card and, where one is given, the certificate that the client runs under: all that a client needs, all of it "
        "public.",
        allow_abbrev=False,
    )
    add_config(bundle)
    add_new_folder(bundle, "folder for the client")
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
    bundle.add_argument(
        "--public-text",
        action="append",
        default=[],
        type=path("--public-text"),
        metavar="FILE",
        help="a text that `del-audit proxy` may send as it is, such as your own system prompt; may be given again",
    )
    add_machine(bundle)
    bundle.set_defaults(run=_bundle)


def _bundle(arguments: argparse.Namespace) -> int:
    from del_audit.configuration.configuration import load_configuration

    config = configured(arguments.config, arguments)
    load_configuration(config)  # a wrong file is said before the seconds that imports take
    from del_audit.client.bundle import bundle

    given = (arguments.max_tokens, arguments.certificate, arguments.trust, arguments.public_text)
    return bundle(config, arguments.out, *given)
