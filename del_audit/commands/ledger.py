"""`del-audit ledger`: what was sent from here so far. No text is in it."""

import argparse
import json
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from del_audit.commands.values import Commands, add_json, add_trust, path, real, whole
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from mechanisms.client import Client
    from mechanisms.ledger import Ledger


def add_parser(commands: Commands) -> None:
    """Adds `ledger` to the commands."""
    ledger = commands.add_parser(
        "ledger",
        help="what your clients sent so far, which their certificates limit",
        description="Your ledger is ledger.sqlite in $DEL_AUDIT_STATE, $XDG_STATE_HOME/del-audit or "
        "~/.local/state/del-audit; each API key of `del-audit proxy` has one of its own. It counts tokens for each "
        "deployment, and how often each 8 tokens in a row were sent to the services that share a tokenizer; it holds "
        "no text. A session is what is sent within a period.",
        allow_abbrev=False,
    )
    ledger.add_argument("--days", type=whole("days"), default=30, help="period, in days (default: 30)")
    ledger.add_argument("--by", choices=("day", "month"), help="also list what was sent in each day or month (UTC)")
    ledger.add_argument(
        "--bundle",
        type=path("--bundle"),
        metavar="FOLDER",
        help="a client's folder: what its session allows, what is left of it, and the epsilon of both",
    )
    add_trust(ledger)
    ledger.add_argument("--accept-quick", action="store_true", help="with --bundle: take a quick certificate too")
    ledger.add_argument("--delta", type=real("delta"), default=1e-5, help="of the epsilons (default: 1e-5)")
    add_json(ledger)
    ledger.set_defaults(run=_ledger)


def _ledger(arguments: argparse.Namespace) -> int:
    from mechanisms.client_certificate import MOST_DAYS
    from mechanisms.ledger import Ledger

    if not 1 <= arguments.days <= MOST_DAYS:
        raise UserError(f"Expected --days in 1..{MOST_DAYS}, got --days {arguments.days}.")
    ledgers = Ledger.all_of_user()
    client = None
    if arguments.bundle is not None:
        from del_audit.client.certified import client_under

        client = client_under(arguments.bundle, None, arguments.trust, arguments.accept_quick)
    told = {key: _told(ledger, client, arguments) for key, ledger in ledgers.items()}
    if arguments.json:
        own = told.pop("")
        print(
            json.dumps({"days": arguments.days, **own, "keys": told}, default=lambda date: date.isoformat(), indent=2)
        )
        return 0
    for key, ledger in ledgers.items():
        _show(key, ledger, arguments, told[key])
    return 0


def _told(ledger: "Ledger", client: "Client | None", arguments: argparse.Namespace) -> dict[str, object]:
    """Returns what a ledger says, as JSON has it."""
    told: dict[str, object] = asdict(ledger.summary(timedelta(days=arguments.days)))
    if arguments.by:
        told["periods"] = [asdict(period) for period in ledger.periods(arguments.by)]
    if client is not None:
        told["session"] = _session(ledger, client, arguments.delta)
    return told


def _session(ledger: "Ledger", client: "Client", delta: float) -> dict[str, object]:
    """Returns what a client's session allows and what was spent of it, each with its epsilon.

    The session's is a guarantee, since the certificate fixed it beforehand. The other one is an odometer: turns follow
    answers, so how much is spent is not fixed, and no guarantee may be quoted at it.
    """
    from del_audit.accounting.any_mechanism import has_proof, proved_guarantee

    terms, account = client.terms, client.account
    assert account is not None
    recent = {each.deployment: each.recent for each in ledger.summary(terms.period).spent}
    spent, most = recent.get(account.deployment, 0), terms.session_tokens

    def epsilon(tokens: int | None) -> dict[str, object] | None:
        if not tokens or not has_proof(client.spec):
            return None
        bound = proved_guarantee(client.spec, "session", tokens, delta).epsilon
        return {"upper": bound.upper, "kind": bound.kind}

    return {
        "days": terms.period / timedelta(days=1),
        "spent": spent,
        "tokens": most,
        "left": None if most is None else max(0, most - spent),
        "delta": delta,
        "odometer": epsilon(spent),
        "guarantee": epsilon(most),
    }


def _show(key: str, ledger: "Ledger", arguments: argparse.Namespace, told: dict[str, object]) -> None:
    found = ledger.summary(timedelta(days=arguments.days))
    print(f"Ledger: {ledger.path}" if not key else f"\nLedger of the key {key}: {ledger.path}")
    for spent in found.spent:
        print(f"Deployment {spent.deployment[:12]}, tokenizer {spent.tokenizer[:12]}")
        print(f"  {spent.recent:,} tokens in the last {arguments.days} days")
        print(
            f"  {spent.tokens:,} tokens in {spent.releases:,} releases, {spent.first:%Y-%m-%d} to {spent.last:%Y-%m-%d}"
        )
    for period in ledger.periods(arguments.by) if arguments.by else []:
        print(f"  {period.name}  {period.tokens:,} tokens in {period.releases:,} releases, {period.deployment[:12]}")
    print(f"Runs of 8 tokens: {found.windows:,} different ones; the most frequent was sent {found.sends:,} times")
    if isinstance(session := told.get("session"), dict):
        _show_session(session)


def _show_session(session: dict[str, object]) -> None:
    most, delta = session["tokens"], session["delta"]
    print(f"Session of {session['days']:g} days: {session['spent']:,} tokens spent", end="")
    print("; the certificate sets no cap." if most is None else f" of {most:,}, {session['left']:,} left.")
    for name, what in (
        ("guarantee", "Guarantee of the cap, fixed beforehand"),
        ("odometer", "Odometer of what was spent so far (no guarantee: turns follow answers)"),
    ):
        if isinstance(bound := session[name], dict):
            print(f"  {what}: epsilon at most {bound['upper']:,.2f} nats at delta {delta:g} ({bound['kind']})")
