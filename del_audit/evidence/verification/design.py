"""Which rows a battery releases, and in which calls: most at random corners, where each row serves many tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.binomial import TOP_LEVEL, Levels
from mechanisms.levels import LEVELS, ZERO_LEVEL, from_levels
from mechanisms.randomness import Generator
from mechanisms.spec import QuantizerSpec

Kind = Literal["corners", "pair", "resend", "reordered", "probe", "levels", "narrow", "zero", "clipping"]

SHARES: dict[Kind, float] = {
    "corners": 0.49,
    "pair": 0.12,
    "resend": 0.13,
    "reordered": 0.07,
    "probe": 0.09,
    "levels": 0.06,
    "narrow": 0.02,
    "zero": 0.02,
}
"""Shares of the rows of the main design. Nine tenths are corners: there a count says most about the scale."""

LEAST_BATCH, MOST_BATCH, PROBE_BATCH = 8, 64, 8
NEIGHBOURS = ("none", "all +clip", "all -clip", "zeros", "small values", "huge values", "after it", "before it")
"""What a probe row is released among: a release that looks at its neighbours has another law among some of them. The
row without any comes first, so that the smallest design has a call of one row."""
FACTORS = (1.5, 10.0, 1e6, 1e300)
"""How far outside the range the values of clipping calls are."""
CLIPPING_SHARE = 0.01
"""Rows of each factor, as a share of those of the main design."""
NARROW = LEVELS // 8
"""Levels around zero that small values are drawn from, to either side."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of the release.

    levels: what the rows' values are in law, uint8, shape (n, dim). factors: what values are multiplied by, shape
    (n, dim); 1 save in clipping calls and huge neighbours. rows: which rows of the standing block these are, shape
    (n,), or None. probe: the row that is a probe, or -1. label: of the probe's neighbours or the factor.
    """

    kind: Kind
    levels: Levels
    factors: NDArray[np.float64] | None = None
    rows: NDArray[np.int64] | None = None
    probe: int = -1
    label: str = ""

    def values(self, clip: float) -> NDArray[np.float64]:
        """Returns the values to release, float64, shape (n, dim)."""
        values = from_levels(self.levels, clip)
        return values if self.factors is None else values * self.factors


def batch_rows(trials: int) -> int:
    """Returns the rows of an ordinary call: a fortieth of all, 8 to 64."""
    return max(LEAST_BATCH, min(MOST_BATCH, trials // 40))


def main_design(spec: QuantizerSpec, trials: int, rng: Generator) -> list[Call]:
    """Returns calls of `trials` rows together, in random order; calls of the same rows come in pairs, one on another.

    A call at the same place of the order as another says nothing about its kind, so that what changes with time is
    seen in every kind.
    """
    batch = batch_rows(trials)
    standing = corners(rng, batch, spec.dim)
    groups: list[list[Call]] = []
    left = trials
    for kind, share in SHARES.items():
        rows = min(left, round(share * trials)) if kind != "zero" else left
        calls = list(_calls(kind, rows, batch, standing, rng, spec.dim))
        step = 2 if kind in ("resend", "reordered") else 1
        groups += [calls[at : at + step] for at in range(0, len(calls), step)]
        left -= rows
    return [call for at in rng.permutation(len(groups)) for call in groups[at]]


def clipping_design(spec: QuantizerSpec, trials: int, rng: Generator) -> list[Call]:
    """Returns calls of corners, of which a random half of the coordinates is pushed far outside the range."""
    rows, calls = max(LEAST_BATCH, round(CLIPPING_SHARE * trials)), []
    for factor in FACTORS:
        for start in range(0, rows, MOST_BATCH):
            levels = corners(rng, min(MOST_BATCH, rows - start), spec.dim)
            pushed = np.where(rng.random(levels.shape) < 0.5, factor, 1.0)
            calls.append(Call("clipping", levels, factors=pushed, label=f"{factor:g} times the clip"))
    return calls


def corners(rng: Generator, rows: int, dim: int) -> Levels:
    """Returns the levels of random corners of the cube, shape (rows, dim)."""
    return (TOP_LEVEL * rng.integers(0, 2, (rows, dim))).astype(np.uint8)


def _calls(kind: Kind, rows: int, batch: int, standing: Levels, rng: Generator, dim: int) -> Iterator[Call]:
    if kind == "probe":
        yield from _probes(rows, rng, dim)
        return
    for start in range(0, rows, batch):
        size = min(batch, rows - start)
        match kind:
            case "resend" | "reordered":
                order = rng.permutation(batch)[:size] if kind == "reordered" else np.arange(size)
                yield Call(kind, standing[order], rows=order)
            case "pair":
                sides = rng.integers(0, 2, (size, 1))
                yield Call(kind, np.repeat(TOP_LEVEL * sides, dim, axis=1).astype(np.uint8))
            case "levels":
                yield Call(kind, rng.integers(0, LEVELS, (size, dim)).astype(np.uint8))
            case "narrow":
                yield Call(kind, _narrow(rng, size, dim))
            case "zero":
                yield Call(kind, np.full((size, dim), ZERO_LEVEL, dtype=np.uint8))
            case _:
                yield Call(kind, corners(rng, size, dim))


def _narrow(rng: Generator, rows: int, dim: int) -> Levels:
    return rng.integers(ZERO_LEVEL - NARROW, ZERO_LEVEL + NARROW + 1, (rows, dim)).astype(np.uint8)


def _probes(rows: int, rng: Generator, dim: int) -> Iterator[Call]:
    """Yields a corner among each kind of neighbours in turn, first, last or between them."""
    turn = 0
    while rows > 0:
        label = NEIGHBOURS[turn % len(NEIGHBOURS)]
        size = min(rows, 1 if label == "none" else PROBE_BATCH)
        place = {"after it": 0, "before it": size - 1}.get(label, int(rng.integers(size)))
        levels, factors = corners(rng, size, dim), None
        others = np.arange(size) != place
        match label:
            case "all +clip":
                levels[others] = TOP_LEVEL
            case "all -clip":
                levels[others] = 0
            case "zeros":
                levels[others] = ZERO_LEVEL
            case "small values":
                levels[others] = _narrow(rng, size - 1, dim)
            case "huge values":
                factors = np.where(others[:, None], 1e6, 1.0) * np.ones(dim)
        yield Call("probe", levels, factors=factors, probe=place, label=label)
        rows -= size
        turn += 1
