"""Sums over an embedding table in float64, a block of rows at a time: a large table is never copied whole."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 29
"""Of a block of rows in float64; a table of 49,152 words by 576 is one block."""
SINGLE_ROWS = 2048
"""Rows whose products are added up in float32."""
Floats = NDArray[np.float64]


def row_blocks(table: NDArray[np.floating]) -> Iterator[tuple[slice, Floats]]:
    """Yields (rows, those rows in float64), each a copy; table: shape (words, width)."""
    height = max(1, BLOCK_BYTES // (8 * table.shape[1]))
    for start in range(0, len(table), height):
        rows = slice(start, min(start + height, len(table)))
        yield rows, table[rows].astype(np.float64)


def weighted_sum(table: NDArray[np.floating], weights: Floats) -> Floats:
    """Returns weights @ table, float64, shape (width,)."""
    found: Floats = np.sum([weights[rows] @ block for rows, block in row_blocks(table)], axis=0)
    return found


def mean_square(table: NDArray[np.floating], weights: Floats) -> float:
    """Returns the weighted sum of the squares of all entries."""
    return float(sum(weights[rows] @ np.einsum("ij,ij->i", block, block) for rows, block in row_blocks(table)))


def covariance(table: NDArray[np.floating], weights: Floats, mean: Floats) -> Floats:
    """Returns the weighted covariance about the mean, shape (width, width); its upper triangle alone is set."""
    from scipy.linalg.blas import dsyrk  # the client imports no SciPy

    width = table.shape[1]
    found: Floats = np.zeros((width, width), order="F")
    roots = np.sqrt(weights)
    for rows, block in row_blocks(table):
        block -= mean
        block *= roots[rows, None]
        found = dsyrk(1.0, block.T, beta=1.0, c=found, overwrite_c=1)
    return found


def covariance_of_single_products(table: NDArray[np.floating], weights: Floats, mean: Floats) -> Floats:
    """Returns `covariance` by products in float32, in half the time: an entry errs by about 1e-8 of its two spreads.

    A block of few rows is added up in float32, and the blocks in float64.
    """
    from scipy.linalg.blas import ssyrk

    width = table.shape[1]
    found: Floats = np.zeros((width, width), order="F")
    product = np.zeros((width, width), dtype=np.float32, order="F")
    roots, centre = np.sqrt(weights).astype(np.float32), mean.astype(np.float32)
    for start in range(0, len(table), SINGLE_ROWS):
        rows = slice(start, start + SINGLE_ROWS)
        block = (table[rows] - centre).astype(np.float32, copy=False)
        block *= roots[rows, None]
        product = ssyrk(1.0, block.T, beta=0.0, c=product, overwrite_c=1)
        found += product
    return found


def cross_sum(left: Floats, table: NDArray[np.floating], mean: Floats) -> Floats:
    """Returns left.T @ (table - mean), float64, shape (columns of left, width); left: shape (words, columns)."""
    found = np.zeros((left.shape[1], table.shape[1]))
    for rows, block in row_blocks(table):
        block -= mean
        found += left[rows].T @ block
    return found


def projected(table: NDArray[np.floating], mean: Floats, axes: Floats) -> Floats:
    """Returns (table - mean) @ axes, float64, shape (words, columns of axes)."""
    found = np.empty((len(table), axes.shape[1]))
    for rows, block in row_blocks(table):
        block -= mean
        found[rows] = block @ axes
    return found
