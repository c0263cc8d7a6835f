"""The tiny model and the sixty made-up reviews: every command in a few seconds."""

import pytest
import yaml

from del_audit.cli import main


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
