"""Odd files: read as Python's csv, Python's json and pyarrow read them, or refused in one line that says where."""

import csv
import datetime
import decimal
import gzip
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from mechanisms.assets import content_sha256
from mechanisms.corpora import Corpus, load_corpus
from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256
from mechanisms.tables import Column
from mechanisms.tables.source_file import SourceFile

LONG = "ab,c" * (4 << 20)
"""A text of 16 MB."""
SAID = 'She said "no", twice.'
SIX = {7, 30, 31, 90, 150, 199}
"""Rows whose text begins with a quotation mark."""


def by_csv(data: bytes, **dialect: Any) -> dict[str, list[Any]]:
    """The columns by Python's csv."""
    before = csv.field_size_limit(1 << 30)
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), **dialect) if row]
    finally:
        csv.field_size_limit(before)
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}


def by_tsv(data: bytes) -> dict[str, list[Any]]:
    """The columns by Python's csv, without quoting."""
    return by_csv(data, delimiter="\t", quoting=csv.QUOTE_NONE)


def by_lines(data: bytes) -> dict[str, list[Any]]:
    """The columns by json.loads, an object a line."""
    return by_rows([json.loads(line) for line in data.decode("utf-8-sig").split("\n") if line.strip()])


def by_json(data: bytes) -> dict[str, list[Any]]:
    """The columns by json.loads."""
    return by_rows(json.loads(data.decode("utf-8-sig")))


def by_rows(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def by_pyarrow(data: bytes) -> dict[str, list[Any]]:
    """The columns by pyarrow."""
    return parquet.read_table(io.BytesIO(data)).to_pydict()


ORACLES: dict[str, Callable[[bytes], dict[str, list[Any]]]] = {
    ".csv": by_csv,
    ".tsv": by_tsv,
    ".jsonl": by_lines,
    ".json": by_json,
    ".parquet": by_pyarrow,
}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def stored(columns: dict[str, Any] | pyarrow.Table, **options: Any) -> bytes:
    table = columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns)
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


def quoted(rows: list[list[str]], **options: Any) -> bytes:
    sink = io.StringIO(newline="")
    csv.writer(sink, **options).writerows(rows)
    return sink.getvalue().encode()


def numbers(count: int, last: str) -> bytes:
    return b"text,code\n" + b"".join(b"t,%d\n" % i for i in range(count)) + f"t,{last}\n".encode()


NESTED = pyarrow.table(
    {
        "text": ["a", "b"],
        "list": pyarrow.array([[1, 2], None]),
        "struct": pyarrow.array([{"x": 1}, {"x": None}]),
        "when": pyarrow.array([datetime.datetime(2026, 11, 30, 1, 2, 3), None], pyarrow.timestamp("us")),
        "zone": pyarrow.array([0, 1], pyarrow.timestamp("s", "UTC")),
        "day": pyarrow.array([datetime.date(2026, 11, 30), None]),
        "price": pyarrow.array([decimal.Decimal("1.50"), None]),
        "nothing": pyarrow.nulls(2),
        "bytes": pyarrow.array([b"\xff", None]),
        "map": pyarrow.array([[("k", 1)], None], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        "true": [True, None],
        "float": [1.5, None],
    }
)

READ: dict[str, tuple[str, bytes]] = {
    # names
    "glob brackets": ("notes[1].csv", b"text\nright\n"),
    "glob star": ("no*es?.csv", b"text\nright\n"),
    "spaces": (" my notes .csv", b"text\na\n"),
    "leading dash": ("-x.csv", b"text\na\n"),
    "tilde": ("~x.csv", b"text\na\n"),
    "upper case": ("NOTES.CSV", b"text\na\n"),
    "upper case, packed": ("NOTES.CSV.GZ", gzip.compress(b"text\na\n")),
    "line end in the name": ("a\nb.csv", b"text\na\n"),
    "name in UTF-8": ("café 🙂.csv", b"text\na\n"),
    # encodings
    "UTF-8": ("x.csv", "text,läbel\nnaïve 🙂 \u2028x\u0085y,é\n".encode()),
    "BOM csv": ("x.csv", '\ufeff"text",label\na,b\n'.encode()),
    "BOM tsv": ("x.tsv", "\ufefftext\tlabel\na\tb\n".encode()),
    "BOM jsonl": ("x.jsonl", b"\xef\xbb\xbf" + lines({"text": "a"})),
    "BOM json": ("x.json", b'\xef\xbb\xbf[{"text": "a"}]'),
    "NUL in a csv": ("x.csv", b"text,label\na\0b,c\n"),
    "NUL in a tsv": ("x.tsv", b"text\tlabel\na\0b\tc\n"),
    "NUL in a json": ("x.jsonl", b'{"text": "a\\u0000b"}\n'),
    "escaped pair": ("x.jsonl", b'{"text": "\\ud83d\\ude42"}\n'),
    "a name that begins as bzip2 does": ("x.csv", b"BZhang,text\na,b\n"),
    "a name that begins as Parquet does": ("x.csv", b"PAR1,text\na,b\n"),
    # quoting
    "quoted": ("x.csv", quoted([["text", "b"], ['a,"b"\nc\r\nd', '"'], ['""', "\r"], [SAID, ""]])),
    "all quoted": ("x.csv", quoted([["text", "b"], ["a", "b"]], quoting=csv.QUOTE_ALL)),
    "quote in an unquoted cell": ("x.csv", b'text,b\na "b" c,5\'11"\n'),
    "space before a quote": ("x.csv", b'text,b\na, "b"\n'),
    "single quotes": ("x.csv", b"text,b\n'a','b'\n"),
    "quotation marks in a tsv": (
        "x.tsv",
        b"text\tlabel\n"
        + b"".join(
            (b'"Never" again %d' if i in SIX else b'all "well" %d') % i + b"\t%d\n" % (i % 2) for i in range(200)
        ),
    ),
    "odd quotation marks in a tsv": ("x.tsv", b"text\tlabel\n" + b'"' * 200_001 + b'x\t"\n"a\t"b"\n'),
    "backslashes in a tsv": ("x.tsv", b"text\tlabel\na\\tb\\n\\\tc\n"),
    # line ends
    "CR": ("x.csv", b"text,b\ra,b\rc,d\r"),
    "CRLF": ("x.csv", b"text,b\r\na,b\r\nc,d\r\n"),
    "CR in a tsv": ("x.tsv", b"text\tb\ra\tb\rc\td\r"),
    "CRLF in a tsv": ("x.tsv", b"text\tb\r\na\tb\r\n"),
    "CRLF in a jsonl": ("x.jsonl", b'{"text": "a"}\r\n{"text": "b"}\r\n'),
    "mixed": ("x.csv", b"text,b\r\na,b\nc,d\re,f"),
    "no last line end": ("x.csv", b'text,b\na,"b"'),
    "no last line end, jsonl": ("x.jsonl", b'{"text": "a"}\n{"text": "b"}'),
    "separators of Unicode": ("x.jsonl", lines({"text": "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg"}, {"text": "b"})),
    "separators of Unicode, tsv": ("x.tsv", "text\tb\na\u2028b\u0085c\x0bd\x0ce\x1cf\tg\n".encode()),
    "separators of Unicode, csv": ("x.csv", "text,b\na\u2028b\u0085c\x0bd\x0ce\x1cf,g\n".encode()),
    # cells
    "names of missing values": ("x.csv", b"text,label\na,None\nb,NA\nc,null\nd,nan\ne,N/A\nf,NaN\ng,\nh, \n"),
    "leading zeros": ("x.csv", b"text,label\na,01234\nb,1234\nc,5\nd,\ne,1e5\nf,+1\ng,5.0\n"),
    "booleans and dates": ("x.csv", b"text,label\na,True\nb,true\nc,2026-11-30\n"),
    "no name": ("x.csv", b",text\n0,a\n1,b\n"),
    "spaces around names": ("x.csv", b" text,text\na,b\n"),
    "named as the index of pandas": ("x.csv", b"text,document_id\na,7\n"),
    "late text": ("x.csv", numbers(12_000, "A1")),
    "late text, jsonl": (
        "x.jsonl",
        lines(*({"text": "a", "code": i} for i in range(12_000)), {"text": "b", "code": "A"}),
    ),
    "late key": ("x.jsonl", lines(*({"text": "a"} for _ in range(12_000)), {"text": "b", "late": 1, "later": "x"})),
    "late null": ("x.jsonl", lines(*({"text": "a", "b": "x"} for _ in range(9_000)), {"text": "b", "b": None})),
    # JSON
    "list": ("x.json", b'[{"text": "a", "n": 1}, {"text": "b", "n": null}]'),
    "pretty": ("x.json", json.dumps([{"text": "a", "b": [1]}, {"text": "c"}], indent=4).encode() + b"\n\n"),
    "space around a list": ("x.json", b' \n\t[ \r\n{"text":"a"} , {"text":"b"}\n ] \n'),
    "nested": ("x.jsonl", lines({"text": "a", "b": {"c": [1, {"d": None}]}}, {"text": "b", "b": [[]]})),
    "keys missing": ("x.json", b'[{"text": "a", "b": 1}, {"text": "b"}, {"c": false, "text": "d"}]'),
    "huge integers": ("x.jsonl", b'{"text": "a", "n": %s}\n' % (b"9" * 400)),
    "numbers": (
        "x.jsonl",
        b'{"text": "a", "n": -0.0, "m": 1E400, "k": 0.1}\n{"text": "b", "n": 12345678901234567890}\n',
    ),
    "rather deep": ("x.jsonl", b'{"text": "a", "b": ' + b"[" * 90 + b"]" * 90 + b"}\n"),
    # Parquet
    "types": ("x.parquet", stored(NESTED)),
    "dictionary": ("x.parquet", stored({"text": pyarrow.array(["a", "b", "a"]).dictionary_encode(), "b": [1, 2, 3]})),
    "large_string": ("x.parquet", stored({"text": pyarrow.array(["a", "b"], pyarrow.large_string())})),
    "string_view": ("x.parquet", stored({"text": pyarrow.array(["a", "b"], pyarrow.string_view())})),
    "row groups": ("x.parquet", stored({"text": [str(i) for i in range(10_000)]}, row_group_size=999)),
    "nanoseconds": ("x.parquet", stored({"text": ["a"], "t": pyarrow.array([1_000], pyarrow.timestamp("ns"))})),
    "upper case Parquet": ("X.PARQUET", stored({"text": ["a"]})),
    # sizes
    "one row csv": ("x.csv", b"text\na"),
    "one row tsv": ("x.tsv", b"text\na"),
    "one row jsonl": ("x.jsonl", b'{"text":"a"}'),
    "one row json": ("x.json", b'[{"text":"a"}]'),
    "one row parquet": ("x.parquet", stored({"text": ["a"]})),
    "16 MB csv": ("x.csv", quoted([["text", "b"], [LONG, "a"], ["c", "d"]])),
    "16 MB tsv": ("x.tsv", f"text\tb\n{LONG}\ta\nc\td\n".encode()),
    "16 MB jsonl": ("x.jsonl", lines({"text": LONG, "b": "a"}, {"text": "c"})),
    "16 MB json": ("x.json", json.dumps([{"text": LONG, "b": "a"}, {"text": "c"}]).encode()),
    "16 MB parquet": ("x.parquet", stored({"text": [LONG, "c"]})),
    # gzip
    "gz csv": ("x.csv.gz", gzip.compress(b"text,b\na,c\n")),
    "gz tsv": ("x.tsv.gz", gzip.compress(b'text\tb\n"a\tc\n')),
    "gz jsonl": ("x.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + lines({"text": "a"}))),
    "gz json": ("x.json.gz", gzip.compress(b'[{"text": "a"}]')),
    "gz of two members": ("x.csv.gz", gzip.compress(b"text,b\na,") + gzip.compress(b"c\nd,e\n")),
}


@pytest.mark.parametrize("case", READ)
def test_read_as_the_format_says(case, tmp_path, monkeypatch):
    name, data = READ[case]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(data)
    for decoy in ("notes1.csv", "notes.csv", "x"):
        Path(decoy).write_text("text\nwrong\n")
    plain = gzip.decompress(data) if name.lower().endswith(".gz") else data
    expected = ORACLES[Path(name.lower().removesuffix(".gz")).suffix](plain)
    corpus = load_corpus(name, text_column="text")
    assert_equal(corpus, expected)
    assert corpus.record.sha256 == content_sha256({name: file_sha256(Path(name))})
    assert corpus.record.origin == str((tmp_path / name).resolve())


def assert_equal(corpus: Corpus, expected: dict[str, list[Any]]) -> None:
    known = {"split": ["train"] * len(expected["text"]), "document_id": [str(i) for i in range(len(expected["text"]))]}
    assert len(corpus) == len(expected["text"])
    assert set(corpus.columns) == {*known, *expected}
    assert list(corpus.texts) == expected["text"]
    for name, values in {**known, **expected}.items():
        found = list(corpus.columns[name])
        assert [type(value) for value in found] == [type(value) for value in values]
        assert found == values


def test_object_lines_in_a_json_file(tmp_path):
    for begin in (b"", b"\n ", b"\xef\xbb\xbf"):
        data = begin + lines({"text": "a"}, {"text": "b", "c": 1})
        (tmp_path / "x.json").write_bytes(data)
        assert_equal(load_corpus(str(tmp_path / "x.json"), text_column="text"), by_lines(data))


INVALID = b"text,label\n" + b"fine,a\n" * 9_000 + b"\xff\xe9,b\n" + b"fine,a\n" * 20
LONE = b'{"text": "a", "label": "\\ud83d"}\n'
BAD_TEXT = pyarrow.StringArray.from_buffers(
    2, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"a\xff")
)
FAR = pyarrow.array([0, 4_000_000], pyarrow.date32())

REFUSED: dict[str, tuple[str, bytes, str]] = {
    "name that is no UTF-8": (os.fsdecode(b"caf\xe9.csv"), b"text\na\n", "a path in UTF-8 .*the byte 0xe9 in"),
    "UTF-16 LE": ("x.csv", "text,b\na,c\n".encode("utf-16"), "got a UTF-16 file. Convert it: iconv"),
    "UTF-16 BE": ("x.csv", b"\xfe\xff" + "text,b\na,c\n".encode("utf-16-be"), "got a UTF-16 file"),
    "UTF-16 LE, no BOM": ("x.csv", "text,b\na,c\n".encode("utf-16-le"), "got a UTF-16LE file.*iconv -f UTF-16LE"),
    "UTF-16 BE, no BOM": ("x.tsv", "text\tb\na\tc\n".encode("utf-16-be"), "got a UTF-16BE file.*iconv -f UTF-16BE"),
    "UTF-16 jsonl": ("x.jsonl", '{"text": "a"}'.encode("utf-16-le"), "got a UTF-16LE file"),
    "UTF-16, packed": ("x.json.gz", gzip.compress('[{"text": "a"}]'.encode("utf-16")), "got a UTF-16 file"),
    "UTF-16, a name with a line end": ("a\nx.csv", "text\na\n".encode("utf-16"), "UTF-16"),
    "latin-1": ("x.csv", "text,b\nok,x\ncafé,y\n".encode("latin-1"), "byte 0xe9 in column 'text', row 1 .*line 3"),
    "latin-1 label": ("x.csv", "text,b\nok,é\n".encode("latin-1"), "byte 0xe9 in column 'b', row 0"),
    "latin-1 name": ("x.csv", "text,bé\nok,x\n".encode("latin-1"), "byte 0xe9 in the name of a column"),
    "cp1252": ("x.tsv", "text\tb\n“no”\tx\n".encode("cp1252"), "byte 0x93 in column 'text', row 0"),
    "latin-1 jsonl": ("x.jsonl", '{"text": "é"}'.encode("latin-1"), "byte 0xe9 in column 'text', row 0"),
    "latin-1 json": ("x.json", '[{"text": "a", "n": ["é"]}]'.encode("latin-1"), "byte 0xe9 in column 'n', row 0"),
    "row 9,000": ("x.csv", INVALID, "byte 0xff in column 'text', row 9000 .*line 9002"),
    "CESU": ("x.csv", b"text,b\n\xed\xa0\xbd\xed\xb9\x82,a\n", "byte 0xed in column 'text', row 0"),
    "lone surrogate": ("x.jsonl", LONE, r"half a character, \\ud83d, in column 'label', row 0"),
    "lone surrogate among numbers": ("x.jsonl", b'{"text": "a", "label": 1}\n' + LONE, "column 'label', row 1"),
    "lone surrogate, json": ("x.json", b"[" + LONE + b"]", "column 'label', row 0"),
    "lone surrogate in a key": ("x.jsonl", b'{"text": "a", "\\ud83d": 1}', "half a character.*name of a column"),
    "quoted tsv": ("x.tsv", b'"text"\t"b"\n"a"\t"c"\n', "no quoting.*first line"),
    "quoted tsv cell": ("x.tsv", b'text\tb\na\tb\n"She said ""no"""\tc\n', "no quoting.*column 'text', row 1 "),
    "quoted tab in a tsv": ("x.tsv", b'text\tb\n"a\tb"\tc\n', "2 cells in every row.*got 3 in row 0"),
    "unterminated quote": ("x.csv", b'text,b\na,b\n"c,d\ne,f\n', "none closes it, in row 1 .*line 3"),
    "text after a quote": ("x.csv", b'text,b\n"a" b,c\n', "in row 0 .*line 2"),
    "backslash escapes": ("x.csv", b'text,b\n"a \\"b\\" c",d\n', "in row 0 .*line 2"),
    "semicolons": ("x.csv", b"text;b\na;c\n", "separated by commas.*';'"),
    "tabs in a csv": ("x.csv", b"text\tb\na\tc\n", r"separated by commas.*'\\t'"),
    "commas in a tsv": ("x.tsv", b"text,b\na,c\n", "separated by tabs.*','"),
    "CR in a jsonl": ("x.jsonl", b'{"text": "a"}\r{"text": "b"}\r', "Extra data, in row 0"),
    "short row": ("x.csv", b"text,b\na,c\nd\n", "Expected 2 cells.*got 1 in row 1 .*line 3.*'b' is missing"),
    "long row": ("x.csv", b"text,b\na,c,d\n", "Expected 2 cells.*got 3 in row 0"),
    "row of an unquoted comma": ("x.csv", b"text,b\nwell, yes,c\n", "got 3 in row 0"),
    "name twice": ("x.csv", b"text,b,b\na,c,d\n", "got 'b' twice"),
    "no name twice": ("x.csv", b"text,,\na,c,d\n", "got '' twice"),
    "key twice": ("x.jsonl", b'{"text": "a", "b": 1, "b": 2}', "key 'b' is given twice, in row 0"),
    "nested key twice": ("x.json", b'[{"text": "a", "c": {"b": 1, "b": 2}}]', "key 'b' is given twice, in row 0"),
    "NaN": ("x.jsonl", b'{"text": "a"}\n{"text": "b", "n": NaN}', r"NaN is no JSON.*column 'n'.*row 1 .*line 2"),
    "Infinity": ("x.jsonl", b'{"text": "a", "n": -Infinity}', r"-Infinity is no JSON.*column 'n'.*row 0"),
    "NaN, json": (
        "x.json",
        b'[{"text": "a"},\n{"text": "b", "n": [NaN]}]',
        r"NaN is no JSON.*column 'n'.*row 1 .*line 2",
    ),
    "trailing comma": ("x.json", b'[{"text": "a"},]', "row 1"),
    "missing comma": ("x.json", b'[{"text": "a"}\n{"text": "b"}]', "a comma or ] is missing after row 0"),
    "more after a list": ("x.json", b'[{"text": "a"}] []', "more follows"),
    "unfinished list": ("x.json", b'[{"text": "a"}', "missing after row 0"),
    "unfinished object": ("x.json", b'[{"text": "a"', "row 0"),
    "pretty object": ("x.json", b'{\n "text": "a"\n}', "row 0"),
    "list of texts": ("x.json", b'["a"]', "to be an object, got str in row 0"),
    "lists in a jsonl": ("x.jsonl", b'["a"]\n', "to be an object, got list in row 0"),
    "number": ("x.json", b"3", "list of objects, or an object a line"),
    "empty list": ("x.json", b"[]", "text_column"),
    "single quotes in JSON": ("x.jsonl", b"{'text': 'a'}", "row 0"),
    "deep": ("x.jsonl", b'{"text": "a", "b": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply, in row 0"),
    "deep json": ("x.json", b"[" * 100_000, "nested too deeply, in row 0"),
    "integer of 5,000 digits": ("x.jsonl", b'{"text": "a", "b": %s}' % (b"9" * 5_000), "row 0"),
    "control character in JSON": ("x.jsonl", b'{"text": "a\tb"}', "row 0"),
    "Parquet text that is no UTF-8": ("x.parquet", stored({"text": ["a", "b"], "c": BAD_TEXT}), "column 'c', row 1"),
    "Parquet date after 9999": ("x.parquet", stored({"text": ["a", "b"], "c": FAR}), "column 'c', row 1"),
    "binary documents": ("x.parquet", stored({"text": [b"a", b"b"]}), "column 'text'.*strings, got 2 other.*row 0"),
    "name twice, Parquet": (
        "x.parquet",
        stored(pyarrow.Table.from_arrays([BAD_TEXT[:1]] * 2, ["b", "b"])),
        "'b' twice",
    ),
    "truncated Parquet": ("x.parquet", stored({"text": ["a"]})[:-9], "Cannot read"),
    "csv named .parquet": ("x.parquet", b"text,b\na,c\n", "Cannot read"),
    "empty Parquet": ("x.parquet", b"", "Cannot read"),
    "no rows, Parquet": ("x.parquet", stored({"text": pyarrow.array([], pyarrow.string())}), "documents .*got none"),
    "truncated gz": ("x.csv.gz", gzip.compress(b"text\n" + os.urandom(500).hex().encode())[:-40], "Cannot read"),
    "gz with a wrong sum": ("x.csv.gz", gzip.compress(b"text\na\n")[:-8] + bytes(8), "Cannot read"),
    "gz with more behind": ("x.csv.gz", gzip.compress(b"text\na\n") + b"more", "Cannot read"),
    "plain file named .gz": ("x.csv.gz", b"text\na\n", "Not a gzipped file"),
    "gz named .csv": ("x.csv", gzip.compress(b"text\na\n"), "a gzip file. Name it with .gz"),
    "xlsx named .csv": ("x.csv", b"PK\x03\x04\x14\0\6\0\x08\0", "a zip file, which spreadsheets are"),
    "Parquet named .csv": ("x.csv", stored({"text": ["a"]}), "a Parquet file"),
    "bzip2 named .csv": ("x.csv", b"BZh91AY&SY\0", "a bzip2 file"),
    "xz named .jsonl": ("x.jsonl", b"\xfd7zXZ\0\0\4", "an xz file"),
    "Parquet packed": ("x.parquet.gz", gzip.compress(stored({"text": ["a"]})), "to end in"),
    "another ending": ("x.txt", b"text\na\n", "to end in"),
    "empty file": ("x.csv", b"", "got an empty file"),
    "empty file, packed": ("x.jsonl.gz", gzip.compress(b""), "got an empty file"),
    "only a BOM": ("x.csv", b"\xef\xbb\xbf", "got only blank lines"),
    "only a header": ("x.csv", b"text,b\n", "among none, got 'text'|got none"),
    "only blank lines": ("x.csv", b"\n\r\n\n", "only blank lines"),
    "only blank lines, jsonl": ("x.jsonl", b"\n \n\n", "among none"),
    "empty documents": ("x.csv", b'text,b\na,c\n"",d\n" ",e\n', "2 empty ones, the first in row 1"),
    "null document": ("x.jsonl", b'{"text": "a"}\n{"b": 1}\n', "strings, got 1 other values, the first None in row 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case, tmp_path):
    name, data, said = REFUSED[case]
    path = tmp_path / name
    path.write_bytes(data)
    assert_refused(path, said)


def assert_refused(path: Path, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_corpus(str(path), text_column="text")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert repr(str(path)) in message
    assert re.search(said, message), message
    assert len(message) < 600 + len(str(path))


@pytest.mark.parametrize(("make", "said"), [
    (lambda path: path.mkdir(), "regular file, got a folder"),
    (os.mkfifo, "regular file, got a folder, pipe"),
    (lambda path: path.symlink_to("nowhere"), "no such file"),
    (lambda path: path.symlink_to(path.name), "no such file|[Ss]ymbolic"),
    (lambda path: None, "no such file"),
])  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_no_regular_file(make, said, tmp_path):
    path = tmp_path / "x.csv"
    make(path)
    with pytest.raises(UserError, match=said) as caught:
        load_corpus(str(path), text_column="text")
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "blank"),
    [
        ("x.csv", b"\ntext,b\n\na,c\r\n\r\n\nd,e\n", 4),
        ("x.tsv", b"text\tb\n\na\tc\n", 1),
        ("x.jsonl", b'\n{"text": "a"}\n \t\r\n{"text": "b"}\n\n', 3),
    ],
)
def test_blank_lines_are_counted_aloud(name, data, blank, tmp_path, capsys):
    (tmp_path / name).write_bytes(data)
    corpus = load_corpus(str(tmp_path / name), text_column="text")
    assert_equal(corpus, ORACLES[Path(name).suffix](data))
    assert capsys.readouterr().err == f"del-audit: {tmp_path / name}: {blank} blank lines skipped.\n"


def test_nothing_is_said_of_a_file_without_blank_lines(tmp_path, capsys):
    (tmp_path / "x.csv").write_text('text,b\n"a\n\nb",c\n')
    assert load_corpus(str(tmp_path / "x.csv"), text_column="text").texts == ["a\n\nb"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "data", "labels"),
    [
        (*READ["names of missing values"], ["None", "NA", "null", "nan", "N/A", "NaN", None, None]),
        (*READ["leading zeros"], ["01234", "1234", "5", None, "1e5", "+1", "5.0"]),
        ("x.jsonl", lines(*({"text": "a", "label": v} for v in ("None", None, " ", 5))), ["None", None, None, "5"]),
        ("x.jsonl", lines(*({"text": "a", "label": v} for v in (True, False, None))), ["True", "False", None]),
        ("x.parquet", stored({"text": ["a"] * 3, "label": [0.5, float("nan"), None]}), ["0.5", None, None]),
        ("x.parquet", stored({"text": ["a"] * 3, "label": [1, 2, None]}), ["1", "2", None]),
        ("x.parquet", stored({"text": ["a"] * 3, "label": ["NaN", "nan", ""]}), ["NaN", "nan", None]),
    ],
)  # fmt: skip
def test_labels_are_the_text_that_stands_there(name, data, labels, tmp_path):
    (tmp_path / name).write_bytes(data)
    corpus = load_corpus(str(tmp_path / name), text_column="text")
    if len(set(labels) - {None}) > 1:
        assert corpus.labels("label") == labels
    else:
        assert corpus.names("label") == labels


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.jsonl", lines({"text": "a", "b": 1}, {"text": "a", "b": "1"}), "'1' as int in row 0 and as str in row 1"),
        ("x.jsonl", lines({"text": "a", "b": "True"}, {"text": "a", "b": True}), "as str in row 0 and as bool in"),
        ("x.jsonl", lines({"text": "a", "b": "x"}, {"text": "a", "b": ["x"]}), "column 'b'.*row 1 .*got list"),
        ("x.parquet", stored({"text": ["a"], "b": [b"x"]}), "column 'b'.*row 0 .*got bytes"),
        ("x.parquet", stored({"text": ["a"], "b": [{"x": 1}]}), "column 'b'.*row 0 .*got dict"),
        ("x.parquet", stored({"text": ["a"], "b": pyarrow.nulls(1)}), "column 'b'.*two classes or more.*, got none"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_told_apart_are_refused(name, data, said, tmp_path):
    (tmp_path / name).write_bytes(data)
    corpus = load_corpus(str(tmp_path / name), text_column="text")
    with pytest.raises(UserError, match=said) as caught:
        corpus.labels("b")
    assert len(str(caught.value).splitlines()) == 1
    assert name in str(caught.value)


SPLITS: list[tuple[str, list[Any], dict[str, list[int]]]] = [
    ("x.csv", ["0", "1", "0"], {"0": [0, 2], "1": [1]}),
    ("x.jsonl", [0, 1, 0], {"0": [0, 2], "1": [1]}),
    ("x.parquet", [0, 1, None], {"0": [0], "1": [1]}),
    ("x.csv", ["True", "False", "True"], {"true": [0, 2], "True": [0, 2], "FALSE": [1]}),
    ("x.jsonl", [True, False, True], {"true": [0, 2], "False": [1]}),
    ("x.parquet", [True, False, True], {"true": [0, 2], "False": [1]}),
]


@pytest.mark.parametrize(("name", "splits", "chosen"), SPLITS)
def test_splits_are_chosen_by_their_text(name, splits, chosen, tmp_path):
    path, texts = tmp_path / name, ["a", "b", "c"]
    if name == "x.csv":
        path.write_bytes(quoted([["text", "split"], *([t, s] for t, s in zip(texts, splits, strict=True))]))
    elif name == "x.jsonl":
        path.write_bytes(lines(*({"text": t, "split": s} for t, s in zip(texts, splits, strict=True))))
    else:
        path.write_bytes(stored({"text": texts, "split": splits}))
    for split, rows in chosen.items():
        assert load_corpus(str(path), "text", split).texts == [texts[row] for row in rows]
    with pytest.raises(UserError, match=r"Expected a split of .* got '2'"):
        load_corpus(str(path), "text", "2")


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.jsonl", "x.json", "x.parquet"])
@pytest.mark.parametrize("late", [False, True])
def test_the_hash_is_of_the_bytes_read(name, late, tmp_path, monkeypatch):
    """late: more is appended only once the reader has met the end of the file."""
    path = tmp_path / name
    begin = {
        "x.csv": b"text,b\na,c\n",
        "x.csv.gz": gzip.compress(b"text,b\na,c\n"),
        "x.jsonl": lines({"text": "a"}),
        "x.json": lines({"text": "a"}),
        "x.parquet": stored({"text": ["a"]}),
    }[name]
    more = {"x.csv": b"d,e\n", "x.csv.gz": gzip.compress(b"d,e\n")}.get(name, lines({"text": "d"}))
    path.write_bytes(begin)
    read, done = SourceFile.readinto, []

    def readinto(self, buffer):
        count = read(self, buffer)
        if not done and (not late or not count):
            done.append(count)
            with path.open("ab") as file:
                file.write(more)
        return count

    monkeypatch.setattr(SourceFile, "readinto", readinto)
    if name == "x.parquet" and not late:  # what is appended stands where the footer should
        with pytest.raises(UserError, match="Cannot read"):
            load_corpus(str(path), text_column="text")
        return
    corpus = load_corpus(str(path), text_column="text")
    assert corpus.texts == (["a"] if late else ["a", "d"])
    (tmp_path / "same").write_bytes(begin + (b"" if late else more))
    assert corpus.record.sha256 == content_sha256({name: file_sha256(tmp_path / "same")})


def test_texts_stay_in_columns(tmp_path):
    (tmp_path / "x.csv").write_bytes(READ["quoted"][1])
    assert isinstance(load_corpus(str(tmp_path / "x.csv"), text_column="text").texts, Column)
