import numpy as np
import pytest

from mechanisms.channel import Channel
from mechanisms.decoding import LinearDecoder, PosteriorMeanDecoder
from mechanisms.projection import EncoderSettings, fit_encoder
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec


class Setting:
    """A toy world with everything that a decoder is fitted on, and simulated releases."""

    def __init__(self, world, mu, dim=6):
        self.world = world
        self.spec = QuantizerSpec.from_mu(4, dim, 0.05, mu)
        self.quantizer = StochasticQuantizer(self.spec)
        self.encoder = fit_encoder(world.table, world.prior, self.spec, EncoderSettings())
        self.channel = Channel.of(self.spec, self.encoder.codes)
        self.linear = LinearDecoder.fit(self.quantizer, self.encoder, world.prior, world.table)
        mean = world.prior @ world.table
        self.posterior = PosteriorMeanDecoder(self.channel, np.log(world.prior), world.table, mean)

    def release(self, count, seed):
        words = self.world.draw(count, seed)
        return words, self.quantizer.quantize(self.encoder.encode(words), SimulatedRandomness(seed, "decoding"))


@pytest.fixture(scope="module")
def world(toy_world):
    return toy_world(words=200, width=16)


@pytest.fixture(scope="module", params=[3.0, 12.0], ids=["much noise", "some noise"])
def setting(request, world):
    return Setting(world, request.param)


def squared_errors(decoded, true):
    return ((decoded.astype(np.float64) - true) ** 2).sum(axis=1)


def test_decoders_return_one_float32_embedding_a_token(setting):
    _, counts = setting.release(5, 0)
    for decoder in (setting.linear, setting.posterior):
        decoded = decoder.decode(counts)
        assert decoded.dtype == np.float32
        assert decoded.shape == (5, 16)


def test_posterior_mean_beats_linear_and_both_beat_guessing_the_mean(setting):
    words, counts = setting.release(10_000, 1)
    true = setting.world.table[words]
    posterior = squared_errors(setting.posterior.decode(counts), true)
    linear = squared_errors(setting.linear.decode(counts), true)
    blind = squared_errors(setting.posterior.mean[None], true)
    for better, worse in [(posterior, linear), (linear, blind)]:
        gain = worse - better
        assert gain.mean() > 5 * gain.std() / np.sqrt(len(gain))


def test_linear_decoder_is_the_least_squares_fit_of_a_large_simulation(setting):
    words, counts = setting.release(100_000, 2)
    released = setting.quantizer.dequantize(counts).astype(np.float64)
    design = np.column_stack([released / setting.spec.scale, np.ones(len(released))])
    true = setting.world.table[words].astype(np.float64)
    solution = np.linalg.solve(design.T @ design, design.T @ true)
    _, fresh_counts = setting.release(5_000, 3)
    y = setting.quantizer.dequantize(fresh_counts).astype(np.float64) / setting.spec.scale
    independent = np.column_stack([y, np.ones(len(y))]) @ solution
    decoded = setting.linear.decode(fresh_counts)
    signal = squared_errors(independent, true.mean(axis=0)).mean()
    assert squared_errors(decoded, independent).mean() < 5e-3 * signal
    residual = true - setting.linear.decode(counts)
    moments = np.abs(design.T @ residual) / np.sqrt((design**2).T @ residual**2)
    assert moments.max() < 5  # what is left is uncorrelated with what was released


def test_posterior_mean_is_the_word_itself_where_the_release_leaves_no_doubt(world):
    spec = QuantizerSpec.from_mu(8, 12, 0.05, 1000.0)
    encoder = fit_encoder(world.table, world.prior, spec, EncoderSettings())
    channel = Channel.of(spec, encoder.codes)
    words = world.draw(500, 4)
    counts = StochasticQuantizer(spec).quantize(encoder.encode(words), SimulatedRandomness(4))
    decoder = PosteriorMeanDecoder(channel, np.log(world.prior), world.table, world.prior @ world.table)
    assert np.abs(decoder.decode(counts) - world.table[words]).max() < 1e-3


def test_gain_gives_the_decoded_words_the_spread_of_the_true_ones(setting):
    world = setting.world
    words, counts = setting.release(10_000, 5)
    decoder = PosteriorMeanDecoder.fit(setting.channel, world.prior, world.table, counts, words)
    assert decoder.gain > 1

    def spreads(words, counts):
        decoded, plain = decoder.decode(counts), setting.posterior.decode(counts)
        return [squared_errors(rows, decoder.mean).mean() for rows in (decoded, world.table[words], plain)]

    decoded, true, plain = spreads(words, counts)
    assert decoded == pytest.approx(true, rel=1e-4)
    assert plain < 0.95 * true
    decoded, true, _ = spreads(*setting.release(10_000, 6))
    assert decoded == pytest.approx(true, rel=0.05)


def test_gain_follows_from_the_relative_squared_error(setting):
    """By the law of total variance (docs/theory.md, theorem 8): gain = 1 / sqrt(1 - relative squared error)."""
    world = setting.world
    words, counts = setting.release(10_000, 7)
    decoder = PosteriorMeanDecoder.fit(setting.channel, world.prior, world.table, counts, words)
    error = squared_errors(setting.posterior.decode(counts), world.table[words]).mean()
    spread = world.prior @ squared_errors(world.table, decoder.mean)
    assert decoder.gain == pytest.approx(1 / np.sqrt(1 - error / spread), rel=0.05)


def test_gain_stretches_the_posterior_mean_about_the_mean(setting):
    _, counts = setting.release(50, 8)
    plain = setting.posterior
    stretched = PosteriorMeanDecoder(plain.channel, plain.log_prior, plain.table, plain.mean, gain=2.5)
    expected = plain.mean + 2.5 * (plain.decode(counts) - plain.mean)
    assert np.allclose(stretched.decode(counts), expected, atol=1e-5)
