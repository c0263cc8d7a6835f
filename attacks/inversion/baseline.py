"""The yardstick: an attacker who does not look at the release."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanisms.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class CommonestWord:
    """Always answers the commonest word of the public text. An attack that does not beat it reads nothing."""

    name: str = "commonest word (baseline)"

    def guess(self, public: Pipeline, counts: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Returns the prior's mode for every token."""
        return np.full(len(counts), int(public.prior.argmax()), dtype=np.int64)
