"""How far a configuration travels to its certificate: docs/architecture.md says it, and it may not grow unnoticed."""

import csv
import inspect
import re
import sys
from pathlib import Path

import pytest
import yaml
from made_up import some_words

from del_audit.cli import main
from mechanisms.randomness import simulation_generator

ROOT = Path(__file__).parents[2]
ROOMS = tuple(f"{ROOT / name}/" for name in ("attacks", "del_audit", "mechanisms"))


@pytest.fixture
def configuration(tiny_lm_folder, tiny_bert_folder, tmp_path):
    generator = simulation_generator(0, "the way of the data")
    with (tmp_path / "reviews.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "split", "condition", "rating"])
        for index in range(60):
            labels = ("sleep", "pain")[index % 2], ("good", "bad")[index // 2 % 2]
            words = some_words(generator, 36)
            writer.writerow([f"Review {index}: {words}", "train" if index < 36 else "test", *labels])
    content = {
        "name": "tiny",
        "model": str(tiny_lm_folder),
        "sentence_encoder": str(tiny_bert_folder),
        "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": 5.0},
        "data": {"corpus": str(tmp_path / "reviews.csv"), "text_column": "text"},
        "attribute": {"column": "condition", "classes": 2},
        "task": {"column": "rating"},
        "evaluation": {
            "attacked_tokens": 1_000,
            "prompts": 6,
            "response_tokens": 8,
            "generations": 2,
            "generated_tokens": 3,
            "other_bits": [1],
            "other_prompts": 4,
        },
        "policy": {"attack_success_at_most": 0.9, "prompt_tokens": 12},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "tiny.yaml"


@pytest.mark.slow
def test_the_way_to_a_certificate_is_no_longer_than_the_page_says(configuration, tmp_path):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf8")
    stated = re.search(r"functions of ([\d,]+) modules run, and the run changes ([\d,]+) times", page)
    modules, changes = (int(figure.replace(",", "")) for figure in stated.groups())
    seen, passed = set(), []

    def watch(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(ROOMS):
            seen.add(code.co_filename)
            if not passed or passed[-1] != code.co_filename:
                passed.append(code.co_filename)

    sys.setprofile(watch)
    try:
        assert main(["certify", str(configuration), "--out", str(tmp_path / "out")]) == 0
    finally:
        sys.setprofile(None)
    print(f"{len(seen)} modules, {len(passed)} changes")
    assert 0.8 * modules < len(seen) <= modules
    assert 0.8 * changes < len(passed) <= changes
