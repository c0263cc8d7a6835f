"""`del-audit bundle` and `send`: from a configuration to a message that the configuration's pipeline decodes."""

import csv
import io
import json
import sys

import pytest
import yaml

from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from del_audit.service.pipelines import pipelines_of
from mechanisms.client_bundle import load_client
from mechanisms.client_certificate import UNCERTIFIED
from mechanisms.encoder_file import load_encoder
from mechanisms.models import load_causal_lm
from mechanisms.rivals import RandomizedResponse, RandomizedResponseSpec
from mechanisms.rivals.client_half import WordReleaser

PROMPT = "The pain was gone within a week."
TEXTS = ["The doctor said that the pain would go.", "I could not sleep and felt tired.", PROMPT] * 8


@pytest.fixture
def config(tiny_lm_folder, tmp_path):
    with (tmp_path / "texts.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "split"], *([text, "train"] for text in TEXTS), ["tablet", "test"]])
    content = {
        "name": "tiny",
        "model": str(tiny_lm_folder),
        "mechanism": {"bits": 4, "dim": 6, "clip": 0.05, "mu": 10.0},
        "data": {"corpus": str(tmp_path / "texts.csv"), "text_column": "text"},
        "policy": {"epsilon": {"at_most": 60}},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_bundle_sends_what_the_pipeline_decodes(config, tiny_lm_folder, tmp_path, capsys):
    language = load_causal_lm(str(tiny_lm_folder))
    folder, out = tmp_path / "client", tmp_path / "message"
    assert main(["bundle", str(config), "--out", str(folder)]) == 0
    assert f"Written: {folder} (prompts of up to 207 tokens" in capsys.readouterr().out
    assert main(["send", str(folder), "--text", PROMPT, "--out", str(out), "--uncertified"]) == 0
    configuration = load_configuration(config)
    documents = [language.tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS]
    pipeline = pipelines_of(configuration, language, documents, [configuration.mechanism.spec()])[0]
    encoder, card = load_encoder(folder / "encoder.safetensors")
    assert encoder.sha256 == pipeline.encoder.sha256
    assert (card.model_sha256, card.details["configuration"]) == (language.record.sha256, "tiny")
    tokens = language.tokenizer(PROMPT, add_special_tokens=False).input_ids
    assert pipeline.embeddings(out.read_bytes()).shape == (len(tokens), 32)


def test_a_bundle_of_a_mechanism_over_words_sends_what_it_decodes(
    config, tiny_lm_folder, tmp_path, capsys, monkeypatch
):
    """Whatever half a configuration names, the rest of the way is the same."""
    language = load_causal_lm(str(tiny_lm_folder))
    spec = RandomizedResponseSpec.from_epsilon(384, 40.0)
    monkeypatch.setattr("del_audit.client.bundle._half", lambda *_: WordReleaser.of(spec))
    folder, out = tmp_path / "client", tmp_path / "message"
    assert main(["bundle", str(config), "--out", str(folder)]) == 0
    assert f"Written: {folder} (prompts of up to 207 tokens, 384 words)" in capsys.readouterr().out
    assert json.loads((folder / "card.json").read_text())["model_sha256"] == language.record.sha256
    assert main(["send", str(folder), "--text", PROMPT, "--out", str(out), "--uncertified"]) == 0
    tokens = language.tokenizer(PROMPT, add_special_tokens=False).input_ids
    assert RandomizedResponse(spec).observed(out.read_bytes()).tolist() == tokens


def test_send_reads_standard_input(config, tmp_path, monkeypatch):
    assert main(["bundle", str(config), "--out", str(tmp_path / "client")]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(PROMPT))
    assert main(["send", str(tmp_path / "client"), "--out", str(tmp_path / "message"), "--uncertified"]) == 0
    assert (tmp_path / "message").stat().st_size > 16


def test_the_longest_prompt_may_be_said(config, tmp_path, capsys):
    assert main(["bundle", str(config), "--out", str(tmp_path / "client"), "--max-tokens", "5"]) == 0
    assert load_client(tmp_path / "client", certificate=UNCERTIFIED).spec == load_configuration(config).mechanism.spec()
    command = ["send", str(tmp_path / "client"), "--text", PROMPT, "--out", str(tmp_path / "message"), "--uncertified"]
    assert main(command) == 2
    assert "at most 5 tokens" in capsys.readouterr().err
    assert not (tmp_path / "message").exists()


@pytest.mark.parametrize("tokens", ["0", "255", "many"])
def test_a_longest_prompt_that_does_not_fit_ends_with_code_2(config, tmp_path, capsys, tokens):
    assert main(["bundle", str(config), "--out", str(tmp_path / "client"), "--max-tokens", tokens]) == 2
    assert "max" in capsys.readouterr().err
    assert not (tmp_path / "client").exists()


def test_a_folder_that_exists_and_one_that_is_no_client_end_with_code_2(config, tmp_path, capsys):
    assert main(["bundle", str(config), "--out", str(tmp_path)]) == 2
    assert "does not exist yet" in capsys.readouterr().err
    command = ["send", str(tmp_path), "--text", PROMPT, "--out", str(tmp_path / "message"), "--uncertified"]
    assert main(command) == 2
    assert "client's folder" in capsys.readouterr().err
