"""`del-audit train` on a tiny random model and a table of made-up text."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_up import some_words, write_rows
from safetensors.numpy import load_file

from del_audit.accounting.dp_sgd import training_guarantee
from del_audit.cli import main
from del_audit.training import parts as train_module
from mechanisms.encoder_file import load_encoder
from mechanisms.models import load_embedding_table
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import load_projection

PROMPT = ("--steps", "2", "--virtual-tokens", "3", "--window", "40")
CODES = (
    "--steps",
    "2",
    "--virtual-tokens",
    "3",
    "--window",
    "40",
    "--shortest-prompt",
    "8",
    "--shortest-response",
    "8",
)
PROJECTION = ("--steps", "2", "--window", "16", "--batch", "2", "--validation-windows", "2")


def write_table(path, documents, seed):
    generator = simulation_generator(seed, "reviews")
    rows = [(some_words(generator), "train" if index % 3 else "test") for index in range(documents)]
    return write_rows(path, ("text", "split"), rows)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    return write_table(folder / "public.csv", 66, 0), write_table(folder / "private.csv", 60, 1)


@pytest.fixture
def config(tiny_lm_folder, texts, tmp_path):
    content = {
        "name": "tiny",
        "model": str(tiny_lm_folder),
        "mechanism": {"bits": 4, "dim": 6, "clip": 0.05, "mu": 10.0},
        "data": {"corpus": str(texts[0]), "text_column": "text"},
        "policy": {"bytes_per_token_at_most": 9.0},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def card_of(folder):
    return json.loads((folder / "card.json").read_text())


def test_a_prompt_is_trained_with_the_settings_given(config, tmp_path, capsys):
    out = tmp_path / "out"
    given = ("--lr", "0.02", "--init", "random", "--prompt-share", "0.1,0.5", "--seed", "5", "--patience", "0")
    assert main(["train", "prompt", config, "--out", str(out), *PROMPT, *given]) == 0
    assert f"Written: {out} (held-out perplexity" in capsys.readouterr().out
    card = card_of(out)
    for name, value in {
        "steps": 2,
        "virtual_tokens": 3,
        "window": 40,
        "learning_rate": 0.02,
        "init": "random",
        "prompt_share": [0.1, 0.5],
        "seed": 5,
        "patience": 0,
        "validation_documents": 2,
    }.items():
        assert card["training"][name] == value
    assert card["data"]["documents"] == 44
    assert card["spec"] == QuantizerSpec.from_mu(4, 6, 0.05, 10).to_dict()
    assert [one["spec"] for one in card["mechanisms"]] == [card["spec"]]
    assert load_file(out / "adapter_model.safetensors")["prompt_embeddings"].shape == (3, 32)


def test_a_prompt_for_levels_names_them_all(config, tmp_path):
    command = [
        "train",
        "prompt",
        config,
        "--out",
        str(tmp_path / "out"),
        *PROMPT,
        "--levels",
        "5,20",
        "--documents",
        "21",
    ]
    assert main(command) == 0
    card = card_of(tmp_path / "out")
    expected = [QuantizerSpec.from_mu(4, 6, 0.05, mu).to_dict() for mu in (5, 20)]
    assert [one["spec"] for one in card["mechanisms"]] == expected
    assert "spec" not in card
    assert card["data"]["documents"] == 21


def test_a_projection_is_trained_and_loads(config, tiny_lm_folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["train", "projection", config, "--out", str(out), *PROJECTION, "--noise", "--fill", "0.7"]) == 0
    assert "held-out perplexity" in capsys.readouterr().out
    card = card_of(out)
    assert card["training"]["noise"] is True
    assert card["training"]["fill"] == 0.7
    assert card["noise_of"] == QuantizerSpec.from_mu(4, 6, 0.05, 10).to_dict()
    found = load_projection(out, load_embedding_table(str(tiny_lm_folder)), QuantizerSpec.from_mu(4, 6, 0.05, 40))
    assert found.encoder.levels.shape == (384, 6)
    assert main(["train", "projection", config, "--out", str(out), *PROJECTION]) == 2
    assert "does not exist yet" in capsys.readouterr().err


def test_codes_are_trained_for_levels_and_a_configuration_takes_them(config, tmp_path, capsys):
    out = tmp_path / "out"
    given = (
        "--levels",
        "5,20",
        "--information",
        "0.1",
        "--common",
        "64",
        "--drawn",
        "32",
        "--decoder",
        "posterior-mean",
    )
    assert main(["train", "codes", config, "--out", str(out), *CODES, *given]) == 0
    assert "held-out perplexity" in capsys.readouterr().out
    card = card_of(out)
    expected = {"information": 0.1, "common": 64, "drawn": 32, "validation_documents": 2, "decoder": "posterior-mean"}
    assert {name: card["training"][name] for name in expected} == expected
    assert [one["spec"] for one in card["mechanisms"]] == [
        QuantizerSpec.from_mu(4, 6, 0.05, mu).to_dict() for mu in (5, 20)
    ]
    content = {
        **yaml.safe_load(Path(config).read_text()),
        "encoder": {"codes": str(out / "encoder.safetensors")},
        "soft_prompt": str(out),
    }
    trained = tmp_path / "trained.yaml"
    trained.write_text(yaml.safe_dump(content))
    assert main(["bundle", str(trained), "--out", str(tmp_path / "client"), "--max-tokens", "9"]) == 0
    codes = [load_encoder(folder / "encoder.safetensors")[0] for folder in (out, tmp_path / "client")]
    assert codes[0].sha256 == codes[1].sha256


@pytest.mark.parametrize("part", ["prompt", "projection"])
def test_an_interrupted_command_ends_with_130_and_goes_on(config, tmp_path, monkeypatch, capsys, part):
    from mechanisms.training import loop

    options = PROMPT if part == "prompt" else PROJECTION
    whole = ["train", part, config, "--out", str(tmp_path / "whole"), *options]
    cut = ["train", part, config, "--out", str(tmp_path / "cut"), *options]
    assert main(whole) == 0
    real = loop._Trainer._update

    def interrupted(trainer, bar):
        if trainer.history.step == 1:
            raise KeyboardInterrupt
        real(trainer, bar)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Trainer, "_update", interrupted)
        assert main(cut) == 130
    assert (tmp_path / "cut.partial").is_dir()
    assert main([*cut, "--seed", "1"]) == 2
    assert "card.training.seed is 0 there and 1 here" in capsys.readouterr().err
    assert main(cut) == 0
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()
    assert not (tmp_path / "cut.partial").exists()


def test_a_decoder_that_reads_the_prompt_does_not_train_it(config, tmp_path, capsys):
    Path(config).write_text(Path(config).read_text() + "decoder: language-prior\n")
    assert main(["train", "prompt", config, "--out", str(tmp_path / "out"), *PROMPT]) == 2
    assert "got decoder=language-prior" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("prompt", ("--virtual-tokens", "250"), "window <= 6"),
        ("prompt", ("--steps", "0"), "steps >= 1"),
        ("prompt", ("--levels", "5,many"), "levels to be a finite number"),
        ("prompt", ("--levels", "5,-1"), "mu to be a finite number > 0"),
        ("prompt", ("--prompt-share", "0.1"), "LEAST,MOST"),
        ("prompt", ("--init", "zeros"), "invalid choice"),
        ("prompt", ("--init", "configured"), "Expected a soft_prompt in the configuration"),
        ("prompt", ("--documents", "0"), "documents >= 1"),
        ("prompt", ("--validation-documents", "44"), "48 documents"),
        ("prompt", ("--private-epsilon", "3"), "--private-corpus together"),
        ("prompt", ("--clip-norm", "3"), "--private-corpus together"),
        ("prompt", ("--quantize", "dynamic"), "--private-corpus together"),
        ("prompt", ("--kernel", "int8"), "--quantize static or dynamic with --kernel"),
        ("prompt", ("--quantize", "sometimes"), "invalid choice"),
        ("codes", ("--window", "300"), "window <= 236"),
        ("codes", ("--information", "-1"), "information >= 0"),
        ("codes", ("--levels", "5,none"), "levels to be a finite number"),
        ("codes", ("--init", "random"), "unrecognized arguments"),
        ("projection", ("--window", "300"), "window <= 256"),
        ("projection", ("--lr", "-1"), "learning_rate > 0"),
        ("projection", ("--levels", "3"), "unrecognized arguments"),
    ],
)
def test_options_that_do_not_fit_end_with_code_2(config, tmp_path, capsys, part, options, message):
    assert main(["train", part, config, "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kernel", "fp8"), "a CUDA GPU of compute capability 8.9 or later for kernel=fp8"),
        (("--kernel", "int3"), "kernel to be auto or one of"),
        (("--quantize", "static", "--selection-share", "0.1"), "got static, which measures nothing"),
        (("--quantized-share", "1.5"), r"quantized-share in (0, 1], got 1.5"),
        (("--selection-share", "0.9"), r"selection-share in [0, 0.5], got 0.9"),
        (("--selection-batch", "0"), "batch >= 1"),
        (("--selection-clip", "-1"), "clip of the selection > 0"),
    ],
)
def test_a_quantization_that_does_not_fit_ends_before_any_work(
    config, texts, tmp_path, capsys, monkeypatch, options, message
):
    monkeypatch.setattr(train_module, "_public_text", None)  # nothing is read or loaded
    if "fp8" in options:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    private = ("--private-corpus", str(texts[1]), "--private-epsilon", "4", "--quantize", "dynamic")
    assert main(["train", "prompt", config, "--out", str(tmp_path / "out"), *PROMPT, *private, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_quantized_private_prompt_states_what_its_selection_cost(config, texts, tmp_path, capsys):
    pytest.importorskip("opacus")
    private = ("--private-corpus", str(texts[1]), "--private-split", "train", "--private-epsilon", "4")
    low = ("--method", "dp-sgd", "--quantize", "dynamic", "--kernel", "simulated-int8", "--selection-share", "0.05")
    command = ["train", "prompt", config, "--out", str(tmp_path / "out"), *PROMPT, *private, *low, "--batch", "20"]
    assert main([*command, "--steps", "4", "--selection-every", "1"]) == 0
    said = capsys.readouterr().out
    assert (
        "Low precision: simulated-int8 (simulated, so no time is saved) in 75% of the layers, dynamic; 2 releases"
        in said
    )
    card = card_of(tmp_path / "out")
    guarantee, selection = card["guarantee"], card["quantization"]["selection"]
    assert 0.97 * 4 < guarantee["epsilon"]["upper"] <= 4
    assert guarantee["selection"] == {
        "noise_multiplier": selection["noise_multiplier"],
        "sample_rate": 4 / 40,
        "steps": card["selection_releases"],
    }
    assert guarantee["training"]["noise_multiplier"] == card["dp_sgd"]["noise_multiplier"]
    cost = guarantee["selection_cost"]
    assert cost["share_of_epsilon"] == pytest.approx(1 - cost["epsilon_without"] / guarantee["epsilon"]["upper"])
    assert f"take {cost['share_of_epsilon']:.2%} of epsilon" in said
    spent = training_guarantee(card["dp_sgd"]["noise_multiplier"], 0.5, 4, 1e-5).epsilon
    assert cost["epsilon_without"] == spent.upper <= 0.95 * 4


def test_documents_of_no_token_end_with_code_2(config, tmp_path, monkeypatch, capsys):
    real = train_module._public_text

    def one_is_empty(*arguments):
        public, language, rows = real(*arguments)
        return public, language, [[], *rows[1:]]

    monkeypatch.setattr(train_module, "_public_text", one_is_empty)
    for part, options in (("prompt", PROMPT), ("projection", PROJECTION)):
        assert main(["train", part, config, "--out", str(tmp_path / "out"), *options]) == 2
        assert "1 empty ones, the first at 0" in capsys.readouterr().err


@pytest.mark.slow
def test_a_private_prompt_states_its_guarantee_and_nothing_of_the_text(config, texts, tmp_path, capsys):
    pytest.importorskip("opacus")
    private = ("--private-corpus", str(texts[1]), "--private-split", "train", "--private-epsilon", "4")
    more = ("--private-delta", "1e-4", "--clip-norm", "0.5", "--batch", "4")
    command = ["train", "prompt", config, "--out", str(tmp_path / "out"), *PROMPT, *private, *more]
    assert main(command) == 0
    assert "40 documents of 32 tokens or more; epsilon <=" in capsys.readouterr().out
    card = card_of(tmp_path / "out")
    dp_sgd, guarantee = card["dp_sgd"], card["guarantee"]
    assert dp_sgd["sample_rate"] == 4 / 40
    assert dp_sgd["clip_norm"] == 0.5
    assert dp_sgd["noise_from"] == "the system's cipher stream"
    assert guarantee == training_guarantee(dp_sgd["noise_multiplier"], 0.1, 2, 1e-4).to_dict()
    assert 0.97 * 4 < guarantee["epsilon"]["upper"] <= 4
    assert guarantee["epsilon"]["upper"] >= max(guarantee["accountants"].values())
    assert card["loss_first_10"] == []
    assert str(texts[1]) not in json.dumps(card)
    assert np.isfinite(load_file(tmp_path / "out" / "adapter_model.safetensors")["prompt_embeddings"]).all()
