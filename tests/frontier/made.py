"""Figures and points by hand, for tests of what is chosen, compared and drawn."""

import numpy as np

from del_audit.configuration.named import Named
from del_audit.frontier.measured import Attacked, First, Knowing, Row, Second
from del_audit.frontier.points import Point
from del_audit.statistics.bound import Bound
from del_audit.statistics.figure import Figure


def figure(value, half=0.01, unit="share of tokens recovered"):
    return Figure(value, value - half, value + half, unit, 1_000, "tokens", "by hand", documents=20, seed=0)


def first(read, told, half=0.01, baseline=0.05):
    epsilon = Bound(4.0, 4.0, 4.0, "proved")
    figures = figure(baseline), figure(read, half), figure(told, half, "nats per token")
    return First(epsilon, epsilon, epsilon, epsilon, 2.0, *figures)


def second(read, gains, half=0.01, meaning=None):
    gains = np.asarray(gains, dtype=np.float64)
    attacks = tuple(
        Attacked(key, key, 1, figure(value, half), value - half, figure(meant, half), meant - half)
        for key, value, meant in (("baseline", 0.05, 0.1), ("map", read, read + 0.05 if meaning is None else meaning))
    )
    contexts = tuple(
        Knowing(sides, figure(0.5), figure(0.3), figure(0.2, unit="share of tokens recovered, above no release"))
        for sides in ("left", "both sides")
    )
    gain = figure(float(gains.mean()), half, "nats per token")
    share = figure(float(gains.mean()), half, "share of the clean gain")
    return Second(attacks, contexts, (), gains, tuple(range(len(gains))), gain, share, None, "linear")


def row(name, configuration, epsilon=4.0, **stages):
    return Row(Point(Named.parse(name), epsilon, configuration), **stages)
