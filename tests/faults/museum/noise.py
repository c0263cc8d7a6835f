"""Noise that is shared or comes a second time."""

import numpy as np

from mechanisms.randomness import simulation_generator
from museum.client import Client


class _Noise(Client):
    group = "independence"
    trials = 500

    def uniforms(self, shape):
        return self.rng.random((self.spec.trials, *shape))

    def draw(self, chances):
        return (self.uniforms(chances.shape) < chances).sum(axis=0)


class SeededEachCall(_Noise):
    name = "seed set in each call"
    did = "called manual_seed(0) in the forward pass, for reproducible tests"

    def uniforms(self, shape):
        return simulation_generator(0, "each call").random((self.spec.trials, *shape))


class TimeSeeded(_Noise):
    name = "seed from the clock"
    did = "seeded with the time in seconds: calls within one second share their noise"
    trials = 2000

    def uniforms(self, shape):
        return simulation_generator(self.calls // 10, "clock").random((self.spec.trials, *shape))


class ForkCopies(_Noise):
    name = "generator copied by a fork"
    did = "kept one generator in the module; forked workers each have a copy in the same state"
    forks = True
    trials = 200


class WorkersShareSeed(_Noise):
    name = "seed shared by workers"
    did = "split a batch among two workers that were seeded alike"

    def uniforms(self, shape):
        rows, dim = shape
        half = self.rng.random((self.spec.trials, -(-rows // 2), dim))
        return np.concatenate([half, half], axis=1)[:, :rows]


class SharedByTwoCoordinates(_Noise):
    name = "two coordinates share a draw"
    did = "had one random word too few a row and used the first again"

    def uniforms(self, shape):
        drawn = super().uniforms(shape)
        drawn[:, :, -1] = drawn[:, :, 0]
        return drawn


class SharedByBatch(_Noise):
    name = "one row of noise for a batch"
    did = "drew noise of shape (1, dim) and broadcast it over the tokens"

    def uniforms(self, shape):
        return super().uniforms((1, shape[1])) * np.ones((shape[0], 1))


class SharedByRow(_Noise):
    name = "one draw for a row"
    did = "drew noise of shape (tokens, 1) and broadcast it over the coordinates"

    def uniforms(self, shape):
        return super().uniforms((shape[0], 1)) * np.ones((1, shape[1]))


class LowBits(_Noise):
    name = "low bits of a linear congruential generator"
    did = "took the lowest byte of each number: its period is 256"
    trials = 4000

    def __init__(self, seed):
        super().__init__(seed)
        self.state = seed

    def uniforms(self, shape):
        count = self.spec.trials * shape[0] * shape[1]
        cycle = np.empty(256)
        for at in range(256):  # the low byte of the next state depends on the low byte alone
            self.state = (1664525 * self.state + 1013904223) & 0xFF
            cycle[at] = (self.state + 0.5) / 256
        drawn = np.resize(cycle, count)
        for _ in range(count % 256):
            self.state = (1664525 * self.state + 1013904223) & 0xFF
        return drawn.reshape(*shape, self.spec.trials).transpose(2, 0, 1)


class CounterWraps(_Noise):
    name = "counter that wraps"
    did = "used a nonce of 6 bits: the stream comes again after 64 calls"
    trials = 4000

    def uniforms(self, shape):
        return simulation_generator(self.calls % 64, "nonce").random((self.spec.trials, *shape))


class Antithetic(_Noise):
    name = "antithetic tokens"
    did = "used w for one token and 1 - w for the next, which lowers the variance of means"

    def uniforms(self, shape):
        drawn = super().uniforms(shape)
        drawn[:, 1::2] = 1 - drawn[:, : 2 * (shape[0] // 2) : 2]
        return drawn


class Pool(_Noise):
    name = "pool of noise"
    did = "drew 500 rows of noise at the start, to save time, and picks among them"
    trials = 3000

    def __init__(self, seed):
        super().__init__(seed)
        self.pool = super().uniforms((500, self.spec.dim))

    def uniforms(self, shape):
        return self.pool[:, self.rng.integers(0, 500, shape[0])]


class SlidingWindow(_Noise):
    name = "overlapping stream"
    did = "advanced the stream by one word a token and not by a row's words"
    trials = 1000

    def uniforms(self, shape):
        rows, dim = shape
        line = self.rng.random((self.spec.trials, rows + dim))
        return np.stack([line[:, at : at + dim] for at in range(rows)], axis=1)


class SmallSeeds(_Noise):
    name = "seed of one byte"
    did = "seeded each call with one random byte: two calls in 256 share all of their noise, and it can be guessed"
    trials = 4000

    def uniforms(self, shape):
        seed = int(self.rng.integers(256))
        return simulation_generator(seed, "one byte").random((self.spec.trials, *shape))


class CopiedRow(_Noise):
    name = "row of noise copied in a race"
    did = "let two threads fill one buffer: one row in ten has the noise of the row before"
    trials = 2000

    def uniforms(self, shape):
        drawn = super().uniforms(shape)
        for row in np.flatnonzero(self.rng.random(shape[0]) < 0.1):
            drawn[:, row] = drawn[:, row - 1]
        return drawn


class CommonPart(_Noise):
    name = "common part of a row's noise"
    did = "jittered the chance of all coordinates of a row by one draw, against ties"
    trials = 4000

    def draw(self, chances):
        return super().draw(np.clip(chances + 0.05 * self.rng.choice([-1, 1], (len(chances), 1)), 0, 1))


class CacheByToken(Client):
    name = "cache keyed by token"
    did = "kept each token's noisy code and sent it again"
    group = "resending"
    trials = 500

    def __init__(self, seed):
        super().__init__(seed)
        self.cache = {}

    def draw(self, chances):
        drawn = super().draw(chances)
        return np.stack([self.cache.setdefault(row.tobytes(), one) for row, one in zip(chances, drawn, strict=True)])


class CacheByPrompt(CacheByToken):
    name = "noise reused on a cache hit"
    did = "kept the message of each prompt and sent it again, charged each time"

    def draw(self, chances):
        return self.cache.setdefault(chances.tobytes(), Client.draw(self, chances)).copy()


class SeededByContent(Client):
    name = "seed from the input's hash"
    did = "seeded with a hash of the text, so that answers repeat"
    group = "resending"
    trials = 500

    def draw(self, chances):
        word = int.from_bytes(chances.tobytes()[:4096], "little") % (1 << 61)
        return simulation_generator(word, "content").binomial(self.spec.trials, chances)


class ChargedOnce(Client):
    name = "resent tokens not charged"
    did = "asked the accountant only where the prompt was not in the cache of prompts"
    group = "resending"
    trials = 500
    gives = ("charged",)

    def __init__(self, seed):
        super().__init__(seed)
        self.seen = set()

    def charge(self, values):
        if values.tobytes() not in self.seen:
            super().charge(values)
        self.seen.add(values.tobytes())


class ChargedByCall(Client):
    name = "calls charged, not tokens"
    did = "added one for each message to the session's budget"
    group = "resending"
    trials = 200
    gives = ("charged",)

    def charge(self, values):
        self.tokens += 1


EXHIBITS = tuple(
    kind for kind in list(globals().values()) if isinstance(kind, type) and kind.__module__ == __name__ and kind.name
)
