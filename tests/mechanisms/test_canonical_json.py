"""Canonical JSON against RFC 8785's own examples; the reader takes no other text for a value."""

import json
import math
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechanisms.canonical_json import DEEPEST, LARGEST, MOST_VALUES, canonical, canonical_sha256, parse_canonical
from mechanisms.errors import UserError

# RFC 8785, appendix B: the bits of a double, and its one text.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_are_written_as_the_standard_says(bits, text):
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(value) == text.encode()
    assert parse_canonical(b'{"a":%b}' % text.encode(), "card") == {"a": value}


def test_the_standards_example_is_written_as_it_says():
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '\u20ac$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert canonical(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_their_utf_16_units():
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    order = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(keys, 0)))) == order


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_what_is_written_is_read_back_and_written_again(value):
    data = canonical(value)
    assert parse_canonical(data, "card") == value == json.loads(data, parse_int=float)  # a number is a double
    assert canonical(parse_canonical(data, "card")) == data


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_whole_numbers_and_floats_of_the_same_value_have_one_hash(value):
    if value.is_integer() and abs(value) < 2**53:
        assert canonical_sha256({"a": value}) == canonical_sha256({"a": int(value)})
    assert float(canonical(value)) == value


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 2**53, -(2**53), 10**400, "\ud800", {"\udfff": 1}, {1: 2}, b"x", {1, 2}]
)
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(UserError, match="canonical JSON can hold"):
        canonical({"a": value})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "in JSON"),
        (b"{", "in JSON"),
        (b"[1]", "one JSON object, got list"),
        (b"null", "one JSON object, got NoneType"),
        (b'{"a":1}\n', "canonical"),
        (b' {"a":1}', "canonical"),
        (b'{"a": 1}', "canonical"),
        (b'{"b":1,"a":2}', "canonical"),
        (b'{"a":1.0}', "canonical"),
        (b'{"a":1e0}', "canonical"),
        (b'{"a":-0}', "canonical"),
        (b'{"a":"\\u0041"}', "canonical"),
        (b'{"a":"\\/"}', "canonical"),
        (b'{"a":1}{}', "in JSON"),
        (b'{"a":1,"a":1}', "'a' twice"),
        (b'{"a":{"b":1,"b":2}}', "'b' twice"),
        (b'{"a":NaN}', "finite number, got NaN"),
        (b'{"a":-Infinity}', "finite number"),
        (b'{"a":1e1000000}', "finite number"),
        (b'{"a":' + b"9" * 10**6 + b"}", "at most 25 characters, got 1000000"),
        (b'{"a":0.' + b"1" * 10**6 + b"}", "at most 25 characters"),
        (b'{"a":"\xff"}', "utf-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a":"\x00"}', "control character"),
        (b'{"a":"\\ud800"}', "canonical JSON can hold"),
        (b'{"a":"\xed\xa0\x80"}', "utf-8"),
        ("{}".encode("utf-16"), "utf-8"),
        (b'{"a":' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1), f"at most {DEEPEST} nested"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", f"at most {DEEPEST} nested"),
        (b"[" * (LARGEST - 1), "nested"),
        (b'{"a":[' + b"0," * MOST_VALUES + b"0]}", f"at most {MOST_VALUES} values"),
        (b" " * (LARGEST + 1), f"at most {LARGEST} bytes"),
    ],
)
def test_every_other_text_is_refused_in_bounded_time(data, said):
    started = time.process_time()
    with pytest.raises(UserError, match=said):
        parse_canonical(data, "card")
    assert time.process_time() - started < 1.5


def test_the_deepest_and_the_most_are_still_read():
    deep = b'{"a":' + b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1) + b"}"
    assert parse_canonical(deep, "card")["a"] is not None
    many = b'{"a":[' + b",".join([b"0"] * (MOST_VALUES - 2)) + b"]}"
    assert len(parse_canonical(many, "card")["a"]) == MOST_VALUES - 2
