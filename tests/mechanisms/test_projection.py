import numpy as np
import pytest

from mechanisms.errors import UserError
from mechanisms.levels import from_levels
from mechanisms.projection import EncoderSettings, fit_codes, fit_encoder
from mechanisms.spec import QuantizerSpec

CLIP = 0.05


@pytest.fixture(scope="module")
def world(toy_world):
    return toy_world(words=150, width=12)


def fit(world, dim=5, **settings):
    spec = QuantizerSpec(bits=4, dim=dim, clip=CLIP, scale=0.2)
    return fit_encoder(world.table, world.prior, spec, EncoderSettings(**settings))


def fitted_codes(world, dim=5, **settings):
    spec = QuantizerSpec(bits=4, dim=dim, clip=CLIP, scale=0.2)
    return fit_codes(world.table, world.prior, spec, EncoderSettings(**settings))


def distances(codes):
    wide = codes.astype(np.float64)
    return np.linalg.norm(wide[:, None] - wide[None], axis=2)


def weighted_covariance(codes, weight):
    centred = codes - weight @ codes
    return (centred * weight[:, None]).T @ centred


def root_mean_square(codes, weight):
    return float(np.sqrt((weight @ codes.astype(np.float64) ** 2).mean()))


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("fill", [0.5, 1.0, 3.0])
def test_codes_lie_in_the_cube_one_a_word(world, fill, rotate):
    encoder = fit(world, fill=fill, rotate=rotate)
    assert encoder.codes.dtype == np.float32
    assert encoder.codes.shape == (150, 5)
    assert encoder.words == 150
    assert np.abs(encoder.codes).max() <= np.float32(CLIP)


def test_same_inputs_same_codes(world):
    first, second = fit(world, seed=3), fit(world, seed=3)
    assert np.array_equal(first.codes, second.codes)
    assert first.sha256 == second.sha256
    assert fit(world, seed=4).sha256 != first.sha256


@pytest.mark.parametrize("fill", [0.3, 1.0, 1e3])
def test_the_encoder_is_the_codes_at_the_nearest_level(world, fill):
    codes = fitted_codes(world, fill=fill)
    assert np.abs(codes).max() <= CLIP
    exact = from_levels(fit(world, fill=fill).levels, CLIP)
    assert np.abs(exact - codes).max() <= CLIP / 254 * (1 + 1e-12)


def test_the_order_of_the_words_decides_nothing_not_even_a_sign(world):
    spec = QuantizerSpec(bits=4, dim=5, clip=CLIP, scale=0.2)
    order = np.random.default_rng(0).permutation(150)
    shuffled = fit_codes(world.table[order], world.prior[order], spec, EncoderSettings(rotate=False))
    assert np.abs(shuffled - fitted_codes(world, rotate=False)[order]).max() < 1e-5 * CLIP


def test_unrotated_unwhitened_codes_are_the_principal_coordinates(world):
    """Against numpy's singular value decomposition of the weighted, centred table."""
    codes = fitted_codes(world, dim=4, whitening=0.0, rotate=False, fill=0.01)
    centred = world.table - world.prior @ world.table
    _, _, axes = np.linalg.svd(centred * np.sqrt(world.prior)[:, None])
    expected = centred @ axes[:4].T
    expected *= 0.01 * CLIP / root_mean_square(expected, world.prior)
    assert np.abs(np.abs(codes) - np.abs(expected)).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("rotate", [False, True])
def test_full_width_unwhitened_codes_keep_every_distance(world, rotate):
    codes = fitted_codes(world, dim=12, whitening=0.0, rotate=rotate, fill=1e-3)
    ratio = distances(codes)[np.triu_indices(150, 1)] / distances(world.table)[np.triu_indices(150, 1)]
    assert np.ptp(ratio) < 1e-4 * ratio.mean()


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_rotation_moves_codes_without_changing_distances(world, whitening):
    plain = fitted_codes(world, whitening=whitening, rotate=False, fill=1e-3)
    rotated = fitted_codes(world, whitening=whitening, rotate=True, fill=1e-3)
    assert np.abs(plain - rotated).max() > 0.1 * np.abs(plain).max()
    assert np.abs(distances(plain) - distances(rotated)).max() < 1e-5 * distances(plain).max()


def test_rotation_brings_codes_nearer_to_the_corners(world):
    def gap(codes):
        scaled = codes / root_mean_square(codes, world.prior)
        return world.prior @ ((np.abs(scaled) - 1) ** 2).sum(axis=1)

    plain, rotated = (fitted_codes(world, whitening=1.0, rotate=rotate, fill=1e-3) for rotate in (False, True))
    assert gap(rotated) < 0.95 * gap(plain)


@pytest.mark.parametrize("rotate", [False, True])
def test_whitening_of_one_makes_the_spread_equal(world, rotate):
    codes = fitted_codes(world, whitening=1.0, rotate=rotate, fill=1e-3).astype(np.float64)
    covariance = weighted_covariance(codes, world.prior)
    assert np.allclose(covariance, np.eye(5) * covariance.trace() / 5, atol=1e-4 * covariance.trace())


def test_whitening_takes_the_power_of_each_spread_that_it_says(world):
    def spread(whitening):
        codes = fitted_codes(world, whitening=whitening, rotate=False, fill=1e-3).astype(np.float64)
        return np.sqrt(np.diag(weighted_covariance(codes, world.prior)))

    plain = spread(0.0)
    for whitening in (0.25, 0.5, 0.75):
        ratio = spread(whitening) / plain ** (1 - whitening)
        assert np.ptp(ratio) < 1e-4 * ratio.mean()


@pytest.mark.parametrize("prior_power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("fill", [1e-3, 0.1])
def test_fill_is_the_root_mean_square_before_clipping(world, fill, prior_power):
    weight = world.prior**prior_power
    codes = fitted_codes(world, fill=fill, prior_power=prior_power)
    assert np.abs(codes).max() < CLIP
    assert root_mean_square(codes, weight / weight.sum()) == pytest.approx(fill * CLIP, rel=1e-5)


def test_a_large_fill_puts_the_codes_into_the_corners(world):
    codes = fit(world, fill=1e3, rotate=True).codes
    assert (np.abs(codes) == np.float32(CLIP)).mean() > 0.99


def test_prior_power_zero_forgets_the_prior(world):
    spec = QuantizerSpec(bits=4, dim=5, clip=CLIP, scale=0.2)
    uniform = np.full(150, 1 / 150)
    settings = EncoderSettings(prior_power=0.0)
    assert np.allclose(fit_codes(world.table, uniform, spec, settings), fitted_codes(world, prior_power=0.0), atol=1e-7)
    assert np.abs(fitted_codes(world, prior_power=0.0) - fitted_codes(world)).max() > 1e-3


def test_more_coordinates_than_the_embedding_has_are_refused(world):
    assert fit(world, dim=12).codes.shape == (150, 12)
    with pytest.raises(UserError, match=r"dim <= 12.*got dim=13"):
        fit(world, dim=13)


def test_more_coordinates_than_the_table_has_rank_are_refused(world):
    """Whitening would otherwise blow up the table's rounding errors and spend the budget on them."""
    generator = np.random.default_rng(0)
    flat = (generator.standard_normal((150, 3)) @ generator.standard_normal((3, 12))).astype(np.float32)
    for dim, table in [(4, flat), (5, flat), (1, np.full((150, 12), 0.3, dtype=np.float32))]:
        spec = QuantizerSpec(bits=4, dim=dim, clip=CLIP, scale=0.2)
        with pytest.raises(UserError, match="rank"):
            fit_encoder(table, world.prior, spec, EncoderSettings(whitening=1.0))
    spec = QuantizerSpec(bits=4, dim=3, clip=CLIP, scale=0.2)
    assert fit_encoder(flat, world.prior, spec, EncoderSettings(whitening=1.0)).codes.shape == (150, 3)


def test_a_prior_over_another_vocabulary_is_refused(world):
    spec = QuantizerSpec(bits=4, dim=5, clip=CLIP, scale=0.2)
    with pytest.raises(UserError, match=r"150 words, got shape \(149,\)"):
        fit_encoder(world.table, world.prior[:-1], spec, EncoderSettings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whitening", -0.1),
        ("whitening", 1.1),
        ("whitening", float("nan")),
        ("prior_power", -1e-9),
        ("prior_power", 2.0),
        ("fill", 0.0),
        ("fill", -1.0),
        ("fill", 1e4),
        ("fill", float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        EncoderSettings(**{name: value})


def test_corners_follow_the_prior_and_nothing_of_the_embedding(world):
    corners = fitted_codes(world, dim=20, kind="corners", seed=1)  # more coordinates than the embedding has
    assert corners.shape == (150, 20)
    assert (np.abs(corners) == CLIP).all()
    assert len({row.tobytes() for row in corners}) == 150
    spec = QuantizerSpec(bits=4, dim=20, clip=CLIP, scale=0.2)
    elsewhere = fit_codes(-world.table, world.prior, spec, EncoderSettings(kind="corners", seed=2, fill=0.1))
    assert np.array_equal(corners, elsewhere)
    assert set(np.unique(fit(world, kind="corners").levels)) == {0, 254}


def test_an_unknown_kind_is_refused():
    with pytest.raises(UserError, match="linear or corners, got kind='edges'"):
        EncoderSettings(kind="edges")
