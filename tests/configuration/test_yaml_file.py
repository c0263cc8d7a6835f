"""What the reader of YAML bounds, at its bounds."""

import pytest
import yaml

from del_audit.configuration.yaml_file import (
    DEEPEST,
    LONGEST_NUMBER,
    MOST_LINES,
    MOST_NODES,
    Strict,
    dump_yaml,
    load_yaml,
)
from mechanisms.errors import UserError


class Anything(Strict):
    a: object = None


@pytest.fixture
def read(tmp_path):
    def load(text):
        (tmp_path / "file.yaml").write_text(text, encoding="utf8", newline="")
        return load_yaml(tmp_path / "file.yaml", Anything, "file").a

    return load


def test_what_is_within_the_bounds_is_read(read):
    deep = "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)
    assert read(f"a: {deep}") is not None
    assert len(read("a: [" + "1," * (MOST_NODES - 3) + "]")) == MOST_NODES - 3
    assert read("a: " + "1" * LONGEST_NUMBER) == int("1" * LONGEST_NUMBER)
    assert read("a: 1" + "\n" * (MOST_LINES - 1)) == 1
    assert read("a: {2: 1, '2': 1, 2.5: x, true: false}") == {2: 1, "2": 1, 2.5: "x", True: False}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: " + "[" * DEEPEST + "]" * DEEPEST, f"more than {DEEPEST} nested levels"),
        ("a: [" + "1," * (MOST_NODES - 2) + "]", f"more than {MOST_NODES} keys and values"),
        ("a: " + "1" * (LONGEST_NUMBER + 1), f"a number of {LONGEST_NUMBER + 1} characters"),
        ("a: 1." + "1" * LONGEST_NUMBER, "a number of"),
        ("a: 1" + "\n" * MOST_LINES + " ", f"at most {MOST_LINES} lines"),
        ("a: {1: 1, 1: 2}", "key '1' is given twice"),
        ("a: {1: 1, 1.0: 2}", "is given twice"),
        ("a: {1: 1, true: 2}", "is given twice"),
        ("a: [{b: 1, b: 1}]", "key 'b' is given twice"),
        ('a: "x\\0y"', "a null character"),
        ("a: &b 1", None),
        ("a: [&b 1, *b]", "aliases are not allowed"),
        ("a: !!timestamp x", "valid YAML"),
        ("a: !!int ''", "valid YAML"),
        ("a: !!bool maybe", "valid YAML"),
        ("? [a]\n: 1", "valid YAML"),
    ],
)
def test_what_is_beyond_them_is_refused(read, text, said):
    if said is None:
        assert read(text) == 1
        return
    with pytest.raises(UserError, match=said):
        read(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("1e-5", 1e-5), ("1E5", 1e5), ("-1e3", -1e3), (".5", 0.5), ("-.5e2", -50.0), ("+3", 3), ("1.", 1.0)),
        *(("0", 0), ("-0.25", -0.25), ("2.5e+3", 2500.0), ("!!float 5", 5.0), ("!!int '7'", 7)),
    ],
)
def test_a_decimal_number_is_a_number_however_it_is_written(read, text, number):
    for found in (read(f"a: {text}"), read(f"a: [{text}]")[0]):
        assert found == number
        assert type(found) is type(number)


UNCLEAR = ["020", "-07", "00", "00.5", "01e5", "0o17", "0O17", "0x1F", "0XaF", "0b11", "1_000", "1_0.5", "1e1_0"]
UNCLEAR += ["1:30", "1:30:00", "-1:30", "1:30.5", "08:99", "1_", ".5_0", "+0x1F"]


@pytest.mark.parametrize("text", UNCLEAR)
@pytest.mark.parametrize("form", ["a:\n  {}", "a:\n- {}", "a:\n  {}: 1", "a:\n- [{}, 1]"])
def test_a_number_that_readers_take_differently_is_refused(read, text, form):
    with pytest.raises(UserError) as refused:
        read(form.format(text))
    said = str(refused.value)
    assert f"line 2: got {text!r}, write a decimal number" in said
    assert "in quotes if it is text" in said
    assert "\n" not in said
    assert read(form.format(f'"{text}"')) in (text, [text], {text: 1}, [[text, 1]])
    assert read(f"a: !!str {text}") == text


@pytest.mark.parametrize("text", ["!!int '020'", "!!int 0x1F", "!!int 1_000", "!!int 1.5", "!!float 1:30", "!!float x"])
def test_a_tag_does_not_make_it_clear(read, text):
    with pytest.raises(UserError, match=r"line 1: got .*, write a decimal number"):
        read(f"a: {text}")


def test_only_true_and_false_are_booleans(read):
    for text in ("true", "True", "TRUE"):
        assert read(f"a: [{text}, '{text}']") == [True, text]
    for text in ("false", "False", "FALSE"):
        assert read(f"a: [{text}, '{text}']") == [False, text]
    for text in ("yes", "No", "ON", "off", "y", "N", "tRUE"):
        assert read(f"a: {{{text}: {text}}}") == {text: text}
    with pytest.raises(UserError, match="line 1: got 'yes', write true or false"):
        read("a: !!bool yes")


@pytest.mark.parametrize(
    "text", ["2020-01-01", "2020-01-01 10:00:00", "1.2.3", "1-2", "=", "<<", "e5", ".", "-x", "0b12", "inf", "1e", "5x"]
)
def test_everything_else_is_text(read, text):
    assert read(f"a: {text}") == text


@pytest.mark.parametrize("text", ["null", "Null", "NULL", "~", ""])
def test_null_stays_null(read, text):
    assert read(f"a: {text}") is None
    assert read("a: nul") == "nul"


def test_a_byte_order_mark_is_no_text(read):
    assert read("\ufeffa: x") == "x"


def test_the_reader_of_others_is_as_it_was(read):
    read("a: 1e-5")
    assert yaml.safe_load("[yes, 020, 1e-5]") == [True, 16, "1e-5"]


def test_what_is_written_is_read_back(read):
    texts = [*UNCLEAR, "1e-5", "1E5", ".5", "+3", "yes", "y", "true", "null", "", "2020-01-01", "=", "-", "ä", "a: b"]
    content = [*texts, {"020": "1:30"}, 1e-5, 1e300, -3, 0.5, True, None]
    text = dump_yaml({"a": content}, width=80)
    assert read(text) == content
    assert yaml.safe_load(text) == {"a": content}
