import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import HEADER_BYTES, message_bytes, pack, unpack


def a_spec(bits, dim, scale=0.1):
    return QuantizerSpec(bits=bits, dim=dim, clip=0.05, scale=scale)


def counts_of(spec, tokens, seed=0):
    return np.random.default_rng(seed).integers(0, spec.trials + 1, (tokens, spec.dim), dtype=np.uint8)


def bits_of(message):
    return "".join(f"{byte:08b}" for byte in message)


def flipped(message, bit):
    changed = bytearray(message)
    changed[bit // 8] ^= 0x80 >> (bit % 8)
    return bytes(changed)


@settings(max_examples=200)
@given(bits=st.integers(1, 8), dim=st.integers(1, 40), tokens=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_what_is_packed_is_unpacked_at_the_exact_length(bits, dim, tokens, seed):
    spec = a_spec(bits, dim)
    counts = counts_of(spec, tokens, seed)
    message = pack(counts, spec)
    assert len(message) == message_bytes(spec, tokens) == 16 + -(-bits * dim * tokens // 8)
    got = unpack(message, spec)
    assert got.dtype == np.uint8
    assert np.array_equal(got, counts)


def test_the_layout_is_the_documented_one():
    spec = a_spec(3, 2)
    message = pack(np.array([[5, 1], [0, 7], [6, 2]]), spec)
    assert message[:4] == b"DEL1"
    assert message[4:12] == spec.fingerprint[:8]
    assert message[12:16] == bytes([3, 0, 0, 0])
    assert bits_of(message[16:]) == "101001000111110010000000"


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_least_and_largest_counts_survive(bits):
    spec = a_spec(bits, 3)
    counts = np.array([[0, spec.trials, 0], [spec.trials] * 3])
    assert np.array_equal(unpack(pack(counts, spec), spec), counts)


@pytest.mark.parametrize("cut", range(24))
def test_a_truncated_message_is_refused(cut):
    spec = a_spec(4, 5)
    message = pack(counts_of(spec, 3), spec)
    assert len(message) == 24
    with pytest.raises(UserError, match="truncated"):
        unpack(message[:cut], spec)


@pytest.mark.parametrize("tail", [b"\0", b"\xff", bytes(100)])
def test_a_padded_message_is_refused(tail):
    spec = a_spec(4, 5)
    with pytest.raises(UserError, match="padded"):
        unpack(pack(counts_of(spec, 3), spec) + tail, spec)


@pytest.mark.parametrize(("bits", "dim", "tokens"), [(4, 5, 3), (1, 9, 1), (7, 3, 5), (3, 3, 7)])
def test_every_flipped_bit_of_the_header_and_of_the_spare_bits_is_refused(bits, dim, tokens):
    spec = a_spec(bits, dim)
    message = pack(counts_of(spec, tokens), spec)
    used = 8 * HEADER_BYTES + bits * dim * tokens
    assert used < 8 * len(message)
    for bit in [*range(8 * HEADER_BYTES), *range(used, 8 * len(message))]:
        with pytest.raises(UserError):
            unpack(flipped(message, bit), spec)
    for bit in range(8 * HEADER_BYTES, used):  # the counts themselves are noise: any value is a release
        assert (unpack(flipped(message, bit), spec) != unpack(message, spec)).sum() == 1


@pytest.mark.parametrize(
    "other", [a_spec(4, 6), a_spec(5, 5), a_spec(4, 5, scale=0.10000001), QuantizerSpec(4, 5, 0.0500001, 0.1)]
)
def test_a_message_of_another_spec_is_refused(other):
    spec = a_spec(4, 5)
    with pytest.raises(UserError, match="do not run the same quantizer"):
        unpack(pack(counts_of(spec, 3), spec), other)


def test_a_wrong_magic_is_refused_by_name():
    spec = a_spec(4, 5)
    with pytest.raises(UserError, match="DEL1"):
        unpack(b"DEL2" + pack(counts_of(spec, 3), spec)[4:], spec)


def test_a_message_of_no_tokens_is_refused():
    spec = a_spec(4, 5)
    header = pack(counts_of(spec, 1), spec)[:12] + bytes(4)
    with pytest.raises(UserError, match="at least one token"):
        unpack(header, spec)


@pytest.mark.parametrize("shape", [(0, 5), (5,), (3, 4), (3, 6), (1, 3, 5)])
def test_counts_of_another_shape_are_not_packed(shape):
    with pytest.raises(UserError, match="dim=5"):
        pack(np.zeros(shape, dtype=np.uint8), a_spec(4, 5))


@pytest.mark.parametrize("wrong", [16, 255, 256, -1, 2**40])
def test_a_count_out_of_range_is_not_packed(wrong):
    counts = np.zeros((2, 5), dtype=np.int64)
    counts[1, 2] = wrong
    with pytest.raises(UserError, match=r"0\.\.15"):
        pack(counts, a_spec(4, 5))


def test_real_numbers_are_not_packed():
    with pytest.raises(UserError, match="whole counts"):
        pack(np.zeros((2, 5)), a_spec(4, 5))


@pytest.mark.parametrize(("bits", "entropy"), [(4, 3.00), (8, 5.04)])
def test_theorem_10_counts_near_one_half_need_fewer_bits_than_are_sent(bits, entropy):
    from scipy.stats import binom

    law = binom.pmf(np.arange(2**bits), 2**bits - 1, 0.5)
    assert -(law * np.log2(law)).sum() == pytest.approx(entropy, abs=0.005)
    assert entropy < bits


@pytest.mark.parametrize("bits", range(1, 9))
def test_every_byte_of_counts_is_packed_as_its_bits_are_written(bits):
    """All pairs of counts, and all places in a byte, against the bits as text."""
    spec = a_spec(bits, 3)
    least = np.arange(2**bits, dtype=np.uint8)
    counts = np.stack(np.meshgrid(least, least[:: max(1, 2**bits // 8)], least[:: 2**bits - 1]), axis=-1).reshape(-1, 3)
    text = "".join(f"{count:0{bits}b}" for count in counts.reshape(-1))
    sent = bits_of(pack(counts, spec)[HEADER_BYTES:])
    assert sent == text + "0" * (-len(text) % 8)
    assert np.array_equal(unpack(pack(counts, spec), spec), counts)


def test_counts_that_are_no_contiguous_bytes_are_packed_alike():
    spec = a_spec(4, 6)
    counts = counts_of(spec, 7)
    wide = np.zeros((7, 12), dtype=np.uint8)
    wide[:, ::2] = counts
    assert pack(wide[:, ::2], spec) == pack(counts.astype(np.int64), spec) == pack(counts, spec)
