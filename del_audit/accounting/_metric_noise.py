"""The privacy loss of noise of density e^(-eta norm) in any dimension, as a pair of laws on a grid.

With noise z, radius r = eta |z| ~ Gamma(dim) and c the cosine of its angle to the shift of length D / eta, the loss is
sqrt(r^2 - 2 r D c + D^2) - r, and exceeds s where c is small enough. What is left is an integral over r of a
regularised incomplete beta function (docs/theory.md, theorem 20).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammainc, gammaln

from del_audit.accounting.composition import Losses

Floats = NDArray[np.float64]

CELLS = 1 << 11
_NEGLIGIBLE = 1e-40
_PANELS = 16
_NODES = 24


def loss_above(loss: Floats, distance: float, dim: int) -> Floats:
    """Returns P[loss > s] for each s in (-distance, distance), nats; distance: eta times the shift's length, nats."""
    start = (distance - loss) / 2  # up to this radius no angle brings the loss down to s

    def cosine_share(radius: Floats) -> Floats:
        return (distance - loss) * (distance + loss + 2 * radius) / (4 * radius * distance)

    return np.asarray(gammainc(dim, start) + _over_radii(start, cosine_share, dim))


def loss_below(loss: Floats, distance: float, dim: int) -> Floats:
    """Returns P[loss < -s] for each s in (-distance, distance), nats: Q[loss > s], by symmetry."""
    start = (distance + loss) / 2

    def cosine_share(radius: Floats) -> Floats:
        return (distance - loss) * (2 * radius - (distance + loss)) / (4 * radius * distance)

    return _over_radii(start, cosine_share, dim)


def losses(distance: float, dim: int) -> Losses:
    """Returns a pair that dominates the noise shifted by `distance` nats, by connecting the dots of its curve.

    Each cell of losses keeps its masses under P and Q and moves to the cell's ends, as in theorem 14. The masses of a
    cell of negative losses are those of its mirror image, exchanged. What lies beyond the cells moves up.
    """
    reach = _reach(distance, dim)
    edges = np.linspace(0, reach, CELLS + 1)
    inner = edges if reach < distance else edges[:-1]
    above, below = loss_above(inner, distance, dim), loss_below(inner, distance, dim)
    beyond_p, beyond_q = (above[-1], below[-1]) if reach < distance else (0.0, 0.0)
    if reach == distance:
        above, below = np.append(above, 0), np.append(below, 0)
    p, q = -np.diff(above), -np.diff(below)
    p, q = np.append(q[::-1], p), np.append(p[::-1], q)
    left = np.append(-edges[:0:-1], edges[:-1])
    with np.errstate(divide="ignore"):
        upper = np.clip((p - np.exp(np.log(np.maximum(q, 0)) + left)) / -math.expm1(-edges[1]), 0, np.maximum(p, 0))
    grid = np.concatenate([left, edges[-1:], [distance * (1 + 1e-12)]])
    mass = np.concatenate([np.maximum(p, 0) - upper, [0, 0]]) + np.concatenate([[0], upper, [0]])
    mass[0] += beyond_q
    mass[-1] += beyond_p
    kept = mass > 0
    return Losses(grid[kept], np.log(mass[kept]))


def _reach(distance: float, dim: int) -> float:
    """Returns where P[loss > s] becomes negligible, or the largest loss."""
    low, high = 0.0, distance
    for _ in range(50):
        middle = (low + high) / 2
        if loss_above(np.array([middle]), distance, dim)[0] > _NEGLIGIBLE:
            low = middle
        else:
            high = middle
    return high if distance - high > 1e-6 * distance else distance


def _over_radii(start: Floats, cosine_share: Callable[[Floats], Floats], dim: int) -> Floats:
    """Returns the mean over Gamma(dim) radii beyond `start` of the chance that (1 + cosine) / 2 is below its share.

    Gauss-Legendre in the cube root of the distance from the start, where the integrand may have a root's edge.
    """
    span = 3 * dim + 12 * math.sqrt(dim) + 60
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(0, 1, _PANELS + 1)
    root = (edges[:-1, None] + (nodes + 1) / 2 / _PANELS).ravel()
    weight = np.tile(weights / 2 / _PANELS, _PANELS) * 3 * root**2 * span
    radius = start[:, None] + span * root**3
    share = np.clip(cosine_share(radius.T).T, 0, 1)
    chance = np.full(share.shape, 0.5) if dim == 1 else betainc((dim - 1) / 2, (dim - 1) / 2, share)
    density = np.exp((dim - 1) * np.log(radius) - radius - gammaln(dim))
    return np.asarray((chance * density) @ weight)
