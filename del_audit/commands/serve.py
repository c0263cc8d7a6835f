"""`del-audit serve`: the server of a certified configuration."""

import argparse

from del_audit.commands.values import (
    Commands,
    add_config,
    add_listening,
    add_machine,
    add_trust,
    configured,
    listening_of,
    path,
    real,
    whole,
)


def add_parser(commands: Commands) -> None:
    """Adds `serve` to the commands."""
    serve = commands.add_parser(
        "serve",
        help="serve a certified configuration: released messages in, answers out",
        description="Serves only what the certificate names, and stops serving when it ends. Its clients are "
        "`del-audit proxy`. GET /health and /metrics need no key. Exit codes: 0 stopped, 2 user error.",
        allow_abbrev=False,
    )
    add_config(serve, "the configuration that was certified")
    serve.add_argument(
        "--certificate", type=path("--certificate"), required=True, help="its certificate, read again every minute"
    )
    add_trust(serve)
    serve.add_argument("--accept-quick", action="store_true", help="serve under a certificate of quick assurance too")
    add_listening(serve, 8700)
    serve.add_argument(
        "--engine",
        metavar="URL",
        help="a vLLM server that writes the answers, such as http://127.0.0.1:8000, started with "
        "--enable-prompt-embeds --no-enable-prefix-caching (default: the model in this process)",
    )
    serve.add_argument(
        "--max-new-tokens", type=whole("max-new-tokens"), default=4096, help="of one answer (default: 4096)"
    )
    serve.add_argument("--max-requests", type=whole("max-requests"), default=256, help="at once (default: 256)")
    serve.add_argument("--max-seconds", type=real("max-seconds"), default=600.0, help="of one answer (default: 600)")
    serve.add_argument(
        "--no-padding",
        action="store_true",
        help="send answers as they are written: sizes and times then tell their lengths, word by word",
    )
    add_machine(serve)
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from mechanisms.errors import UserError

    for name, least in (("max_new_tokens", 1), ("max_requests", 1), ("max_seconds", 1)):
        if getattr(arguments, name) < least:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"Expected {option} >= {least}, got {option} {getattr(arguments, name):g}.")
    listening = listening_of(arguments)
    from del_audit.serving.serve import Serving, serve
    from del_audit.serving.server_app import Limits

    limits = Limits(new_tokens=arguments.max_new_tokens, open=arguments.max_requests, seconds=arguments.max_seconds)
    how = Serving(listening, limits, arguments.keys, not arguments.no_padding, arguments.engine)
    config = configured(arguments.config, arguments)
    return serve(config, arguments.certificate, how, tuple(arguments.trust), arguments.accept_quick)
