"""Clients that look unusual and are right: a battery must pass them."""

import numpy as np

from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SystemRandomness
from mechanisms.spec import WORD_BITS, QuantizerSpec
from museum.client import Client


class Doubles(Client):
    name = "chances in double precision, without levels"


class Reference(Client):
    name = "the project's own quantizer on system randomness"
    gives = ("message", "charged", "replay")
    forks = True

    def draw(self, chances):
        raise NotImplementedError("the quantizer draws")

    def release(self, values):
        counts = StochasticQuantizer(self.spec).quantize(values, SystemRandomness())
        self.charge(values)
        return counts


class BernoulliSum(Client):
    name = "sum of Bernoulli trials on 32-bit words"
    gives = ("message",)

    def draw(self, chances):
        drawn = self.rng.integers(0, 1 << WORD_BITS, (self.spec.trials, *chances.shape))
        return (drawn < np.rint(chances * (1 << WORD_BITS))).sum(axis=0)


class OneByOne(Client):
    name = "tokens released one at a time"
    gives = ("message", "charged")

    def draw(self, chances):
        return np.concatenate([super(OneByOne, self).draw(row[None]) for row in chances])


class RandomOrder(Client):
    name = "rows drawn in random order and put back"

    def draw(self, chances):
        order = self.rng.permutation(len(chances))
        counts = np.empty(chances.shape, dtype=np.int64)
        counts[order] = super().draw(chances[order])
        return counts


class Inverted(Client):
    name = "failures counted and taken from u"

    def draw(self, chances):
        return self.spec.trials - super().draw(1 - chances)


class SmallIntegers(Client):
    name = "counts in bytes"

    def draw(self, chances):
        return super().draw(chances).astype(np.uint8)


class OneBit(Client):
    name = "one bit, one coordinate"
    spec = QuantizerSpec.from_mu(1, 1, 0.05, 1.0)
    gives = ("message",)


class EightBits(Client):
    name = "eight bits"
    spec = QuantizerSpec.from_mu(8, 3, 0.05, 30.0)
    gives = ("message",)


EXHIBITS = tuple(
    kind for kind in list(globals().values()) if isinstance(kind, type) and kind.__module__ == __name__ and kind.name
)
