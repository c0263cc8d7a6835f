import json
import socket
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from mechanisms.assets import content_sha256
from mechanisms.corpora import Corpus, load_corpus
from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256

ROWS = [
    {"text": "I felt tired, all day.", "condition": "Insomnia", "stars": 2},
    {"text": 'She said "never again";\nso did I.', "condition": "Pain", "stars": 1},
    {"text": "Naïve café 🙂\tand a tab", "condition": "Pain", "stars": 5},
]


@pytest.fixture(autouse=True)
def own_cache(request, tmp_path, monkeypatch):
    """Keeps the tests out of the user's cache, except those that read packaged assets."""
    if "packaged" not in request.fixturenames:
        monkeypatch.setenv("DEL_AUDIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path):
    def write_rows(suffix: str, rows=ROWS) -> Path:
        path, frame = tmp_path / f"reviews{suffix}", pd.DataFrame(rows)
        if suffix == ".parquet":
            frame.to_parquet(path)
        elif suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif suffix == ".json":
            path.write_text(json.dumps(rows))
        else:
            frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
        return path

    return write_rows


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".json"])
def test_local_file_round_trips_and_leaves_no_copy(write, suffix, tmp_path, monkeypatch):
    path = write(suffix)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    corpus = load_corpus(str(path))
    assert corpus.texts == [row["text"] for row in ROWS]
    assert corpus.column("condition") == ["Insomnia", "Pain", "Pain"]
    assert corpus.column("stars") == ([2, 1, 5] if suffix != ".csv" else ["2", "1", "5"])
    assert corpus.column("split") == ["train"] * 3
    assert corpus.column("document_id") == ["0", "1", "2"]
    assert corpus.record.to_dict() == {
        "name": str(path),
        "kind": "file",
        "version": "",
        "sha256": content_sha256({path.name: file_sha256(path)}),
        "licence": "",
        "terms": "",
        "origin": str(path),
    }
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "cache").exists()


def test_changed_file_is_read_anew(write):
    path = write(".jsonl")
    first = load_corpus(str(path))
    path.write_text(json.dumps({"text": "Something else."}) + "\n")
    second = load_corpus(str(path))
    assert second.texts == ["Something else."]
    assert second.record.sha256 != first.record.sha256


def test_text_column_is_the_only_one_of_strings_or_the_one_asked_for(write):
    rows = [{"review": "one", "stars": 1}, {"review": "two", "stars": 2}]
    assert load_corpus(str(write(".parquet", rows))).texts == ["one", "two"]
    assert load_corpus(str(write(".csv", [{"review": "one", "split": "a"}]))).texts == ["one"]
    assert load_corpus(str(write(".jsonl")), text_column="condition").texts == ["Insomnia", "Pain", "Pain"]


@pytest.mark.parametrize("asked", ["reviw", None])
def test_missing_text_column_lists_the_columns(write, asked):
    path = write(".jsonl", [{"review": "one", "title": "a"}])
    with pytest.raises(UserError, match=r"text_column .* among 'review', 'title'"):
        load_corpus(str(path), text_column=asked)


def test_split_column_is_kept_and_chosen_from(write):
    path = write(".jsonl", [{**row, "split": split} for row, split in zip(ROWS, ("a", "b", "a"), strict=True)])
    assert load_corpus(str(path), split="a").texts == [ROWS[0]["text"], ROWS[2]["text"]]
    assert load_corpus(str(path)).subset("b").column("document_id") == ["1"]
    with pytest.raises(UserError, match="among 'a', 'b', got 'c'"):
        load_corpus(str(path), split="c")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a"}, {"text": " \n"}, {"text": ""}], r"got 2 empty ones, the first in row 1"),
        ([{"text": "a"}, {"text": None}], r"to hold strings, got 1 other values, the first None in row 1"),
        ([{"text": 3}, {"text": 4}], r"to hold strings, got 2 other values, the first 3 in row 0"),
    ],
)
def test_bad_documents_are_counted_and_located(write, rows, message):
    with pytest.raises(UserError, match=message):
        load_corpus(str(write(".jsonl", rows)))


@pytest.mark.parametrize("content", ["", "\n\n", '{"text": "a"', "not json"])
def test_broken_file_is_a_user_error(tmp_path, content):
    path = tmp_path / "broken.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=r"broken\.jsonl"):
        load_corpus(str(path))


def test_parquet_that_is_none(tmp_path):
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(UserError, match="Cannot read the corpus"):
        load_corpus(str(path))


@pytest.mark.parametrize("name", ["missing.csv", "", None, "package:minilm-l6-v2", "a/b/c", "."])
def test_bad_name_says_what_is_allowed(name):
    with pytest.raises(UserError, match=r"\.parquet"):
        load_corpus(name)


def test_labels_need_a_column_with_two_classes(write):
    corpus = load_corpus(str(write(".jsonl")))
    assert corpus.labels("condition") == ["Insomnia", "Pain", "Pain"]
    assert corpus.labels("stars") == ["2", "1", "5"]
    with pytest.raises(UserError, match="among 'condition', 'document_id', 'split', 'stars', 'text', got 'Condition'"):
        corpus.labels("Condition")
    with pytest.raises(UserError, match="two classes or more in each split that is used, got 'Pain' in the"):
        corpus.take([1, 2]).labels("condition")
    unlabelled = Corpus(["a", "b"], {"condition": [None, "Pain"], "split": ["train"] * 2}, corpus.record)
    with pytest.raises(UserError, match="two classes or more in each split that is used, got 'Pain' in the"):
        unlabelled.labels("condition")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A hub dataset of two splits as `datasets` caches it, and no hub behind it."""
    from datasets import config, load_dataset
    from huggingface_hub import constants

    for split, rows in (("train", ROWS[:2]), ("test", ROWS[2:])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
    load_dataset("json", data_files=files, cache_dir=str(tmp_path / "made"))
    (made,) = (tmp_path / "made").glob("json/*/*/*/dataset_info.json")
    cached = tmp_path / "cache/datasets/someone___reviews/default/0.0.0/0123456789abcdef"
    cached.parent.mkdir(parents=True)
    made.parent.rename(cached)
    for arrow in cached.glob("*.arrow"):
        arrow.rename(cached / arrow.name.replace("json-", "reviews-"))
    info = json.loads((cached / "dataset_info.json").read_text())
    for split in info["splits"].values():
        split["dataset_name"] = "reviews"
    info |= {"dataset_name": "reviews", "builder_name": "parquet", "config_name": "default", "version": "0.0.0"}
    (cached / "dataset_info.json").write_text(json.dumps(info))

    def refuse(*_args):
        raise AssertionError("no connection may be made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)


def test_hub_dataset_has_its_splits_in_a_column(hub_cache):
    corpus = load_corpus("someone/reviews")
    assert corpus.texts == [row["text"] for row in ROWS]
    assert corpus.column("split") == ["train", "train", "test"]
    assert corpus.record.kind == "hub"
    assert corpus.record.origin == "hub dataset someone/reviews"
    assert len(corpus.record.sha256) == 64
    assert load_corpus("someone/reviews", split="test").texts == [ROWS[2]["text"]]


def test_hub_dataset_out_of_reach(hub_cache):
    with pytest.raises(UserError, match="Cannot read the corpus 'someone/other'"):
        load_corpus("someone/other")


@pytest.mark.assets
def test_drug_reviews(packaged):
    packaged("package:drug-reviews")
    corpus = load_corpus("package:drug-reviews")
    splits = Counter(corpus.column("split"))
    assert splits == {"train": 599, "test": 379}
    by_split = {split: set(corpus.subset(split).texts) for split in splits}
    assert not by_split["train"] & by_split["test"]
    assert len(set(corpus.column("document_id"))) == len(corpus) == 978
    assert Counter(corpus.labels("rating")).keys() == {"positive", "neutral", "negative"}
    assert Counter(corpus.labels("condition")).most_common(1) == [
        ("Birth Control", 117 + 76 - 1)
    ]  # one review stood in both splits
    assert not [text for text in corpus.texts if "&#" in text or "&quot;" in text or text[0] == '"' or "\n" in text]
    assert not [value for value in corpus.column("condition") if value is not None and "span" in value]
    assert corpus.texts[1].startswith("I went to the emergency room in the worst pain of my life. The nurses")
    assert "couldn’t help it" in corpus.texts[1]
    assert corpus.record.name == "package:drug-reviews"


@pytest.mark.assets
def test_state_of_the_union(packaged):
    packaged("package:state-of-the-union")
    corpus = load_corpus("package:state-of-the-union")
    assert len(corpus) == 237
    assert corpus.column("president")[0] == "Washington"
    assert corpus.column("year")[0] == 1790
    assert len(corpus.labels("party")) == 237
    assert set(corpus.column("split")) == {"train"}
    assert "1973-Nixon-11" not in corpus.column("document_id")  # a related document, no address
