"""A tiny configuration whose frontier takes seconds."""

import pytest
import yaml


@pytest.fixture(scope="session")
def configured(tiny_lm_folder, tiny_bert_folder, reviews, tmp_path_factory):
    """Returns the path of a configuration over a tiny model and made-up reviews, in a folder of its own."""
    content = {
        "name": "tiny",
        "model": str(tiny_lm_folder),
        "sentence_encoder": str(tiny_bert_folder),
        "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": 5.0},
        "encoder": {"whitening": 0.0, "seed": 1},
        "decoder": "linear",
        "data": {"corpus": str(reviews), "text_column": "text"},
        "attribute": {"column": "condition", "classes": 2},
        "evaluation": {
            "attacks": ["baseline", "cosine", "code", "map"],
            "attacked_tokens": 1_000,
            "context_prompts": 20,
            "prompts": 20,
            "response_tokens": 8,
            "generations": 2,
            "generated_tokens": 3,
            "other_bits": [1],
            "other_prompts": 4,
        },
        "policy": {
            "assurance": "quick",
            "prompt_tokens": 12,
            "epsilon": {"at_most": 50.0, "delta": 1e-6},
            "bytes_per_token_at_most": 9.0,
        },
    }
    path = tmp_path_factory.mktemp("frontier") / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
