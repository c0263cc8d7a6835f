"""One rule for "an attack beats the guarantee": its ends, its shares, and that nobody has another one."""

import math
import re
from pathlib import Path

import pytest
from scipy.stats import beta, binom

from del_audit.statistics.contradiction import (
    FALSE_ALARMS,
    contradicts,
    improbable,
    level_of,
    lower_limit,
    upper_limit,
)
from mechanisms.errors import UserError

ROOT = Path(__file__).parents[2]


def test_equal_is_not_beaten():
    assert not contradicts(0.3, 0.3)
    assert contradicts(math.nextafter(0.3, 1), 0.3)
    assert not contradicts(math.nextafter(0.3, 0), 0.3)
    assert not contradicts(1.0, 1.0)
    assert not contradicts(0.0, 0.0)


def test_what_nothing_bounds_is_not_judged_and_what_is_no_number_does_not_pass():
    assert not contradicts(None, 0.3)
    assert not contradicts(1.0, None)
    assert contradicts(math.nan, 0.3)
    assert contradicts(0.3, math.nan)
    assert improbable(math.nan, 1)


def test_attacks_judged_together_share_the_alarm_rate():
    for judged in (1, 2, 20):
        assert judged * level_of(judged) == pytest.approx(FALSE_ALARMS, rel=1e-12)
        expected = beta.ppf(FALSE_ALARMS / judged, 238, 400 - 238 + 1)
        assert lower_limit(238, 400, judged) == pytest.approx(expected, rel=1e-9)
    # P[Bin(400, .5) >= 238] = 8.6e-5: beaten alone, and not where two attacks share the rate
    assert binom.sf(237, 400, 0.5) < FALSE_ALARMS < 2 * binom.sf(237, 400, 0.5)
    assert contradicts(lower_limit(238, 400, 1), 0.5)
    assert not contradicts(lower_limit(238, 400, 2), 0.5)
    assert not contradicts(lower_limit(237, 400, 1), 0.5)


def test_a_p_value_at_the_level_is_not_improbable():
    for judged in (1, 7):
        assert not improbable(level_of(judged), judged)
        assert improbable(math.nextafter(level_of(judged), 0), judged)


def test_limits_end_at_0_and_1():
    assert lower_limit(0, 10, 1) == 0.0
    assert upper_limit(10, 10) == 1.0
    assert upper_limit(3, 40) == pytest.approx(beta.ppf(1 - FALSE_ALARMS, 4, 37), rel=1e-9)
    with pytest.raises(UserError, match="judged >= 1"):
        lower_limit(1, 2, 0)


def test_nobody_has_a_rate_of_their_own():
    """The museum of this fault: four rates and four comparisons, which had drifted apart."""
    own = re.compile(r"^\s*\w*ALARMS?\w* = |1 - 2e-4|1 - 2 \* \w*ALARM")
    for folder in ("del_audit", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "contradiction.py":
                wrong = [line for line in path.read_text(encoding="utf8").splitlines() if own.search(line)]
                assert not wrong, (path, wrong)
