"""The contract of `del-audit account`: keys, exit codes, and errors that say what to mend."""

import json
import subprocess
import sys

import pytest

from del_audit.accounting import guarantee
from del_audit.cli import main
from mechanisms.spec import QuantizerSpec

CODE = ["--bits", "4", "--dim", "18", "--clip", "0.05"]


def test_json_has_the_contract_keys_in_order(capsys):
    assert main(["account", *CODE, "--mu", "2", "--unit", "prompt", "--tokens", "3", "--delta", "1e-6", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record) == [
        "spec",
        "unit",
        "tokens",
        "sends",
        "trials",
        "delta",
        "epsilon",
        "pure_epsilon",
        "total_variation",
        "gaussian_limit",
    ]
    assert list(record["spec"]) == ["bits", "dim", "clip", "scale"]
    assert list(record["epsilon"]) == ["lower", "estimate", "upper"]
    assert list(record["gaussian_limit"]) == ["mu", "gamma", "epsilon_certified", "epsilon_ignoring_gamma"]
    spec = QuantizerSpec.from_mu(4, 18, 0.05, 2)
    assert record == guarantee(spec, "prompt", 3, 1e-6).to_dict()
    assert (record["unit"], record["tokens"], record["trials"], record["delta"]) == ("prompt", 3, 810, 1e-6)
    assert record["gaussian_limit"]["epsilon_certified"] is None


def test_defaults_are_one_token_at_1e_5(capsys):
    assert main(["account", *CODE, "--scale", "0.8", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["unit"], record["tokens"], record["trials"], record["delta"]) == ("token", 1, 270, 1e-5)
    assert record["spec"] == {"bits": 4, "dim": 18, "clip": 0.05, "scale": 0.8}


@pytest.mark.parametrize(
    ("unit", "tokens", "said"),
    [
        ("token", 1, "differ in one token, each token sent 3 times"),
        ("phrase", 4, "at most 4 tokens, each token sent 3 times"),
        ("prompt", 4, "any two prompts of 4 tokens, each token sent 3 times"),
        ("session", 4, "any two sessions in which 4 tokens are sent, each token sent 3 times"),
    ],
)
def test_sends_goes_with_every_unit_and_multiplies_the_trials(unit, tokens, said, capsys):
    options = ["account", *CODE, "--scale", "0.8", "--unit", unit, "--tokens", str(tokens), "--sends", "3"]
    assert main([*options, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["unit"], record["tokens"], record["sends"], record["trials"]) == (unit, tokens, 3, tokens * 3 * 270)
    assert main(options) == 0
    text = capsys.readouterr().out
    assert f"Unit       {unit}, tokens={tokens}, each sent 3 times, {tokens * 3 * 270:,} trials" in text
    assert said in text


def test_a_prompt_of_one_token_may_be_asked_for(capsys):
    assert main(["account", *CODE, "--scale", "0.8", "--unit", "prompt", "--tokens", "1", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["unit"], record["tokens"], record["sends"], record["trials"]) == ("prompt", 1, 1, 270)


def test_an_epsilon_that_the_theorem_does_certify(capsys):
    arguments = ["--bits", "4", "--dim", "4096", "--clip", "0.05", "--mu", "0.05", "--delta", "0.01", "--json"]
    assert main(["account", *arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["gaussian_limit"]["epsilon_certified"] == pytest.approx(0.0437003, abs=1e-6)
    assert record["gaussian_limit"]["epsilon_certified"] > record["epsilon"]["upper"]


def test_table_rounds_up_and_names_unit_and_kinds(capsys):
    assert main(["account", *CODE, "--mu", "2"]) == 0
    text = capsys.readouterr().out
    exact = guarantee(QuantizerSpec.from_mu(4, 18, 0.05, 2)).epsilon.upper
    row = next(line for line in text.splitlines() if line.startswith("epsilon at delta=1e-05"))
    shown = float(row.split("(nats)")[1].split()[0])
    assert exact <= shown < exact + 1e-6
    assert "certifies none" in row
    for words in ("Unit       token, tokens=1, 270 trials", "float with error bound", "asymptotic, no bound"):
        assert words in text
    assert "rules little out" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert main(["account", *CODE, "--mu", "40", "--unit", "prompt", "--tokens", "64"]) == 0
    text = capsys.readouterr().out
    assert "rules little out" in text
    assert "any two prompts of 64 tokens" in text
    assert "certifies nothing here, whatever delta" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--bits", "9", "--mu", "1"], "Expected bits in 1..8, got bits=9."),
        (["--bits", "0", "--mu", "1"], "Expected bits in 1..8, got bits=0."),
        (["--bits", "2.5", "--mu", "1"], "Expected bits to be a whole number, got bits='2.5'."),
        (["--dim", "0", "--mu", "1"], "Expected dim >= 1, got dim=0."),
        (["--clip", "nan", "--mu", "1"], "Expected clip to be a finite number, got clip='nan'."),
        (["--clip", "-1", "--mu", "1"], "Expected clip > 0, got clip=-1.0."),
        (["--mu", "inf"], "Expected mu to be a finite number, got mu='inf'."),
        (["--mu", "0"], "Expected mu to be a finite number > 0, got mu=0.0."),
        (["--scale", "0.05"], "Expected scale > clip=0.05, got scale=0.05"),
        (["--scale", "x"], "Expected scale to be a finite number, got scale='x'."),
        ([], "Expected exactly one of --scale (above clip) and --mu (above 0), got neither."),
        (["--mu", "1", "--scale", "2"], "(above 0), got scale=2.0 and mu=1.0."),
        (["--mu", "1", "--delta", "0"], "Expected delta in (0, 1), got delta=0.0."),
        (["--mu", "1", "--delta", "1"], "Expected delta in (0, 1), got delta=1.0."),
        (["--mu", "1", "--tokens", "2"], "Expected tokens=1 for unit=token, got tokens=2"),
        (
            ["--mu", "1", "--unit", "prompt"],
            "Expected --tokens, a whole number >= 1, with --unit prompt, got none: add --tokens 16 for a prompt of 16",
        ),
        (["--mu", "1", "--unit", "phrase"], "Expected --tokens, a whole number >= 1, with --unit phrase, got none"),
        (["--mu", "1", "--unit", "session", "--sends", "2"], "Expected --tokens, a whole number >= 1, with --unit"),
        (["--mu", "1", "--sends", "0"], "Expected sends >= 1, got sends=0."),
        (["--mu", "1", "--unit", "prompt", "--tokens", "0"], "Expected tokens >= 1, got tokens=0."),
        (
            ["--mu", "1", "--unit", "prompt", "--tokens", "1e3"],
            "Expected tokens to be a whole number, got tokens='1e3'.",
        ),
        (
            ["--mu", "1", "--unit", "word"],
            "Expected unit to be one of token, phrase, prompt, session, got unit='word'.",
        ),
        (["--mu", "1", "--unit", "session", "--tokens", "99999999"], "Expected at most 10000000000 trials"),
        (["--nope"], "unrecognized arguments: --nope"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_bad_input_is_one_line_on_stderr_and_exit_code_2(changes, message, form, capsys):
    assert main(["account", *CODE, *changes, *form]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("del-audit: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_missing_argument_and_a_missing_command(capsys):
    assert main(["account", "--bits", "4"]) == 2
    assert "--dim, --clip" in capsys.readouterr().err
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().err


def test_interruption_ends_with_130(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("del_audit.accounting.guarantee", interrupt)
    assert main(["account", *CODE, "--mu", "1"]) == 130
    assert capsys.readouterr().err == "del-audit: interrupted\n"


def test_a_reader_that_leaves_early_sees_no_traceback():
    command = f"{sys.executable} -m del_audit account {' '.join(CODE)} --mu 2 | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--version"], ["numpy"]),
        (["--help"], ["numpy"]),
        (["account", *CODE, "--mu", "2", "--json"], ["torch", "transformers", "matplotlib", "scipy.optimize", "flint"]),
    ],
)
def test_it_starts_at_once_because_it_imports_only_what_it_needs(arguments, unneeded):
    code = "import sys; sys.stdout = sys.stderr; from del_audit.cli import main\n"
    code += f"try: main({arguments!r})\nexcept SystemExit: pass\n"
    code += f"sys.stdout = sys.__stdout__; print([name for name in {unneeded!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
