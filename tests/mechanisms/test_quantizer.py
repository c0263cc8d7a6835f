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
from mechanisms.randomness import SimulatedWords
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
    return quantizer.quantize(np.tile(values, (rows, 1)), source or SimulatedWords(seed, "law"))


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
    with monkeypatch.context() as patch:
        patch.setattr(QuantizerSpec, "trials", property(lambda spec: (1 << spec.bits) - 1 + off))
        counts = release(StochasticQuantizer(spec), values)
    assert release_p_value(spec, values, counts) < FALSE_ALARM


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
    """The planted fault of a source that hands every word out twice, to trials that are `lag` apart."""

    def __init__(self, lag):
        self.lag, self.source = lag, SimulatedWords(0, "shared")

    def words(self, count):
        half = self.source.words(count).reshape(-1, self.lag)[: -(-count // self.lag // 2)]
        return np.repeat(half, 2, axis=0).reshape(-1)[:count]


@pytest.mark.parametrize("lag", [1, 4])
def test_law_test_rejects_trials_that_share_words_across_coordinates_or_tokens(lag):
    spec = a_spec(4, dim=4)
    values = np.full(4, 0.6 * spec.clip)
    quantizer = StochasticQuantizer(spec)
    rows = TRIALS_A_COORDINATE // spec.trials // 4 * 4  # so that no pair is torn
    shared = quantizer.quantize(np.tile(values, (rows, 1)), SharedWords(lag))
    assert release_p_value(spec, values, shared) < FALSE_ALARM
    assert release_p_value(spec, values, release(quantizer, values)) > FALSE_ALARM


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_trial_succeeds_exactly_where_the_word_is_below_the_threshold(bits, constant_words):
    spec = a_spec(bits)
    quantizer = StochasticQuantizer(spec)
    for index, value in enumerate(SHARES * spec.clip):
        threshold = exact_threshold(spec, value)
        values = np.full((1, spec.dim), value)
        assert (quantizer.quantize(values, constant_words(threshold - 1)) == spec.trials).all(), index
        assert (quantizer.quantize(values, constant_words(threshold)) == 0).all(), index


specs = st.builds(
    lambda bits, dim, clip, ratio: QuantizerSpec(bits, dim, clip, clip * ratio),
    st.integers(1, 8),
    st.integers(1, 5),
    st.floats(1e-6, 1e6),
    st.floats(1 + 1e-8, 1e6),
)


@settings(derandomize=True, deadline=None, max_examples=200)
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


@settings(derandomize=True, deadline=None, max_examples=100)
@given(spec=specs)
def test_ends_are_the_threshold_of_the_clip_and_all_beyond_is_held_there(spec):
    quantizer = StochasticQuantizer(spec)
    beyond = [1.0, np.nextafter(1.0, 2.0), 2.0, 1e200]
    for factor in beyond:
        high = quantizer.thresholds([[factor * spec.clip] * spec.dim])
        low = quantizer.thresholds([[-factor * spec.clip] * spec.dim])
        assert (high == spec.threshold_high).all()
        assert (low == spec.threshold_low).all()


@settings(derandomize=True, deadline=None, max_examples=100)
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
def test_a_long_release_is_drawn_in_blocks_one_fresh_word_a_trial(monkeypatch, at_once):
    monkeypatch.setattr(quantizer_module, "WORDS_AT_ONCE", at_once)
    spec = a_spec(3)
    values = np.tile(SHARES * spec.clip, (301, 1))

    class Counted(SimulatedWords):
        sizes: list[int] = []  # noqa: RUF012

        def words(self, count):
            self.sizes.append(count)
            return super().words(count)

    counts = StochasticQuantizer(spec).quantize(values, Counted(0))
    assert sum(Counted.sizes) == spec.trials * values.size
    assert max(Counted.sizes) <= max(at_once, spec.trials * spec.dim)
    assert counts.dtype == np.uint8
    assert counts.shape == values.shape
    expected = 301 * spec.trials * (0.5 + 0.25 * SHARES)
    assert (np.abs(counts.sum(axis=0) - expected) < 5 * np.sqrt(301 * spec.trials) / 2).all()


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
