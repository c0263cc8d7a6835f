"""MAUVE: how close a set of texts is to a set of references, as distributions (Pillutla et al., 2021 and 2023).

Written from the papers, on sentence embeddings: the authors' package is under the GPL and brings a second k-means.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr

from del_audit.statistics.bootstrap import Clusters, Grouped, group
from del_audit.statistics.figure import Figure
from del_audit.statistics.jackknife import jackknife
from mechanisms.errors import UserError
from mechanisms.finite import shape_and_values
from mechanisms.randomness import simulation_generator

SCALE = 5.0
"""The constant c of the papers, in exp(-c KL)."""
POINTS = 25
"""Mixtures on the frontier, as the papers use."""
EDGE = 1e-6
"""The least weight of either side in a mixture."""
EXPLAINED = 0.9
"""Share of variance that the principal components keep before texts are put into buckets."""
TEXTS_A_BUCKET = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mauve:
    """plain: of the histograms as counted. smoothed: with half a text more in each bucket, as the 2023 paper advises.

    buckets: of the quantization. Both are biased at small samples, and move with the number of texts and buckets.
    """

    plain: Figure
    smoothed: Figure
    buckets: int


def frontier(p: Floats, q: Floats, scale: float = SCALE, points: int = POINTS) -> tuple[Floats, Floats]:
    """Returns the divergence frontier of histograms p and q, x rising from 0 to 1, each shape (..., points + 2).

    A point is exp(-scale KL(q || r)), exp(-scale KL(p || r)) for a mixture r of the two; the ends are (0, 1), (1, 0).
    p, q: shares of each bucket, shape (..., buckets).
    """
    x, y = np.zeros((*p.shape[:-1], points + 2)), np.ones((*p.shape[:-1], points + 2))
    for place, weight in enumerate(np.linspace(1 - EDGE, EDGE, points), start=1):
        mixed = weight * p + (1 - weight) * q
        x[..., place] = np.exp(-scale * rel_entr(q, mixed).sum(axis=-1))
        y[..., place] = np.exp(-scale * rel_entr(p, mixed).sum(axis=-1))
    x[..., -1], y[..., -1] = 1.0, 0.0
    return x, y


def mauve_of_counts(p: Floats, q: Floats, smoothing: float = 0.0, points: int = POINTS) -> Floats:
    """Returns the area under the frontier of counts in buckets, in [0, 1], one a leading index of p and q.

    smoothing: added to every count; 0.5 is the estimator of Krichevsky and Trofimov.
    """
    shares = [(counts + smoothing) / (counts + smoothing).sum(axis=-1, keepdims=True) for counts in (p, q)]
    x, y = frontier(shares[0], shares[1], points=points)
    return np.asarray(np.trapezoid(y, x, axis=-1))


def buckets_of(features: Floats, buckets: int, seed: int) -> NDArray[np.int64]:
    """Returns the bucket of each row: k-means on unit rows, reduced to the components that hold EXPLAINED variance."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    unit = normalize(features)
    if np.ptp(unit, axis=0).max() < 1e-9:
        return np.zeros(len(unit), dtype=np.int64)
    reduced = PCA(n_components=EXPLAINED, svd_solver="full").fit_transform(unit)
    state = int(simulation_generator(seed, "MAUVE").integers(1 << 31))
    fitted = KMeans(min(buckets, len(np.unique(reduced, axis=0))), n_init=5, max_iter=500, random_state=state)
    return np.asarray(fitted.fit_predict(reduced), dtype=np.int64)


def measure_mauve(
    generated: ArrayLike, references: ArrayLike, seed: int, clusters: Clusters = None, buckets: int | None = None
) -> Mauve:
    """Returns MAUVE of generated texts against references, given the embeddings of both.

    generated, references: shape (texts, dim), row i of both from the document clusters[i]. buckets: a tenth of the
    texts if left out, at least two. The interval leaves out documents, in the buckets of all.
    Raises UserError for shapes that differ, NaN, fewer than two texts, and buckets outside 2..texts.
    """
    p, q = np.asarray(generated, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if p.ndim != 2 or p.shape != q.shape or len(p) < 2 or not np.isfinite([p, q]).all():
        raise UserError(
            "Expected finite embeddings of as many texts as references, got "
            f"{shape_and_values(p)} and {shape_and_values(q)}."
        )
    count = max(2, round(len(p) / TEXTS_A_BUCKET)) if buckets is None else buckets
    if not 2 <= count <= len(p):
        raise UserError(f"Expected buckets in 2..{len(p)}, the number of texts, got buckets={count}.")
    labels = buckets_of(np.concatenate([p, q]), count, seed)
    grouped = group(clusters, len(p))
    top, bottom = (_counts(part, grouped, count) for part in (labels[: len(p)], labels[len(p) :]))
    plain, smoothed = (_figure(name, top, bottom, add, len(p), seed) for name, add in (("MAUVE", 0.0), ("MAUVE*", 0.5)))
    return Mauve(plain, smoothed, count)


def _counts(labels: NDArray[np.int64], grouped: Grouped, buckets: int) -> Floats:
    """Returns how many texts of each document are in each bucket, shape (documents, buckets)."""
    flat = np.bincount(grouped.numbers * buckets + labels, minlength=grouped.documents * buckets)
    return flat.reshape(grouped.documents, buckets).astype(np.float64)


def _figure(name: str, p: Floats, q: Floats, smoothing: float, texts: int, seed: int) -> Figure:
    if len(p) < 2:
        raise UserError("Expected texts of two documents or more, got one document.")
    value = mauve_of_counts(p.sum(axis=0), q.sum(axis=0), smoothing)
    without = mauve_of_counts(p.sum(axis=0) - p, q.sum(axis=0) - q, smoothing)
    return jackknife(float(value), without, name, texts, "texts", seed)
