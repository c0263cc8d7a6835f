"""What would end a run after minutes of attacks is found before the mechanism is even built."""

import csv

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM, BertTokenizerFast

from del_audit.certificate import certify as certifying
from del_audit.cli import main
from mechanisms.masked_models import load_masked_lm

LONG = " ".join(["the doctor said that the pain in the head was gone after a week of sleep"] * 3)


def rows(public=12, private=8):
    """Returns rows of a corpus: text, split, person, condition and rating; two classes of each, in both parts."""
    return [
        [
            f"{LONG} {part} {index}",
            part,
            f"{part}{index}",
            ("sleep", "pain")[index % 2],
            ("good", "bad")[index // 2 % 2],
        ]
        for part, count in (("train", public), ("test", private))
        for index in range(count)
    ]


def changed(column, value, *, part="train", first=0, last=None, given=None):
    """Returns the rows with another value in a column, of the chosen rows of a part."""
    found, seen = given or rows(), 0
    for row in found:
        if row[1] == part:
            if first <= seen and (last is None or seen < last):
                row[column] = value
            seen += 1
    return found


UNLABELLED = {"attribute": None, "task": None}


@pytest.fixture
def certify(tiny_lm_folder, tiny_bert_folder, tmp_path, capsys, monkeypatch):
    """Returns a function that certifies a changed configuration and returns (exit code, stderr); no attack is run."""

    def build(*_):
        raise AssertionError("the mechanism was built")

    monkeypatch.setattr(certifying, "build", build)

    def call(texts=None, **changes):
        with (tmp_path / "corpus.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerows([["text", "split", "person", "condition", "rating"], *(texts or rows())])
        content = {
            "name": "tiny",
            "model": str(tiny_lm_folder),
            "sentence_encoder": str(tiny_bert_folder),
            "mechanism": {"bits": 4, "dim": 12, "mu": 5.0},
            "data": {"corpus": str(tmp_path / "corpus.csv"), "text_column": "text"},
            "attribute": {"column": "condition", "classes": 2},
            "task": {"column": "rating"},
            "evaluation": {
                "prompts": 6,
                "response_tokens": 8,
                "generations": 2,
                "generated_tokens": 3,
                "other_prompts": 2,
            },
            "policy": {"attack_success_at_most": 0.9, "prompt_tokens": 16},
        }
        for name, given in changes.items():
            merged = isinstance(given, dict) and name in content
            content[name] = {**content[name], **given} if merged else given
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
        code = main(["certify", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out")])
        assert not list((tmp_path / "out").glob("*"))
        return code, capsys.readouterr().err

    return call


def test_a_configuration_that_is_ready_goes_on(certify):
    with pytest.raises(AssertionError, match="the mechanism was built"):
        certify()


@pytest.mark.parametrize(
    ("texts", "changes", "said"),
    [
        (None, {"evaluation": {"prompts": 9}}, "Expected evaluation.prompts <= 8, private documents of 24 tokens"),
        (None, {"evaluation": {"response_tokens": 500}}, "Expected 1 virtual or opening tokens, policy.prompt_tokens"),
        (None, {"evaluation": {"generated_tokens": 240}}, "got 1 + 16 + 240 = 257. Lower policy.prompt_tokens or eval"),
        (None, {"policy": {"prompt_tokens": 250}}, "got 1 + 250 + 8 = 259"),
        (None, {"policy": {"slice_success_at_most": {"words 1 to 99": 0.5}}}, "Expected policy.slice_success_at_most"),
        (None, {"evaluation": {"other_bits": [12]}}, "evaluation.other_bits: Expected bits in 1..8, got bits=12"),
        (None, {"attribute": {"column": "person", "classes": 2}}, "Expected 4 public documents or groups at least"),
        (changed(3, "sleep"), {}, "two classes or more in each split that is used, got 'sleep' in the 12 rows of one"),
        (changed(4, "good", part="test"), {}, "got 'good' in the 8 rows of one"),
        (changed(3, "rare", last=3), {"attribute": {"classes": 3}}, "got 3 of 'rare'"),
        (changed(4, "rare", last=3), {}, "got 3 of 'rare'"),
        (changed(4, "rare", last=4), {}, "got 'rare' in the public one only"),
        (changed(4, "new", part="test", first=7), {}, "got 'new' in the private one only"),
        (changed(3, "", last=9), {}, "Expected 4 public documents or groups at least"),
        (changed(0, "1234 5678 " * 20), {}, "Expected public text with at least one word"),
        (changed(2, "one", part="test"), {"data": {"group_column": "person"}}, "two documents or groups at least"),
        (changed(0, "short", first=8), {}, "Expected more than 8 public documents of 24 tokens or more"),
        (None, {"evaluation": {"attacks": ["baseline", "map", "inference"], "masked_lm": "nowhere"}}, "'nowhere'"),
        (
            changed(2, "one", first=9, given=rows(9, 8))[:17],
            {"evaluation": {"attacks": ["baseline", "map", "contextual"]}, **UNLABELLED},
            "Expected two public documents or more, one of them to validate on, got 1",
        ),
    ],
)
def test_what_a_run_would_lack_is_said_before_any_work(certify, texts, changes, said):
    code, error = certify(texts, **changes)
    assert code == 2
    assert said in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()[-1]) < 600


def test_groups_count_where_classes_have_too_few_documents(certify):
    people = changed(2, "one", last=6)  # six public rows of one person, three of each class
    with pytest.raises(AssertionError, match="the mechanism was built"):
        certify(people)
    code, error = certify(changed(2, "one", last=10), data={"group_column": "person"})
    assert code == 2
    assert "Expected 4 public documents or groups at least of each class in the column 'condition', got 2" in error


def test_a_sentence_encoder_with_damaged_weights_is_refused(certify, tiny_bert_folder, tmp_path):
    folder = copied(tiny_bert_folder, tmp_path / "damaged")
    weights = load_file(folder / "model.safetensors")
    name = next(iter(sorted(weights)))
    weights[name][..., 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    code, error = certify(sentence_encoder=str(folder))
    assert code == 2
    assert f"Expected finite weights in {str(folder)!r}, got NaN or infinite ones in {name!r}" in error


def test_a_sentence_encoder_with_more_tokens_than_embeddings_is_refused(certify, tiny_bert_folder, tmp_path):
    folder = copied(tiny_bert_folder, tmp_path / "larger")
    larger = BertTokenizerFast.from_pretrained(folder)
    larger.add_tokens(["newword"])
    larger.save_pretrained(folder)
    code, error = certify(sentence_encoder=str(folder))
    assert code == 2
    assert "to have tokens below 11" in error
    assert "'newword' with number 11" in error


@pytest.fixture
def masked_folder(tiny_bert_folder, tmp_path):
    folder = tmp_path / "masked"
    BertTokenizerFast.from_pretrained(tiny_bert_folder).save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertForMaskedLM(BertConfig(vocab_size=11, max_position_embeddings=32, **shape)).save_pretrained(folder)
    return folder


def test_a_masked_model_is_looked_at_as_every_other(certify, masked_folder):
    assert load_masked_lm(str(masked_folder)).mask == 4
    model = AutoModelForMaskedLM.from_pretrained(masked_folder)
    model.bert.embeddings.word_embeddings.weight.data[3, 2] = torch.inf
    model.save_pretrained(masked_folder)
    code, error = certify(
        evaluation={"attacks": ["baseline", "map", "inference"], "masked_lm": str(masked_folder)},
        policy={"assurance": "quick"},
    )
    assert code == 2
    assert "NaN or infinite ones in 'bert.embeddings.word_embeddings.weight'" in error


def copied(folder, place):
    place.mkdir()
    for file in folder.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    return place
