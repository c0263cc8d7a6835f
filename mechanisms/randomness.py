"""The only source of random bits: the client's cipher stream, and the explicit generators of simulations.

Uniform numbers are made of a source's words here as well, so that every sampler rounds them in the same way.
"""

import os
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from mechanisms.validation import whole_at_least

Generator = np.random.Generator
"""What simulation_generator returns; other modules name the type from here and make none themselves."""


class RandomSource(Protocol):
    """Whatever yields uniform, independent 32-bit words."""

    def words(self, count: int) -> NDArray[np.uint32]:
        """Returns count words, never seen before."""
        ...


class SystemRandomness:
    """The client's source: AES-256 in counter mode under a key that the operating system draws for every call.

    No state outlives a call, so a fork copies nothing and no two calls share a word.
    What is assumed: that this cipher's stream cannot be told from uniform words (docs/theory.md, theorem 3).
    """

    def words(self, count: int) -> NDArray[np.uint32]:
        """Returns count uniform words, uint32, shape (count,)."""
        encryptor = Cipher(AES256(os.urandom(32)), CTR(bytes(16))).encryptor()
        return np.frombuffer(encryptor.update(bytes(4 * count)), dtype="<u4")


def secret_key(size: int) -> bytes:
    """Returns so many bytes of the operating system's randomness, for a key that nobody else knows."""
    return os.urandom(size)


class SimulatedRandomness:
    """A source that its seed repeats: for audits on public text and for tests, never for a user's words."""

    def __init__(self, seed: int, *labels: str) -> None:
        self._generator = simulation_generator(seed, *labels)

    def words(self, count: int) -> NDArray[np.uint32]:
        """Returns the next count words of the seeded stream, uint32, shape (count,)."""
        return self._generator.integers(0, 1 << 32, size=count, dtype=np.uint32)


def wide_words(count: int, source: RandomSource) -> NDArray[np.uint64]:
    """Returns uniform 64-bit words, uint64, shape (count,), two words each."""
    halves = source.words(2 * count).astype(np.uint64).reshape(count, 2)
    return (halves[:, 0] << np.uint64(32)) | halves[:, 1]


def uniforms(shape: tuple[int, ...], source: RandomSource) -> NDArray[np.float64]:
    """Returns uniform numbers of 52 bits inside (0, 1), float64, of that shape: odd multiples of 2^-53, all exact."""
    size = int(np.prod(shape))
    return ((wide_words(size, source) >> np.uint64(12)).astype(np.float64) + 0.5).reshape(shape) * 2.0**-52


def simulation_generator(seed: int, *labels: str) -> Generator:
    """Returns the generator of one named purpose: the same seed and labels repeat it, other labels are independent.

    Raises UserError for a negative or fractional seed.
    """
    whole_at_least("seed", seed, 0)
    purpose = int.from_bytes("\0".join(labels).encode(), "little")  # one number: ("ab", "c") is not ("a", "bc")
    return Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose])))
