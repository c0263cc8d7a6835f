"""A tiny random model and sixty made-up reviews: every command in a few seconds."""

import csv

import pytest
import yaml

from del_audit.cli import main
from mechanisms.randomness import simulation_generator

WORDS = ("doctor", "tablet", "pain", "week", "sleep", "sister", "tired", "time", "work", "head")
ABOUT = {"sleep": "I could not sleep and felt tired.", "pain": "The pain in the head was gone."}
REVIEWS, TRAIN = 60, 36


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """Returns a file of reviews: two conditions, an age, and an author of every two rows."""
    generator = simulation_generator(0, "reviews")
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "split", "condition", "age", "author"])
        for index in range(REVIEWS):
            condition = ("sleep", "pain")[index % 2]
            author = f"a{index // 4}-{index % 2}"
            text = f"{ABOUT[condition]} {' '.join(generator.choice(WORDS, 30))}"
            writer.writerow([text, "train" if index < TRAIN else "test", condition, 20 + index % 40, author])
    return path


@pytest.fixture
def configured(tiny_lm_folder, tiny_bert_folder, reviews, tmp_path):
    """Returns a writer of configurations; keywords replace whole sections."""

    def write(mu=5.0, **changes):
        content = {
            "name": "tiny",
            "model": str(tiny_lm_folder),
            "sentence_encoder": str(tiny_bert_folder),
            "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": mu},
            "data": {"corpus": str(reviews), "text_column": "text"},
            "evaluation": {
                "attacks": ["baseline", "cosine", "map", "beam"],
                "context_prompts": 20,
                "context_tokens": 16,
            },
            "policy": {"attack_success_at_most": 0.9, "prompt_tokens": 16},
            **changes,
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def attack(configured, tmp_path):
    """Returns a caller of the command on a configuration, with OUT in the test's folder."""

    def call(kind, *options, out="out", config=None):
        return main(["attack", kind, str(config or configured()), "--out", str(tmp_path / out), *options])

    return call
