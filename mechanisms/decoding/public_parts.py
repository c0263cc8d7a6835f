"""What every decoder is made from: all that is public about a mechanism, and simulated releases of public text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import Channel
from mechanisms.decoding.protocols import Decoder
from mechanisms.encoder import Encoder
from mechanisms.mechanism import KnownChannel, ObservableMechanism, Observed
from mechanisms.public_words import PublicWords
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import RandomSource, SimulatedRandomness

if TYPE_CHECKING:  # all need torch
    from mechanisms.device_channel import DeviceReader
    from mechanisms.models import LanguageModel
    from mechanisms.soft_prompt import SoftPrompt

GAIN_TOKENS = 1024
"""Public tokens whose simulated release sets the posterior mean's gain and the mix's coefficients."""


@dataclass(frozen=True)
class PublicParts:
    """words: vocabulary, prior and public text. language, soft_prompt: of the server; None where they are not there."""

    words: PublicWords
    language: "LanguageModel | None"
    soft_prompt: "SoftPrompt | None"

    @property
    def channel(self) -> KnownChannel:
        """The mechanism's law."""
        raise NotImplementedError

    def _released(self, tokens: NDArray[np.int64], source: RandomSource) -> Observed:
        """Returns what a release of tokens shows."""
        raise NotImplementedError

    @property
    def device(self) -> str:
        """Where the language model is, and scores are computed: the CPU where there is none."""
        return "cpu" if self.language is None else self.language.device

    @cached_property
    def on_device(self) -> "DeviceReader | None":
        """What reads releases there; None for the CPU, where NumPy does."""
        if self.device == "cpu":
            return None
        from mechanisms.device_channel import DeviceReader

        return DeviceReader.of(self.channel, self.log_prior, self.table, self.device)

    @property
    def prior(self) -> NDArray[np.float64]:
        """The public prior, shape (words,)."""
        return self.words.prior

    @property
    def table(self) -> NDArray[np.float32]:
        """The model's embeddings, shape (words, width)."""
        return self.words.table

    @cached_property
    def log_prior(self) -> NDArray[np.float64]:
        """The prior's logarithm, shape (words,)."""
        return np.log(self.prior)

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """The first GAIN_TOKENS public tokens, document after document."""
        return np.concatenate([np.asarray(each, dtype=np.int64) for each in self.words.documents])[:GAIN_TOKENS]

    @cached_property
    def released(self) -> Observed:
        """What a simulated release of tokens shows."""
        return self.simulated([self.tokens], "decoder gain")[0]

    def simulated(self, prompts: Sequence[NDArray[np.int64]], purpose: str) -> list[Observed]:
        """Returns what a simulated release of each prompt shows; one purpose, one release."""
        source = SimulatedRandomness(self.words.seed, purpose)
        return [self._released(tokens, source) for tokens in prompts]


@dataclass(frozen=True)
class CodeParts(PublicParts):
    """DEL's. linear: the decoder of a trained projection where there is one, else the one in closed form."""

    quantizer: StochasticQuantizer
    encoder: Encoder
    codes: Channel
    linear: Decoder

    @property
    def channel(self) -> Channel:
        """The law of the counts."""
        return self.codes

    def _released(self, tokens: NDArray[np.int64], source: RandomSource) -> NDArray[np.uint8]:
        return self.quantizer.sample(self.encoder.levels_of(tokens), source)


@dataclass(frozen=True)
class MechanismParts(PublicParts):
    """Any other mechanism's, whose law is known."""

    mechanism: ObservableMechanism

    @property
    def channel(self) -> KnownChannel:
        """The mechanism itself."""
        assert isinstance(self.mechanism, KnownChannel)
        return self.mechanism

    def _released(self, tokens: NDArray[np.int64], source: RandomSource) -> Observed:
        return self.mechanism.observed(self.mechanism.release(tokens.tolist(), source))
