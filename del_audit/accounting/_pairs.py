"""The worst pair of a vocabulary: a bound on all pairs, then exact curves of the few that it leaves."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from del_audit.accounting._all_pairs import AllPairs, Cells, Factors, Indices
from del_audit.accounting._density import Floats
from del_audit.accounting._tilted import Moments, Tilt, moments
from del_audit.accounting.composition import Composition, Trials
from del_audit.statistics.bound import Bound
from mechanisms.spec import WORD_BITS

Thresholds = NDArray[np.uint32]

_STARTS = 128
_ROUNDS = 3
_CHUNK = 1 << 20  # numbers in an array of moments
_COARSE = 1 << 12
_EVALUATED = 512


@dataclass(frozen=True, slots=True)
class WorstPair:
    """The largest epsilon of two words, enclosed; the words that attain its lower end; how many curves it took."""

    epsilon: Bound
    words: tuple[int, int]
    evaluated: int


def pair_parts(first: Thresholds, second: Thresholds, copies: int) -> tuple[Trials, ...]:
    """Returns the parts of a pair of rows (dim,) with `copies` trials a coordinate: equal coordinates are one part.

    Counting failures instead of successes changes nothing, so (p, q) and (1 - p, 1 - q) are equal too.
    """
    whole = 1 << WORD_BITS
    ends = np.column_stack([first, second])[first != second].astype(np.int64)
    turned = np.where(ends[:, :1] > whole - ends[:, :1], whole - ends, ends)
    kinds, counts = np.unique(turned, axis=0, return_counts=True)
    return tuple(
        Trials(int(count) * copies, int(p) / whole, int(q) / whole) for (p, q), count in zip(kinds, counts, strict=True)
    )


def worst_pair(thresholds: Thresholds, trials: int, tokens: int, delta: float) -> WorstPair:
    """Returns the largest epsilon (nats) at delta over ordered pairs of rows, or of `tokens` such pairs composed.

    thresholds: different rows, shape (words, dim), at least 2. For one token, every pair that is not evaluated has a
    bound below the upper end. For more, the lower end takes one pair each time, and the upper end allows any mixture.
    The upper end holds however many pairs are left; only its distance from the lower end depends on that. Theorem 5.
    """
    search = _Search(thresholds, thresholds / (1 << WORD_BITS), trials, tokens, delta)
    tilt, bounds, rows = search.start()
    if search.is_worst_of_box(rows):
        return WorstPair(search.epsilon(rows), _plain(rows), 1)
    return search.single(tilt, bounds, rows) if tokens == 1 else search.mixture(tilt, bounds, rows)


@dataclass(frozen=True, slots=True)
class _Search:
    thresholds: Thresholds
    chances: Floats
    trials: int
    tokens: int
    delta: float

    def start(self) -> tuple[Tilt, AllPairs, Indices]:
        """Returns a tilt and the bounds on all pairs at it, both fit for a promising pair, and that pair (2,)."""
        cells = Cells.of(self.chances)
        tilt, bounds = self._bounds(cells, self.chances.max(axis=0), self.chances.min(axis=0))
        tilt, bounds = self._bounds(cells, *self.chances[self._promising(tilt, bounds)])
        return tilt, bounds, self._promising(tilt, bounds)

    def single(self, tilt: Tilt, bounds: AllPairs, pair: Indices) -> WorstPair:
        """Returns the worst pair of one token: evaluates pairs by falling bound until no bound is above the result."""
        best, evaluated, seen = self.epsilon(pair), 1, {self._parts(pair)}
        attained, upper = best, best.upper
        harmless = tilt.harmless(upper, self.logits)
        pairs, level = bounds.above(harmless)
        limits = tilt.epsilon(self.moments(pairs, tilt))
        unresolved = tilt.epsilon_of(level, self.logits) if level > harmless else 0.0
        for index in np.argsort(-limits):
            if limits[index] <= upper:
                break
            if evaluated == _EVALUATED:
                unresolved = max(unresolved, float(limits[index]))
                break
            parts = self._parts(pairs[index])
            if parts in seen:
                continue
            seen.add(parts)
            evaluated += 1
            if Composition(parts, _COARSE).delta(upper).upper > self.delta:
                found = self.epsilon(pairs[index])
                upper = max(upper, found.upper)
                if found.estimate > attained.estimate:
                    attained, pair = found, pairs[index]
                if self.is_worst_of_box(pairs[index]):
                    unresolved = 0.0
                    break
        return WorstPair(Bound(attained.lower, attained.estimate, max(upper, unresolved)), _plain(pair), evaluated)

    def mixture(self, tilt: Tilt, bounds: AllPairs, pair: Indices) -> WorstPair:
        """Returns the worst of several tokens: K adds up over them, so no mixture exceeds that of the largest K."""
        largest = float(self.moments(pair[None], tilt).log_mgf[0]) / self.tokens
        pairs, level = bounds.above(largest)
        if len(pairs):
            found = self.moments(pairs, tilt).log_mgf / self.tokens
            pair, level = pairs[found.argmax()], max(level, float(found.max()))
        best = self.epsilon(pair)
        upper = max(best.upper, tilt.epsilon_of(self.tokens * level, self.logits))
        return WorstPair(Bound(best.lower, best.estimate, upper), _plain(pair), 1)

    def is_worst_of_box(self, pair: Indices) -> bool:
        """Tells whether no pair can be worse: opposite ends of every coordinate, and both orders of them the same."""
        low, high = self.thresholds.min(axis=0), self.thresholds.max(axis=0)
        symmetric = (low.astype(np.int64) + high == 1 << WORD_BITS)[low < high].all()
        return bool(symmetric) and self._parts(pair) == pair_parts(high, low, self.trials * self.tokens)

    def epsilon(self, pair: Indices) -> Bound:
        """Returns the epsilon at delta of one pair, over all tokens."""
        return Composition(self._parts(pair)).epsilon(self.delta)

    def moments(self, pairs: Indices, tilt: Tilt) -> Moments:
        """Returns the moments of ordered pairs of rows (pairs, 2), over all tokens."""
        rows = max(1, _CHUNK // self.chances.shape[1])
        blocks = [pairs[first : first + rows].T for first in range(0, max(1, len(pairs)), rows)]
        found = (moments(self.chances[a], self.chances[b], self.trials * self.tokens, tilt.theta) for a, b in blocks)
        return Moments(*(np.concatenate(each) for each in zip(*found, strict=True)))

    @property
    def logits(self) -> tuple[float, float]:
        """The least and the largest log-odds of a trial."""
        low, high = (float(end) for end in (self.chances.min(), self.chances.max()))
        return math.log(low / (1 - low)), math.log(high / (1 - high))

    def _bounds(self, cells: Cells, p: Floats, q: Floats) -> tuple[Tilt, AllPairs]:
        """Returns the tilt and the bounds that serve one pair best, p and q (dim,): more tilt needs more factors."""
        copies = self.trials * self.tokens

        def at(tilt: Tilt) -> tuple[float, Tilt, Factors]:
            factors = Factors.of(cells.table(tilt.theta), copies * len(p))
            epsilon = float(tilt.epsilon(moments(p[None], q[None], copies, tilt.theta))[0])
            return epsilon + copies * len(p) * factors.slack / tilt.theta, tilt, factors

        best = at(Tilt.of_pair(p, q, copies, self.delta))
        while (less := at(replace(best[1], theta=best[1].theta / 2)))[0] < best[0]:
            best = less
        return best[1], AllPairs.of(cells, best[2], self.trials)

    def _promising(self, tilt: Tilt, bounds: AllPairs) -> Indices:
        """Returns an ordered pair (2,) with a large epsilon: the best of what alternating searches end at."""
        rows = np.unique(np.linspace(0, len(self.chances) - 1, _STARTS).astype(np.intp))
        for _ in range(_ROUNDS):
            columns = bounds.opposite(rows)
            rows = bounds.opposite_rows(columns)
        pairs = np.array([[0, 1], *np.column_stack([rows, columns])[rows != columns]])
        best: Indices = pairs[tilt.epsilon(self.moments(pairs, tilt)).argmax()]
        return best

    def _parts(self, pair: Indices) -> tuple[Trials, ...]:
        first, second = pair
        return pair_parts(self.thresholds[first], self.thresholds[second], self.trials * self.tokens)


def _plain(pair: Indices) -> tuple[int, int]:
    return int(pair[0]), int(pair[1])
