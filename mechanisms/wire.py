"""The message: what a client sends and all that a server is given.

Layout: 4 bytes magic, 8 bytes of the spec's fingerprint, 4 bytes number of tokens (little endian), then
bits * dim * tokens bits of counts, most significant bit first, and zero bits up to the next whole byte.
"""

import struct
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

MAGIC = b"DEL1"
_HEADER = struct.Struct("<4s8sI")
HEADER_BYTES = _HEADER.size
_GATHER = {2: ("<u4", 0x40100401, 24), 4: ("<u2", 0x1001, 8)}
"""How the counts of one byte are packed: a word of them, the first lowest, times a factor that gathers them, in order,
at its top. No two products overlap."""


def message_bytes(spec: QuantizerSpec, tokens: int) -> int:
    """Returns the length of the message of that many tokens, in bytes."""
    return HEADER_BYTES + (spec.token_bits * tokens + 7) // 8


def pack(counts: ArrayLike, spec: QuantizerSpec) -> bytes:
    """Returns the message that carries counts, integers in 0..u, shape (tokens, dim).

    Raises UserError for no tokens, another shape, or a count out of range.
    """
    array = np.asarray(counts)
    if array.ndim != 2 or array.shape[1] != spec.dim or not len(array):
        raise UserError(f"Expected counts of shape (tokens >= 1, dim={spec.dim}), got shape {array.shape}.")
    if array.dtype.kind not in "iu" or array.max() > spec.trials or (array.dtype.kind == "i" and array.min() < 0):
        raise UserError(f"Expected whole counts in 0..{spec.trials}, got values outside.")
    return _HEADER.pack(MAGIC, spec_name(spec), len(array)) + _to_bytes(array.astype(np.uint8, copy=False), spec.bits)


def unpack(message: bytes, spec: QuantizerSpec) -> NDArray[np.uint8]:
    """Returns the counts of a message, uint8, shape (tokens, dim).

    Raises UserError for a message that is truncated, too long, has spare bits set, or names another spec.
    """
    if len(message) < HEADER_BYTES:
        raise UserError(f"Expected a message of at least {HEADER_BYTES} bytes, got {len(message)}: truncated.")
    magic, fingerprint, tokens = _HEADER.unpack_from(message)
    if magic != MAGIC:
        raise UserError(f"Expected a message that starts with {MAGIC!r}, got {magic!r}.")
    if fingerprint != spec_name(spec):
        raise UserError(
            f"Expected a message of spec {spec_name(spec).hex()}, got one of spec {fingerprint.hex()}: "
            "client and server do not run the same quantizer."
        )
    if not tokens:
        raise UserError("Expected a message of at least one token, got tokens=0.")
    expected = message_bytes(spec, tokens)
    if len(message) != expected:
        raise UserError(f"Expected {expected} bytes for {tokens} tokens, got {len(message)}: truncated or padded.")
    payload = np.frombuffer(message, dtype=np.uint8, offset=HEADER_BYTES)
    spare = 8 * payload.size - spec.token_bits * tokens
    if payload[-1] & ((1 << spare) - 1):
        raise UserError(f"Expected the last {spare} spare bits of the message to be 0, got bits set.")
    return _from_bytes(payload, spec.bits)[: tokens * spec.dim].reshape(tokens, spec.dim)


@lru_cache(maxsize=64)
def spec_name(spec: QuantizerSpec) -> bytes:
    """Returns what names a spec in a message: the first 8 bytes of its fingerprint."""
    return spec.fingerprint[:8]


def _to_bytes(counts: NDArray[np.uint8], bits: int) -> bytes:
    """Returns the counts, bits each, most significant bit first, with zero bits up to the next whole byte."""
    flat = np.ascontiguousarray(counts).reshape(-1)
    if bits == 8:
        return flat.tobytes()
    if bits in _GATHER:
        if tail := -flat.size % (8 // bits):
            flat = np.concatenate([flat, np.zeros(tail, dtype=np.uint8)])
        word, factor, top = _GATHER[bits]
        gathered: NDArray[np.unsignedinteger] = flat.view(word) * factor
        return (gathered >> top).astype(np.uint8).tobytes()
    if bits == 1:
        return np.packbits(flat).tobytes()
    return np.packbits(np.unpackbits(flat[:, None], axis=1)[:, 8 - bits :].reshape(-1)).tobytes()


@lru_cache(maxsize=2)
def _spread(bits: int) -> NDArray[np.unsignedinteger]:
    """Returns the counts in each of the 256 bytes, as one word a byte."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    counts = (np.arange(256, dtype=np.uint8)[:, None] >> shifts) & np.uint8((1 << bits) - 1)
    words: NDArray[np.unsignedinteger] = counts.reshape(-1).view(_GATHER[bits][0])
    return words


def _from_bytes(payload: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Returns the counts in payload, uint8, and whatever its spare bits make after them."""
    if bits == 8:
        return payload.copy()
    if bits == 1:
        return np.unpackbits(payload)
    if bits in _GATHER:
        return _spread(bits)[payload].view(np.uint8)
    stream = np.unpackbits(payload)
    whole = stream[: stream.size // bits * bits].reshape(-1, bits)
    return np.packbits(whole, axis=1)[:, 0] >> np.uint8(8 - bits)
