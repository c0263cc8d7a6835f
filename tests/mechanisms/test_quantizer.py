from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from mechanisms import quantizer as quantizer_module
from mechanisms.errors import UserError
from mechanisms.levels import from_levels, to_levels
from mechanisms.quantizer import StochasticQuantizer, level_thresholds
from mechanisms.randomness import SimulatedRandomness
from mechanisms.sampler import BinomialTable, Bits
from mechanisms.spec import QuantizerSpec

FALSE_ALARM = 1e-6
TRIALS_A_COORDINATE = 1_000_000
SHARES = np.array([1.0, -1.0, 0.0, 0.6180339, -0.2718281])
"""Where the law is tested, in units of the clip: both corners, zero, and two values in between."""


def law_p_value(counts, trials, threshold):
    """Returns the p-value of an exact goodness-of-fit test of independent counts against Bin(trials, threshold / 2^32).

    How many counts equal x, and how many are at most x, is binomial for each x: no expected cell is too small. Their
    exact two-sided p-values are combined by Bonferroni's inequality, so the false-alarm rate is proved, not asymptotic.
    """
    n, levels, success = len(counts), np.arange(trials + 1), threshold / 2**32
    found = np.bincount(counts, minlength=trials + 1)
    if len(found) > trials + 1:
        return 0.0
    p_values = [
        2 * np.minimum(binom.cdf(observed, n, probability), binom.sf(observed - 1, n, probability))
        for observed, probability in (
            (found, binom.pmf(levels, trials, success)),
            (np.cumsum(found)[:-1], binom.cdf(levels[:-1], trials, success)),
        )
    ]
    every = np.concatenate(p_values)
    return min(1.0, every.size * every.min())


def release_p_value(spec, values, counts):
    """Returns the p-value for a release of one row of values many times: each coordinate's law, and their sum's.

    The sum over each two neighbours in a row and in a column tells whether trials share words.
    """
    thresholds = [exact_threshold(spec, value) for value in values]
    p_values = [
        law_p_value(column, spec.trials, threshold) for column, threshold in zip(counts.T, thresholds, strict=True)
    ]
    wide = counts.astype(np.int64)
    pairs = len(wide) // 2
    for column, threshold in zip(wide.T, thresholds, strict=True):
        p_values.append(law_p_value(column[: 2 * pairs].reshape(-1, 2).sum(axis=1), 2 * spec.trials, threshold))
    for left, right in zip(range(len(values)), range(1, len(values)), strict=False):
        if thresholds[left] == thresholds[right]:
            p_values.append(law_p_value(wide[:, left] + wide[:, right], 2 * spec.trials, thresholds[left]))
    return min(1.0, len(p_values) * min(p_values))


def exact_threshold(spec, value):
    """Returns round(2^32 (A + v) / (2 A)) for the nearest level to the clipped value, in rational arithmetic."""
    return round(exact_success(spec, value) * 2**32)


def exact_success(spec, value):
    clip, scale = Fraction(spec.clip), Fraction(spec.scale)
    share = min(max(Fraction(value) / clip, -1), 1)
    return (scale + Fraction(round(share * 127), 127) * clip) / (2 * scale)


def a_spec(bits, dim=5):
    return QuantizerSpec(bits=bits, dim=dim, clip=0.05, scale=0.1)


def release(quantizer, values, seed=0, source=None):
    rows = TRIALS_A_COORDINATE // quantizer.spec.trials
    return quantizer.quantize(np.tile(values, (rows, 1)), source or SimulatedRandomness(seed, "law"))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_released_law_is_binomial_of_the_integer_threshold(bits):
    spec = a_spec(bits)
    values = SHARES * spec.clip
    assert release_p_value(spec, values, release(StochasticQuantizer(spec), values)) > FALSE_ALARM


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_values_outside_the_range_have_the_law_of_its_ends(bits):
    spec = a_spec(bits)
    outside = np.array([1.3, -1.3, 1.0001, 40.0, -1e300]) * spec.clip
    ends = np.array([1, -1, 1, 1, -1]) * spec.clip
    assert release_p_value(spec, ends, release(StochasticQuantizer(spec), outside)) > FALSE_ALARM


@pytest.mark.parametrize("factor", [0.97, 1.03])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_law_test_rejects_a_wrong_scale(bits, factor):
    spec = a_spec(bits)
    values = SHARES * spec.clip
    wrong = StochasticQuantizer(replace(spec, scale=spec.scale * factor))
    assert release_p_value(spec, values, release(wrong, values)) < FALSE_ALARM


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize("bits", [2, 4, 7])
def test_law_test_rejects_one_trial_too_many_or_too_few(monkeypatch, bits, off):
    spec = a_spec(bits)
    values = SHARES * spec.clip
    wrong = BinomialTable.of(level_thresholds(spec).tolist(), spec.trials + off)
    monkeypatch.setattr(quantizer_module, "level_table", lambda _: wrong)
    assert release_p_value(spec, values, release(StochasticQuantizer(spec), values)) < FALSE_ALARM


@pytest.mark.parametrize(
    "fault",
    [
        lambda table: np.roll(table.cells, 1),
        lambda table: np.roll(table.cells, 1 << table.bits.cell),
        lambda table: np.where(table.cells == 7, np.uint8(8), table.cells),
    ],
    ids=["off by one cell", "off by one level", "a count left out"],
)
def test_law_test_rejects_wrong_cells(monkeypatch, fault):
    """With cells of a 32nd, that the fault is large enough to be seen in a sample."""
    spec = a_spec(4)
    values = np.full(5, 0.6 * spec.clip)
    right = BinomialTable.of(level_thresholds(spec).tolist()[::40], spec.trials, bits=Bits(5, 51))
    rows = np.tile(np.full(5, 5, dtype=np.uint8), (TRIALS_A_COORDINATE // spec.trials, 1))
    values[:] = from_levels(200, spec.clip)
    assert release_p_value(spec, values, right.sample(rows, SimulatedRandomness(0, "law"))) > FALSE_ALARM
    wrong = replace(right, cells=fault(right))
    assert release_p_value(spec, values, wrong.sample(rows, SimulatedRandomness(0, "law"))) < FALSE_ALARM


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_law_test_rejects_a_reversed_sign(bits):
    spec = a_spec(bits)
    values = SHARES * spec.clip
    assert release_p_value(spec, values, release(StochasticQuantizer(spec), -values)) < FALSE_ALARM


class Unclipped(StochasticQuantizer):
    """The planted fault of a quantizer that trusts its input to lie in the range."""

    def quantize(self, values, source):
        steps = np.rint(values / self.spec.clip * 127) / 127
        success = 0.5 + 0.5 * steps * self.spec.clip / self.spec.scale
        words = source.words(self.spec.trials * success.size).reshape(self.spec.trials, *success.shape)
        return np.count_nonzero(words < np.rint(success * 2**32), axis=0)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_law_test_rejects_a_quantizer_that_does_not_clip(bits):
    spec = a_spec(bits)
    values = SHARES * 1.1 * spec.clip
    assert release_p_value(spec, values, release(Unclipped(spec), values)) < FALSE_ALARM
    inside = SHARES * spec.clip
    assert release_p_value(spec, inside, release(Unclipped(spec), inside)) > FALSE_ALARM


class SharedWords:
    """The planted fault of a source that hands every word out twice, `lag` words apart. A word makes two counts."""

    def __init__(self, lag):
        self.lag, self.source = lag, SimulatedRandomness(0, "shared")

    def words(self, count):
        blocks = -(-count // self.lag)
        block = self.source.words(-(-blocks // 2) * self.lag).reshape(-1, self.lag)
        return np.repeat(block, 2, axis=0).reshape(-1)[:count]


class SharedHalves(SharedWords):
    """The planted fault of a source whose words have two equal halves."""

    def words(self, count):
        return (self.source.words(count) >> np.uint32(16)) * np.uint32(0x10001)


@pytest.mark.parametrize("shared", [SharedHalves(0), SharedWords(2)], ids=["coordinates", "tokens"])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_law_test_rejects_counts_that_share_words(bits, shared):
    spec = a_spec(bits, dim=4)
    values = np.full(4, 0.6 * spec.clip)
    quantizer = StochasticQuantizer(spec)
    rows = TRIALS_A_COORDINATE // spec.trials // 4 * 4  # so that no pair is torn
    found = quantizer.quantize(np.tile(values, (rows, 1)), shared)
    assert release_p_value(spec, values, found) < FALSE_ALARM
    assert release_p_value(spec, values, release(quantizer, values)) > FALSE_ALARM


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_least_and_the_largest_number_give_the_least_and_the_largest_count(bits, constant_words):
    spec = a_spec(bits)
    values = SHARES[None] * spec.clip
    assert (StochasticQuantizer(spec).quantize(values, constant_words(0)) == 0).all()
    assert (StochasticQuantizer(spec).quantize(values, constant_words(2**32 - 1)) == spec.trials).all()


@pytest.mark.parametrize("level", [0, 60, 127, 254])
def test_of_one_trial_the_threshold_is_met_to_the_last_of_32_bits(level):
    """The count is 1 exactly where the number is at least 1 - t / 2^32."""
    spec = a_spec(1, dim=1)
    first = 2**32 - int(level_thresholds(spec)[level])

    class Top:
        """The top 11 bits in the half word at the end, and the other 21 on top of the long word at the start."""

        def __init__(self, number):
            self.half, self.more = number >> 21 << 5, number << 11 & 0xFFFFFFFF

        def words(self, count):
            return np.array([0, self.more, *[0] * (count - 3), self.half], dtype=np.uint32)

    for number, expected in [(first, 1), (first - 1, 0)]:
        assert StochasticQuantizer(spec).sample(np.array([[level]], dtype=np.uint8), Top(number)).tolist() == [
            [expected]
        ]


specs = st.builds(
    lambda bits, dim, clip, ratio: QuantizerSpec(bits, dim, clip, clip * ratio),
    st.integers(1, 8),
    st.integers(1, 5),
    st.floats(1e-6, 1e6),
    st.floats(1 + 1e-8, 1e6),
)


@settings(max_examples=200)
@given(spec=specs, share=st.floats(-1.5, 1.5))
def test_thresholds_are_the_rational_ones(spec, share):
    value = from_levels(to_levels(share * spec.clip, spec.clip), spec.clip)
    got = int(StochasticQuantizer(spec).thresholds([[value] * spec.dim])[0, 0])
    exact = exact_success(spec, float(value)) * 2**32
    assert abs(got - exact) <= Fraction(1, 2) + Fraction(1, 2**18)  # at a tie, doubles may go either way
    if abs(exact - round(exact)) < Fraction(1, 2) - Fraction(1, 2**18):
        assert got == round(exact)
    assert 0 < spec.threshold_low <= got <= spec.threshold_high < 2**32
    assert spec.threshold_low + spec.threshold_high == 2**32


@given(spec=specs)
def test_ends_are_the_threshold_of_the_clip_and_all_beyond_is_held_there(spec):
    quantizer = StochasticQuantizer(spec)
    beyond = [1.0, np.nextafter(1.0, 2.0), 2.0, 1e200]
    for factor in beyond:
        high = quantizer.thresholds([[factor * spec.clip] * spec.dim])
        low = quantizer.thresholds([[-factor * spec.clip] * spec.dim])
        assert (high == spec.threshold_high).all()
        assert (low == spec.threshold_low).all()


@given(spec=specs)
def test_opposite_levels_have_opposite_thresholds(spec):
    thresholds = level_thresholds(spec).astype(np.int64)
    assert (thresholds + thresholds[::-1] == 2**32).all()
    assert (thresholds[0], thresholds[127], thresholds[254]) == (spec.threshold_low, 2**31, spec.threshold_high)
    assert (np.diff(thresholds) >= 0).all()


def test_thresholds_never_fall_as_the_value_grows():
    spec = a_spec(4, dim=1)
    values = np.linspace(-2 * spec.clip, 2 * spec.clip, 20_001)[:, None]
    assert (np.diff(StochasticQuantizer(spec).thresholds(values).astype(np.int64)[:, 0]) >= 0).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_and_nothing_is_drawn(wrong, no_words):
    spec = a_spec(4)
    values = np.zeros((3, spec.dim))
    values[2, 1] = wrong
    with pytest.raises(UserError, match="finite"):
        StochasticQuantizer(spec).quantize(values, no_words)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (3, 6), (1, 3, 5), ()])
def test_another_shape_is_refused_and_nothing_is_drawn(shape, no_words):
    with pytest.raises(UserError, match="dim=5"):
        StochasticQuantizer(a_spec(4)).quantize(np.zeros(shape), no_words)


@pytest.mark.parametrize("at_once", [1, 200, 10_000])
def test_a_long_release_is_drawn_in_blocks_with_bits_of_its_own_for_each_count(monkeypatch, at_once):
    monkeypatch.setattr(quantizer_module, "COORDINATES_AT_ONCE", at_once)
    spec = a_spec(3)
    values = np.tile(SHARES * spec.clip, (301, 1))

    class Counted(SimulatedRandomness):
        sizes: list[int] = []  # noqa: RUF012

        def words(self, count):
            self.sizes.append(count)
            return super().words(count)

    counts = StochasticQuantizer(spec).quantize(values, Counted(0))
    assert sum(Counted.sizes) >= values.size / 2
    assert max(Counted.sizes) <= max(at_once, spec.dim) + 2 * 16 + 1
    assert counts.dtype == np.uint8
    assert counts.shape == values.shape
    expected = 301 * spec.trials * (0.5 + 0.25 * SHARES)
    assert (np.abs(counts.sum(axis=0) - expected) < 5 * np.sqrt(301 * spec.trials) / 2).all()


@pytest.mark.parametrize(
    "levels",
    [
        np.zeros((2, 4), dtype=np.uint8),
        np.zeros(5, dtype=np.uint8),
        np.zeros((2, 5)),
        np.zeros((2, 5), dtype=np.int64),
        np.full((2, 5), 255, dtype=np.uint8),
        np.empty((0, 5)),
    ],
)
def test_what_are_no_levels_is_refused_and_nothing_is_drawn(levels, no_words):
    with pytest.raises(UserError, match=r"levels|dim=5"):
        StochasticQuantizer(a_spec(4)).sample(levels, no_words)


def test_levels_are_not_taken_for_values(no_words):
    with pytest.raises(UserError, match="levels"):
        StochasticQuantizer(a_spec(4)).quantize(np.zeros((2, 5), dtype=np.uint8), no_words)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_dequantized_counts_are_unbiased_and_have_the_stated_variance(bits):
    spec = a_spec(bits)
    quantizer = StochasticQuantizer(spec)
    values = SHARES * spec.clip
    released = quantizer.dequantize(release(quantizer, values, seed=1)).astype(np.float64)
    n, variance = len(released), (spec.scale**2 - values**2) / spec.trials
    assert (np.abs(released.mean(axis=0) - values) <= 5 * np.sqrt(variance / n)).all()
    success = 0.5 + 0.5 * values / spec.scale
    kurtosis = 3 + (1 - 6 * success * (1 - success)) / (spec.trials * success * (1 - success))
    error = variance * np.sqrt((kurtosis - 1) / n) + variance / n
    assert (np.abs(((released - values) ** 2).mean(axis=0) - variance) <= 5 * error + 1e-6 * variance).all()


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_least_and_largest_count_stand_for_the_scales_ends(bits):
    spec = a_spec(bits, dim=2)
    got = StochasticQuantizer(spec).dequantize(np.array([[0, spec.trials]], dtype=np.uint8))
    assert got.dtype == np.float32
    assert got.tolist() == [[np.float32(-0.1), np.float32(0.1)]]
