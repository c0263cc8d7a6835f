import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from mechanisms.entropy_coding import frequencies, restore, shorten
from mechanisms.errors import UserError
from mechanisms.quantizer import StochasticQuantizer, level_thresholds
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

HEADER = 24


def a_spec(bits, dim=5, scale=0.2):
    return QuantizerSpec(bits=bits, dim=dim, clip=0.05, scale=scale)


def released(spec, tokens, seed=0):
    levels = np.random.default_rng(seed).integers(0, 255, (tokens, spec.dim), dtype=np.uint8)
    return pack(StochasticQuantizer(spec).sample(levels, SimulatedRandomness(seed)), spec)


@given(bits=st.integers(1, 6), dim=st.integers(1, 9), tokens=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_theorem_10_any_counts_are_restored_exactly(bits, dim, tokens, seed):
    spec = a_spec(bits, dim)
    counts = np.random.default_rng(seed).integers(0, spec.trials + 1, (tokens, dim), dtype=np.uint8)
    message = pack(counts, spec)
    assert restore(shorten(message, spec), spec) == message


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_rarest_and_the_commonest_counts_are_restored(bits):
    spec = a_spec(bits, 3, scale=10.0)
    for counts in (0, spec.trials, spec.trials // 2):
        message = pack(np.full((50, 3), counts, dtype=np.uint8), spec)
        assert restore(shorten(message, spec), spec) == message


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_theorem_10_the_table_is_the_mean_law_of_the_levels(bits):
    spec = a_spec(bits)
    table = np.array(frequencies(spec))
    law = binom.pmf(np.arange(spec.trials + 1)[:, None], spec.trials, level_thresholds(spec) / 2**32).mean(axis=1)
    assert table.sum() == 2**16
    assert table.min() >= 1
    assert np.abs(table / 2**16 - law).max() < (spec.trials + 2) / 2**16


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_theorem_10_a_release_takes_its_cross_entropy_and_less_than_it_is_sent_with(bits):
    spec = a_spec(bits, dim=18)
    message = released(spec, 400)
    short = shorten(message, spec)
    table = np.array(frequencies(spec)) / 2**16
    law = binom.pmf(np.arange(spec.trials + 1)[:, None], spec.trials, level_thresholds(spec) / 2**32).mean(axis=1)
    expected = -(law * np.log2(table)).sum() * 400 * 18 / 8
    assert len(short) - HEADER == pytest.approx(expected, rel=0.01)
    assert len(short) < len(message)


def test_the_table_is_of_the_spec_and_of_no_message():
    spec = a_spec(4)
    before = frequencies(spec)
    shorten(pack(np.zeros((40, 5), dtype=np.uint8), spec), spec)
    assert frequencies(spec) == before
    assert frequencies(a_spec(4, scale=0.06)) != before


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_every_flipped_bit_and_every_truncation_is_refused_or_another_message(bits):
    """No two byte strings are restored to the same message: what is accepted is shortened to what it was."""
    spec = a_spec(bits, 3)
    message = released(spec, 5)
    short = shorten(message, spec)
    for bit in range(8 * len(short)):
        changed = bytearray(short)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            other = restore(bytes(changed), spec)
        except UserError:
            continue
        assert bit >= 8 * 12
        assert other != message
        assert shorten(other, spec) == bytes(changed)
    for cut in range(len(short)):
        with pytest.raises(UserError):
            restore(short[:cut], spec)


@pytest.mark.parametrize("tail", [b"\0", bytes(4), b"\xff" * 8])
def test_what_goes_on_after_its_end_is_refused(tail):
    spec = a_spec(4)
    with pytest.raises(UserError):
        restore(shorten(released(spec, 5), spec) + tail, spec)


def test_other_forms_and_specs_are_refused():
    spec = a_spec(4)
    message = released(spec, 5)
    short = shorten(message, spec)
    for wrong, other in [(message + bytes(8), spec), (short, a_spec(4, 6)), (short, a_spec(3)), (b"", spec)]:
        with pytest.raises(UserError):
            restore(wrong, other)
    with pytest.raises(UserError, match="DEL1"):
        shorten(short, spec)
    with pytest.raises(UserError, match="tokens=0"):
        restore(short[:12] + bytes(4) + short[16:], spec)
