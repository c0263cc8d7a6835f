"""Where values stand along an axis, and which of them are marked."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from scipy.special import ndtri

from del_audit.statistics.figure import Figure


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from low to high. What lies beyond an end stands on it."""

    low: float
    high: float
    bend: Callable[[float], float]

    def __call__(self, value: float) -> float:
        """Returns the share of the axis at which a value stands: 0 at low, 1 at high."""
        low, high = self.bend(self.low), self.bend(self.high)
        return (self.bend(min(max(value, self.low), self.high)) - low) / (high - low)


def linear(low: float, high: float) -> Scale:
    """Returns an even scale."""
    return Scale(low, high, float)


def logarithmic(low: float, high: float) -> Scale:
    """Returns a scale on which equal factors are equally far apart."""
    return Scale(low, high, math.log)


def probit(low: float, high: float) -> Scale:
    """Returns a scale of normal quantiles, on which a Gaussian trade-off curve is a straight line."""
    return Scale(low, high, lambda share: float(ndtri(share)))


def ends(figures: Iterable[Figure]) -> tuple[float, float]:
    """Returns the least lower and the largest upper end of figures."""
    both = [(float(figure.lower), float(figure.upper)) for figure in figures]
    return min(low for low, _ in both), max(high for _, high in both)


def round_marks(low: float, high: float, most: int = 7) -> list[float]:
    """Returns round numbers, evenly spaced, within an interval: at most so many, and two where that is possible.

    >>> round_marks(0, 0.37, 4), round_marks(-0.1, 0.57)
    ([0.0, 0.1, 0.2, 0.3], [-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    """
    span = high - low
    steps = (step * 10.0**power for power in range(math.floor(math.log10(span)) - 1, 99) for step in (1, 2, 5))
    for step in steps:
        marks = [step * place for place in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        if len(marks) <= most:
            return [float(f"{mark:.12g}") for mark in marks]
    raise AssertionError("A step is large enough at some power of ten.")


def round_powers(low: float, high: float, most: int = 6) -> list[float]:
    """Returns round numbers within an interval, for a logarithmic scale: the finest choice of at most so many.

    >>> round_powers(40, 110), round_powers(3, 4000)
    ([40.0, 50.0, 60.0, 80.0, 100.0], [10.0, 100.0, 1000.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        marks = [f * 10.0**power for power in powers for f in factors if low <= f * 10.0**power <= high]
        if len(marks) <= most:
            return marks
    return marks[:: math.ceil(len(marks) / most)]


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Returns rising heights moved just so far that no two are nearer than the gap, the topmost staying in place."""
    moved = list(heights)
    for index in range(len(moved) - 2, -1, -1):
        moved[index] = min(moved[index], moved[index + 1] - gap)
    return moved
