import dataclasses

import numpy as np
import pytest

from mechanisms.channel import Channel, most_likely, posterior_mean
from mechanisms.decoding import LinearDecoder, MixedDecoder, PosteriorMeanDecoder
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.pipeline import assemble
from mechanisms.prior import unigram_prior
from mechanisms.projection import EncoderSettings
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import DECODERS
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import TrainedDecoder, TrainedProjection

SPEC = QuantizerSpec.from_mu(4, 5, 0.05, 10.0)
SETTINGS = EncoderSettings(seed=3)
NAMES = [key for key, row in DECODERS.items() if not row.trained_projection and not row.language_model]


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


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).integers(0, 16, (9, 5), dtype=np.uint8)


@pytest.fixture(scope="module")
def projection(world, pipeline):
    """A pair in units of the clip, as load_projection returns it."""
    generator = np.random.default_rng(1)
    encoder, decoder = (generator.standard_normal(shape).astype(np.float32) for shape in ((5, 12), (12, 5)))
    codes = Encoder.of(world.table @ encoder.T * np.float32(SPEC.clip), SPEC.clip)
    return TrainedProjection(codes, TrainedDecoder(StochasticQuantizer(SPEC), decoder), {}, "")


def test_an_encoder_that_is_there_makes_the_pipeline_that_fits_it(world, documents, pipeline, counts):
    given = assemble(world.table, documents, SPEC, pipeline.encoder, seed=3)
    assert given.encoder is pipeline.encoder
    assert np.array_equal(given.decoder.decode(counts), pipeline.decoder.decode(counts))
    other = assemble(world.table, documents, SPEC, pipeline.encoder)
    assert other.decoder.gain != given.decoder.gain


def test_every_decoder_is_what_its_name_says(world, documents, pipeline, counts):
    decoders = {name: assemble(world.table, documents, SPEC, SETTINGS, name).decoder for name in NAMES}
    plain = posterior_mean(pipeline.channel, counts, np.log(pipeline.prior), world.table)
    assert np.allclose(decoders["posterior-mean-plain"].decode(counts), plain, rtol=1e-5, atol=1e-6)
    mean = pipeline.prior @ world.table
    stretched = mean + pipeline.decoder.gain * (plain - mean)
    assert np.allclose(decoders["posterior-mean"].decode(counts), stretched, rtol=1e-5, atol=1e-5)
    rows = decoders["most-likely"].decode(counts)
    assert np.array_equal(rows, world.table[most_likely(pipeline.channel, counts, np.log(pipeline.prior))])
    assert isinstance(decoders["mixed"], MixedDecoder)
    assert np.array_equal(decoders["mixed"].linear.decode(counts), decoders["linear"].decode(counts))


def test_a_trained_projection_serves_its_codes_and_its_decoder(world, documents, projection, counts):
    trained = assemble(world.table, documents, SPEC, projection, "trained-linear")
    assert trained.encoder is projection.encoder
    assert trained.decoder is trained.linear is projection.decoder
    mixed = assemble(world.table, documents, SPEC, projection, "mixed")
    assert mixed.decoder.linear is mixed.linear is projection.decoder
    closed = assemble(world.table, documents, SPEC, projection, "linear")
    expected = LinearDecoder.fit(StochasticQuantizer(SPEC), projection.encoder, closed.prior, world.table)
    assert np.array_equal(closed.decoder.decode(counts), expected.decode(counts))
    assert closed.linear is projection.decoder


def test_messages_are_decoded_together_as_they_are_one_by_one(pipeline):
    messages = [pipeline.release(tokens, SimulatedRandomness(7)) for tokens in ([3, 1, 4], [1], [5, 9, 2, 6])]
    together = pipeline.embeddings_of(messages)
    assert [len(rows) for rows in together] == [3, 1, 4]
    assert all(np.array_equal(rows, pipeline.embeddings(one)) for rows, one in zip(together, messages, strict=True))
    assert pipeline.embeddings_of([]) == []


def test_a_decoder_that_reads_prompts_gets_all_of_them_at_once(pipeline):
    class Prompts:
        def decode(self, counts):
            return self.decode_prompts([counts])[0]

        def decode_prompts(self, prompts):
            return [np.full((len(one), 12), len(prompts), np.float32) for one in prompts]

    messages = [pipeline.release(tokens, SimulatedRandomness(7)) for tokens in ([3, 1, 4], [1])]
    decoded = dataclasses.replace(pipeline, decoder=Prompts()).embeddings_of(messages)
    assert [rows.shape for rows in decoded] == [(3, 12), (1, 12)]
    assert all((rows == 2).all() for rows in decoded)


@pytest.mark.parametrize(
    ("encoder", "decoder", "reason"),
    [
        (SETTINGS, "cosine", "decoder to be one of posterior-mean, "),
        (SETTINGS, "linaer", "got decoder='linaer'. Did you mean 'linear'?"),
        (SETTINGS, "trained-linear", "with a trained projection only"),
        (SETTINGS, "language-prior", "with a language model only"),
        (Encoder.of(np.zeros((119, 5)), 0.05), "linear", "120 words, the table's, got 119"),
        (Encoder.of(np.zeros((120, 4)), 0.05), "linear", "dim=5, got dim=4"),
        (Encoder.of(np.zeros((120, 5)), 0.06), "linear", "clip=0.05, got clip=0.06"),
    ],
)
def test_encoders_and_decoders_that_do_not_fit_are_refused(world, documents, encoder, decoder, reason):
    with pytest.raises(UserError, match=reason):
        assemble(world.table, documents, SPEC, encoder, decoder)


def test_a_projection_of_another_quantizer_is_refused(world, documents, projection):
    with pytest.raises(UserError, match="projection loaded for"):
        assemble(world.table, documents, QuantizerSpec.from_mu(4, 5, 0.05, 20.0), projection, "trained-linear")
