"""What every decoder is made from: all that is public about a pipeline, and simulated releases of its public text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import Channel
from mechanisms.decoding.protocols import Decoder
from mechanisms.encoder import Encoder
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness

if TYPE_CHECKING:  # both need torch
    from mechanisms.models import LanguageModel
    from mechanisms.soft_prompt import SoftPrompt

GAIN_TOKENS = 1024
"""Public tokens whose simulated release sets the posterior mean's gain and the mix's coefficients."""


@dataclass(frozen=True)
class PublicParts:
    """linear: the decoder of a trained projection where there is one, else the one in closed form.

    prior: float64, shape (words,). table: float32, shape (words, width). documents: tokenized public text.
    seed: of simulated releases. language, soft_prompt: None where the model that serves, or its soft prompt, is not
    there.
    """

    quantizer: StochasticQuantizer
    encoder: Encoder
    channel: Channel
    linear: Decoder
    prior: NDArray[np.float64]
    table: NDArray[np.float32]
    documents: Sequence[Sequence[int]]
    seed: int
    language: "LanguageModel | None" = None
    soft_prompt: "SoftPrompt | None" = None

    @cached_property
    def log_prior(self) -> NDArray[np.float64]:
        """The prior's logarithm, shape (words,)."""
        return np.log(self.prior)

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """The first GAIN_TOKENS public tokens, document after document."""
        return np.concatenate([np.asarray(document, dtype=np.int64) for document in self.documents])[:GAIN_TOKENS]

    @cached_property
    def counts(self) -> NDArray[np.uint8]:
        """A simulated release of tokens, uint8, shape (tokens, dim)."""
        return self.simulated([self.tokens], "decoder gain")[0]

    def simulated(self, prompts: Sequence[NDArray[np.int64]], purpose: str) -> list[NDArray[np.uint8]]:
        """Returns a simulated release of each prompt, uint8, shape (tokens, dim); one purpose, one release."""
        source = SimulatedRandomness(self.seed, purpose)
        return [self.quantizer.sample(self.encoder.levels_of(tokens), source) for tokens in prompts]
