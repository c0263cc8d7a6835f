"""What the reader of YAML bounds, at its bounds."""

import pytest

from del_audit.yaml_file import DEEPEST, LONGEST_NUMBER, MOST_LINES, MOST_NODES, Strict, load_yaml
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
    assert read("a: {2: 1, '2': 1, 2.5: x, true: no}") == {2: 1, "2": 1, 2.5: "x", True: False}


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
