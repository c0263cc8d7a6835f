"""`del-audit key`: the keys that certificates are signed with, and those that are no longer to be believed."""

import argparse

from del_audit.commands.values import Commands, path


def add_parser(commands: Commands) -> None:
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


def _add_revocation(kinds: Commands) -> None:
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


def _key_new(arguments: argparse.Namespace) -> int:
    from del_audit.certificate.signing_keys import key_new

    return key_new(arguments.out)


def _key_show(arguments: argparse.Namespace) -> int:
    from del_audit.certificate.signing_keys import key_show

    return key_show(arguments.key)


def _key_revoke(arguments: argparse.Namespace) -> int:
    from del_audit.certificate.signing_keys import key_revoke

    return key_revoke(arguments.key, arguments.reason, arguments.signer)


def _key_revoked(_arguments: argparse.Namespace) -> int:
    from del_audit.certificate.signing_keys import key_revoked

    return key_revoked()
