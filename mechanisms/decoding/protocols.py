"""What every decoder is: counts in, embeddings out. All of it is post-processing: free of epsilon."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mechanisms.mechanism import KnownChannel, Observed


class Decoder(Protocol):
    """Whatever turns what was released of tokens, such as counts, into embeddings, float32, shape (tokens, width)."""

    def decode(self, counts: Observed) -> NDArray[np.float32]:
        """Returns one embedding a token."""
        ...


@runtime_checkable
class PromptDecoder(Decoder, Protocol):
    """A decoder that reads a token's neighbours: counts are a whole prompt's, in order, and prompts go in batches."""

    def decode_prompts(self, prompts: Sequence[Observed]) -> list[NDArray[np.float32]]:
        """Returns the embeddings of each prompt, one a token, in the order of prompts."""
        ...


@runtime_checkable
class PooledDecoder(Decoder, Protocol):
    """A decoder that makes up for the noise of one release: with several of the same tokens it must be another one."""

    def pooled(self, channel: KnownChannel) -> Decoder:
        """Returns the decoder of several releases, whose counts together have this law."""
        ...


def decode_prompts(decoder: Decoder, prompts: Sequence[Observed]) -> list[NDArray[np.float32]]:
    """Returns what decoder makes of each prompt's counts, shape (tokens, dim) each.

    A decoder that takes tokens one by one gets all of them at once; one that reads prompts gets them as prompts.
    """
    if isinstance(decoder, PromptDecoder):
        return decoder.decode_prompts(prompts)
    if not prompts:
        return []
    decoded = decoder.decode(np.concatenate(prompts))
    return np.split(decoded, np.cumsum([len(counts) for counts in prompts])[:-1])
