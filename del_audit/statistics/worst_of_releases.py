"""The largest true success of any prompt, from repeated releases: as certain as there are releases."""

import math

import numpy as np
from numpy.typing import NDArray

from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import SMALLEST_TAIL, WORST, clopper_pearson, unseen_ends
from mechanisms.errors import UserError

UNIT = "share of the worst prompt's tokens read"
CANDIDATES = 3
"""Prompts whose lower limits are computed: those of largest success. A smaller lower end than all prompts' is valid."""

Floats = NDArray[np.float64]


def worst_of_releases(
    hits: NDArray[np.bool_],
    prompt: NDArray[np.integer],
    release: NDArray[np.integer],
    confidence: float = 0.95,
    seed: int = 0,
) -> Figure:
    """Returns the largest success of any prompt over repeated releases, with an interval for the largest true one.

    hits: whether each token was read; prompt, release: its numbers, shape (tokens,) each. Every prompt is released
    equally often, with fresh noise, and read by the same attack, which may look at whole prompts. The share of a
    prompt's tokens read is then an independent draw in [0, 1] for each release; the limits of its mean are Gaffke's
    (`unseen_ends`), which are Clopper-Pearson's where whole prompts are read or nothing. As in worst_prompt, the lower
    end is the largest lower limit at an equal share of the tail for each prompt, the upper end the largest upper limit
    at the whole tail. The sample is the number of releases per prompt: more of them narrow the interval.
    Raises UserError for shapes that differ, no tokens, prompts that are not released equally often, confidence outside
    (0, 1), and more prompts than the shared tail allows.
    """
    shares = _shares(np.asarray(hits), np.asarray(prompt), np.asarray(release))
    prompts, releases = shares.shape
    tail, most = (1 - confidence) / 2, math.floor((1 - confidence) / 2 / SMALLEST_TAIL * (1 + 1e-9))
    if not 0 < confidence < 1:
        raise UserError(f"Expected confidence in (0, 1), got confidence={confidence}.")
    if prompts > most:
        raise UserError(f"Expected at most {most} prompts at confidence={confidence}, got {prompts}. Attack fewer.")
    means = shares.mean(axis=1)
    top = np.argsort(-means, kind="stable")[:CANDIDATES]
    lower = float(_limits(shares[top], 1 - 2 * tail / prompts, seed)[0].max())
    upper = float(_limits(shares, confidence, seed)[1].max())
    value, method = float(means.max()), method_of("unseen-release bootstrap", prompts)
    ends = min(value, lower), max(value, upper)
    return Figure(value, *ends, UNIT, releases, "releases per prompt", method, confidence, seed=seed)


def fewest_releases(limit: float, confidence: float = 0.95) -> int:
    """Returns the fewest releases per prompt at which a limit on the worst prompt can pass: if nothing is ever read.

    Then the upper end of worst_of_releases is 1 - tail^(1 / releases), tail = (1 - confidence) / 2. A true success
    near the limit needs more. Raises UserError for limit or confidence outside (0, 1).

    >>> [fewest_releases(limit) for limit in (0.99, 0.4, 0.1)]
    [1, 8, 36]
    """
    for name, value in (("limit", limit), ("confidence", confidence)):
        if not 0 < value < 1:
            raise UserError(f"Expected {name} in (0, 1), got {name}={value}.")
    releases = max(1, math.floor(math.log((1 - confidence) / 2) / math.log1p(-limit)) - 1)
    while clopper_pearson(0, releases, confidence)[1] > limit:
        releases += 1
    return releases


def _shares(hits: NDArray[np.bool_], prompt: NDArray[np.integer], release: NDArray[np.integer]) -> Floats:
    """Returns the share of each prompt's tokens read in each release, shape (prompts, releases)."""
    if hits.dtype != np.bool_ or hits.ndim != 1 or not hits.shape == prompt.shape == release.shape:
        raise UserError(
            "Expected true or false, a prompt and a release for each token, "
            f"got {hits.dtype} of shapes {hits.shape}, {prompt.shape} and {release.shape}."
        )
    if not len(hits):
        raise UserError("Expected at least one token, got none.")
    prompts, row = np.unique(prompt, return_inverse=True)
    releases, column = np.unique(release, return_inverse=True)
    place, shape = row * len(releases) + column, (len(prompts), len(releases))
    tokens = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
    if not (tokens == tokens[:, :1]).all():
        raise UserError("Expected every prompt whole in every release, got prompts with tokens missing in some.")
    read = np.bincount(place, hits, minlength=shape[0] * shape[1]).reshape(shape)
    return np.asarray(read / tokens)


def _limits(shares: Floats, confidence: float, seed: int) -> tuple[Floats, Floats]:
    """Returns Gaffke's limits for the mean of each row, shape (prompts,) each, in closed form for rows of 0 and 1."""
    ones = np.ones_like(shares)
    ends = np.array([[[0.0], [1.0]], [[1.0], [1.0]]])
    lower, upper = unseen_ends(np.stack([shares, ones]).transpose(0, 2, 1), ends, _mean, seed, confidence)
    for row in np.flatnonzero(((shares == 0) | (shares == 1)).all(axis=1)):
        lower[row], upper[row] = clopper_pearson(int(shares[row].sum()), shares.shape[1], confidence)
    return lower, upper


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[0] / sums[1])


def method_of(limits: str, prompts: int) -> str:
    """Returns how limits for the worst of so many prompts were found, as a figure states it."""
    return f"{limits} {WORST} {prompts}, Bonferroni below"
