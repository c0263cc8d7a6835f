"""A bound holds its three figures in order, and says what kind of claim they are."""

from dataclasses import FrozenInstanceError

import pytest

from del_audit.accounting import Bound


def test_the_default_kind_is_the_weaker_claim():
    assert Bound(0.0, 0.5, 1.0).kind == "float with error bound"


def test_three_equal_figures_are_in_order():
    assert Bound(1.0, 1.0, 1.0, "proved").to_dict() == {"lower": 1.0, "estimate": 1.0, "upper": 1.0}


def test_what_is_out_of_order_is_named():
    with pytest.raises(ValueError) as raised:
        Bound(3.0, 2.0, 4.0)
    assert str(raised.value) == "Expected lower <= estimate <= upper, got 3.0, 2.0, 4.0."


def test_a_bound_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Bound(0.0, 0.5, 1.0).upper = 0.6
