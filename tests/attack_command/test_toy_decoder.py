"""What a decoder costs: its file (tests/toy_decoder.py) and its row. The rest is read from the registry."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from del_audit.cli import main
from del_audit.tune.space import load_space
from mechanisms.channel import Channel
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.registry import DECODERS, DecoderRow
from mechanisms.spec import QuantizerSpec

ROW = DecoderRow("toy", "toy_decoder:Halfway.of", "half of what is linear")
QUICK = {
    "policy": {"attack_success_at_most": 0.9, "prompt_tokens": 16, "assurance": "quick"},
    "evaluation": {
        "attacks": ["baseline", "map"],
        "attacked_tokens": 1_000,
        "prompts": 6,
        "response_tokens": 8,
        "generations": 2,
        "generated_tokens": 3,
    },
}


@pytest.fixture
def row(monkeypatch):
    """Adds the row."""
    monkeypatch.setitem(DECODERS, "toy", ROW)


def certified(path, out):
    assert main(["certify", str(path), "--out", str(out)]) == 0
    return json.loads((out / "certificate.json").read_text())


@pytest.mark.usefixtures("row")
def test_it_is_certified_with_and_verified_without_its_row(configured, tmp_path, monkeypatch):
    linear = certified(configured(**QUICK, decoder="linear"), tmp_path / "linear")
    toy = certified(configured(**QUICK, decoder="toy"), tmp_path / "toy")
    assert toy["configuration"]["decoder"] == "toy"
    assert toy["hashes"]["decoder"] != linear["hashes"]["decoder"]
    assert toy["hashes"]["encoder"] == linear["hashes"]["encoder"]
    assert toy["utility"] != linear["utility"]
    monkeypatch.delitem(DECODERS, "toy")
    assert main(["verify", str(tmp_path / "toy" / "certificate.json"), "--accept-quick"]) == 0


@pytest.mark.usefixtures("row")
def test_help_and_the_space_of_tune_know_it(capsys):
    with pytest.raises(SystemExit):
        main(["tune", "--help"])
    assert "language-prior, toy (default" in " ".join(capsys.readouterr().out.split())
    assert load_space(None, {"decoders": ["linear", "toy"]}).decoders == ("linear", "toy")


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ({"trained_projection": True}, "toy needs encoder.projection"),
        ({"language_model": True}, "does not read the soft prompt that is trained, got decoder=toy"),
    ],
)
def test_what_its_row_says_it_needs_is_asked_for(needs, said, configured, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(DECODERS, "toy", DecoderRow("toy", "toy_decoder:Halfway.of", "", **needs))
    path = configured(**QUICK, decoder="toy")
    assert main(["train", "prompt", str(path), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_without_its_row_it_is_unknown(configured, tmp_path, capsys):
    path = Path(configured(**QUICK, decoder="linear"))
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "decoder": "toy"}))
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "decoder to be one of posterior-mean, " in capsys.readouterr().err


@pytest.mark.usefixtures("row")
def test_assemble_gives_it_the_pipelines_own_parts():
    generator = np.random.default_rng(0)
    table = generator.standard_normal((40, 12)).astype(np.float32)
    documents = [generator.integers(0, 40, 60).tolist()]
    spec = QuantizerSpec.from_mu(4, 5, 0.05, 10.0)
    pipeline = assemble(table, documents, spec, EncoderSettings(), "toy")
    assert pipeline.decoder.linear is pipeline.linear
    assert pipeline.decoder.opening == 0
    assert np.array_equal(Channel.of(spec, pipeline.encoder.codes).weights, pipeline.channel.weights)
