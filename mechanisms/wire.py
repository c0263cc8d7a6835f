"""The message: what a client sends and all that a server is given.

Layout: 4 bytes magic, 8 bytes of the spec's fingerprint, 4 bytes number of tokens (little endian), then
bits * dim * tokens bits of counts, most significant bit first, and zero bits up to the next whole byte.
"""

import struct

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

MAGIC = b"DEL1"
_HEADER = struct.Struct("<4s8sI")
HEADER_BYTES = _HEADER.size


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
    if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() > spec.trials:
        raise UserError(f"Expected whole counts in 0..{spec.trials}, got values outside.")
    bits = np.unpackbits(array.astype(np.uint8)[..., None], axis=-1)[..., 8 - spec.bits :]
    return _HEADER.pack(MAGIC, spec.fingerprint[:8], len(array)) + np.packbits(bits.reshape(-1)).tobytes()


def unpack(message: bytes, spec: QuantizerSpec) -> NDArray[np.uint8]:
    """Returns the counts of a message, uint8, shape (tokens, dim).

    Raises UserError for a message that is truncated, too long, has spare bits set, or names another spec.
    """
    if len(message) < HEADER_BYTES:
        raise UserError(f"Expected a message of at least {HEADER_BYTES} bytes, got {len(message)}: truncated.")
    magic, fingerprint, tokens = _HEADER.unpack_from(message)
    if magic != MAGIC:
        raise UserError(f"Expected a message that starts with {MAGIC!r}, got {magic!r}.")
    if fingerprint != spec.fingerprint[:8]:
        raise UserError(
            f"Expected a message of spec {spec.fingerprint[:8].hex()}, got one of spec {fingerprint.hex()}: "
            "client and server do not run the same quantizer."
        )
    if not tokens:
        raise UserError("Expected a message of at least one token, got tokens=0.")
    expected = message_bytes(spec, tokens)
    if len(message) != expected:
        raise UserError(f"Expected {expected} bytes for {tokens} tokens, got {len(message)}: truncated or padded.")
    stream = np.unpackbits(np.frombuffer(message, dtype=np.uint8, offset=HEADER_BYTES))
    used = spec.token_bits * tokens
    if stream[used:].any():
        raise UserError(f"Expected the last {len(stream) - used} spare bits of the message to be 0, got bits set.")
    bits = stream[:used].reshape(tokens, spec.dim, spec.bits)
    return np.packbits(bits, axis=-1)[..., 0] >> np.uint8(8 - spec.bits)
