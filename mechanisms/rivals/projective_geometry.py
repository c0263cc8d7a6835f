"""Projective geometry response (Feldman, Nelson, Nguyen and Talwar, ICML 2022): a token becomes a point of a space."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.randomness import RandomSource, wide_words
from mechanisms.rivals._decoding import Decoding
from mechanisms.rivals._description import whole
from mechanisms.rivals._draws import WIDE, uniform_below
from mechanisms.rivals._message import MAX_BITS, MessageFormat
from mechanisms.rivals._projective import (
    base_digits,
    modulo,
    normalised,
    number_of_points,
    point_digits,
    points_of,
    ranks_of,
)
from mechanisms.rivals._supports import SupportMechanism, SupportSpec, checked_inside, largest_inside
from mechanisms.rivals.randomized_response import MAX_WORDS
from mechanisms.tokens import checked_tokens

if TYPE_CHECKING:  # the client imports no torch
    from torch import Tensor

    from mechanisms.device_channel import Law

MAX_ORDER = 1 << 25
"""Inner products of coordinates below it are exact in doubles."""


@dataclass(frozen=True, slots=True)
class ProjectiveGeometrySpec(SupportSpec):
    """Projective geometry response, completely: a point of the projective space over `order` elements is released.

    A word is the hyperplane of the point of its number; its support is the points on it (theorem 24). A point on it is
    released with probability inside / 2^64. words: 2 to 2^24, at most the points. order: a prime. dimension: of the
    vectors, 2 or more; at most 2^32 points. inside: 2^64 share to 2^64 - 1. Raises UserError for values outside.
    """

    kind: ClassVar[str] = "projective geometry"
    words: int
    order: int
    dimension: int
    inside: int

    def __post_init__(self) -> None:
        whole("words", self.words, 2, MAX_WORDS)
        checked_space(self.words, self.order, self.dimension)
        checked_inside(self.inside, self.share)

    @classmethod
    def from_epsilon(cls, words: int, epsilon: float, order: int, dimension: int, delta: float = 0.0) -> Self:
        """Returns the least noisy spec over this space whose token epsilon (nats) at delta is at most this.

        Raises UserError for an epsilon that is not above 0, or so small that 64 bits do not resolve it.
        """
        checked_space(whole("words", words, 2, MAX_WORDS), order, dimension)
        inside = largest_inside(epsilon, *shares(order, dimension), delta)
        return cls(words, order, dimension, inside)

    @property
    def points(self) -> int:
        """How many points can be released."""
        return number_of_points(self.dimension, self.order)

    @property
    def chance(self) -> Fraction:
        """The probability of a point on the word's hyperplane."""
        return Fraction(self.inside, WIDE)

    @property
    def share(self) -> Fraction:
        """Of all points, those on a hyperplane."""
        return shares(self.order, self.dimension)[0]

    @property
    def common(self) -> Fraction:
        """Of the points on a hyperplane, those on another one too."""
        return shares(self.order, self.dimension)[1]


def shares(order: int, dimension: int) -> tuple[Fraction, Fraction]:
    """Returns the share of all points that lie on a hyperplane, and of these the share on any other hyperplane."""
    whole_space, plane, meet = (number_of_points(dimension - below, order) for below in (0, 1, 2))
    return Fraction(plane, whole_space), Fraction(meet, plane)


def checked_space(words: int, order: int, dimension: int) -> None:
    """Raises UserError unless the order is prime and the space has 2^32 points at most, and one for each word."""
    whole("order", order, 2, MAX_ORDER)
    if any(order % factor == 0 for factor in range(2, int(order**0.5) + 1)):
        raise UserError(f"Expected order to be a prime number, got order={order}.")
    whole("dimension", dimension, 2, MAX_BITS)
    points = number_of_points(dimension, order)
    if not words <= points <= 1 << MAX_BITS:
        raise UserError(
            f"Expected order and dimension with {words} to 2^{MAX_BITS} points, got order={order}, "
            f"dimension={dimension}: {points} points. best_geometry finds a space."
        )


class ProjectiveGeometry(SupportMechanism):
    """The mechanism. Parameters and errors as of PosteriorRead."""

    def __init__(
        self,
        spec: ProjectiveGeometrySpec,
        table: NDArray[np.float32] | None = None,
        prior: NDArray[np.float64] | None = None,
        decoding: Decoding = "posterior-mean",
        name: str = "projective geometry",
    ) -> None:
        super().__init__(spec.words, table, prior, decoding, name)
        self.spec: ProjectiveGeometrySpec = spec

    @cached_property
    def format(self) -> MessageFormat:
        """The message's layout: a point's number a token."""
        return MessageFormat(b"PNT1", self.spec.fingerprint, 1, self.spec.points)

    def replace(self, tokens: NDArray[np.int64], source: RandomSource) -> NDArray[np.int64]:
        """Returns the numbers of the released points, int64, shape (tokens,).

        The word x has a 1 at its pivot, so the other coordinates of y are free and y's own there follows from <x, y>:
        0 for a point on the hyperplane, where the free coordinates are a point themselves; 1 for a vector of each point
        off it. Both are drawn for every token and one is taken: neither time nor draws depend on the token.
        """
        t, q, count = self.spec.dimension, self.spec.order, len(tokens)
        on = wide_words(count, source) < np.uint64(self.spec.inside)
        inner = point_digits(uniform_below(number_of_points(t - 1, q), count, source), t - 1, q)
        outer = uniform_below(q ** (t - 1), count, source)
        free = base_digits(np.where(on, inner, outer), t - 1, q)
        x, places = points_of(tokens, t, q), np.arange(t)[:, None]
        pivot = (x != 0).argmax(axis=0)
        y = np.zeros_like(x)
        y[:-1] = free * (places[:-1] < pivot)
        y[1:] += free * (places[1:] > pivot)
        y += modulo(~on - (x * y).sum(axis=0), q) * (places == pivot)
        return ranks_of(normalised(y, q), q)

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as checked_tokens does, and draws nothing."""
        return self.format.pack(self.replace(checked_tokens(tokens, self.words), source)[:, None])

    def observed(self, message: bytes) -> NDArray[np.int64]:
        """Returns the coordinates of the released points, int64, shape (tokens, dimension).

        Raises UserError as unpack does.
        """
        return points_of(self.format.unpack(message)[:, 0], self.spec.dimension, self.spec.order).T

    def supports(self, observed: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Returns whether each point lies on each word's hyperplane, bool, shape (points, words).

        Sums of products are whole and exact in these floats, and so is what rounding a quotient gives for a multiple.
        """
        planes, order = self._hyperplanes, self.spec.order
        products = observed.astype(planes.dtype) @ planes
        multiples = products * planes.dtype.type(1 / order)
        np.rint(multiples, out=multiples)
        multiples *= order
        return np.asarray(products == multiples)

    def supports_on(self, device: str) -> "Law":
        """Returns `supports` in torch, with the hyperplanes on the device unless it lacks the floats that they need."""
        import torch

        planes, order = torch.from_numpy(self._hyperplanes), self.spec.order
        if planes.dtype == torch.float64 and device.startswith("mps"):
            return super().supports_on(device)
        planes = planes.to(device)

        def held(observed: Observed) -> "Tensor":
            products = torch.from_numpy(np.asarray(observed)).to(device, planes.dtype) @ planes
            return products == (products * (1 / order)).round_().mul_(order)

        return held

    @cached_property
    def _hyperplanes(self) -> NDArray[np.floating]:
        """The coordinates of every word, shape (dimension, words), in floats that hold all sums of products."""
        t, q = self.spec.dimension, self.spec.order
        kind: type[np.floating] = np.float32 if t * (q - 1) ** 2 < 1 << 24 else np.float64
        return points_of(np.arange(self.words), t, q).astype(kind)
