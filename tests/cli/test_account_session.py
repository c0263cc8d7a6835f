"""The contract of `del-audit account` for session files, resends and training runs."""

import json
import math
from pathlib import Path

import pytest

from del_audit.accounting import Accountant
from del_audit.accounting.other_mechanisms import DpSgd, Gaussian, Guaranteed
from del_audit.accounting.session import Part, Session
from del_audit.accounting.session_file import load_session
from del_audit.cli import main
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

MIXED = """\
parts:
  - {bits: 4, dim: 18, clip: 1.0, mu: 2, tokens: 3, sends: 2}
  - {bits: 8, dim: 2, clip: 1.0, scale: 30, prompts: [12, 80, 33]}
"""
OTHERS = """\
others:
  - {gaussian: {noise_multiplier: 5}}
  - {dp_sgd: {noise_multiplier: 1.1, sample_rate: 0.01, steps: 100}}
  - {guaranteed: {epsilon: 0.5, times: 3}}
"""
FIRST = QuantizerSpec.from_mu(4, 18, 1.0, 2)
SECOND = QuantizerSpec(8, 2, 1.0, 30)
KEYS = [
    "unit",
    "parts",
    "others",
    "tokens",
    "trials",
    "adjacency",
    "delta",
    "kind",
    "exact",
    "epsilon",
    "total_variation",
    "pure_epsilon",
]


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "session.yaml"
        path.write_text(text, encoding="utf8")
        return str(path)

    return write


def test_json_has_the_contract_keys_and_the_sessions_figures(write, capsys):
    assert main(["account", "--session", write(MIXED), "--delta", "1e-6", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    session = Session((Part(FIRST, 3, sends=2), Part(SECOND, 125)))
    assert list(record) == KEYS
    assert [list(part) for part in record["parts"]] == [["spec", "tokens", "prompts", "sends", "trials"]] * 2
    assert [part["tokens"] for part in record["parts"]] == [3, 125]
    assert [part["trials"] for part in record["parts"]] == [3 * 2 * 270, 125 * 2 * 255]
    assert [part["prompts"] for part in record["parts"]] == [None, [12, 80, 33]]
    assert record["parts"][0]["spec"] == FIRST.to_dict()
    assert record["others"] == []
    assert (record["unit"], record["tokens"], record["trials"]) == ("session", 131, session.trials)
    assert (record["delta"], record["exact"], record["kind"]) == (1e-6, False, "float with error bound")
    assert record["adjacency"] == session.adjacency
    assert record["epsilon"] == session.epsilon(1e-6).to_dict()
    assert record["total_variation"] == session.total_variation.to_dict()
    assert record["pure_epsilon"] == session.pure_epsilon.to_dict()


def test_one_quantizer_is_exact_and_equal_to_the_unit_session(write, capsys):
    text = "parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, tokens: 5, sends: 4}\n"
    assert main(["account", "--session", write(text), "--json"]) == 0
    from_file = json.loads(capsys.readouterr().out)
    assert from_file["exact"] is True
    options = ["--bits", "4", "--dim", "18", "--clip", "1", "--mu", "2", "--unit", "session"]
    assert main(["account", *options, "--tokens", "5", "--sends", "4", "--json"]) == 0
    from_options = json.loads(capsys.readouterr().out)
    assert from_file["epsilon"] == from_options["epsilon"]
    assert from_options["epsilon"] == Accountant(FIRST).epsilon(1e-5, "session", 20).to_dict()
    assert [from_options[key] for key in ("unit", "tokens", "sends", "trials")] == ["session", 5, 4, 20 * 270]


def test_other_mechanisms_are_composed_and_listed(write, capsys):
    path = write(MIXED + OTHERS)
    session, _ = load_session(Path(path))
    assert session.others == (Gaussian(5.0), DpSgd(1.1, 0.01, 100), Guaranteed(0.5, 0.0, 3))
    assert main(["account", "--session", path, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [list(other) for other in record["others"]] == [["gaussian"], ["dp_sgd"], ["guaranteed"]]
    assert record["pure_epsilon"] is None
    assert record["exact"] is False
    alone = Session(session.parts).epsilon(1e-5)
    assert alone.lower < record["epsilon"]["upper"] < alone.upper + 5


def test_the_text_says_unit_delta_kind_and_whether_it_is_exact(write, capsys):
    assert main(["account", "--session", write(MIXED)]) == 0
    text = capsys.readouterr().out
    bound = Session((Part(FIRST, 3, sends=2), Part(SECOND, 125))).epsilon(1e-5)
    for words in (
        "Unit       session, 131 tokens with resent ones, 65,370 trials",
        f"Epsilon    <= {bound.upper!r} nats at delta=1e-05 (upper bound; not below ",
        "Kind       float with error bound",
        "125 tokens in 3 prompts, sent once",
        "3 tokens, sent 2 times",
        "Pure epsilon    <= ",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100
    only = "parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, tokens: 1}\n"
    assert main(["account", "--session", write(only)]) == 0
    assert "(exact closed form)" in capsys.readouterr().out
    assert main(["account", "--session", write(only + "others:\n  - {gaussian: {noise_multiplier: 9}}\n")]) == 0
    text = capsys.readouterr().out
    assert "Other 1    gaussian noise_multiplier=9.0 releases=1" in text
    assert "Pure epsilon    none" in text
    assert max(map(len, text.splitlines())) <= 100


PART = "{bits: 4, dim: 18, clip: 1.0, mu: 2, tokens: 3}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parts: []\n", "Expected a session of at least one part"),
        ("others: []\n", "Expected the key 'parts', got none"),
        ("- 1\n", "to hold keys and values, got list"),
        ("parts: [\n", "Expected valid YAML in"),
        (f"parts:\n  - {PART}\nnotes: x\n", "got the unknown key 'notes'"),
        ("parts:\n  - {bits: 4, dim: 18, clip: 1.0, tokens: 3}\n", "expected exactly one of scale and mu"),
        ("parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, scale: 3, tokens: 3}\n", "exactly one of scale and mu"),
        ("parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2}\n", "expected exactly one of tokens and prompts"),
        ("parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, tokens: 1, prompts: [1]}\n", "one of tokens and prompts"),
        ("parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, prompts: [3, 0]}\n", "prompts of at least one token each"),
        ("parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, prompts: []}\n", "prompts of at least one token each"),
        ("parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, prompts: ['3']}\n", "parts.0.prompts.0"),
        ("parts:\n  - {bits: '4', dim: 18, clip: 1.0, mu: 2, tokens: 3}\n", "parts.0.bits"),
        ("parts:\n  - {bits: 4.5, dim: 18, clip: 1.0, mu: 2, tokens: 3}\n", "parts.0.bits"),
        ("parts:\n  - {bits: 9, dim: 18, clip: 1.0, mu: 2, tokens: 3}\n", "Expected bits in 1..8, got bits=9."),
        (
            "parts:\n  - {bits: 4, dim: 18, clip: 1.0, scale: 0, tokens: 3}\n",
            "Expected scale > clip=1.0, got scale=0.0",
        ),
        ("parts:\n  - {bits: 4, dim: 18, clip: .nan, mu: 2, tokens: 3}\n", "parts.0.clip"),
        ("parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, tokens: 0}\n", "Expected tokens to be a whole number >= 1"),
        (
            "parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, tokens: 3, sends: 0}\n",
            "Expected sends to be a whole number",
        ),
        ("parts:\n  - {bits: 4, bits: 5, dim: 18, clip: 1.0, mu: 2, tokens: 3}\n", "'bits' is given twice"),
        (f"parts:\n  - &a {PART}\n  - *a\n", "aliases are not allowed"),
        (f"parts:\n  - {PART}\nothers:\n  - {{}}\n", "exactly one of gaussian, dp_sgd and guaranteed"),
        (
            f"parts:\n  - {PART}\nothers:\n  - {{gaussian: {{noise_multiplier: 1}}, guaranteed: {{epsilon: 1}}}}\n",
            "exactly one of gaussian, dp_sgd and guaranteed",
        ),
        (f"parts:\n  - {PART}\nothers:\n  - {{laplace: {{epsilon: 1}}}}\n", "the unknown key 'others.0.laplace'"),
        (f"parts:\n  - {PART}\nothers:\n  - {{gaussian: {{noise_multiplier: 0}}}}\n", "got noise_multiplier=0.0."),
        (
            f"parts:\n  - {PART}\nothers:\n  - {{gaussian: {{sigma: 1}}}}\n",
            "the key 'others.0.gaussian.noise_multiplier'",
        ),
        (
            f"parts:\n  - {PART}\nothers:\n  - {{guaranteed: {{epsilon: 1, delta: 0.5}}}}\n",
            "Expected delta > 0.5, with which the other mechanisms may fail, got delta=1e-05.",
        ),
        (
            "parts:\n  - {bits: 4, dim: 18, clip: 1.0, mu: 2, tokens: 99999999999}\n",
            "Expected at most 10000000000 trials",
        ),
    ],
)
def test_bad_files_are_one_line_on_stderr_and_exit_code_2(text, message, write, capsys):
    assert main(["account", "--session", write(text)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("del-audit: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_files_that_cannot_be_read(tmp_path, capsys):
    assert main(["account", "--session", str(tmp_path / "none.yaml")]) == 2
    assert "Expected a readable UTF-8 session file" in capsys.readouterr().err
    assert main(["account", "--session", str(tmp_path)]) == 2
    assert "Expected a readable UTF-8 session file" in capsys.readouterr().err
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert main(["account", "--session", str(tmp_path / "bytes.yaml")]) == 2
    assert "Expected a readable UTF-8 session file" in capsys.readouterr().err
    (tmp_path / "large.yaml").write_text("#" * (1 << 20) + "\n\n")
    assert main(["account", "--session", str(tmp_path / "large.yaml")]) == 2
    assert "Expected a session of at most 1048576 bytes" in capsys.readouterr().err
    with pytest.raises(UserError):
        load_session(tmp_path / "none.yaml")


QUANTIZER = ["--bits", "4", "--dim", "18", "--clip", "1", "--mu", "2"]
TRAINING = ["--dp-sgd", "--noise-multiplier", "1.1", "--sample-rate", "0.01", "--steps", "100"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--session", "x.yaml", "--bits", "0"], "Expected no --bits with --session."),
        (["--session", "x.yaml", "--unit", "token", "--tokens", "1"], "Expected no --unit or --tokens with --session."),
        (["--session", "x.yaml", *TRAINING], "Expected no --dp-sgd or --noise-multiplier or"),
        (["--session", "x.yaml", "--delta", "2"], "Expected a readable UTF-8 session file"),
        ([*TRAINING, "--bits", "4"], "Expected no --bits with --dp-sgd."),
        (TRAINING[:5], "the following arguments are required: --steps."),
        (["--dp-sgd"], "the following arguments are required: --noise-multiplier, --sample-rate, --steps."),
        ([*QUANTIZER, "--steps", "3"], "Expected no --steps without --dp-sgd."),
        ([*QUANTIZER, "--unit", "session", "--tokens", "2", "--sends", "0"], "Expected sends >= 1, got sends=0."),
        ([*QUANTIZER, "--unit", "session", "--sends", "x"], "Expected sends to be a whole number, got sends='x'."),
        ([*TRAINING, "--delta", "0"], "Expected delta in [1e-10, 1), got delta=0.0."),
        ([*TRAINING[:-1], "0"], "Expected steps to be a whole number in 1..100000, got steps=0."),
    ],
)
def test_options_that_do_not_go_together(options, message, capsys):
    assert main(["account", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_training_run_as_json_and_text(capsys):
    pytest.importorskip("dp_accounting", reason="needs the extra dp")
    pytest.importorskip("opacus", reason="needs the extra dp")
    assert main(["account", *TRAINING, "--delta", "1e-6", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record) == ["training", "unit", "adjacency", "delta", "kind", "exact", "epsilon", "accountants"]
    assert record["training"] == {"noise_multiplier": 1.1, "sample_rate": 0.01, "steps": 100}
    assert record["unit"] == "training example"
    assert record["epsilon"]["upper"] == max(record["accountants"].values())
    assert math.isclose(*record["accountants"].values(), rel_tol=0.01)
    assert main(["account", *TRAINING]) == 0
    text = capsys.readouterr().out
    assert "Unit       training example" in text
    assert "at delta=1e-05 (upper bound, float with error bound)" in text


PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text(encoding="utf8")


def _blocks(language):
    return [block.split("\n```")[0] for block in PAGE.split(f"```{language}\n")[1:]]


def test_the_page_on_sessions_shows_what_its_file_prints(write, capsys):
    (example,), (shown, _) = _blocks("yaml"), _blocks("text")
    assert main(["account", "--session", write(example)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(shown)
    assert float(printed.split("Epsilon    <= ")[1].split()[0]) == pytest.approx(20.49, abs=0.005)
    (code,) = _blocks("python")
    names = {}
    exec(code, names)  # the page's own example
    assert names["session"].exact is False
    assert f"Epsilon    <= {names['session'].epsilon(1e-5).upper!r} nats" in printed


def test_the_page_on_sessions_shows_what_training_prints(capsys):
    pytest.importorskip("dp_accounting", reason="needs the extra dp")
    pytest.importorskip("opacus", reason="needs the extra dp")
    command = next(line.split()[1:] for line in PAGE.splitlines() if line.startswith("    del-audit account --dp-sgd"))
    assert main(command) == 0
    printed, shown = capsys.readouterr().out.splitlines(), _blocks("text")[1].splitlines()
    assert printed[:3] == shown[:3]
    figures = [float(lines[3].split()[2]) for lines in (printed, shown)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)


def test_the_pages_figures_for_resends_and_padding():
    spec = QuantizerSpec.from_mu(4, 18, 1.0, 0.5)
    for sends, shown in ((1, "11.48"), (2, "17.85"), (4, "28.37")):
        assert shown in PAGE
        assert 0 <= float(shown) - Session((Part(spec, 20, sends),)).epsilon(1e-5).upper < 0.01
    assert Session.of_prompts(spec, [64, 128, 64]).tokens == 256
