"""A certification that is cut off, and one that several workers share: the same certificate as any other."""

import json
import signal

import pytest
import yaml

from del_audit.certificate import gather
from del_audit.cli import main

BESIDES = ("seconds", "made", "expires", "attempts", "error_rate", "signature")
"""What differs between two runs of one configuration: the clock, attempts and what follows from them, the signature."""


@pytest.fixture
def path(tiny_lm_folder, tiny_bert_folder, reviews, tmp_path):
    content = {
        "name": "tiny",
        "model": str(tiny_lm_folder),
        "sentence_encoder": str(tiny_bert_folder),
        "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": 5.0},
        "data": {"corpus": str(reviews), "text_column": "text"},
        "attribute": {"column": "condition", "classes": 2},
        "evaluation": {
            "attacks": ["baseline", "map", "beam"],
            "attacked_tokens": 200,
            "context_prompts": 6,
            "prompts": 6,
            "response_tokens": 8,
            "generations": 2,
            "generated_tokens": 3,
            "other_bits": [1],
            "other_prompts": 4,
        },
        "policy": {
            "assurance": "quick",
            "prompt_tokens": 12,
            "attack_success_at_most": 0.9,
            "worst_prompt_success_at_most": 0.99,
        },
    }
    written = tmp_path / "tiny.yaml"
    written.write_text(yaml.safe_dump(content))
    return written


def findings(out):
    """Returns what a certificate says was measured."""
    certificate = json.loads((out / "certificate.json").read_text())
    return {name: value for name, value in certificate.items() if name not in BESIDES}


@pytest.fixture
def measured(monkeypatch):
    """The names of the parts that this process makes, in their order."""
    names, make = [], gather.Gathering.make

    def noted(self, asked):
        names.append(asked)
        make(self, asked)

    monkeypatch.setattr(gather.Gathering, "make", noted)
    return names


def test_a_run_that_was_cut_off_goes_on_and_says_the_same(path, tmp_path, monkeypatch, measured, capsys):
    main(["certify", str(path), "--out", str(tmp_path / "whole")])
    every, predicted = list(measured), gather.measure_prediction
    assert len(every) == len(set(every))
    assert {"attack-baseline", "attack-map", "attack-beam", "lists", "attribute", "1-bits", "knowing-left"} < set(every)
    assert not (tmp_path / "whole.partial").exists()

    def killed(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(gather, "measure_prediction", killed)
    measured.clear()
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 130
    before = measured[:-1]
    assert not list((tmp_path / "out").glob("*"))
    assert (tmp_path / "out.partial").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(gather, "measure_prediction", predicted)
    measured.clear()
    main(["certify", str(path), "--out", str(tmp_path / "out")])
    assert [*before, *measured] == every
    assert before
    assert findings(tmp_path / "out") == findings(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()
    capsys.readouterr()
    assert main(["private"]) == 0
    assert str(tmp_path) not in capsys.readouterr().out


def test_parts_of_another_configuration_are_not_used(path, tmp_path, monkeypatch, measured, capsys):
    def killed(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(gather, "measure_prediction", killed)
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 130
    monkeypatch.undo()
    path.write_text(path.read_text().replace("mu: 5.0", "mu: 6.0"))
    main(["certify", str(path), "--out", str(tmp_path / "out")])
    said = next(line for line in capsys.readouterr().err.splitlines() if "out.partial" in line)
    assert "was of another configuration hash" in said
    assert said.endswith("spec hash, and is begun again.")
    main(["certify", str(path), "--out", str(tmp_path / "whole")])
    assert findings(tmp_path / "out") == findings(tmp_path / "whole")


def test_a_damaged_part_is_named(path, tmp_path, monkeypatch, capsys):
    def killed(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(gather, "measure_prediction", killed)
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 130
    monkeypatch.undo()
    (tmp_path / "out.partial" / "parts" / "lists.json").write_text('{"figures": 3}')
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "lists.json to hold a finished part" in capsys.readouterr().err


def test_two_workers_certify_what_one_certifies(path, tmp_path, measured, one_thread):
    main(["certify", str(path), "--out", str(tmp_path / "alone")])
    assert measured
    measured.clear()
    main(["certify", str(path), "--out", str(tmp_path / "shared"), "--workers", "2"])
    assert measured == []
    assert findings(tmp_path / "shared") == findings(tmp_path / "alone")
