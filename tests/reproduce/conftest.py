"""Fixtures of the tables' tests: the tiny model with a longer context, a tiny sentence encoder, tiny corpora."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from del_audit.cli import main
from mechanisms.randomness import simulation_generator

WORDS = ("doctor", "tablet", "pain", "week", "sleep", "sister", "tired", "time", "work", "head")
SMALL = ("--quick", "--lengths", "ptb", "--samples", "5", "--new-tokens", "4", "--dim", "6", "--tokens", "120") + (
    "--window",
    "40",
    "--virtual-tokens",
    "3",
    "--steps",
    "1",
    "--pair-steps",
    "1",
    "--epochs",
    "1",
)


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
        found[name] = folder / f"{name}.csv"
        with found[name].open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "split"])
            for index in range(60):
                writer.writerow([" ".join(generator.choice(WORDS, 40)), "train" if index % 3 else "test"])
    found["pairs"] = folder / "pairs.csv"
    with found["pairs"].open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sentence1", "sentence2", "label", "split"])
        for index in range(120):
            first = " ".join(generator.choice(WORDS, 6))
            second = first if index % 2 else " ".join(generator.choice(WORDS, 6))
            writer.writerow([first, second, index % 2, "train" if index % 3 else "test"])
    return found


@pytest.fixture
def command(model_folder: Path, tiny_bert_folder: Path, corpora: dict[str, Path]) -> Callable[..., int]:
    """Returns a runner of the command on the tiny model; the corpus is `pairs` for tables 3 and 4, else `text`."""

    def run(table: int, out: Path, *options: str) -> int:
        corpus = str(corpora["pairs" if table in (3, 4) else "text"])
        own = ("--corpus", corpus, "--model", str(model_folder), "--sentences", str(tiny_bert_folder))
        return main(["reproduce", str(table), *own, "--out", str(out), *SMALL, *options])

    return run
