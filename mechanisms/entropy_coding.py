"""Shorter messages: the counts of a message, coded with a fixed public table (docs/theory.md, theorem 10).

Layout: 4 bytes magic, 8 bytes of the spec's fingerprint, 4 bytes number of tokens, 8 bytes of state, then words of 4
bytes, all little endian: an asymmetric numeral system (Duda, arXiv 1311.2540) in whole numbers, so decoding is exact.

The length then depends on the counts. Whoever sees lengths alone learns something of the released counts, which the
guarantee covers, and nothing else of the prompt; messages of `mechanisms/wire.py` have a length of the tokens alone.
"""

import struct
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.quantizer import level_table
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack, spec_name, unpack

SHORT_MAGIC = b"DELe"
TABLE_BITS = 16
"""Resolution of the table: a count's frequency is a whole number of 2^-16."""

_HEADER = struct.Struct("<4s8sIQ")
_LOWEST = 1 << 32  # the state stays in [2^32, 2^64) between counts; it begins at the lowest


@lru_cache(maxsize=8)
def frequencies(spec: QuantizerSpec) -> tuple[int, ...]:
    """Returns how often each count 0..u is expected, in units of 2^-16: whole numbers >= 1 that add up to 2^16.

    It is the mean over all levels of the exact law, a function of the spec alone, and never of a message.
    """
    table = level_table(spec)
    points = table.points.reshape(-1, spec.trials) & np.uint64((1 << table.bits.leading) - 1)
    ends = [0, *map(sum, points.T.tolist()), len(points) << table.bits.leading]
    masses = [upper - lower for lower, upper in pairwise(ends)]
    spread = (1 << TABLE_BITS) - len(masses)
    found = [1 + mass * spread // ends[-1] for mass in masses]
    found[found.index(max(found))] += (1 << TABLE_BITS) - sum(found)
    return tuple(found)


def shorten(message: bytes, spec: QuantizerSpec) -> bytes:
    """Returns the shorter form of a message; it is post-processing. Raises UserError as unpack does."""
    counts = unpack(message, spec).reshape(-1).tolist()
    expected = frequencies(spec)
    below = [0, *np.cumsum(expected).tolist()]
    state, words = _LOWEST, []
    for count in reversed(counts):
        frequency = expected[count]
        if state >= frequency << (64 - TABLE_BITS):
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        quotient, rest = divmod(state, frequency)
        state = (quotient << TABLE_BITS) + rest + below[count]
    header = _HEADER.pack(SHORT_MAGIC, spec_name(spec), len(counts) // spec.dim, state)
    return header + struct.pack(f"<{len(words)}I", *reversed(words))


def restore(message: bytes, spec: QuantizerSpec) -> bytes:
    """Returns the message whose shorter form this is. Each message has one shorter form, which gives it back exactly.

    Raises UserError for a message that is truncated, goes on after its end, is damaged, or names another spec.
    """
    start = _HEADER.size
    if len(message) < start or (len(message) - start) % 4:
        raise UserError(f"Expected a message of {start} bytes and whole words, got {len(message)} bytes: truncated.")
    if message[: len(SHORT_MAGIC)] != SHORT_MAGIC:
        raise UserError(f"Expected a message that starts with {SHORT_MAGIC!r}, got {message[:4]!r}.")
    _, name, tokens, state = _HEADER.unpack_from(message)
    if name != spec_name(spec):
        raise UserError(
            f"Expected a message of spec {spec_name(spec).hex()}, got one of spec {name.hex()}: "
            "client and server do not run the same quantizer."
        )
    if not tokens:
        raise UserError("Expected a message of at least one token, got tokens=0.")
    counts = _decode(message[start:], state, tokens * spec.dim, spec)
    return pack(counts.reshape(tokens, spec.dim), spec)


def _decode(payload: bytes, state: int, wanted: int, spec: QuantizerSpec) -> NDArray[np.uint8]:
    """Returns the counts that a state and the words after it stand for, uint8, shape (wanted,)."""
    expected = frequencies(spec)
    below = [0, *np.cumsum(expected).tolist()]
    count_of = np.repeat(np.arange(len(expected)), expected).tolist()
    words = iter(struct.unpack(f"<{len(payload) // 4}I", payload))
    counts = bytearray()
    if state < _LOWEST:
        raise UserError("Expected a message whose state is at least 2^32: it is damaged.")
    while len(counts) < wanted:
        place = state & ((1 << TABLE_BITS) - 1)
        count = count_of[place]
        state = expected[count] * (state >> TABLE_BITS) + place - below[count]
        if state < _LOWEST:
            word = next(words, None)
            if word is None:
                raise UserError(f"Expected {wanted} counts, got {len(counts)}: the message is truncated.")
            state = state << 32 | word
        counts.append(count)
    if state != _LOWEST or next(words, None) is not None:
        raise UserError("Expected a message that ends with its last count: it goes on, or is damaged.")
    return np.frombuffer(bytes(counts), dtype=np.uint8)
