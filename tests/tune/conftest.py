"""A tiny model, reviews with copies among them, and a configuration that is tuned in a few seconds."""

import pytest
import yaml
from made_up import some_words, write_rows

from mechanisms.randomness import simulation_generator


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    generator = simulation_generator(0, "tuned reviews")
    texts = [some_words(generator) for _ in range(140)]
    rows = [
        (f"I took it. {text}", "train" if index < 36 else "test", ("good", "bad")[index // 2 % 2])
        for index, text in enumerate(texts)
    ]
    rows.append((f"I  TOOK it. {texts[-1]}", "test", "good"))  # the last one again, but for case and spaces
    return write_rows(tmp_path_factory.mktemp("data") / "reviews.csv", ("review", "split", "rating"), rows)


@pytest.fixture
def configured(tiny_lm_folder, tiny_bert_folder, reviews, tmp_path):
    def write(policy=None, **changes):
        content = {
            "name": "tiny",
            "model": str(tiny_lm_folder),
            "sentence_encoder": str(tiny_bert_folder),
            "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": 5.0},
            "data": {"corpus": str(reviews), "text_column": "review"},
            "evaluation": {
                "attacks": ["baseline", "map", "code"],
                "attacked_tokens": 2_000,
                "context_prompts": 60,
                "prompts": 16,
                "response_tokens": 8,
                "generations": 2,
                "generated_tokens": 3,
                "other_prompts": 4,
            },
            "policy": {
                "assurance": "quick",
                "prompt_tokens": 20,
                **(
                    policy
                    or {"epsilon": {"at_most": 40.0}, "attack_success_at_most": 0.6, "bytes_per_token_at_most": 7}
                ),
            },
            **changes,
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write
