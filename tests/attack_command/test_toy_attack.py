"""What an attack costs: its file (tests/toy_attack.py) and its row. The rest is read from the registry."""

import json
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from attacks.registry import ATTACKS, AttackRow
from del_audit.certificate.model import Certificate
from del_audit.certificate.summary import print_summary
from del_audit.certificate.typed import typed
from del_audit.cli import main

ROW = AttackRow("toy", "toy_attack:HalfPrior", 3)
QUICK = {
    "policy": {"attack_success_at_most": 0.9, "prompt_tokens": 16, "assurance": "quick"},
    "evaluation": {
        "attacks": ["baseline", "map", "toy"],
        "attacked_tokens": 1_000,
        "prompts": 6,
        "response_tokens": 8,
        "generations": 2,
        "generated_tokens": 3,
    },
}


@pytest.fixture
def row(monkeypatch):
    """Adds the row, and returns a caller that takes it away again."""
    monkeypatch.setitem(ATTACKS, "toy", ROW)
    yield lambda: ATTACKS.pop("toy")
    sys.modules.pop("toy_attack", None)  # it took its version from the row


@pytest.mark.usefixtures("row")
def test_it_attacks_from_the_command_line(attack, tmp_path, capsys):
    assert attack("inversion", "--attacks", "likelihood,map,toy", "--no-text-metrics") == 0
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [row["key"] for row in found["attacks"]] == ["baseline", "likelihood", "map", "toy"]
    assert (found["attacks"][-1]["name"], found["attacks"][-1]["version"]) == ("half prior (toy)", 3)
    assert found["self_tests"]["toy"]["passed"]
    assert (tmp_path / "out" / "outcomes" / "toy.parquet").exists()
    assert "half prior (toy)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["attack", "inversion", "--help"])
    assert "contextual-beam,toy;" in "".join(capsys.readouterr().out.split())  # a line may end at a hyphen


def test_it_is_certified_with_and_a_verifier_without_it_reads_the_certificate(row, configured, tmp_path, capsys):
    assert main(["certify", str(configured(**QUICK)), "--out", str(tmp_path / "out")]) == 0
    path = tmp_path / "out" / "certificate.json"
    certificate = json.loads(path.read_text())
    assert [attack["key"] for attack in certificate["inversion"]["attacks"]] == ["baseline", "map", "toy"]
    assert certificate["inversion"]["attacks"][-1]["version"] == 3
    assert "toy" not in certificate["inversion"]["not_run"]
    verify = ["verify", str(path), "--accept-quick"]
    capsys.readouterr()
    assert main(verify) == 0
    row()
    assert main(verify) == 0, "a verifier without the row"
    assert "None has become stronger since" in " ".join(capsys.readouterr().out.split())
    console = Console(record=True, width=160)
    print_summary(typed(Certificate, certificate), console)
    assert "half prior (toy)" in console.export_text()
    ATTACKS["toy"] = replace(ROW, version=4)
    assert main(verify) == 1
    assert "attack toy has become stronger since (version 4, the certificate ran 3)" in " ".join(
        capsys.readouterr().out.split()
    )
