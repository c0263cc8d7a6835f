import numpy as np
import pytest

from mechanisms.channel import Channel
from mechanisms.decoding import LinearDecoder, PosteriorMeanDecoder
from mechanisms.errors import UserError
from mechanisms.pipeline import assemble
from mechanisms.prior import unigram_prior
from mechanisms.projection import EncoderSettings
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec.from_mu(4, 5, 0.05, 10.0)
SETTINGS = EncoderSettings(seed=3)


@pytest.fixture(scope="module")
def world(toy_world):
    return toy_world(words=120, width=12)


@pytest.fixture(scope="module")
def documents(world):
    return [world.draw(200, seed).tolist() for seed in range(30)]


@pytest.fixture(scope="module")
def pipeline(world, documents):
    return assemble(world.table, documents, SPEC, SETTINGS)


def test_same_public_parts_same_pipeline(world, documents, pipeline):
    again = assemble(world.table, documents, SPEC, SETTINGS)
    counts = np.random.default_rng(0).integers(0, 16, (9, 5), dtype=np.uint8)
    assert again.encoder.sha256 == pipeline.encoder.sha256
    assert np.array_equal(again.prior, pipeline.prior)
    assert np.array_equal(again.decoder.decode(counts), pipeline.decoder.decode(counts))
    assert np.array_equal(again.linear.decode(counts), pipeline.linear.decode(counts))


def test_the_parts_fit_together(world, documents, pipeline):
    assert pipeline.spec is SPEC
    assert np.array_equal(pipeline.prior, unigram_prior(documents, 120))
    assert pipeline.encoder.words == pipeline.channel.words == 120
    channel = Channel.of(SPEC, pipeline.encoder.codes)
    assert np.array_equal(channel.weights, pipeline.channel.weights)
    assert np.array_equal(channel.offsets, pipeline.channel.offsets)
    assert isinstance(pipeline.decoder, PosteriorMeanDecoder)
    assert isinstance(pipeline.linear, LinearDecoder)
    assert pipeline.decoder.channel is pipeline.channel
    assert pipeline.decoder.gain > 1


def test_the_linear_decoder_serves_where_it_is_asked_for(world, documents, pipeline):
    linear = assemble(world.table, documents, SPEC, SETTINGS, decoder="linear")
    assert linear.decoder is linear.linear
    assert np.array_equal(linear.linear.matrix, pipeline.linear.matrix)


def test_the_channel_is_the_law_of_what_the_quantizer_releases(pipeline):
    """The decoder and the attacks use the thresholds of the very quantizer that releases."""
    thresholds = StochasticQuantizer(SPEC).thresholds(pipeline.encoder.codes) / 2**32
    assert np.allclose(1 / (1 + np.exp(-pipeline.channel.weights.T)), thresholds, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"public_documents": []}, "at least one token"),
        ({"public_documents": [[0, 120]]}, r"0\.\.119, got 120"),
        ({"spec": QuantizerSpec(4, 13, 0.05, 0.1)}, "dim <= 12"),
    ],
)
def test_parts_that_do_not_fit_are_refused(world, documents, change, reason):
    parts = {"table": world.table, "public_documents": documents, "spec": SPEC, "settings": SETTINGS, **change}
    with pytest.raises(UserError, match=reason):
        assemble(**parts)
