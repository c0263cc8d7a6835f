"""The 255 levels that a code's coordinate can take: what a table of codes holds and what the quantizer samples from.

Rounding to a level happens before the release, so it costs no privacy (docs/theory.md, theorem 3).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError

LEVELS = 255
"""Levels 0 to 254, one byte: -clip, zero and +clip are the levels 0, 127 and 254 exactly."""

ZERO_LEVEL = LEVELS // 2


def to_levels(values: ArrayLike, clip: float) -> NDArray[np.uint8]:
    """Returns the nearest level of each value, uint8, the values' shape; outside [-clip, clip] values are clipped.

    Raises UserError for NaN or infinite values, and for bytes: those are levels already.

    >>> to_levels([-0.05, 0.0, 0.0001, 0.9], clip=0.05).tolist()
    [0, 127, 127, 254]
    """
    array = np.asarray(values)
    if array.dtype == np.uint8:
        raise UserError("Expected values, got bytes: levels are sampled as they are.")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise UserError("Expected finite values, got NaN or infinity: nothing was released.")
    share = np.clip(array, -clip, clip) / clip
    levels: NDArray[np.uint8] = (np.rint(share * ZERO_LEVEL) + ZERO_LEVEL).astype(np.uint8)
    return levels


def from_levels(levels: ArrayLike, clip: float) -> NDArray[np.float64]:
    """Returns the values of levels, (level - 127) / 127 clip, float64, the levels' shape.

    >>> from_levels([0, 127, 254], clip=0.05).tolist()
    [-0.05, 0.0, 0.05]
    """
    return (np.asarray(levels, dtype=np.float64) - ZERO_LEVEL) / ZERO_LEVEL * clip
