"""The messages of the rivals: the same number of bits for each token, behind a header that names the description.

Layout, as of DEL's message: 4 bytes magic, 8 bytes of the description's fingerprint, 4 bytes number of tokens (little
endian), then token_bits bits for each token, most significant bit first, and zero bits up to the next whole byte.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError

_HEADER = struct.Struct("<4s8sI")
HEADER_BYTES = _HEADER.size
MAX_BITS = 32
_BLOCK_BITS = 1 << 19
"""Bits of a message, a byte each, that are laid out at once: what fits the processor's cache is written faster."""


@dataclass(frozen=True, slots=True)
class Format:
    """What all messages have: magic, 4 bytes that name the family, and the fingerprint, of which 8 bytes travel."""

    magic: bytes
    fingerprint: bytes

    @property
    def token_bits(self) -> int:
        """Bits on the wire for one token."""
        raise NotImplementedError

    def length(self, tokens: int) -> int:
        """Returns the length of a message of that many tokens, in bytes; nothing else determines it."""
        return HEADER_BYTES + (self.token_bits * tokens + 7) // 8

    def _closed(self, bits: NDArray[np.uint8]) -> bytes:
        """Returns the message of the bits of each token, shape (tokens, token_bits)."""
        return self._header(len(bits)) + np.packbits(bits.reshape(-1)).tobytes()

    def _header(self, tokens: int) -> bytes:
        return _HEADER.pack(self.magic, self.fingerprint[:8], tokens)

    def _opened(self, message: bytes) -> NDArray[np.uint8]:
        """Returns the bits of each token, uint8, shape (tokens, token_bits).

        Raises UserError for a message that is truncated, too long, has spare bits set, or names another description.
        """
        if len(message) >= HEADER_BYTES and message[:4] != self.magic:
            raise UserError(f"Expected a message that starts with {self.magic!r}, got {message[:4]!r}.")
        checked_name(message, self.fingerprint)
        _, _, tokens = _HEADER.unpack_from(message)
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
        return stream[:used].reshape(tokens, self.token_bits)


@dataclass(frozen=True, slots=True)
class MessageFormat(Format):
    """How one description's messages look: `numbers` whole numbers below `limit` a token, each of `bits` bits."""

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

    def pack(self, values: ArrayLike) -> bytes:
        """Returns the message that carries values, whole numbers in 0..limit - 1, shape (tokens, numbers).

        Raises UserError for no tokens, another shape, or a value out of range.
        """
        array = checked_rows(values, self.numbers, self.limit)
        return self._closed(number_bits(array, self.bits).reshape(len(array), self.token_bits))

    def unpack(self, message: bytes) -> NDArray[np.int64]:
        """Returns the values of a message, int64, shape (tokens, numbers).

        Raises UserError for a message that is truncated, too long, has spare bits set, names another description, or
        carries a value out of range.
        """
        values = bit_numbers(self._opened(message), self.bits)
        if values.max() >= self.limit:
            raise UserError(f"Expected values in 0..{self.limit - 1} in the message, got {int(values.max())}.")
        return values


def checked_rows(values: ArrayLike, numbers: int, limit: int) -> NDArray[np.integer]:
    """Returns values as an array; raises UserError for no tokens, another shape, or a value outside 0..limit - 1."""
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != numbers or not len(array):
        raise UserError(f"Expected values of shape (tokens >= 1, {numbers}), got shape {array.shape}.")
    if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() >= limit:
        raise UserError(f"Expected whole values in 0..{limit - 1}, got values outside.")
    return array


def number_bits(numbers: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Returns the lowest bits of each number, most significant first, uint8, shape (*numbers' shape, bits)."""
    octets = next(width for width in (1, 2, 4) if bits <= 8 * width)
    lowest = numbers.astype(np.uint32).astype(f">u{octets}", order="C")  # what is above these octets is cut
    stream = np.unpackbits(lowest.view(np.uint8).reshape(-1))
    return stream.reshape(*numbers.shape, 8 * octets)[..., 8 * octets - bits :]


def bit_numbers(stream: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    """Returns the numbers of so many bits each that lie in the rows of a stream, int64, shape (rows, numbers)."""
    wide = np.zeros((len(stream), stream.shape[1] // bits, MAX_BITS), dtype=np.uint8)
    wide[..., MAX_BITS - bits :] = stream.reshape(*wide.shape[:2], bits)
    return np.packbits(wide, axis=-1).view(">u4")[..., 0].astype(np.int64)


def checked_name(message: bytes, fingerprint: bytes) -> None:
    """Raises UserError for a message without a whole header, and for one that names another description."""
    if len(message) < HEADER_BYTES:
        raise UserError(f"Expected a message of at least {HEADER_BYTES} bytes, got {len(message)}: truncated.")
    if (named := message[4:12]) != fingerprint[:8]:
        raise UserError(
            f"Expected a message of mechanism {fingerprint[:8].hex()}, got one of {named.hex()}: "
            "client and server do not run the same mechanism."
        )


def renamed(message: bytes, named: bytes, fingerprint: bytes) -> bytes:
    """Returns a message of the description `named` as one of another fingerprint.

    Raises UserError for a message without a whole header, and for one that names another description.
    """
    checked_name(message, named)
    return message[:4] + fingerprint[:8] + message[12:]


def id_format(fingerprint: bytes, words: int) -> MessageFormat:
    """Returns the format of messages that carry one word's number a token."""
    return MessageFormat(b"IDS1", fingerprint, 1, words)


def grid_format(fingerprint: bytes, dim: int, bits: int) -> MessageFormat:
    """Returns the format of messages that carry dim cells of a grid of 2^bits cells a token."""
    return MessageFormat(b"GRD1", fingerprint, dim, 1 << bits)


@dataclass(frozen=True, slots=True)
class SetFormat(Format):
    """Messages that carry a set of `size` numbers below `limit` a token, by the code of Elias and Fano.

    In rising order, the lowest bits of each number as they are; what is above them in one bit a number and one a step.
    Every set has one code, all of the same length: half a bit to one bit a number more than the logarithm of how many
    sets there are, for sets of up to half of the numbers.
    """

    limit: int
    size: int

    @property
    def low_bits(self) -> int:
        """Bits of each number that are sent as they are: those that make a token's code shortest."""
        return min(range(MAX_BITS), key=self._length)

    @property
    def token_bits(self) -> int:
        """Bits on the wire for one token."""
        return self._length(self.low_bits)

    def pack(self, sets: ArrayLike) -> bytes:
        """Returns the message that carries sets, whole numbers in 0..limit - 1 that rise, shape (tokens, size).

        Raises UserError for no tokens, another shape, a value out of range, or values that do not rise.
        """
        array = checked_rows(sets, self.size, self.limit)
        if (array[:, 1:] <= array[:, :-1]).any():
            raise UserError("Expected the numbers of a set to rise, got some that do not.")
        together = 8 * max(1, _BLOCK_BITS // (8 * self.token_bits))  # the bits of 8 tokens are whole bytes
        blocks = (self._bits(array[row : row + together]) for row in range(0, len(array), together))
        return self._header(len(array)) + b"".join(np.packbits(block).tobytes() for block in blocks)

    def _bits(self, sets: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Returns the bits of these sets' codes, one after another, uint8, shape (sets token_bits,)."""
        low, width = self.low_bits, self.token_bits
        bits = np.zeros((len(sets), width), dtype=np.uint8)
        if low:
            bits[:, : self.size * low] = number_bits(sets, low).reshape(len(sets), -1)
        steps = (sets >> low).astype(np.int64)
        steps += np.arange(self.size * low, self.size * (low + 1))
        steps += np.arange(0, len(sets) * width, width)[:, None]
        bits.reshape(-1)[steps.reshape(-1)] = 1
        return bits.reshape(-1)

    def unpack(self, message: bytes) -> NDArray[np.int64]:
        """Returns the sets of a message, int64, shape (tokens, size), rising.

        Raises UserError for a message that is truncated, too long, has spare bits set, names another description, or
        carries what is no such set.
        """
        stream, low = self._opened(message), self.low_bits
        steps = stream[:, self.size * low :]
        if (steps.sum(axis=1, dtype=np.int64) != self.size).any():
            raise UserError(f"Expected sets of {self.size} numbers in the message, got others.")
        places = steps.nonzero()[1].reshape(len(stream), self.size)
        sets: NDArray[np.int64] = (places - np.arange(self.size)) << low
        if low:
            sets |= bit_numbers(stream[:, : self.size * low], low)
        if (np.diff(sets, axis=1) <= 0).any() or sets.max() >= self.limit:
            raise UserError(f"Expected numbers in 0..{self.limit - 1} that rise in the message, got others.")
        return sets

    def _length(self, low: int) -> int:
        """Returns the bits of a token's code where so many bits of each number are sent as they are."""
        return self.size * (low + 1) + (self.limit - 1 >> low)
