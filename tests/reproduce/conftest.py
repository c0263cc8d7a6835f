"""Fixtures of the tables' tests: the tiny model with a longer context, a tiny sentence encoder, tiny corpora."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up import WORDS, some_words, write_rows

from del_audit.cli import main
from mechanisms.randomness import simulation_generator

SMALL = ["--quick", "--lengths", "ptb", "--samples", "5", "--new-tokens", "4", "--dim", "6", "--tokens", "120"]
SMALL += ["--window", "40", "--virtual-tokens", "3", "--steps", "1", "--pair-steps", "1", "--epochs", "1"]


@pytest.fixture(scope="session")
def model_folder(tiny_lm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the tiny model with a context that holds InferDPT's instruction."""
    folder = tmp_path_factory.mktemp("long") / "model"
    shutil.copytree(tiny_lm_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2048}))
    return folder


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns corpora of made-up words: two of texts, one of labelled pairs."""
    folder = tmp_path_factory.mktemp("corpora")
    generator = simulation_generator(0, "reproduce corpora")
    found = {}
    for name in ("text", "general"):
        rows = [(some_words(generator, 40), "train" if index % 3 else "test") for index in range(60)]
        found[name] = write_rows(folder / f"{name}.csv", ("text", "split"), rows)
    pairs = []
    for index in range(120):
        first, other = (some_words(generator, 6) for _ in range(2))
        pairs.append((first, first if index % 2 else other, index % 2, "train" if index % 3 else "test"))
    found["pairs"] = write_rows(folder / "pairs.csv", ("sentence1", "sentence2", "label", "split"), pairs)
    return found


@pytest.fixture(scope="session")
def arguments(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory, corpora: dict[str, Path]
) -> Callable[..., list[str]]:
    """Returns a maker of arguments, on the tiny model; the corpus is `pairs` for tables 3 and 4, else `text`."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    encoder = tmp_path_factory.mktemp("sentences")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (encoder / "vocab.txt").write_text("\n".join(words))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(encoder)
    BertTokenizerFast(vocab=str(encoder / "vocab.txt")).save_pretrained(encoder)

    def made(table: int, out: Path, *options: str) -> list[str]:
        corpus = str(corpora["pairs" if table in (3, 4) else "text"])
        own = ["--corpus", corpus, "--model", str(model_folder), "--sentences", str(encoder)]
        return ["reproduce", str(table), *own, "--out", str(out), *SMALL, *options]

    return made


@pytest.fixture(scope="session")
def command(arguments: Callable[..., list[str]]) -> Callable[..., int]:
    """Returns a runner of the command with these arguments."""
    return lambda *asked: main(arguments(*asked))
