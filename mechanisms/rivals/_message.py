"""The messages of the rivals: whole numbers of a fixed width behind a header that names the description.

Layout, as of DEL's message: 4 bytes magic, 8 bytes of the description's fingerprint, 4 bytes number of tokens (little
endian), then numbers * bits bits for each token, most significant bit first, and zero bits up to the next whole byte.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError

_HEADER = struct.Struct("<4s8sI")
HEADER_BYTES = _HEADER.size
MAX_BITS = 32


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """How one description's messages look: `numbers` whole numbers below `limit` a token, each of `bits` bits.

    magic: 4 bytes that name the family. fingerprint: the description's, of which 8 bytes travel.
    """

    magic: bytes
    fingerprint: bytes
    numbers: int
    limit: int

    @property
    def bits(self) -> int:
        """Bits of one number, the fewest that hold limit - 1."""
        return max(1, (self.limit - 1).bit_length())

    @property
    def token_bits(self) -> int:
        """Bits on the wire for one token."""
        return self.bits * self.numbers

    def length(self, tokens: int) -> int:
        """Returns the length of a message of that many tokens, in bytes; nothing else determines it."""
        return HEADER_BYTES + (self.token_bits * tokens + 7) // 8

    def pack(self, values: ArrayLike) -> bytes:
        """Returns the message that carries values, whole numbers in 0..limit - 1, shape (tokens, numbers).

        Raises UserError for no tokens, another shape, or a value out of range.
        """
        array = np.asarray(values)
        if array.ndim != 2 or array.shape[1] != self.numbers or not len(array):
            raise UserError(f"Expected values of shape (tokens >= 1, {self.numbers}), got shape {array.shape}.")
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() >= self.limit:
            raise UserError(f"Expected whole values in 0..{self.limit - 1}, got values outside.")
        octets = np.ascontiguousarray(array, dtype=">u4").view(np.uint8).reshape(*array.shape, 4)
        bits = np.unpackbits(octets, axis=-1)[..., MAX_BITS - self.bits :]
        header = _HEADER.pack(self.magic, self.fingerprint[:8], len(array))
        return header + np.packbits(bits.reshape(-1)).tobytes()

    def unpack(self, message: bytes) -> NDArray[np.int64]:
        """Returns the values of a message, int64, shape (tokens, numbers).

        Raises UserError for a message that is truncated, too long, has spare bits set, names another description, or
        carries a value out of range.
        """
        if len(message) < HEADER_BYTES:
            raise UserError(f"Expected a message of at least {HEADER_BYTES} bytes, got {len(message)}: truncated.")
        magic, fingerprint, tokens = _HEADER.unpack_from(message)
        if magic != self.magic:
            raise UserError(f"Expected a message that starts with {self.magic!r}, got {magic!r}.")
        if fingerprint != self.fingerprint[:8]:
            raise UserError(
                f"Expected a message of mechanism {self.fingerprint[:8].hex()}, got one of {fingerprint.hex()}: "
                "client and server do not run the same mechanism."
            )
        if not tokens:
            raise UserError("Expected a message of at least one token, got tokens=0.")
        if len(message) != self.length(tokens):
            raise UserError(
                f"Expected {self.length(tokens)} bytes for {tokens} tokens, got {len(message)}: truncated or padded."
            )
        stream = np.unpackbits(np.frombuffer(message, dtype=np.uint8, offset=HEADER_BYTES))
        used = self.token_bits * tokens
        if stream[used:].any():
            raise UserError(f"Expected the last {len(stream) - used} spare bits of the message to be 0, got bits set.")
        bits = np.zeros((tokens, self.numbers, MAX_BITS), dtype=np.uint8)
        bits[..., MAX_BITS - self.bits :] = stream[:used].reshape(tokens, self.numbers, self.bits)
        values = np.packbits(bits, axis=-1).view(">u4")[..., 0].astype(np.int64)
        if values.max() >= self.limit:
            raise UserError(f"Expected values in 0..{self.limit - 1} in the message, got {int(values.max())}.")
        return values


def id_format(fingerprint: bytes, words: int) -> MessageFormat:
    """Returns the format of messages that carry one word's number a token."""
    return MessageFormat(b"IDS1", fingerprint, 1, words)


def grid_format(fingerprint: bytes, dim: int, bits: int) -> MessageFormat:
    """Returns the format of messages that carry dim cells of a grid of 2^bits cells a token."""
    return MessageFormat(b"GRD1", fingerprint, dim, 1 << bits)
