"""One DEL configuration put together from public parts: the same object is served, attacked and certified."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import Channel
from mechanisms.client import CodeReleaser
from mechanisms.decoding import (
    Decoder,
    LinearDecoder,
    MixedDecoder,
    MostLikelyDecoder,
    PosteriorMeanDecoder,
    PromptDecoder,
)
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.prior import unigram_prior
from mechanisms.projection import EncoderSettings, fit_encoder
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedWords, WordSource
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import TrainedDecoder, TrainedProjection
from mechanisms.wire import unpack

DecoderName = Literal["posterior-mean", "posterior-mean-plain", "linear", "trained-linear", "most-likely", "mixed"]
"""posterior-mean-plain has gain 1; linear is the closed form, trained-linear the matrix of a trained projection."""

GAIN_TOKENS = 1024
"""Public tokens whose simulated release sets the posterior mean's gain and the mix's coefficients."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything public about a configuration, and both halves of the mechanism that it makes.

    table: the model's embeddings, float32, shape (words, width). prior: float64, shape (words,).
    linear: the paper's decoder, trained where there is one, else in closed form; the paper's attack goes through it,
    whichever decoder serves.
    """

    spec: QuantizerSpec
    table: NDArray[np.float32]
    prior: NDArray[np.float64]
    encoder: Encoder
    channel: Channel
    linear: LinearDecoder | TrainedDecoder
    decoder: Decoder
    name: str = "DEL"

    def release(self, tokens: Sequence[int], source: WordSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as CodeReleaser does."""
        return CodeReleaser(self.encoder, self.spec).release(tokens, source)

    def observed(self, message: bytes) -> NDArray[np.uint8]:
        """Returns the counts of a message, uint8, shape (tokens, dim); raises UserError as unpack does."""
        return unpack(message, self.spec)

    def scores(
        self, observed: NDArray[np.uint8], log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log P(counts | word) + log_prior[word]) less a constant of the counts, as Channel.scores."""
        return self.channel.scores(observed, log_prior)

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns the decoded embeddings, float32, shape (tokens, width); raises UserError as unpack does."""
        return self.decoder.decode(self.observed(message))

    def embeddings_of(self, messages: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """Returns `embeddings` of each message, at once where the decoder reads whole prompts."""
        counts = [self.observed(message) for message in messages]
        if isinstance(self.decoder, PromptDecoder):
            return self.decoder.decode_prompts(counts)
        return [self.decoder.decode(one) for one in counts]


def assemble(
    table: NDArray[np.float32],
    public_documents: Sequence[Sequence[int]],
    spec: QuantizerSpec,
    settings: EncoderSettings | Encoder | TrainedProjection,
    decoder: DecoderName = "posterior-mean",
    seed: int | None = None,
) -> Pipeline:
    """Returns the pipeline of a public embedding table and public tokenized text; same inputs, same pipeline.

    settings: how the encoder is fitted, an encoder that is there already, or a trained encoder with its decoder.
    seed: of the simulated release that the decoder is fitted on; the encoder settings' seed, or 0, where it is None.
    Raises UserError for an unknown decoder, for trained-linear without a trained projection, for an encoder of another
    vocabulary or spec, and as unigram_prior and fit_encoder do.
    """
    if decoder not in get_args(DecoderName):
        raise UserError(f"Expected decoder to be one of {', '.join(get_args(DecoderName))}, got decoder={decoder!r}.")
    prior = unigram_prior(public_documents, len(table))
    encoder = _encoder(table, prior, spec, settings)
    quantizer = StochasticQuantizer(spec)
    linear: LinearDecoder | TrainedDecoder = LinearDecoder.fit(quantizer, encoder, prior, table)
    served: Decoder | None = linear if decoder == "linear" else None
    if isinstance(settings, TrainedProjection):
        linear = settings.decoder
    if decoder == "trained-linear":
        if not isinstance(settings, TrainedProjection):
            raise UserError("Expected decoder='trained-linear' with a trained projection only, got none.")
        served = linear
    channel = Channel.of(spec, encoder.codes)
    if served is None:
        if seed is None:
            seed = settings.seed if isinstance(settings, EncoderSettings) else 0
        tokens = np.concatenate([np.asarray(document, dtype=np.int64) for document in public_documents])[:GAIN_TOKENS]
        counts = quantizer.sample(encoder.levels_of(tokens), SimulatedWords(seed, "decoder gain"))
        served = _fitted(decoder, linear, channel, prior, table, counts, tokens)
    return Pipeline(spec, table, prior, encoder, channel, linear, served)


def _encoder(
    table: NDArray[np.float32],
    prior: NDArray[np.float64],
    spec: QuantizerSpec,
    settings: EncoderSettings | Encoder | TrainedProjection,
) -> Encoder:
    """Returns the encoder that was fitted or given; raises UserError for a given one that does not fit."""
    if isinstance(settings, EncoderSettings):
        return fit_encoder(table, prior, spec, settings)
    encoder = settings if isinstance(settings, Encoder) else settings.encoder
    CodeReleaser(encoder, spec)  # refuses another dim or clip
    if encoder.words != len(table):
        raise UserError(f"Expected an encoder of {len(table)} words, the table's, got {encoder.words}.")
    if isinstance(settings, TrainedProjection) and settings.decoder.quantizer.spec != spec:
        raise UserError(f"Expected a projection loaded for {spec}, got {settings.decoder.quantizer.spec}.")
    return encoder


def _fitted(
    name: DecoderName,
    linear: Decoder,
    channel: Channel,
    prior: NDArray[np.float64],
    table: NDArray[np.float32],
    counts: NDArray[np.uint8],
    tokens: NDArray[np.int64],
) -> Decoder:
    """Returns a decoder that looks at the whole vocabulary; counts: a simulated release of tokens."""
    match name:
        case "posterior-mean-plain":
            return PosteriorMeanDecoder(channel, np.log(prior), table, prior @ table)
        case "most-likely":
            return MostLikelyDecoder(channel, np.log(prior), table)
        case "mixed":
            return MixedDecoder.fit(linear, channel, prior, table, counts, tokens)
        case _:
            return PosteriorMeanDecoder.fit(channel, prior, table, counts, tokens)
