"""`del-audit ledger`: what was sent from here so far. No text is in it."""

import argparse
import json
from dataclasses import asdict

from del_audit.commands.values import Commands, add_json, whole
from mechanisms.errors import UserError


def add_parser(commands: Commands) -> None:
    """Adds `ledger` to the commands."""
    ledger = commands.add_parser(
        "ledger",
        help="what your clients sent so far, which their certificates limit",
        description="Your ledger is ledger.sqlite in $DEL_AUDIT_STATE, $XDG_STATE_HOME/del-audit or "
        "~/.local/state/del-audit. It counts tokens for each deployment, and how often each 8 tokens in a row were "
        "sent to the services that share a tokenizer; it holds no text. A session is what is sent within a period.",
        allow_abbrev=False,
    )
    ledger.add_argument("--days", type=whole("days"), default=30, help="period, in days (default: 30)")
    add_json(ledger)
    ledger.set_defaults(run=_ledger)


def _ledger(arguments: argparse.Namespace) -> int:
    from datetime import timedelta

    from mechanisms.client_certificate import MOST_DAYS
    from mechanisms.ledger import Ledger

    if not 1 <= arguments.days <= MOST_DAYS:
        raise UserError(f"Expected --days in 1..{MOST_DAYS}, got --days {arguments.days}.")
    ledger = Ledger.of_user()
    found = ledger.summary(timedelta(days=arguments.days))
    if arguments.json:
        print(json.dumps({"days": arguments.days, **asdict(found)}, default=lambda date: date.isoformat(), indent=2))
        return 0
    print(f"Ledger: {ledger.path}")
    for spent in found.spent:
        print(f"Deployment {spent.deployment[:12]}, tokenizer {spent.tokenizer[:12]}")
        print(f"  {spent.recent:,} tokens in the last {arguments.days} days")
        print(
            f"  {spent.tokens:,} tokens in {spent.releases:,} releases, {spent.first:%Y-%m-%d} to {spent.last:%Y-%m-%d}"
        )
    print(f"Runs of 8 tokens: {found.windows:,} different ones; the most frequent was sent {found.sends:,} times")
    return 0
