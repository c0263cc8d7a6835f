import copy
import random
from itertools import product

import numpy as np
import pyarrow
import pytest

from mechanisms.hashes import json_sha256, texts_sha256
from mechanisms.tables import Column
from mechanisms.tables.column import BLOCK, numbered, repeated
from mechanisms.tables.rows import RowCollector

MIXED = ["a", "b", "é🙂", 1, None, {"x": 1}, "c", None]


def mixed() -> Column:
    """The values of MIXED: Arrow, a list, nothing, Arrow with a null."""
    return Column(
        [pyarrow.array(MIXED[:3]), MIXED[3:6], [], pyarrow.nulls(0, pyarrow.string()), pyarrow.array(MIXED[6:])]
    )


def test_values_of_mixed_parts():
    column = mixed()
    assert len(column) == len(MIXED)
    assert list(column) == MIXED
    assert [column[row] for row in range(len(MIXED))] == MIXED
    assert [column[-1 - row] for row in range(len(MIXED))] == MIXED[::-1]
    assert list(reversed(column)) == MIXED[::-1]
    assert "é🙂" in column
    assert "d" not in column
    assert column.index("c") == 6
    assert column.count(None) == 2
    assert type(column[0]) is str


@pytest.mark.parametrize("row", [8, -9, 1 << 70])
def test_a_row_outside_is_an_index_error(row):
    with pytest.raises(IndexError):
        mixed()[row]
    with pytest.raises(IndexError):
        mixed().take([0])[1]


def test_an_index_of_numpy():
    assert mixed()[np.int64(3)] == 1
    assert mixed().take(np.array([3, 0])) == [1, "a"]


def test_slices_are_those_of_a_list():
    places = [None, *range(-10, 11, 3), 8, -8]
    for start, stop, step in product(places, places, (None, 1, 3, -1, -2)):
        part = slice(start, stop, step)
        assert mixed()[part] == MIXED[part]
        assert mixed().take([7, 0, 3])[part] == [MIXED[7], MIXED[0], MIXED[3]][part]


@pytest.mark.parametrize("seed", range(20))
def test_take_of_take(seed):
    generator = random.Random(seed)
    first = generator.choices(range(8), k=seed)
    taken = mixed().take(first)
    assert taken == [MIXED[row] for row in first]
    assert len(taken) == len(first)
    second = generator.choices(range(len(first)), k=9) if first else []
    again = taken.take(second)
    assert again == [MIXED[first[row]] for row in second]
    assert list(again) == again[:]


def test_take_reads_any_iterable():
    assert mixed().take(iter(range(2))) == ["a", "b"]
    assert mixed().take([]) == []


def test_take_refuses_rows_outside():
    for wrong in ([8], [-9]):
        with pytest.raises(IndexError):
            mixed().take(wrong)
        with pytest.raises(IndexError):
            mixed().take(range(8)).take(wrong)


def test_take_counts_negative_rows_from_the_end():
    assert mixed().take([-2]) == ["c"]
    assert mixed().take([0, 3]).take([-1]) == [1]


def test_equality():
    assert mixed() == MIXED
    assert mixed() == tuple(MIXED)
    assert mixed() == MIXED
    assert mixed() == Column([MIXED])
    assert mixed() != MIXED[:-1]
    assert mixed() != [*MIXED[:-1], "d"]
    assert mixed() != "ab"
    assert Column([]) == []
    assert mixed() != 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(mixed())


def test_repr_shows_the_first_five():
    assert repr(mixed()) == "Column(['a', 'b', 'é🙂', 1, None], ..., 8 values)"
    assert repr(Column([["a"]])) == "Column(['a'], 1 values)"
    assert repr(Column([])) == "Column([], 0 values)"


def test_copies_hold_the_same():
    assert copy.deepcopy(mixed()) == MIXED
    assert copy.copy(mixed().take([1, 2])) == MIXED[1:3]


def test_blocks_meet():
    count = 2 * BLOCK + 3
    assert numbered(count) == [str(row) for row in range(count)]
    assert Column([pyarrow.array([str(row) for row in range(count)])]) == numbered(count)
    assert repeated("train", count) == ["train"] * count
    assert len(numbered(0)) == len(repeated("a", 0)) == 0


def test_late_columns_are_none_before(tmp_path):
    rows = RowCollector(tmp_path / "x.jsonl")
    expected = []
    for row in range(20_000):
        value = {"text": str(row)}
        if row >= 12_000:
            value |= {"late": row, "word": "w"}
        if row == 19_999:
            value["last"] = ["x"]
        rows.add(value, row + 1, 10)
        expected.append(value)
    assert len(rows) == 20_000
    columns = rows.columns()
    assert list(columns) == ["text", "late", "word", "last"]
    for name, column in columns.items():
        assert column == [row.get(name) for row in expected]
        assert column[-1] == expected[-1][name]
        assert column[0] == expected[0].get(name)


@pytest.mark.parametrize(
    "texts",
    [[], [""], ["a"], ["a", 'b"\\', "é🙂\u2028\0\x7f\n", ""], ["x"] * (BLOCK + 1)],
    ids=["none", "empty", "one", "odd", "many"],
)
def test_hash_of_texts_is_that_of_their_list(texts):
    assert texts_sha256(texts) == json_sha256(texts)
    assert texts_sha256(iter(texts)) == json_sha256(texts)
    assert texts_sha256(Column([pyarrow.array(texts, pyarrow.string())])) == json_sha256(texts)


def test_hash_of_texts_tells_lists_apart():
    lists = [[], [""], ["", ""], ["a,b"], ["a", "b"], ['a","b'], ["\u2028"], ["\\u2028"], ["ab"], ["b", "a"]]
    assert len({texts_sha256(texts) for texts in lists}) == len(lists)
