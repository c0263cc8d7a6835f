import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechanisms.errors import UserError
from mechanisms.rivals._draws import weighted_choices
from mechanisms.rivals._message import MessageFormat, grid_format, id_format

FINGERPRINT = bytes(range(32))


@given(st.integers(1, 40), st.integers(1, 5), st.integers(2, 1 << 20), st.randoms(use_true_random=False))
def test_every_value_comes_back(tokens, numbers, limit, random):
    layout = MessageFormat(b"TEST", FINGERPRINT, numbers, limit)
    values = np.array([[random.randrange(limit) for _ in range(numbers)] for _ in range(tokens)])
    message = layout.pack(values)
    assert np.array_equal(layout.unpack(message), values)
    assert len(message) == layout.length(tokens) == 16 + -(-tokens * numbers * (limit - 1).bit_length() // 8)


def test_bits_of_a_word_are_the_fewest_that_hold_the_vocabulary():
    assert [id_format(FINGERPRINT, words).token_bits for words in (2, 3, 49152, 65536, 65537)] == [1, 2, 16, 16, 17]
    assert grid_format(FINGERPRINT, 18, 4).token_bits == 72


def test_a_number_beyond_the_vocabulary_is_refused():
    wide = MessageFormat(b"IDS1", FINGERPRINT, 1, 4).pack([[3]])
    with pytest.raises(UserError, match=r"0\.\.2"):
        id_format(FINGERPRINT, 3).unpack(wide)


@pytest.mark.parametrize("values", [[], [[1, 2]], [[-1]], [[3]], [[0.5]]])
def test_what_does_not_fit_is_not_packed(values):
    with pytest.raises(UserError, match="Expected"):
        id_format(FINGERPRINT, 3).pack(values)


class Fixed:
    """A source of one 128-bit number."""

    def __init__(self, number):
        self.number = number

    def words(self, count):
        return np.frombuffer(self.number.to_bytes(16, "little"), dtype="<u4")


def test_a_choice_changes_exactly_where_the_cumulated_weights_do():
    weights = np.array([3, 0, 1, (1 << 62) - 9, 5], dtype=np.uint64)
    total = int(weights.sum())
    for index, (low, high) in enumerate([(0, 3), (3, 3), (3, 4), (4, total - 5), (total - 5, total)]):
        if low == high:
            continue
        first, last = -(-(low << 128) // total), -(-(high << 128) // total) - 1
        assert weighted_choices(weights, 1, Fixed(first)).tolist() == [index]
        assert weighted_choices(weights, 1, Fixed(last)).tolist() == [index]
