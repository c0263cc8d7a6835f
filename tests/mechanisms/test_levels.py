from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanisms.errors import UserError
from mechanisms.levels import LEVELS, ZERO_LEVEL, from_levels, to_levels


@given(clip=st.floats(1e-9, 1e9))
def test_every_level_survives_the_way_to_its_value_and_back_even_in_single_precision(clip):
    levels = np.arange(LEVELS, dtype=np.uint8)
    values = from_levels(levels, clip)
    assert np.array_equal(to_levels(values, clip), levels)
    assert np.array_equal(to_levels(values.astype(np.float32), clip), levels)
    assert (values[0], values[ZERO_LEVEL], values[-1]) == (-clip, 0.0, clip)
    assert np.array_equal(values, -values[::-1])


@settings(max_examples=200)
@given(clip=st.floats(1e-3, 1e3), share=st.floats(-1.5, 1.5))
def test_a_value_goes_to_the_nearest_level(clip, share):
    value = share * clip
    position = min(max(Fraction(value) / Fraction(clip), Fraction(-1)), Fraction(1)) * 127 + 127
    assert abs(int(to_levels([value], clip)[0]) - position) <= Fraction(1, 2) + Fraction(1, 2**40)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(wrong):
    with pytest.raises(UserError, match="finite"):
        to_levels([0.0, wrong], 0.05)


def test_levels_are_not_taken_for_values():
    with pytest.raises(UserError, match="levels"):
        to_levels(np.zeros((2, 3), dtype=np.uint8), 0.05)
