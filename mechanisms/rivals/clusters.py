"""Public maps of words to symbols: clusters of the embedding table, and their file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mechanisms.errors import UserError
from mechanisms.files import write_file
from mechanisms.finite import shape_and_values
from mechanisms.rivals._decoding import checked_prior
from mechanisms.rivals._description import whole
from mechanisms.small_file import read_small
from mechanisms.validation import at_least, whole_at_least

LARGEST = 1 << 28
"""Bytes of a map's file: 2^24 words of 8 bytes, and more than its header."""
MINI_BATCH = 4096


def spherical_clusters(
    table: NDArray[np.float32], prior: NDArray[np.float64] | None, symbols: int, power: float = 0.5, seed: int = 0
) -> NDArray[np.int64]:
    """Returns each word's symbol, int64, shape (words,): k-means of the embeddings' directions, weighed by prior^power.

    table: float32, shape (words, width). prior: shape (words,), uniform if left out. power: 0 or more; the larger, the
    finer the common words are told apart. The same arguments give the same map on the same machine. Symbols are
    numbered by their first word; fewer than asked for are used where words have equal embeddings. Raises UserError for
    a table that is not finite, a prior of another vocabulary, symbols outside 2..words, and a power below 0.
    """
    from sklearn.cluster import MiniBatchKMeans  # takes a second, which a client that loads a map does not need

    rows = np.asarray(table, dtype=np.float32)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise UserError(f"Expected a finite table of shape (words, width), got {shape_and_values(rows)}.")
    whole("symbols", symbols, 2, len(rows))
    whole_at_least("seed", seed, 0)
    weights = np.exp(at_least("power", power, 0) * checked_prior(prior, len(rows)))
    directions = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    batch = min(len(rows), max(MINI_BATCH, symbols))
    means = MiniBatchKMeans(symbols, batch_size=batch, n_init=1, random_state=seed, reassignment_ratio=0.0)
    labels = means.fit(directions, sample_weight=weights / weights.mean()).labels_
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], dtype=np.int64)


def save_symbols(path: Path, symbols: NDArray[np.int64]) -> None:
    """Writes a map of words to symbols, whole or not at all; raises UserError where it cannot be written."""
    write_file(path, symbols_bytes(symbols))


def symbols_bytes(symbols: NDArray[np.int64]) -> bytes:
    """Returns the file of a map of words to symbols."""
    return bytes(save({"symbols": np.ascontiguousarray(symbols, dtype=np.int32)}))


def load_symbols(path: Path) -> NDArray[np.int64]:
    """Returns the map in a file, int64, shape (words,). CoarseWords checks that it is the one that its spec names.

    Raises UserError for a file that cannot be read, is damaged or holds no map.
    """
    return read_symbols(read_small(path, LARGEST, "map's"), str(path))


def read_symbols(data: bytes, name: str) -> NDArray[np.int64]:
    """Returns the map in a file's bytes; name stands in the errors, load_symbols's."""
    try:
        symbols = load(data)["symbols"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"Expected {name!r} to hold a map of words to symbols: {error}.") from None
    if symbols.ndim != 1 or symbols.dtype != np.int32:
        raise UserError(f"Expected {name!r} to hold one int32 a word, got {symbols.dtype}, shape {symbols.shape}.")
    return np.asarray(symbols, dtype=np.int64)
