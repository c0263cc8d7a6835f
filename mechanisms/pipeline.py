"""One DEL configuration put together from public parts: the same object is served, attacked and certified."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import Channel
from mechanisms.client import CodeReleaser
from mechanisms.decoding import CodeParts, Decoder, LinearDecoder, PromptDecoder
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.projection import EncoderSettings, fit_encoder
from mechanisms.public_words import PublicWords
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import RandomSource
from mechanisms.registry import DECODERS, DecoderName, checked_decoder, imported
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import TrainedDecoder, TrainedProjection
from mechanisms.wire import unpack

if TYPE_CHECKING:  # both need torch
    from mechanisms.models import LanguageModel
    from mechanisms.soft_prompt import SoftPrompt


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

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as CodeReleaser does."""
        return CodeReleaser(self.encoder, self.spec).release(tokens, source)

    def observed(self, message: bytes) -> Observed:
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
    language: "LanguageModel | None" = None,
    soft_prompt: "SoftPrompt | None" = None,
) -> Pipeline:
    """Returns the pipeline of a public embedding table and public tokenized text; same inputs, same pipeline.

    settings: how the encoder is fitted, an encoder that is there already, or a trained encoder with its decoder.
    seed: of the simulated release that the decoder is fitted on; the encoder settings' seed, or 0, where it is None.
    language, soft_prompt: of the server, for a decoder that reads with them.
    Raises UserError for an unknown decoder, for one without the trained projection or the language model that it needs,
    for an encoder of another vocabulary or spec, and as unigram_prior and fit_encoder do.
    """
    row = DECODERS[checked_decoder(decoder)]
    trained = settings.decoder if isinstance(settings, TrainedProjection) else None
    for needed, there, what in (
        (row.trained_projection, trained, "a trained projection"),
        (row.language_model, language, "a language model"),
    ):
        if needed and there is None:
            raise UserError(f"Expected decoder={decoder!r} with {what} only, got none.")
    if seed is None:
        seed = settings.seed if isinstance(settings, EncoderSettings) else 0
    words = PublicWords(table, public_documents, seed)
    prior = words.prior
    encoder = _encoder(table, prior, spec, settings)
    quantizer, channel = StochasticQuantizer(spec), Channel.of(spec, encoder.codes)
    linear = LinearDecoder.fit(quantizer, encoder, prior, table) if trained is None else trained
    parts = CodeParts(words, language, soft_prompt, quantizer, encoder, channel, linear)
    served: Decoder = imported(row.made_by)(parts)
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
