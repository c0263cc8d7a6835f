"""What a message shows without a look at its contents: lengths, and sizes after padding or entropy coding.

Clients of this project do not pad: the length of a message is a function of its number of tokens. Padding to buckets is
modelled here, so that an audit can say what it would save.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from attacks.repeated import RepeatedPipeline, split
from mechanisms.entropy_coding import shorten
from mechanisms.errors import UserError
from mechanisms.mechanism import ObservableMechanism
from mechanisms.pipeline import Pipeline

BYTES, TOKENS, CODED = "message bytes", "tokens", "entropy-coded bytes"


@dataclass(frozen=True, slots=True)
class SideChannels:
    """sizes: of each channel, int64, shape (messages,). left_out: why a channel is missing."""

    sizes: dict[str, NDArray[np.int64]]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def features(self) -> NDArray[np.float64]:
        """All sizes and their logarithms, for a probe on them alone, float64, shape (messages, twice the channels)."""
        sizes = np.stack(list(self.sizes.values()), axis=1).astype(np.float64)
        return np.concatenate([sizes, np.log(sizes)], axis=1)


def side_channels(
    mechanism: ObservableMechanism, messages: Sequence[bytes], buckets: Sequence[int] = (32,)
) -> SideChannels:
    """Returns every size that somebody on the wire sees of messages.

    buckets: padding to each of these multiples of a number of tokens is modelled, as tokens after padding.
    The entropy-coded size is of DEL's messages only, of all releases together where a prompt is sent several times.
    Raises UserError for no messages, for a bucket below 2, and for a message that the mechanism did not make.
    """
    if not messages:
        raise UserError("Expected at least one message, got none.")
    tokens = np.array([len(mechanism.observed(message)) for message in messages], dtype=np.int64)
    sizes = {BYTES: np.array([len(message) for message in messages], dtype=np.int64), TOKENS: tokens}
    sizes |= {padding_name(bucket): padded(tokens, bucket) for bucket in buckets}
    if not isinstance(mechanism, Pipeline):
        return SideChannels(sizes, {CODED: f"there is no entropy coding for {mechanism.name}"})
    sends = [split(message) if isinstance(mechanism, RepeatedPipeline) else [message] for message in messages]
    coded = [sum(len(shorten(part, mechanism.spec)) for part in parts) for parts in sends]
    return SideChannels(sizes | {CODED: np.array(coded, dtype=np.int64)})


def padding_name(bucket: int) -> str:
    """Returns what reports call padding to multiples of so many tokens."""
    return f"tokens padded to multiples of {bucket}"


def padded(tokens: NDArray[np.int64], bucket: int) -> NDArray[np.int64]:
    """Returns each number of tokens rounded up to a multiple of bucket; raises UserError for a bucket below 2."""
    if isinstance(bucket, bool) or not isinstance(bucket, int) or bucket < 2:
        raise UserError(f"Expected a padding bucket to be a whole number >= 2, got bucket={bucket!r}.")
    return -(-tokens // bucket) * bucket
