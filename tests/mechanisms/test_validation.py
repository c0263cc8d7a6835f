import re

import pytest

from mechanisms.errors import UserError, first_line
from mechanisms.validation import at_least, whole_at_least


@pytest.mark.parametrize("value", [1, 1.0, 2**70])
def test_what_is_large_enough_passes(value):
    at_least("batch", value, 1)
    whole_at_least("batch", int(value), 1)


@pytest.mark.parametrize(("value", "low"), [(0, 1), (-1, 0), (0.5, 1)])
def test_what_is_too_small_is_said(value, low):
    with pytest.raises(UserError, match=rf"\AExpected batch >= {low}, got batch={value}\.\Z"):
        at_least("batch", value, low)


@pytest.mark.parametrize("value", [0, True, 1.0, "3", None])
def test_what_is_no_whole_number_is_said(value):
    with pytest.raises(UserError, match=rf"\AExpected batch to be a whole number >= 1, got batch={value!r}\.\Z"):
        whole_at_least("batch", value, 1)


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError(" a\nb"), "a"), (OSError(28, "full"), "[Errno 28] full"), (KeyError(), "KeyError")]
)
def test_the_first_line_of_an_error(error, line):
    assert first_line(error) == line
    assert re.search(r"\n", first_line(error)) is None
