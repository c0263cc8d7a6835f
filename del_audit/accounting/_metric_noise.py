"""The privacy loss of noise of density e^(-eta norm) in any dimension, as a pair of laws on a grid.

With noise z, radius r = eta |z| ~ Gamma(dim) and c the cosine of its angle to the shift of length D / eta, the loss is
sqrt(r^2 - 2 r D c + D^2) - r, and exceeds s where c is small enough. What is left is an integral over r of a
regularised incomplete beta function (docs/theory.md, theorem 20).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammainc

from del_audit.accounting._density import _stirling_error, log1p_minus
from del_audit.accounting.composition import Losses
from mechanisms.errors import UserError

Floats = NDArray[np.float64]

CELLS = 1 << 11
LEAST_DISTANCE, LARGEST_DISTANCE = 1e-6, 1e5
"""Nats between which the tails below were held against an independent integration, for dim 1 to 2^20."""

_ABOVE, _BELOW = 1e-40, 1e-18
"""Tails of the loss that the grid leaves out; both move up."""

_TOLERANCE = 1e-8
"""What the masses of P and of Q may miss 1 by, and the error that every tail is raised by, relative."""

_FALL = 700.0  # of the density's logarithm, beyond which doubles hold nothing
_COARSE = 96
_KEPT = 50.0  # of the integrand's logarithm
_PANELS, _NODES = 12, 16
_BLOCK = 1 << 11
_NARROW, _WIDEST = 0.4, 3.0  # nats, of a cell
_SPAN, _LARGEST_EXPONENT = 60.0, 600.0


def loss_above(loss: Floats, distance: float, dim: int) -> Floats:
    """Returns P[loss > s] for each s in (-distance, distance), nats; distance: eta times the shift's length, nats."""
    start = (distance - loss) / 2  # up to this radius no angle brings the loss down to s
    if dim == 1:
        return np.asarray(1 - np.exp(-start) / 2)

    def cosine_share(radius: Floats, s: Floats) -> Floats:
        return (distance - s) * (distance + s + 2 * radius) / (4 * radius * distance)

    return np.asarray(gammainc(dim, start) + _over_radii(start, loss, cosine_share, dim))


def loss_below(loss: Floats, distance: float, dim: int) -> Floats:
    """Returns P[loss < -s] for each s in (-distance, distance), nats: Q[loss > s], by symmetry."""
    start = (distance + loss) / 2
    if dim == 1:
        return np.asarray(np.exp(-start) / 2)

    def cosine_share(radius: Floats, s: Floats) -> Floats:
        return (distance - s) * (2 * radius - (distance + s)) / (4 * radius * distance)

    return _over_radii(start, loss, cosine_share, dim)


def losses(distance: float, dim: int) -> Losses:
    """Returns a pair that dominates the noise shifted by `distance` nats, by connecting the dots of its curve.

    delta(s) is the integral of e^(s - t) P[loss > t] over t > s. So the pair whose curve is straight in e^s between
    grid points has P[loss >= right end of a cell] = the mean of P[loss > t] over the cell with weight e^-t, where
    nothing cancels (theorems 14 and 20). What lies beyond the cells moves up.

    Raises UserError for a distance outside [1e-6, 10^5], and where the masses of P or Q miss 1 by more than 1e-8.
    """
    if not LEAST_DISTANCE <= distance <= LARGEST_DISTANCE:
        raise UserError(
            f"Expected eta x the largest distance of two vectors in [{LEAST_DISTANCE:g}, {LARGEST_DISTANCE:g}] nats, "
            f"where the accounting is verified, got {distance:.6g}: choose another eta or radius."
        )
    low, high = _least_loss(distance, dim), _largest_loss(distance, dim)
    edges, at, weight = _cells(low, high)
    above, below = loss_above(at.ravel(), distance, dim), loss_below(-at.ravel(), distance, dim)
    _check_masses(at.ravel(), above, below, distance, dim)
    tail, rest = ((side.reshape(at.shape) * weight).sum(axis=1) for side in (above, below))
    mass = np.where(tail[:-1] < 0.5, tail[:-1] - tail[1:], rest[1:] - rest[:-1])
    mass = np.concatenate([[rest[0]], np.maximum(mass, 0), [tail[-1]]]) * (1 + 2 * _TOLERANCE)
    beyond = 0.0 if edges[-1] == distance else float(loss_above(edges[-1:], distance, dim)[0])
    grid, mass = np.append(edges, distance * (1 + 1e-12)), np.append(mass, beyond)
    kept = mass > 0
    return Losses(grid[kept], np.log(mass[kept]))


def _cells(low: float, high: float) -> tuple[Floats, Floats, Floats]:
    """Returns the cells' edges, and in each cell the losses and weights of a mean with weight e^-loss.

    Edges are dense at both ends, in the cosine of an angle: tails have roots' edges there, which this turns into smooth
    functions. In cells too wide for Gauss-Legendre the mean is replaced by the value at the left end, which is larger.
    """
    middle, half = (low + high) / 2, (high - low) / 2
    angles = np.linspace(0, math.pi, CELLS + 1)
    edges = middle - half * np.cos(angles)
    edges[[0, -1]] = low, high
    widest = math.pi * half / CELLS
    if widest > _WIDEST:
        return edges, edges[:-1, None], np.ones((CELLS, 1))
    nodes, weights = np.polynomial.legendre.leggauss(4 if widest <= _NARROW else 6)
    angle = angles[:-1, None] + (nodes + 1) / 2 * math.pi / CELLS
    at = np.clip(middle - half * np.cos(angle), low, high)
    weight = weights * np.sin(angle) * np.exp(edges[:-1, None] - at)
    return edges, at, weight / weight.sum(axis=1, keepdims=True)


def _check_masses(at: Floats, above: Floats, below: Floats, distance: float, dim: int) -> None:
    """Raises UserError unless P[loss > s] + P[loss <= s] is 1 at each s, both fall and rise, and dP is e^s dQ.

    The last by delta(s) = P[loss > s] - e^s Q[loss > s], which is also the integral of e^(s - t) P[loss > t].
    """
    missed = np.abs(above + below - 1).max()
    rising = max(np.diff(above).max(), np.diff(-below).max())
    nodes, weights = np.polynomial.legendre.leggauss(64)
    for start in np.linspace(max(at[0], 0.0), max(at[-1], 0.0), 5)[:-1]:
        end = min(at[-1], start + _SPAN)
        if not start < end < _LARGEST_EXPONENT:
            continue  # e^s times Q's tail is beyond doubles
        angle = (nodes + 1) * math.pi / 4  # the tail may have a root's edge at the end
        t = start + (end - start) * np.sin(angle)
        slope = (end - start) * np.cos(angle) * math.pi / 4
        integral = loss_above(t, distance, dim) * np.exp(start - t) * slope @ weights
        ends = np.array([start, end])
        curve = loss_above(ends, distance, dim) - np.exp(ends) * loss_below(ends, distance, dim)
        missed = max(missed, abs(integral - (curve[0] - math.exp(start - end) * curve[1])))
    if not max(missed, rising) <= _TOLERANCE:
        raise UserError(
            f"Expected masses that add up to 1 within {_TOLERANCE:g} for dim={dim} and a distance of {distance:.6g} "
            f"nats, got {max(missed, rising):.3g}: choose another eta, radius or dim."
        )


def _largest_loss(distance: float, dim: int) -> float:
    """Returns where P[loss > s] becomes negligible, or the distance, which no loss exceeds."""
    low, high = -distance, distance
    for _ in range(60):
        middle = (low + high) / 2
        if loss_above(np.array([middle]), distance, dim)[0] > _ABOVE:
            low = middle
        else:
            high = middle
    return high if distance - high > 1e-9 * distance else distance


def _least_loss(distance: float, dim: int) -> float:
    """Returns where P[loss < s] becomes negligible, or minus the distance."""
    low, high = -distance, distance
    for _ in range(60):
        middle = (low + high) / 2
        if loss_below(np.array([-middle]), distance, dim)[0] > _BELOW:
            high = middle
        else:
            low = middle
    return low


def _over_radii(start: Floats, loss: Floats, share: Callable[[Floats, Floats], Floats], dim: int) -> Floats:
    """Returns the mean over Gamma(dim) radii beyond `start` of the chance that (1 + cosine) / 2 is below its share."""
    blocks = np.array_split(np.arange(len(start)), 1 + len(start) // _BLOCK)
    return np.concatenate([_block_over_radii(start[b], loss[b], share, dim) for b in blocks])


def _block_over_radii(start: Floats, loss: Floats, share: Callable[[Floats, Floats], Floats], dim: int) -> Floats:
    """Returns the same for some thousand losses: Gauss-Legendre where the integrand is, in the root of the distance.

    The window holds all radii whose density a double can hold; a coarse look over it finds the integrand's peak and
    where it has fallen by e^-50 on either side. The integrand may have a root's edge at the window's start.
    """
    low, high = _window(start, dim)
    width, loss, half = (high - low)[:, None], loss[:, None], (dim - 1) / 2

    def integrand(root: Floats) -> tuple[Floats, Floats, Floats]:
        radius = np.maximum(low[:, None] + width * root**2, 1e-300)
        chance = betainc(half, half, np.clip(share(radius, loss), 0, 1))
        return chance, _log_density(radius, dim), 2 * width * root

    coarse = np.broadcast_to(np.linspace(0, 1, _COARSE), (len(start), _COARSE))
    chance, density, slope = integrand(coarse)
    with np.errstate(divide="ignore"):
        height = np.log(chance) + density + np.log(slope)
    kept = height > height.max(axis=1, keepdims=True) - _KEPT
    kept[:, 0] |= ~kept.any(axis=1)
    first = np.maximum(kept.argmax(axis=1) - 1, 0)
    last = np.minimum(_COARSE - kept[:, ::-1].argmax(axis=1), _COARSE - 1)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    place = ((np.arange(_PANELS)[:, None] + (nodes + 1) / 2) / _PANELS).ravel()
    begin, length = coarse[0][first][:, None], (coarse[0][last] - coarse[0][first])[:, None]
    chance, density, slope = integrand(begin + length * place)
    inner: Floats = (chance * np.exp(density) * slope) @ np.tile(weights / 2 / _PANELS, _PANELS) * length[:, 0]
    return inner


def _window(start: Floats, dim: int) -> tuple[Floats, Floats]:
    """Returns the radii from `start` on between which the density is within e^-700 of its largest there."""
    peak = np.maximum(start, dim - 1.0)
    level = _log_density(peak, dim) - _FALL
    ends = []
    for inner, outer in ((peak, start), (peak, peak + 2 * _FALL + math.sqrt(8 * _FALL * dim))):
        for _ in range(50):
            middle = (inner + outer) / 2
            holds = _log_density(middle, dim) > level
            inner, outer = np.where(holds, middle, inner), np.where(holds, outer, middle)
        ends.append(outer)
    return ends[0], ends[1]


def _log_density(radius: Floats, dim: int) -> Floats:
    """Returns the log density of Gamma(dim), dim >= 2, from its deviance: nothing cancels for large dim."""
    mode = dim - 1.0
    with np.errstate(divide="ignore"):
        deviance = mode * log1p_minus(np.maximum(radius / mode - 1, -1 + 1e-300))
    return np.asarray(deviance - 0.5 * math.log(2 * math.pi * mode) - float(_stirling_error(np.array([mode]))[0]))
