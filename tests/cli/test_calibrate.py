"""The contract of `del-audit calibrate`: keys, text, exit codes, and errors that say what to mend."""

import json
import re
from pathlib import Path

import pytest

from del_audit.accounting.calibration import Target, calibrate, smallest_bits
from del_audit.cli import main

CODE = ["--dim", "18", "--clip", "1.0"]
BITS = ["--bits", "4", *CODE]


def _record(arguments, capsys):
    assert main(["calibrate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_has_the_contract_keys_in_order(capsys):
    record = _record([*BITS, "--epsilon", "10"], capsys)
    assert list(record) == ["spec", "target", "achieved"]
    assert list(record["spec"]) == ["bits", "dim", "clip", "scale"]
    assert list(record["target"]) == ["kind", "value", "delta", "unit", "tokens"]
    assert list(record["achieved"]) == ["lower", "estimate", "upper"]
    assert record["target"] == {"kind": "epsilon", "value": 10.0, "delta": 1e-5, "unit": "token", "tokens": 1}
    assert record["achieved"]["upper"] <= 10


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (
            ["--epsilon", "20", "--delta", "1e-6", "--unit", "prompt", "--tokens", "64"],
            Target.epsilon(20, 1e-6, "prompt", 64),
        ),
        (["--at-epsilon", "2", "--delta", "1e-3"], Target.delta(1e-3, 2)),
        (["--at-epsilon", "2", "--delta", "0"], Target.delta(0, 2)),
        (["--total-variation", "0.25", "--unit", "phrase", "--tokens", "3"], Target.total_variation(0.25, "phrase", 3)),
        (["--attack-success", "0.2", "--kappa", "0.05"], Target.attack_success(0.2, 0.05)),
    ],
)
def test_each_target_reaches_the_solver(arguments, target, capsys):
    assert _record([*BITS, *arguments], capsys) == calibrate(4, 18, 1.0, target).to_dict()


def test_the_printed_scale_is_accounted_below_the_target(capsys):
    unit = ["--unit", "prompt", "--tokens", "64", "--delta", "1e-6"]
    scale = _record([*BITS, "--epsilon", "20", *unit], capsys)["spec"]["scale"]
    assert main(["account", *BITS, "--scale", repr(scale), *unit, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["epsilon"]
    assert 20 * (1 - 1e-6) < found["upper"] <= 20


def test_text_quotes_every_digit_and_the_kind(capsys):
    arguments = [*BITS, "--epsilon", "10", "--unit", "prompt", "--tokens", "64"]
    assert main(["calibrate", *arguments]) == 0
    text = capsys.readouterr().out
    found = calibrate(4, 18, 1.0, Target.epsilon(10, 1e-5, "prompt", 64))
    for words in (
        f"scale={found.spec.scale!r}",
        f"mu={found.spec.mu:.6g} (asymptotic, no bound)",
        "9 bytes a token",
        "Target     epsilon at delta=1e-05 <= 10.0 nats",
        "Unit       prompt, tokens=64, 17,280 trials",
        f"Achieved   epsilon <= {found.achieved.upper!r} nats (proved)",
        f"Every smaller scale is proved to miss the target: {found.beyond.lower!r} nats or more.",
    ):
        assert words in text
    assert main(["calibrate", *BITS, "--epsilon", "10", "--unit", "prompt"]) == 2
    assert "Expected --tokens, a whole number >= 1, with --unit prompt, got none" in capsys.readouterr().err
    assert main(["calibrate", *BITS, "--at-epsilon", "2", "--delta", "1e-3"]) == 0
    assert "Target     delta at epsilon=2.0 nats <= 0.001\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [*BITS, "--epsilon", "10"],
        [*BITS, "--total-variation", "0.9999999999999999"],
        [*BITS, "--epsilon", "1e6"],
        [*CODE, "--bytes-a-token", "18", "--attack-success", "0.2000001", "--kappa", "0.1234567"],
    ],
)
def test_text_fits_100_columns(arguments, capsys):
    assert main(["calibrate", *arguments]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_bytes_choose_the_bits(capsys):
    target = Target.epsilon(200)
    arguments = [*CODE, "--bytes-a-token", "9", "--epsilon", "200"]
    assert _record(arguments, capsys) == smallest_bits(18, 1.0, target, 9).to_dict()
    strict = _record([*arguments, "--loss", "0"], capsys)
    assert strict == smallest_bits(18, 1.0, target, 9, loss=0).to_dict()
    assert strict["spec"]["bits"] == 4
    assert list(strict) == ["spec", "target", "achieved", "table"]
    assert main(["calibrate", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.lstrip()[:1].isdigit() and "bytes a" not in line] == list("1234")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (BITS, "Expected exactly one of --epsilon, --at-epsilon, --total-variation, --attack-success, got none."),
        ([*BITS, "--epsilon", "1", "--total-variation", "0.1"], "got --epsilon and --total-variation."),
        ([*BITS, "--attack-success", "0.2"], "with --attack-success and only there, got no --kappa."),
        ([*BITS, "--epsilon", "1", "--kappa", "0.2"], "with --attack-success and only there, got kappa=0.2."),
        ([*BITS, "--at-epsilon", "1"], "Expected --delta (in [0, 1)) with --at-epsilon, got none."),
        ([*BITS, "--total-variation", "0.1", "--delta", "0.1"], "only, got --total-variation and delta=0.1."),
        ([*CODE, "--epsilon", "1"], "Expected exactly one of --bits (1 to 8) and --bytes-a-token, got neither."),
        ([*BITS, "--bytes-a-token", "9", "--epsilon", "1"], "and --bytes-a-token, got both."),
        ([*BITS, "--epsilon", "1", "--loss", "0.1"], "Expected --loss with --bytes-a-token only, got --bits and loss"),
        ([*CODE, "--bytes-a-token", "2", "--epsilon", "1"], "whole number >= 3 for dim=18, got bytes_a_token=2."),
        (["--bits", "9", *CODE, "--epsilon", "1"], "Expected bits in 1..8, got bits=9."),
        ([*BITS, "--epsilon", "x"], "Expected epsilon to be a finite number, got epsilon='x'."),
        ([*BITS, "--epsilon", "-1"], "Expected epsilon to be a finite number >= 0, got epsilon=-1.0."),
        ([*BITS, "--epsilon", "1", "--delta", "0"], "Expected delta in (0, 1), got delta=0.0."),
        ([*BITS, "--total-variation", "1"], "Expected total_variation in (0, 1), got total_variation=1.0."),
        ([*BITS, "--total-variation", "1e-12"], "that of the noisiest release of 270 trials"),
        ([*BITS, "--attack-success", "0.1", "--kappa", "0.2"], "Expected attack_success in (0.2, 1), above kappa"),
        ([*BITS, "--epsilon", "1", "--unit", "word"], "Expected unit to be one of token, phrase, prompt, session"),
        (["--bits", "4", "--epsilon", "1"], "--dim, --clip"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_bad_input_is_one_line_on_stderr_and_exit_code_2(arguments, message, form, capsys):
    assert main(["calibrate", *arguments, *form]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("del-audit: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_the_page_shows_what_is_printed(capsys):
    page = (Path(__file__).parents[2] / "docs" / "calibration.md").read_text(encoding="utf8")
    shown = re.findall(r"^    del-audit (calibrate .*)\n\n```text\n([^`]*)```", page, flags=re.MULTILINE)
    assert len(shown) == 2
    for command, output in shown:
        assert main(command.split()) == 0
        assert capsys.readouterr().out == output


def test_the_page_shows_the_bits_that_are_found():
    page = (Path(__file__).parents[2] / "docs" / "calibration.md").read_text(encoding="utf8")
    rows = re.findall(r"^\| (epsilon|total variation) ([\d.]+) \| (.*) \|$", page, flags=re.MULTILINE)
    assert len(rows) == 6
    for name, value, cells in rows:
        target = Target.epsilon(float(value)) if name == "epsilon" else Target.total_variation(float(value))
        choice = smallest_bits(18, 1.0, target, 18)
        *variances, chosen = map(float, cells.split(" | "))
        assert [choice.table[bits - 1].variance for bits in (1, 2, 3, 4, 8)] == pytest.approx(variances, rel=5.1e-4)
        assert choice.chosen.spec.bits == chosen
