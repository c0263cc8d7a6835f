"""The two parts share no text and no author, and are the same whatever else there is."""

import pytest

from del_audit.tune.parts import FEWEST_DOCUMENTS, HELD_OUT, split_private, write_corpus
from mechanisms.corpora import load_corpus
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

TEXTS = [f"Text number {index}" for index in range(200)]
ALONE = list(range(200))


def sides(parts, count):
    return ["tuning" if i in parts.tuning else "held out" if i in parts.held_out else "left out" for i in range(count)]


def test_the_parts_are_disjoint_and_about_of_the_share():
    parts = split_private(TEXTS, ALONE, [], 0.3, 0)
    assert set(parts.tuning).isdisjoint(parts.held_out)
    assert sorted([*parts.tuning, *parts.held_out]) == ALONE
    assert 40 <= len(parts.tuning) <= 80
    assert parts.to_dict() == {
        "tuning": len(parts.tuning),
        "held_out": 200 - len(parts.tuning),
        "left_out_as_public": 0,
    }


def test_a_document_keeps_its_side_when_others_come_and_go():
    whole = sides(split_private(TEXTS, ALONE, [], 0.5, 3), 200)
    assert sides(split_private(TEXTS[:120], ALONE[:120], [], 0.5, 3), 120) == whole[:120]
    assert sides(split_private(TEXTS[::-1], ALONE, [], 0.5, 3), 200) == whole[::-1]
    assert sides(split_private(TEXTS, ALONE, [], 0.5, 4), 200) != whole


def test_copies_and_what_an_author_wrote_stay_together():
    generator = simulation_generator(0, "copies")
    drawn = list(zip(generator.integers(0, 30, 40), generator.random(40) < 0.5, strict=True))
    texts = [f"  TEXT   {number}" if upper else f"text {number} " for number, upper in drawn]
    authors = [f"author {number}" for number in generator.integers(0, 60, 40)]
    assert len(set(authors)) < 40 > len({number for number, _ in drawn})
    where = sides(split_private([*texts, *TEXTS], [*authors, *ALONE], [], 0.5, 1), 240)
    for keys in ([" ".join(text.split()).casefold() for text in texts], authors):
        for key in set(keys):
            assert len({where[i] for i in range(40) if keys[i] == key}) == 1
    assert {"tuning", "held out"} <= set(where[:40])


def test_texts_that_are_public_are_in_neither_part_with_all_that_belongs_to_them():
    parts = split_private(["shared  text", "by the same hand", *TEXTS], ["a", "a", *ALONE], ["Shared text"], 0.5, 0)
    assert parts.public_texts == 2
    assert 0 not in (*parts.tuning, *parts.held_out)
    assert 1 not in (*parts.tuning, *parts.held_out)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(UserError, match="tuning-share"):
        split_private(TEXTS, ALONE, [], share, 0)


def test_a_split_of_copies_is_too_small():
    with pytest.raises(UserError, match=f"{FEWEST_DOCUMENTS} documents or more"):
        split_private(["one text"] * 100, list(range(100)), [], 0.5, 0)


def test_the_written_corpus_is_public_and_held_out_documents_alone(tmp_path):
    source = tmp_path / "source.csv"
    rows = [f"document {i},{'train' if i < 3 else 'test'},{i % 2}" for i in range(9)]
    source.write_text("\n".join(["review,split,rating", *rows]))
    corpus = load_corpus(str(source), "review")
    held_out = corpus.subset("test").take([1, 4])
    write_corpus(tmp_path / "out.parquet", corpus.subset("train"), held_out, "train")
    again = load_corpus(str(tmp_path / "out.parquet"), "text")
    assert again.subset("train").texts == ["document 0", "document 1", "document 2"]
    assert again.subset(HELD_OUT).texts == held_out.texts == ["document 4", "document 7"]
    assert again.subset(HELD_OUT).columns["rating"] == held_out.columns["rating"]
    assert again.subset(HELD_OUT).columns["document_id"] == held_out.columns["document_id"]
    assert (tmp_path / "out.parquet").stat().st_mode & 0o077 == 0
    with pytest.raises(UserError, match="a file that can be written"):
        write_corpus(tmp_path / "none" / "out.parquet", corpus.subset("train"), held_out, "train")
