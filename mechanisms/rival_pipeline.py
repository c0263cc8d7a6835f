"""Any other mechanism than DEL with a decoder, from public parts: the same object is served, attacked and certified."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mechanisms.decoding import Decoder, MechanismParts, PromptDecoder
from mechanisms.description import Description
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, ObservableMechanism, Observed, embeddings_of
from mechanisms.public_words import PublicWords
from mechanisms.randomness import RandomSource
from mechanisms.registry import DECODERS, DecoderName, checked_decoder, imported

if TYPE_CHECKING:  # both need torch
    from mechanisms.models import LanguageModel
    from mechanisms.soft_prompt import SoftPrompt

FEW_NUMBERS = 4
"""Numbers that are released of a token at most for its release to be looked for among the others."""


@dataclass(frozen=True, slots=True)
class RivalPipeline:
    """Everything public about a configuration of another mechanism, and both halves of it.

    table: the model's embeddings, float32, shape (words, width). prior: float64, shape (words,). decoder: from what was
    observed of tokens to embeddings, by the mechanism's law; None where the mechanism's own server decodes.
    """

    mechanism: ObservableMechanism
    table: NDArray[np.float32]
    prior: NDArray[np.float64]
    decoder: Decoder | None

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.mechanism.name

    @property
    def spec(self) -> Description:
        """What one release is accounted by."""
        return self.mechanism.spec

    @property
    def channel(self) -> KnownChannel:
        """The mechanism's law over the vocabulary."""
        assert isinstance(self.mechanism, KnownChannel)
        return self.mechanism

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as the mechanism does."""
        return self.mechanism.release(tokens, source)

    def observed(self, message: bytes) -> Observed:
        """Returns what was released of each token; raises UserError as the mechanism does."""
        return self.mechanism.observed(message)

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log P(observed | word) + log_prior[word]) less a constant of the observed, in blocks."""
        return self.channel.scores(observed, log_prior)

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns the decoded embeddings, float32, shape (tokens, width); raises UserError as observed does."""
        if self.decoder is None:
            return self.mechanism.embeddings(message)
        return self.decoder.decode(self.observed(message))

    def embeddings_of(self, messages: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """Returns `embeddings` of each message, at once where the decoder reads whole prompts.

        Else what is released of many tokens alike, as one of a few symbols is, is decoded once.
        """
        if self.decoder is None:
            return embeddings_of(self.mechanism, messages)
        observed = [self.observed(message) for message in messages]
        if isinstance(self.decoder, PromptDecoder):
            return self.decoder.decode_prompts(observed)
        if not observed or observed[0][:1].size > FEW_NUMBERS:
            return [self.decoder.decode(one) for one in observed]
        together = np.concatenate(observed)
        distinct, places = np.unique(together, axis=0, return_inverse=True)
        decoded = self.decoder.decode(distinct)[places.reshape(-1)]
        return np.split(decoded, np.cumsum([len(one) for one in observed])[:-1])


def assemble_rival(
    mechanism: ObservableMechanism,
    words: PublicWords,
    decoder: DecoderName = "posterior-mean",
    language: "LanguageModel | None" = None,
    soft_prompt: "SoftPrompt | None" = None,
) -> RivalPipeline:
    """Returns the pipeline of a mechanism whose law is known over public words; same inputs, same pipeline.

    language, soft_prompt: of the server, for a decoder that reads with them. Raises UserError for an unknown decoder,
    one that reads DEL's codes or lacks its language model, and for a mechanism whose law is not known.
    """
    row = DECODERS[checked_decoder(decoder)]
    if row.codes:
        others = ", ".join(each.key for each in DECODERS.values() if not each.codes)
        raise UserError(
            f"Expected a decoder among {others} for {mechanism.name}, got {decoder!r}, which reads DEL's codes."
        )
    if row.language_model and language is None:
        raise UserError(f"Expected decoder={decoder!r} with a language model only, got none.")
    made: Decoder = imported(row.made_by)(MechanismParts(words, language, soft_prompt, _known(mechanism)))
    return RivalPipeline(mechanism, words.table, words.prior, made)


def assemble_own(mechanism: ObservableMechanism, words: PublicWords) -> RivalPipeline:
    """Returns the pipeline of a mechanism whose own server decodes; raises UserError where its law is not known."""
    return RivalPipeline(_known(mechanism), words.table, words.prior, None)


def _known(mechanism: ObservableMechanism) -> ObservableMechanism:
    if not isinstance(mechanism, KnownChannel):
        raise UserError(
            f"Expected a mechanism whose law is known, got {mechanism.name!r}, which has no `scores`: the attacks that "
            "every result needs read by the law. Add `scores`, as docs/how-to/own-mechanism.md does."
        )
    return mechanism
