"""One pair in numbers: the very figure of the arrays, and on the safe side of ball arithmetic."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from del_audit.accounting import _one_pair, trade_off
from del_audit.accounting._one_pair import one_epsilon
from del_audit.accounting.rigorous import ProvedTradeOff
from del_audit.accounting.trade_off import TradeOff


def _pairs(seed, count, largest=10.0):
    """Random pairs of up to 10^largest trials with a delta each, from next to no information to thousands of nats."""
    draw = random.Random(seed)
    for _ in range(count):
        n = int(10 ** draw.uniform(0, largest))
        offset = min(0.49999, 10 ** draw.uniform(-2, 1.8) / (2 * math.sqrt(n)))
        middle = draw.choice([0.0, draw.uniform(-0.45, 0.45)])
        delta = 10 ** draw.uniform(-draw.choice([2, 12, 100]), -0.01)
        yield TradeOff(n, min(0.4999999, middle + offset), max(-0.4999999, middle - offset)), delta


def _in_numbers(curve, delta):
    """Returns what the numbers say alone, with an error for whatever NumPy would warn of."""
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        return one_epsilon(curve._pair, np.log(np.longdouble(delta)))


def test_numbers_give_the_figure_of_the_arrays_to_the_last_bit():
    told = 0
    for curve, delta in _pairs(1, 3000):
        found = _in_numbers(curve, delta)
        told += found is not None
        alone, arrays = curve.enclose_epsilon(delta), curve.enclose_epsilon([delta])
        assert [float(end) for end in alone] == [float(end[0]) for end in arrays]
        assert [end.shape for end in alone] == [()] * 3
    assert told > 1500


def test_theorem_2_the_upper_end_holds_and_the_lower_does_not_by_ball_arithmetic():
    told = 0
    for curve, delta in _pairs(2, 120):
        if _in_numbers(curve, delta) is None:
            continue
        told += 1
        lower, estimate, upper = (float(end) for end in curve.enclose_epsilon(delta))
        n, p, p_low, r, r_low = (float(field) for field in curve._pair[:5])
        proved = ProvedTradeOff(int(n), *(_exact(*chance) for chance in ((p, p_low), (r, r_low))))
        assert proved._sign(upper, delta) <= 0
        assert lower == 0 or proved._sign(lower, delta) >= 0
        assert lower <= estimate <= upper
    assert told > 50


def _exact(high, low):
    return Fraction(high) + Fraction(low)


def test_a_planted_fault_of_the_numbers_would_be_seen(monkeypatch):
    curve = TradeOff.of_vertices(270, 0.2)
    assert curve.epsilon(1e-5) == curve.epsilon([1e-5])[0]
    monkeypatch.setattr(_one_pair, "DEVIANCE_TERMS", (*_one_pair.DEVIANCE_TERMS[:-1], 0.334))
    assert curve.epsilon(1e-5) != curve.epsilon([1e-5])[0]


@pytest.mark.parametrize(("n", "mu"), [(270, 2.0), (270, 8.0), (270, 40.0), (10**6, 8.0), (10**9, 8.0), (10**10, 40.0)])
def test_a_release_of_the_quantizer_needs_no_arrays(n, mu, monkeypatch):
    monkeypatch.setattr(trade_off, "largest_epsilon", None)
    offset = 0.5 / math.hypot(1, 2 * math.sqrt(n) / mu)
    assert TradeOff.of_vertices(n, offset).epsilon(1e-5) > mu


@pytest.mark.parametrize(
    ("n", "offset", "delta"),
    [(1, 0.25, 0.1), (270, 0.0, 1e-5), (270, 1e-9, 1e-5), (2, 0.4, 0.3), (270, 0.1, 1 - 1e-12), (270, 0.45, 1e-200)],
)
def test_what_is_rare_is_left_to_the_arrays(n, offset, delta):
    curve = TradeOff.of_vertices(n, offset)
    assert _in_numbers(curve, delta) is None
    assert curve.epsilon(delta) == curve.epsilon([delta])[0]
