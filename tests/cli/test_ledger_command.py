import json

import numpy as np
import pytest

from del_audit.cli import main
from mechanisms.ledger import Ledger
from mechanisms.terms import Terms


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_what_each_deployment_was_sent_is_shown_without_a_text(state, capsys):
    for deployment, length in (("a" * 64, 12), ("a" * 64, 9), ("b" * 64, 3)):
        Ledger.of_user().charge(deployment, "t" * 64, [np.arange(length)], Terms())
    assert main(["ledger"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == f"Ledger: {state / 'ledger.sqlite'}"
    for line in (
        "Deployment aaaaaaaaaaaa, tokenizer tttttttttttt",
        "  21 tokens in the last 30 days",
        "  3 tokens in the last 30 days",
        "Runs of 8 tokens: 5 different ones; the most frequent was sent 2 times",
    ):
        assert line in printed.splitlines()
    assert main(["ledger", "--days", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["days"], found["windows"], found["sends"]) == (7, 5, 2)
    assert {one["deployment"]: one["tokens"] for one in found["spent"]} == {"a" * 64: 21, "b" * 64: 3}


def test_a_ledger_that_is_not_there_is_empty(state, capsys):
    assert main(["ledger"]) == 0
    assert "0 different ones" in capsys.readouterr().out
    assert not list(state.iterdir())


@pytest.mark.parametrize("days", ["0", "-1", "36501", "x"])
def test_a_period_that_is_none_is_refused(days, capsys):
    assert main(["ledger", "--days", days]) == 2
    assert "days" in capsys.readouterr().err


def test_a_damaged_ledger_is_said(state, capsys):
    state.mkdir(mode=0o700)
    (state / "ledger.sqlite").write_bytes(b"")
    assert main(["ledger"]) == 2
    assert "ledger.key" in capsys.readouterr().err
