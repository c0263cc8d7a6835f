"""`del-audit attack attribute`: labels, authors and refusals; and the whole command, which is slow."""

import csv
import json
from types import SimpleNamespace

import pytest

from del_audit.attack.attribute import Part, labelled
from mechanisms.assets import AssetRecord
from mechanisms.corpora import Corpus


def corpus(**columns):
    record = AssetRecord("made up", "file", "", "", "", "", "")
    count = len(next(iter(columns.values())))
    return Corpus(["text"] * count, columns, record)


@pytest.fixture
def scene():
    """Public and private rows with a colour, an age and an author; the third private row has no tokens."""
    public = corpus(
        colour=["red", "red", "red", "blue", "blue", "green", None], age=list(range(10, 80, 10)), who=list("aabbccd")
    )
    private = corpus(colour=["blue", "green", "red", "red"], age=[5, 45, 45, 99], who=list("wxyz"))
    assets = SimpleNamespace(
        public=[[index] * 9 for index in range(7)],
        private=[[10] * 9, [11] * 9, [], [13] * 3],
        public_corpus=public,
        private_corpus=private,
        public_groups=public.groups("who"),
        private_groups=private.groups("who"),
    )
    return SimpleNamespace(assets=assets)


def test_the_commonest_public_classes_are_kept(scene):
    public, private = labelled(scene, "colour", None, 2, 4)
    assert public == Part([[index] * 4 for index in range(5)], ["red"] * 3 + ["blue"] * 2, list("aabbc"))
    assert private == Part([[10] * 4, [13] * 3], ["blue", "red"], ["w", "z"])


def test_numbers_are_binned_where_the_public_ones_part(scene):
    public, private = labelled(scene, "age", 2, 5, 4)
    assert public.labels == ["below 40"] * 3 + ["40 and above"] * 4
    assert private.labels == ["below 40", "40 and above", "40 and above"]


def test_each_author_counts_once():
    private = Part([[1], [2], [3]], ["x", "y", "x"], ["a", "b", "a"])
    assert private.one_of_each() == Part([[1], [2]], ["x", "y"], ["a", "b"])


@pytest.fixture
def rewritten(reviews, tmp_path):
    """Returns a writer of the reviews with each row changed."""

    def write(change):
        path = tmp_path / "changed.csv"
        with reviews.open() as source, path.open("w", newline="") as target:
            rows = list(csv.DictReader(source))
            writer = csv.DictWriter(target, rows[0].keys())
            writer.writeheader()
            writer.writerows(change(index, row) for index, row in enumerate(rows))
        return {"corpus": str(path), "text_column": "text"}

    return write


@pytest.mark.slow
def test_figures_and_table(attack, configured, rewritten, tmp_path, capsys):
    data = rewritten(lambda index, row: row | {"author": f"a0-{index % 2}"} if index in (36, 37) else row)
    config = configured(data=data, attribute={"column": "condition", "classes": 2})
    options = ("--releases", "2", "--prompt-tokens", "12", "--group", "author")
    assert attack("attribute", *options, config=config) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (found["left_out_rows"], found["public_rows"], found["private_rows"]) == (4, 64, 14)
    inference = found["inference"]
    assert inference["classes"] == ["pain", "sleep"]
    assert inference["chance"] == 0.5
    for part in ("released", "clean", "lengths"):
        for name in ("balanced_accuracy", "accuracy", "auc", "advantage", "over_majority"):
            figure = inference[part][name]
            assert figure["kind"] == "estimated, with interval"
            assert figure["lower"] <= figure["value"] <= figure["upper"]
            assert figure["documents"] in (14, None)
    assert inference["clean"]["balanced_accuracy"]["value"] > 0.9
    assert inference["released"]["balanced_accuracy"]["value"] > 0.7
    assert inference["lengths"]["balanced_accuracy"]["lower"] < 0.6
    assert "message bytes" in {**found["sizes"]["figures"], **found["sizes"]["left_out"]}
    for said in ("lengths alone (floor)", "clean text (ceiling)", "Left out of training: 4 public rows", "(estimate)"):
        assert said in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Expected --column"),
        (("--column", "colour"), "'colour'"),
        (("--column", "condition", "--classes", "1"), "classes >= 2"),
        (("--column", "condition", "--classes", "2", "--bins", "2"), "one of --classes and --bins"),
        (("--column", "condition", "--group", "nobody"), "'nobody'"),
        (("--column", "condition", "--bins", "2"), "finite numbers"),
        (
            ("--column", "condition", "--documents", "6", "--releases", "1"),
            "4 public documents or groups at least of each class in the column 'condition', got 3 of 'pain'",
        ),
        (("--column", "condition", "--releases", "0"), "releases >= 1"),
        (("--column", "condition", "--documents", "0"), "documents >= 1"),
        (("--column", "condition", "--prompts", "0"), "prompts >= 1"),
        (
            ("--column", "condition", "--prompts", "1"),
            "the same classes of the column 'condition' in both splits, got 'pain'",
        ),
        (("--column", "condition", "--classes", "0"), "classes >= 2"),
    ],
)
def test_what_a_user_can_mend_ends_with_code_2(attack, tmp_path, capsys, options, said):
    assert attack("attribute", *options) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_one_class_is_refused(attack, configured, rewritten, capsys):
    config = configured(data=rewritten(lambda _index, row: row | {"condition": "pain"}))
    assert attack("attribute", "--column", "condition", config=config) == 2
    assert "two classes or more" in capsys.readouterr().err
