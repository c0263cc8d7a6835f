"""`del-audit proxy`: OpenAI's API on the user's machine, before a server that never sees the words."""

import argparse

from del_audit.commands.values import Commands, add_listening, add_trust, listening_of, path


def add_parser(commands: Commands) -> None:
    """Adds `proxy` to the commands."""
    proxy = commands.add_parser(
        "proxy",
        help="OpenAI's API on this machine, before a server that never sees your words",
        description="Releases what a client of OpenAI's API says, and sends the releases to `del-audit serve`. Nothing "
        "leaves in clear but texts that the bundle lists as public. What is sent is entered in your ledger (`del-audit "
        "ledger`), one per API key. It needs neither the model nor torch. Exit codes: 0 stopped, 2 user error.",
        allow_abbrev=False,
    )
    proxy.add_argument("bundle", type=path("bundle"), help="the client's folder, which `del-audit bundle` wrote")
    proxy.add_argument("--upstream", required=True, metavar="URL", help="the server, such as https://server:8700")
    proxy.add_argument(
        "--upstream-key", type=path("--upstream-key"), metavar="FILE", help="file that holds the server's API key"
    )
    proxy.add_argument(
        "--upstream-ca", type=path("--upstream-ca"), metavar="PEM", help="who signed the server's TLS certificate"
    )
    proxy.add_argument(
        "--certificate", type=path("--certificate"), help="the certificate (default: the one in the bundle)"
    )
    add_trust(proxy)
    proxy.add_argument("--accept-quick", action="store_true", help="run under a certificate of quick assurance too")
    add_listening(proxy, 8701)
    proxy.set_defaults(run=_proxy)


def _proxy(arguments: argparse.Namespace) -> int:
    listening = listening_of(arguments)
    from del_audit.serving.proxy import Proxying, proxy

    how = Proxying(listening, arguments.upstream, arguments.upstream_key, arguments.upstream_ca, arguments.keys)
    return proxy(arguments.bundle, how, arguments.certificate, tuple(arguments.trust), arguments.accept_quick)
