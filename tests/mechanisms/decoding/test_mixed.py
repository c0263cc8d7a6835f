import numpy as np
import pytest

from mechanisms.channel import Channel, posterior
from mechanisms.decoding import LinearDecoder, MixedDecoder, MixSettings, MostLikelyDecoder, PosteriorMeanDecoder
from mechanisms.errors import UserError
from mechanisms.projection import EncoderSettings, fit_encoder
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec

PLAIN = MixSettings(spread=0.0)


class Setting:
    """A toy world whose decoders know a prior that is not quite the true one, as a server's is not."""

    def __init__(self, world, mu):
        self.world = world
        self.spec = QuantizerSpec.from_mu(4, 6, 0.05, mu)
        self.quantizer = StochasticQuantizer(self.spec)
        blurred = world.prior**0.5
        self.prior = blurred / blurred.sum()
        self.encoder = fit_encoder(world.table, self.prior, self.spec, EncoderSettings())
        self.channel = Channel.of(self.spec, self.encoder.codes)
        self.linear = LinearDecoder.fit(self.quantizer, self.encoder, self.prior, world.table)
        mean = self.prior @ world.table
        self.posterior = PosteriorMeanDecoder(self.channel, np.log(self.prior), world.table, mean)

    def release(self, count, seed):
        words = self.world.draw(count, seed)
        return words, self.quantizer.sample(self.encoder.levels_of(words), SimulatedRandomness(seed, "mixed"))

    def mixed(self, settings, count=8_000, seed=1):
        words, counts = self.release(count, seed)
        return MixedDecoder.fit(self.linear, self.channel, self.prior, self.world.table, counts, words, settings)


@pytest.fixture(scope="module", params=[0.5, 4.0, 12.0, 60.0], ids=["hopeless", "high", "middle", "low"])
def setting(request, toy_world):
    return Setting(toy_world(words=200, width=16), request.param)


def squared_error(decoded, true):
    return float(((decoded.astype(np.float64) - true) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("bins", [1, 4])
def test_the_mix_is_at_least_as_good_as_both_on_tokens_it_has_not_seen(setting, bins):
    mixed = setting.mixed(MixSettings(bins=bins, spread=0.0))
    words, counts = setting.release(8_000, 2)
    true = setting.world.table[words]
    decoded = mixed.decode(counts)
    assert decoded.dtype == np.float32
    error = squared_error(decoded, true)
    for other in (setting.linear, setting.posterior):
        assert error <= 1.001 * squared_error(other.decode(counts), true)


def test_where_the_prior_is_wrong_the_mix_is_better_than_both(toy_world):
    setting = Setting(toy_world(words=200, width=16), 4.0)
    words, counts = setting.release(8_000, 2)
    true = setting.world.table[words]
    mixed = ((setting.mixed(PLAIN).decode(counts) - true) ** 2).sum(axis=1)
    for other in (setting.linear, setting.posterior):
        gain = ((other.decode(counts) - true) ** 2).sum(axis=1) - mixed
        assert gain.mean() > 4.9 * gain.std() / np.sqrt(len(gain))


def test_coefficients_are_the_least_squares_ones_of_each_bin(setting):
    words, counts = setting.release(2_000, 3)
    mixed = MixedDecoder.fit(setting.linear, setting.channel, setting.prior, setting.world.table, counts, words, PLAIN)
    means, entropies = posterior(setting.channel, counts, mixed.log_prior, setting.world.table)
    bins = np.digitize(entropies, mixed.edges)
    assert np.bincount(bins, minlength=4).min() > 300
    for group in range(4):
        rows = bins == group
        design = np.stack([setting.linear.decode(counts[rows]) - mixed.mean, means[rows] - mixed.mean], axis=-1)
        wanted = (setting.world.table[words[rows]] - mixed.mean).ravel()
        fitted = np.linalg.lstsq(design.reshape(-1, 2), wanted, rcond=None)[0]
        assert mixed.coefficients[group] == pytest.approx(fitted, abs=2e-3)
    assert (mixed.gains == 1).all()


def test_spread_restores_the_spread_of_true_embeddings(setting):
    words, counts = setting.release(4_000, 4)
    true = setting.world.table[words]
    for by_bin in (False, True):
        settings = MixSettings(spread=1.0, spread_by_bin=by_bin)
        mixed = MixedDecoder.fit(
            setting.linear, setting.channel, setting.prior, setting.world.table, counts, words, settings
        )
        decoded = mixed.decode(counts)
        assert squared_error(decoded, mixed.mean) == pytest.approx(squared_error(true, mixed.mean), rel=1e-3)
        if by_bin:
            bins = np.digitize(posterior(mixed.channel, counts, mixed.log_prior, mixed.table)[1], mixed.edges)
            for group in np.unique(bins):
                spreads = [squared_error(rows[bins == group], mixed.mean) for rows in (decoded, true)]
                assert spreads[0] == pytest.approx(spreads[1], rel=1e-3)
        else:
            assert len(set(mixed.gains.tolist())) == 1


def test_half_the_spread_is_the_root_of_the_gain(setting):
    whole, half = (setting.mixed(MixSettings(spread=spread)) for spread in (1.0, 0.5))
    assert half.gains == pytest.approx(np.sqrt(whole.gains))


def test_bins_without_tokens_take_the_common_coefficients(toy_world):
    """Where no release leaves a doubt, entropies tie and all tokens fall into few bins."""
    world = toy_world(words=40, width=12)
    spec = QuantizerSpec.from_mu(8, 12, 0.05, 1e4)
    encoder = fit_encoder(world.table, world.prior, spec, EncoderSettings())
    channel = Channel.of(spec, encoder.codes)
    linear = LinearDecoder.fit(StochasticQuantizer(spec), encoder, world.prior, world.table)
    words = world.draw(600, 5)
    counts = StochasticQuantizer(spec).sample(encoder.levels_of(words), SimulatedRandomness(5))
    mixed = MixedDecoder.fit(linear, channel, world.prior, world.table, counts, words, PLAIN)
    assert np.isfinite(mixed.coefficients).all()
    assert np.abs(mixed.decode(counts) - world.table[words]).max() < 1e-2


def test_the_most_likely_words_row_is_returned_as_it_is(setting):
    _, counts = setting.release(300, 6)
    decoded = MostLikelyDecoder(setting.channel, np.log(setting.prior), setting.world.table).decode(counts)
    rows = {row.tobytes() for row in setting.world.table}
    assert decoded.dtype == np.float32
    assert all(row.tobytes() in rows for row in decoded)


def test_the_most_likely_word_is_right_more_often_than_any_other_guess(toy_world):
    world = toy_world(words=200, width=16)
    setting = Setting(world, 12.0)
    words, counts = setting.release(4_000, 7)
    decoded = MostLikelyDecoder(setting.channel, np.log(world.prior), world.table).decode(counts)
    hits = (decoded == world.table[words]).all(axis=1).mean()
    nearest = ((setting.linear.decode(counts)[:, None] - world.table[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert hits > (nearest == words).mean() > world.prior.max()


@pytest.mark.parametrize(
    ("values", "reason"),
    [({"bins": 0}, "bins in 1..64"), ({"bins": True}, "bins"), ({"spread": 1.1}, r"spread in \[0, 1\]")],
)
def test_settings_out_of_range_are_refused(values, reason):
    with pytest.raises(UserError, match=reason):
        MixSettings(**values)


def test_too_few_public_tokens_are_refused(toy_world):
    with pytest.raises(UserError, match="128 public tokens or more, got 127"):
        Setting(toy_world(words=200, width=16), 4.0).mixed(None, count=127)
