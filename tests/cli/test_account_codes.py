"""`del-audit account --codes` and `--proved`: what they print, and what they refuse."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from del_audit.accounting import Accountant
from del_audit.accounting.codes_file import load_codes
from del_audit.accounting.vocabulary import Vocabulary
from del_audit.cli import main
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import EncoderCard, save_encoder
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec.from_mu(bits=4, dim=3, clip=1.0, mu=6.0)
OPTIONS = ["account", "--bits", "4", "--dim", "3", "--clip", "1", "--mu", "6"]


@pytest.fixture
def codes():
    return np.random.default_rng(0).uniform(-0.7, 0.7, (60, 3)).astype(np.float32)


@pytest.fixture
def written(codes, tmp_path):
    np.save(tmp_path / "codes.npy", codes)
    save_file({"other": codes[:2] * 0, "codes": codes}, tmp_path / "named.safetensors")
    save_file({"table": codes}, tmp_path / "single.safetensors")
    save_file({"a": codes, "b": codes}, tmp_path / "two.safetensors")
    (tmp_path / "broken.npy").write_bytes(b"not an array")
    np.save(tmp_path / "objects.npy", np.array([{}, {}], dtype=object))
    return tmp_path


@pytest.mark.parametrize("name", ["codes.npy", "named.safetensors", "single.safetensors"])
def test_json_holds_the_figures_of_the_vocabulary(name, written, codes, capsys):
    assert main([*OPTIONS, "--codes", str(written / name), "--unit", "phrase", "--tokens", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    profile = printed.pop("profile")
    vocabulary = Vocabulary.of(codes, SPEC)
    assert printed == json.loads(json.dumps(vocabulary.guarantee("phrase", 2).to_dict()))
    assert profile == json.loads(json.dumps(vocabulary.profile().to_dict()))


def test_text_quotes_upper_ends_rounded_up_and_says_what_is_no_guarantee(written, codes, capsys):
    assert main([*OPTIONS, "--codes", str(written / "codes.npy")]) == 0
    text = capsys.readouterr().out
    found = Vocabulary.of(codes, SPEC).guarantee()
    ends = [float(line.split(")")[1].split()[0]) for line in text.splitlines() if "(cube)" in line or "(box)" in line]
    assert ends[0] >= Accountant(SPEC).epsilon().upper > ends[1] >= found.box.upper
    assert ends[0] == pytest.approx(Accountant(SPEC).epsilon().upper, rel=1e-7)
    assert f"words {found.worst[0]} and {found.worst[1]}" in text
    assert found.sha256 in text
    assert "estimated, no guarantee" in text
    assert "Unit       token, tokens=1\n" in text


def test_resends_and_tokens_stand_beside_the_unit(written, codes, capsys):
    options = [*OPTIONS, "--codes", str(written / "codes.npy"), "--unit", "phrase", "--tokens", "2", "--sends", "3"]
    assert main(options) == 0
    assert "Unit       phrase, tokens=2, each sent 3 times\n" in capsys.readouterr().out
    assert main([*options, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["tokens"], printed["sends"]) == (2, 3)
    assert printed["cube"] == Accountant(SPEC).epsilon(1e-5, "phrase", 6).to_dict()
    assert main([*OPTIONS, "--codes", str(written / "codes.npy"), "--unit", "phrase"]) == 2
    assert "Expected --tokens, a whole number >= 1, with --unit phrase" in capsys.readouterr().err


def test_an_encoders_file_is_read_as_the_codes_of_its_levels(codes, tmp_path, capsys):
    encoder, path = Encoder.of(codes, 1.0), tmp_path / "encoder.safetensors"
    save_encoder(path, encoder, EncoderCard("tiny", "", SPEC))
    assert main([*OPTIONS, "--codes", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Vocabulary.of(codes, SPEC).sha256 in printed["holds_for"]
    assert main([*OPTIONS[:-4], "--clip", "2", "--mu", "6", "--codes", str(path)]) == 2
    assert "clip=2.0, got clip=1.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("two.safetensors", [], "Expected one tensor in"),
        ("broken.npy", [], "Expected --codes to be a readable .npy file"),
        ("objects.npy", [], "Expected --codes to be a readable .npy file"),
        ("missing.npy", [], "Expected --codes to be a readable .npy file"),
        ("codes.pt", [], "Expected --codes to end in .npy or .safetensors"),
        ("codes.npy", ["--proved"], "Expected no --proved with --codes"),
        ("codes.npy", ["--dim", "4"], "Expected codes of shape (words, dim=4), got shape (60, 3)"),
        ("codes.npy", ["--delta", "2"], "Expected delta in (0, 1), got delta=2"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(name, more, message, written, capsys):
    assert main([*OPTIONS, "--codes", str(written / name), *more]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert output.err.count("\n") == 1


def test_proved_figures_are_labelled_so_and_agree(capsys):
    assert main([*OPTIONS, "--proved", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    proved = Accountant(SPEC, proved=True).epsilon()
    assert printed["epsilon"] == proved.to_dict()
    assert main([*OPTIONS, "--proved"]) == 0
    assert "proved" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("kind"))


def test_an_encoder_is_read_once(codes, tmp_path, swapped):
    files = []
    for factor in (1.0, 0.5):
        path = tmp_path / "encoder.safetensors"
        save_encoder(path, Encoder.of(factor * codes, 1.0), EncoderCard("m", "", SPEC))
        files.append(path.read_bytes())
    reads = swapped(path, *files)
    assert np.array_equal(load_codes(path, SPEC), Encoder.of(codes, 1.0).codes)
    assert len(reads) == 1
