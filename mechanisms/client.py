"""The client: text in, message out. It needs a tokenizer and the encoder's table, no language model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mechanisms.errors import UserError
from mechanisms.projection import Encoder
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SystemWords, WordSource
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack


class Client:
    """Releases prompts. Every release draws fresh noise; there is no switch that turns it off.

    source: where random words come from. Leave it out, except to simulate a release of public text.
    max_tokens: the longest prompt that is released; the server's context less its virtual and new tokens.
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: Encoder,
        spec: QuantizerSpec,
        max_tokens: int,
        source: WordSource | None = None,
    ) -> None:
        if encoder.codes.shape[1] != spec.dim:
            raise UserError(f"Expected an encoder of dim={spec.dim}, got dim={encoder.codes.shape[1]}.")
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._quantizer = StochasticQuantizer(spec)
        self._max_tokens = max_tokens
        self._source = source if source is not None else SystemWords()

    @property
    def spec(self) -> QuantizerSpec:
        """The quantizer that this client runs."""
        return self._quantizer.spec

    def release(self, text: str) -> bytes:
        """Returns the message for a prompt.

        Raises UserError for an empty prompt and for one over max_tokens; then nothing is drawn or sent.
        """
        return self.release_tokens(self._tokenizer(text, add_special_tokens=False).input_ids)

    def release_tokens(self, tokens: Sequence[int]) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as release does."""
        if not len(tokens):
            raise UserError("Expected a prompt of at least one token, got an empty prompt.")
        if len(tokens) > self._max_tokens:
            raise UserError(f"Expected a prompt of at most {self._max_tokens} tokens, got {len(tokens)}.")
        values = self._encoder.encode(np.asarray(tokens, dtype=np.int64))
        return pack(self._quantizer.quantize(values, self._source), self.spec)
