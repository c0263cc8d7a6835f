"""What private training draws: Gaussian noise, and batches that each document enters on its own."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from mechanisms.randomness import RandomSource, uniforms


def poisson_sample(count: int, rate: float, source: RandomSource) -> NDArray[np.int64]:
    """Returns which of count documents are in a batch, int64: each on its own with probability rate, so maybe none."""
    return np.flatnonzero(uniforms((count,), source) < rate)


def normals(shape: tuple[int, ...], source: RandomSource) -> Tensor:
    """Returns standard normal numbers, float64: sums of four draws over 2.

    The sum of several is what keeps the noise from being read off its last bits (Holohan and Braghin, 2021).
    """
    draws = ndtri(uniforms((4, *shape), source))
    return torch.from_numpy(np.asarray(draws.sum(axis=0) / 2))
