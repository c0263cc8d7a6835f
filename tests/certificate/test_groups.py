"""Authors are the units of splits, of what is attacked, of intervals and of probes: in every reader of a corpus."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

import del_audit.evidence.inferences as evidence
from del_audit.certificate import against
from del_audit.client import bundle
from del_audit.configuration.configuration import DataChoice
from del_audit.evidence.inference import _share
from del_audit.service.private_text import answered_prompts, attacked_prompts, attacked_rounds, one_of_each_group
from del_audit.service.splits import grouped_by, read_splits
from del_audit.training import parts as train
from mechanisms.assets import AssetRecord
from mechanisms.corpora import Corpus
from mechanisms.errors import UserError
from mechanisms.hashes import json_sha256
from mechanisms.splits import split_corpus

AUTHORS, ROWS, SIGNAL = 30, 12, 0.8


@pytest.fixture
def reviews(tmp_path):
    """Returns a `data` section: five authors of two rows each in either split, one of them in both."""
    lines = ["text,split,author"]
    for index in range(20):
        author = "p0" if index in (3, 4) else f"p{index // 2}"
        lines.append(f"text {index},{'train' if index < 10 else 'test'},{author if index < 18 else 'p0'}")
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(lines))
    return DataChoice(corpus=str(path), text_column="text", group_column="author")


LEFT = [f"text {index}" for index in (2, 5, 6, 7, 8, 9)]


def test_every_reader_of_public_text_leaves_private_authors_out(reviews, capsys, monkeypatch):
    splits = read_splits(reviews)
    assert splits.public.texts == LEFT
    assert splits.removed == 4
    assert set(splits.public_groups).isdisjoint(splits.private_groups)
    said = "del-audit: 4 of 10 public rows removed: the private split has rows of the same author."
    assert capsys.readouterr().err.splitlines()[-1] == said
    configuration = SimpleNamespace(data=reviews, model="model")
    assets = against._Assets(configuration)
    assert assets.public_texts() == json_sha256(LEFT)
    assert assets.private_texts() == json_sha256([f"text {index}" for index in range(10, 20)])
    assert capsys.readouterr().err.count("removed") == 1
    tokenizer = lambda texts, **_: SimpleNamespace(input_ids=[[1]] * len(texts))  # noqa: E731
    monkeypatch.setattr(train, "language_of", lambda _configuration: SimpleNamespace(tokenizer=tokenizer))
    assert train._public_text(configuration, None)[0].texts == LEFT
    for module in (bundle, train, against):
        assert module.read_splits is read_splits
        assert not hasattr(module, "load_corpus") or module is train  # which reads --private-corpus with it


def test_no_other_module_reads_a_splits_rows_by_itself():
    """The museum of this fault: each of five commands had its own way to the public rows."""
    from pathlib import Path

    root = Path(__file__).parents[2]
    for path in (root / "del_audit").rglob("*.py"):
        assert ".subset(" not in path.read_text(encoding="utf8"), path


def test_a_commands_group_replaces_the_configurations(reviews):
    class Holder(SimpleNamespace):
        def model_copy(self, update):
            return Holder(**{**vars(self), **update})

    held = Holder(data=reviews)
    assert grouped_by(held, None) is held
    assert grouped_by(held, "clinic").data.group_column == "clinic"


def assets_of(private, groups):
    return SimpleNamespace(private=private, private_groups=groups)


def test_every_authors_first_prompt_comes_before_any_second():
    private = [[1, 2, 3, 4], [5, 6, 7], [8, 9], [], [10, 11]]
    found = attacked_prompts(assets_of(private, ["a", "a", "b", "c", "d"]), 10, 2)
    assert found.prompts == [[1, 2], [8, 9], [10, 11], [5, 6]]
    assert found.units == [0, 1, 3, 0]
    alone = attacked_prompts(assets_of(private, list("vwxyz")), 100, 2)
    assert alone.prompts == [[1, 2], [5, 6], [8, 9], [10, 11], [3, 4], [7]]
    assert alone.units == [0, 1, 2, 4, 0, 1]


def test_no_author_gives_more_than_a_fair_share():
    private = [list(range(100)), [1, 2], [3, 4]]
    found = attacked_prompts(assets_of(private, ["a", "b", "c"]), 12, 2)
    assert attacked_rounds(3, 12, 2) == found.prompts_each == 2
    assert found.units == [0, 1, 2, 0]
    assert found.tokens == 8
    assert attacked_prompts(assets_of([[1, 2, 3]], ["a"]), 2, 5).prompts == [[1, 2]]
    assert attacked_prompts(assets_of([[]], ["a"]), 2, 5).prompts == []


@pytest.mark.parametrize(
    ("documents", "tokens", "prompt_tokens", "most"),
    [(10, 400, 40, 1), (10, 401, 40, 2), (1, 81, 40, 3), (5, 1, 40, 1)],
)
def test_rounds_are_what_the_tokens_need(documents, tokens, prompt_tokens, most):
    assert attacked_rounds(documents, tokens, prompt_tokens) == most


def test_an_author_gives_one_prompt_to_utility():
    private = [[1], [1, 2, 3], [4, 5, 6], [7, 8, 9, 10]]
    assert one_of_each_group(assets_of(private, ["a", "a", "b", "a"]), 3) == [[1, 2, 3], [4, 5, 6]]


def world(seed, groups):
    """Returns assets of AUTHORS private authors of ROWS rows each, two of whom wrote public rows as well.

    The rows of an author look alike: their label's sign times SIGNAL, and the author's own noise.
    """
    generator = np.random.default_rng(seed)
    who = [*np.repeat(np.arange(AUTHORS), ROWS), *np.repeat(np.arange(AUTHORS - 2, AUTHORS + 8), 3)]
    side = generator.choice([-1, 1], AUTHORS + 8)
    side[-2:] = -1, 1  # both classes among the public authors
    seen = side * SIGNAL + generator.standard_normal(AUTHORS + 8)
    columns = {
        "split": ["test"] * AUTHORS * ROWS + ["train"] * 30,
        "author": [f"p{one}" for one in who],
        "label": ["yes" if side[one] > 0 else "no" for one in who],
    }
    corpus = Corpus(["text"] * len(who), columns, AssetRecord("made up", "file", "", "", "", "", ""))
    splits = split_corpus(corpus, "train", "test", groups)
    assets = SimpleNamespace(
        public=[[row] for row in corpus.rows("train")][splits.removed :],
        private=[[row] for row in corpus.rows("test")],
        public_corpus=splits.public,
        private_corpus=splits.private,
        public_groups=splits.public_groups,
        private_groups=splits.private_groups,
        language=SimpleNamespace(tokenizer=None),
        seed=0,
    )
    return assets, seen[np.array(who)]


def sampled(monkeypatch, seed, groups, probe_rows=1000):
    """Returns the public and the private sample that the certifier's probes are given, and what each row looks like."""
    assets, looks = world(seed, groups)

    class Viewer:
        def __init__(self, *_, **__):
            pass

        def plain(self, messages):
            return SimpleNamespace(rows={"x": looks[np.array(messages)]})

        plain_clean = plain

    plan = SimpleNamespace(probe_releases=2, probe_tokens=8, probe_rows=probe_rows)
    client = SimpleNamespace(release_tokens=lambda tokens: tokens[0])
    for name, value in (
        ("Viewer", Viewer),
        ("public_of", lambda *_: None),
        ("client_of", lambda *_: client),
        ("side_channels", lambda *_: SimpleNamespace(features=np.zeros(1))),
        ("tqdm", lambda texts, **_: _Bar(texts)),
        ("infer", lambda column, public, private, seed: (public, private)),
    ):
        monkeypatch.setattr(evidence, name, value)
    return evidence._inference(SimpleNamespace(evaluation=plan), assets, None, "label", None, strongest=False)


class _Bar(list):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def coverage(monkeypatch, groups, runs=400):
    """Returns how often the interval of the rule 'positive means yes' holds its true accuracy."""
    truth, held = norm.cdf(SIGNAL), 0
    for seed in range(runs):
        _, private = sampled(monkeypatch, seed, groups)
        right = (private.released["x"] > 0) == (np.array(private.labels) == "yes")
        figure = _share(right, private, 0)
        held += figure.lower <= truth <= figure.upper
    return held / runs


def test_intervals_cover_where_authors_write_many_rows(monkeypatch):
    """Stated: .95. Every row its own person, as it was before, covers less than two times in three."""
    assert coverage(monkeypatch, "author") >= 0.95
    assert coverage(monkeypatch, None) < 0.65


def test_probes_are_scored_once_an_author_and_fitted_on_none_of_them(monkeypatch):
    public, private = sampled(monkeypatch, 0, "author")
    assert len(private.documents) == len(set(private.documents)) == AUTHORS
    assert set(public.documents).isdisjoint(private.documents)
    assert len(public.documents) == 2 * 3 * 8  # releases, rows, authors: without the two who are private too
    assert len(set(public.documents)) == 8
    before, _ = sampled(monkeypatch, 0, None)
    assert len(before.documents) == 2 * 3 * 10


def test_a_bound_on_rows_is_kept_and_said(monkeypatch, capsys):
    every, _ = sampled(monkeypatch, 0, None)
    assert capsys.readouterr().err == ""
    public, private = sampled(monkeypatch, 0, None, probe_rows=18)
    assert "The probes of 'label' learn from 18 of 30 public rows (evaluation.probe_rows)." in capsys.readouterr().err
    assert len(public.documents) == 2 * 18
    assert set(public.documents) < set(every.documents)
    assert len(private.documents) == AUTHORS * ROWS


def test_utility_says_how_many_authors_there_are(monkeypatch):
    plan = SimpleNamespace(response_tokens=1, prompts=3)
    configuration = SimpleNamespace(
        evaluation=plan, policy=SimpleNamespace(prompt_tokens=1), data=SimpleNamespace(group_column="author")
    )
    with pytest.raises(UserError, match=r"prompts <= 2, private documents of 2 tokens or more, one per author, got"):
        answered_prompts(configuration, assets_of([[1, 2]] * 5, list("aabba")))
