"""Splitting rows by document or author, and labels made of numbers."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator
from mechanisms.validation import at_least

FOLDS = 4
"""Parts of cross-validation: the groups that each class needs at least."""


def numbered(names: Sequence[Hashable]) -> NDArray[np.int64]:
    """Returns each name's number, 0, 1, ... in the order of first appearance, int64, shape (names,)."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def split_by_group(
    groups: Sequence[Hashable], share: float, seed: int, labels: Sequence[Hashable] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns rows to train on and rows to hold out, both sorted; no group (a document, an author) is in both.

    share: of the groups that are held out, at least one. labels: of the rows; with them, groups are drawn apart for
    each label (a group's commonest), so that both parts have every label that two groups or more have.
    Raises UserError for a share outside (0, 1), for labels of another length, and for fewer than two groups.
    """
    if not 0 < share < 1:
        raise UserError(f"Expected a share to hold out in (0, 1), got share={share}.")
    if labels is not None and len(labels) != len(groups):
        raise UserError(f"Expected a label for each of {len(groups)} rows, got {len(labels)}.")
    numbers = numbered(list(groups))
    count = int(numbers.max()) + 1 if len(numbers) else 0
    if count < 2:
        raise UserError(f"Expected rows of two documents or authors at least, to hold one out, got {count}.")
    strata = _commonest(numbers, labels, count)
    generator = simulation_generator(seed, "split by group")
    order = generator.permutation(count)
    held = np.zeros(count, dtype=bool)
    for stratum in np.unique(strata):
        members = order[strata[order] == stratum]
        least = 1 if len(members) > 1 else 0
        held[members[: min(max(round(share * len(members)), least), len(members) - 1)]] = True
    if not held.any():
        held[order[0]] = True
    return np.flatnonzero(~held[numbers]), np.flatnonzero(held[numbers])


def bounded_rows(
    groups: Sequence[Hashable], labels: Sequence[Hashable], most: int, seed: int, least_groups: int = FOLDS
) -> NDArray[np.int64]:
    """Returns at most so many rows, rising, all of a group's or none: every row where there are no more than that.

    Groups are drawn at random; each label (a group's commonest) keeps its share of them, and each label keeps
    least_groups groups with a row of it, or all that it has: for that alone more rows than `most` are returned.
    Raises UserError for labels of another length, and for most or least_groups below 1.
    """
    at_least("most", most, 1)
    at_least("least_groups", least_groups, 1)
    if len(labels) != len(groups):
        raise UserError(f"Expected a label for each of {len(groups)} rows, got {len(labels)}.")
    numbers, names = numbered(list(groups)), numbered(list(labels))
    if len(numbers) <= most:
        return np.arange(len(numbers))
    order = simulation_generator(seed, "bounded rows").permutation(int(numbers.max()) + 1)
    place = np.argsort(order)
    taken = np.zeros(len(order), dtype=bool)
    for name in np.unique(names):
        having = np.unique(numbers[names == name])
        taken[having[np.argsort(place[having])][:least_groups]] = True
    sizes, strata = np.bincount(numbers), _commonest(numbers, labels, len(order))
    room = most - int(sizes[taken].sum())
    for group in _by_shares(order, strata):
        if not taken[group] and sizes[group] <= room:
            taken[group] = True
            room -= int(sizes[group])
    return np.flatnonzero(taken[numbers])


def _by_shares(order: NDArray[np.int64], strata: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the groups in an order of which every beginning has each stratum in its share, nearly."""
    quantiles = np.empty(len(order))
    for stratum in np.unique(strata):
        members = order[strata[order] == stratum]
        quantiles[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(quantiles[order], kind="stable")]


def _commonest(numbers: NDArray[np.int64], labels: Sequence[Hashable] | None, count: int) -> NDArray[np.int64]:
    """Returns each group's commonest label, as a number; the first to appear where several are."""
    if labels is None:
        return np.zeros(count, dtype=np.int64)
    names = numbered(list(labels))
    table = np.zeros((count, int(names.max()) + 1), dtype=np.int64)
    np.add.at(table, (numbers, names), 1)
    return np.asarray(table.argmax(axis=1))


@dataclass(frozen=True, slots=True)
class QuantileClasses:
    """Classes of a number, such as an age. edges: where they meet; each belongs to the class above it."""

    edges: tuple[float, ...]

    @classmethod
    def fit(cls, values: Sequence[object], classes: int) -> Self:
        """Returns classes that the training values, None left out, fill about equally.

        Raises UserError for fewer than two classes, for values that are not finite numbers, and where so many classes
        cannot be told apart, since one value is too common.
        """
        at_least("classes", classes, 2)
        numbers = np.array([_number(value) for value in values if value is not None])
        shares = np.arange(1, classes) / classes
        edges = np.unique(np.quantile(numbers, shares, method="higher")) if numbers.size else numbers
        if len(edges) < classes - 1 or edges[0] <= numbers.min():
            distinct = len(set(numbers.tolist()))
            raise UserError(
                f"Expected values that fill {classes} classes, got {numbers.size} with {distinct} distinct ones, some "
                "too common: ask for fewer classes."
            )
        return cls(tuple(float(edge) for edge in edges))

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, lowest first."""
        inner = [f"{low:g} to below {high:g}" for low, high in pairwise(self.edges)]
        return (f"below {self.edges[0]:g}", *inner, f"{self.edges[-1]:g} and above")

    def labels(self, values: Sequence[object]) -> list[str | None]:
        """Returns the class of each value, None for None; raises UserError for a value that is no finite number."""
        names = self.names
        return [
            None if value is None else names[int(np.searchsorted(self.edges, _number(value), side="right"))]
            for value in values
        ]


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"Expected a column of finite numbers, or None, got {value!r}.")
    return number
