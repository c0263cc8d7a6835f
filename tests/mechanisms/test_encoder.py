import numpy as np
import pytest

from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.levels import from_levels

CLIP = 0.05


@pytest.fixture(scope="module")
def encoder():
    return Encoder(np.random.default_rng(0).integers(0, 255, (150, 5), dtype=np.uint8), CLIP)


def test_a_table_of_a_real_vocabulary_takes_less_than_a_megabyte():
    encoder = Encoder.of(np.zeros((49_152, 18)), CLIP)
    assert encoder.levels.nbytes == 49_152 * 18 < 1_000_000
    assert (encoder.words, encoder.dim) == (49_152, 18)


def test_a_word_is_encoded_as_its_row(encoder):
    tokens = np.array([149, 0, 7, 7])
    assert np.array_equal(encoder.levels_of(tokens), encoder.levels[tokens])
    assert np.array_equal(encoder.encode(tokens), encoder.codes[tokens])
    assert encoder.encode(np.empty(0, dtype=np.int64)).shape == (0, 5)


@pytest.mark.parametrize("wrong", [150, -1, 10**12])
def test_a_word_without_a_row_is_refused_by_its_number(encoder, wrong):
    for read in (encoder.encode, encoder.levels_of):
        with pytest.raises(UserError, match=rf"0\.\.149, got {wrong}:"):
            read(np.array([3, wrong, 4]))


def test_codes_are_the_levels_values(encoder):
    assert encoder.codes.dtype == np.float32
    assert np.array_equal(encoder.codes, from_levels(encoder.levels, CLIP).astype(np.float32))


def test_rounding_codes_that_come_from_levels_changes_nothing(encoder):
    again = Encoder.of(encoder.codes, CLIP)
    assert np.array_equal(again.levels, encoder.levels)
    assert again.sha256 == encoder.sha256


def test_codes_are_clipped_and_rounded_to_the_nearest_level():
    shares = [[-7.0, -1.0, -0.9961, 0.0039, -0.0039, 0.99, 1.5]]
    assert Encoder.of(np.array(shares) * CLIP, CLIP).levels.tolist() == [[0, 0, 0, 127, 127, 253, 254]]


def test_hash_follows_shape_clip_and_levels(encoder):
    changed = encoder.levels.copy()
    changed[3, 2] ^= 1
    others = [Encoder(encoder.levels.reshape(75, 10), CLIP), Encoder(encoder.levels, 0.06), Encoder(changed, CLIP)]
    assert len({encoder.sha256, *(other.sha256 for other in others)}) == 4
    assert Encoder(encoder.levels.copy(), CLIP).sha256 == encoder.sha256


@pytest.mark.parametrize(
    ("levels", "clip", "reason"),
    [
        (np.full((2, 3), 255, dtype=np.uint8), CLIP, r"0\.\.254, got 255"),
        (np.zeros((2, 3), dtype=np.int64), CLIP, "bytes"),
        (np.zeros(6, dtype=np.uint8), CLIP, r"shape \(6,\)"),
        (np.zeros((0, 3), dtype=np.uint8), CLIP, "words >= 1"),
        (np.zeros((2, 3), dtype=np.uint8), 0.0, "clip"),
        (np.zeros((2, 3), dtype=np.uint8), float("nan"), "clip"),
        (np.zeros((2, 3), dtype=np.uint8), float("inf"), "clip"),
    ],
)
def test_a_table_that_holds_no_codes_is_refused(levels, clip, reason):
    with pytest.raises(UserError, match=reason):
        Encoder(levels, clip)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_codes_that_are_not_finite_are_refused(wrong):
    with pytest.raises(UserError, match="finite"):
        Encoder.of(np.array([[0.0, wrong]]), CLIP)
