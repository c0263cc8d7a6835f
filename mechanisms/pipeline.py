"""One DEL configuration put together from public parts: the same object is served, attacked and certified."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import Channel
from mechanisms.client import CodeReleaser
from mechanisms.decoding import Decoder, LinearDecoder, PosteriorMeanDecoder
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.prior import unigram_prior
from mechanisms.projection import EncoderSettings, fit_encoder
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedWords, WordSource
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import unpack

DecoderName = Literal["posterior-mean", "linear"]
GAIN_TOKENS = 1024
"""Public tokens whose simulated release sets the posterior mean's gain."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything public about a configuration, and both halves of the mechanism that it makes.

    table: the model's embeddings, float32, shape (words, width). prior: float64, shape (words,).
    linear: the paper's decoder, which its attack goes through, whichever decoder serves.
    """

    spec: QuantizerSpec
    table: NDArray[np.float32]
    prior: NDArray[np.float64]
    encoder: Encoder
    channel: Channel
    linear: LinearDecoder
    decoder: Decoder
    name: str = "DEL"

    def release(self, tokens: Sequence[int], source: WordSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as CodeReleaser does."""
        return CodeReleaser(self.encoder, self.spec).release(tokens, source)

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns the decoded embeddings, float32, shape (tokens, width); raises UserError as unpack does."""
        return self.decoder.decode(unpack(message, self.spec))


def assemble(
    table: NDArray[np.float32],
    public_documents: Sequence[Sequence[int]],
    spec: QuantizerSpec,
    settings: EncoderSettings,
    decoder: DecoderName = "posterior-mean",
) -> Pipeline:
    """Returns the pipeline of a public embedding table and public tokenized text; same inputs, same pipeline.

    Raises UserError for an unknown decoder, and as unigram_prior and fit_encoder do.
    """
    if decoder not in get_args(DecoderName):
        raise UserError(f"Expected decoder to be one of {', '.join(get_args(DecoderName))}, got decoder={decoder!r}.")
    prior = unigram_prior(public_documents, len(table))
    encoder = fit_encoder(table, prior, spec, settings)
    quantizer = StochasticQuantizer(spec)
    channel = Channel.of(spec, encoder.codes)
    linear = LinearDecoder.fit(quantizer, encoder, prior, table)
    if decoder == "linear":
        return Pipeline(spec, table, prior, encoder, channel, linear, linear)
    tokens = np.concatenate([np.asarray(document, dtype=np.int64) for document in public_documents])[:GAIN_TOKENS]
    counts = quantizer.sample(encoder.levels_of(tokens), SimulatedWords(settings.seed, "decoder gain"))
    fitted = PosteriorMeanDecoder.fit(channel, prior, table, counts, tokens)
    return Pipeline(spec, table, prior, encoder, channel, linear, fitted)
