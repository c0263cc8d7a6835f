"""`del-audit ledger` after a proxy ran: what each key spent, by day and month, and the epsilon of it, labelled."""

import json
from datetime import UTC, datetime

from del_audit.accounting.any_mechanism import proved_guarantee
from del_audit.cli import main
from mechanisms.client_bundle import load_client
from mechanisms.ledger import Account, Ledger


def spend(deployment, texts, key=""):
    client = load_client(deployment.bundle, accept_quick=True)
    account = Account(Ledger.of_user(key), client.account.deployment, client.account.tokenizer)
    _, tokens = client.charging(account).release_all(texts)
    return tokens


def test_each_key_day_and_month_is_told_apart(deployment, own_state, capsys):
    own, marys = spend(deployment, ["It hurts", "and again"]), spend(deployment, ["My knee hurts me"], "mary")
    assert main(["ledger", "--by", "month", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    now = datetime.now(UTC)
    assert [(each["name"], each["tokens"], each["releases"]) for each in told["periods"]] == [(f"{now:%Y-%m}", own, 2)]
    (mary,) = told["keys"].values()
    assert (mary["spent"][0]["tokens"], mary["periods"][0]["releases"]) == (marys, 1)
    assert main(["ledger", "--by", "day"]) == 0
    printed = capsys.readouterr().out
    assert f"  {now:%Y-%m-%d}  {own} tokens in 2 releases" in printed
    assert f"Ledger of the key mary: {own_state / 'ledger-mary.sqlite'}" in printed


def test_the_odometer_is_labelled_and_the_guarantee_is_the_caps(deployment, own_state, capsys):
    spent = spend(deployment, ["It hurts in my knee"])
    options = ["--bundle", str(deployment.bundle), "--accept-quick"]
    assert main(["ledger", *options, "--json"]) == 0
    session = json.loads(capsys.readouterr().out)["session"]
    assert (session["spent"], session["tokens"], session["left"]) == (spent, 2_000, 2_000 - spent)
    spec = load_client(deployment.bundle, accept_quick=True).spec
    assert session["guarantee"]["upper"] == proved_guarantee(spec, "session", 2_000).epsilon.upper
    assert session["odometer"]["upper"] == proved_guarantee(spec, "session", spent).epsilon.upper
    assert main(["ledger", *options]) == 0
    printed = capsys.readouterr().out
    assert f"{spent} tokens spent of 2,000, {2_000 - spent:,} left." in printed
    assert "Odometer of what was spent so far (no guarantee: turns follow answers)" in printed
    assert main(["ledger", "--bundle", str(deployment.bundle)]) == 2
    assert "quick" in capsys.readouterr().err
