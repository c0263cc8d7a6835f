"""Guarantees for a public vocabulary, whose codes fill less than the cube: box, pairs and a profile. Theorem 5."""

import hashlib
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.accounting._hull import dominating
from del_audit.accounting._pairs import WorstPair, pair_parts, worst_pair
from del_audit.accounting._profile import Profile, sample_profile
from del_audit.accounting._tilted import Tilt, trial_log_mgf
from del_audit.accounting.accountant import Guarantee, Unit, check_unit, guarantee
from del_audit.accounting.composition import Composition, Losses, Trials
from del_audit.statistics.bound import Bound
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.spec import WORD_BITS, QuantizerSpec
from mechanisms.validation import whole_at_least

__all__ = ["Profile", "Vocabulary", "VocabularyGuarantee", "WorstPair"]

_MOST_COPIES = 1 << 17  # that a grid of a million points holds


@dataclass(frozen=True, slots=True)
class VocabularyGuarantee:
    """Cube, box and pairs for one unit: each holds, and none is above the one before.

    cube: the guarantee for any codes. box, pairs: epsilon (nats) at cube.delta if only codes of this vocabulary are
    sent. total_variation: of the box. worst: the two words that attain the lower end of pairs. evaluated: pairs whose
    curve was computed; a bound covers the others. words, sha256: the vocabulary.
    """

    cube: Guarantee
    box: Bound
    pairs: Bound
    total_variation: Bound
    worst: tuple[int, int]
    evaluated: int
    words: int
    sha256: str

    def to_dict(self) -> dict[str, Json]:
        """Returns every figure with its unit and what it holds for, keys in a stable order."""
        return {
            "holds_for": f"codes of the vocabulary of {self.words} words with thresholds sha256 {self.sha256} only",
            "unit": self.cube.unit,
            "tokens": self.cube.tokens,
            "sends": self.cube.sends,
            "adjacency": self.cube.adjacency,
            "delta": self.cube.delta,
            "kind": self.pairs.kind,
            "cube": self.cube.epsilon.to_dict(),
            "box": self.box.to_dict(),
            "pairs": self.pairs.to_dict(),
            "total_variation": self.total_variation.to_dict(),
            "worst_pair": list(self.worst),
            "pairs_evaluated": self.evaluated,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The words that can be sent, as the integer thresholds of their codes (theorem 3).

    thresholds: uint32, shape (words, dim), of at least two different words.

    >>> spec = QuantizerSpec(bits=4, dim=2, clip=1.0, scale=2.0)
    >>> vocabulary = Vocabulary.of([[0.0, 0.5], [0.25, 1.0], [0.5, -1.0]], spec)
    >>> worst = vocabulary.pairs(delta=1e-5)
    >>> worst.words, round(worst.epsilon.estimate, 4), round(vocabulary.box(delta=1e-5).estimate, 4)
    ((1, 2), 17.899, 19.6341)
    """

    spec: QuantizerSpec
    thresholds: NDArray[np.uint32]

    @classmethod
    def of(cls, codes: ArrayLike, spec: QuantizerSpec) -> Self:
        """Returns the vocabulary of float codes (words, dim), clipped and rounded exactly as the quantizer does.

        Raises UserError for another shape, NaN or infinity, and fewer than two words that differ on the wire.
        """
        from mechanisms.quantizer import StochasticQuantizer

        array = np.asarray(codes, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != spec.dim:
            raise UserError(f"Expected codes of shape (words, dim={spec.dim}), got shape {array.shape}.")
        if not np.isfinite(array).all():
            raise UserError("Expected codes to be finite numbers, got NaN or infinity.")
        thresholds = StochasticQuantizer(spec).thresholds(array)
        if not (thresholds[1:] != thresholds[:1]).any():
            raise UserError(f"Expected codes of at least 2 different words, got {len(array)} word(s), all the same.")
        return cls(spec, thresholds)

    @property
    def sha256(self) -> str:
        """Hash of the thresholds, shape and values."""
        data = self.thresholds.astype("<u4", order="C").tobytes()
        return hashlib.sha256(repr(self.thresholds.shape).encode() + data).hexdigest()

    def guarantee(
        self, unit: Unit = "token", tokens: int | None = None, delta: float = 1e-5, sends: int = 1
    ) -> VocabularyGuarantee:
        """Returns cube, box and pairs at delta; arguments and errors as of `Accountant`."""
        cube = guarantee(self.spec, unit, tokens, delta, sends=sends)
        tokens = cube.tokens
        corners, curve = self._corners(delta, tokens * sends), self.box_curve(tokens * sends)
        box = _at_most(_between(corners.epsilon(delta), curve.epsilon(delta)), cube.epsilon.upper)
        total_variation = _between(corners.delta(0.0), curve.delta(0.0))
        worst = self.pairs(delta, tokens, sends)
        return VocabularyGuarantee(
            cube=cube,
            box=box,
            pairs=_at_most(worst.epsilon, box.upper),
            total_variation=_at_most(total_variation, cube.total_variation.upper),
            worst=worst.words,
            evaluated=worst.evaluated,
            words=len(self.thresholds),
            sha256=self.sha256,
        )

    def box(self, delta: float = 1e-5, tokens: int = 1) -> Bound:
        """Returns epsilon (nats) at delta with each coordinate confined to its range, for `tokens` tokens that change.

        The lower end is of two corners of the box. Raises UserError for delta outside (0, 1), and tokens < 1.
        """
        _check(delta, tokens)
        return _between(self._corners(delta, tokens).epsilon(delta), self.box_curve(tokens).epsilon(delta))

    def box_curve(self, tokens: int = 1) -> Composition:
        """Returns a pair that dominates any two points of the box, `tokens` times: every other figure of the box.

        Where tokens x dim exceeds 2^17, ranges are widened until they are symmetric: still a guarantee, less tight.
        """
        trials, whole = self.spec.trials, 1 << WORD_BITS
        parts: list[Trials | Losses] = []
        wide = tokens * self.spec.dim > _MOST_COPIES
        for low, high, count in self._ranges():
            if wide or low + high == whole:
                low, high = min(low, whole - high), max(high, whole - low)
                parts.append(Trials(trials * count * tokens, high / whole, low / whole))
            else:
                pair = dominating(trials, high, low)
                parts.append(Losses(pair.loss, pair.log_mass, count * tokens))
        return Composition(parts)

    def pairs(self, delta: float = 1e-5, tokens: int = 1, sends: int = 1) -> WorstPair:
        """Returns the largest epsilon (nats) at delta of any two words, for `tokens` tokens that change.

        sends: how often each of them is sent with fresh noise. Raises UserError for delta outside (0, 1), and for
        tokens or sends < 1.
        """
        _check(delta, tokens)
        check_unit("phrase", tokens, sends)
        different, first = np.unique(self.thresholds, axis=0, return_index=True)
        worst = worst_pair(different, self.spec.trials * sends, tokens, delta)
        a, b = first[list(worst.words)]
        return replace(worst, words=(int(a), int(b)))

    def profile(self, delta: float = 1e-5, samples: int = 10_000, seed: int = 0) -> Profile:
        """Returns the median and the 90th and 99th percentile of epsilon (nats) at delta over ordered pairs of words.

        For one token; an estimate from pairs that are drawn uniformly, equal codes included. Raises UserError for delta
        outside (0, 1), fewer than 1000 samples, and a seed that is no whole number >= 0.
        """
        _check(delta, 1)
        return sample_profile(self.thresholds, self.spec.trials, delta, samples, seed)

    def _ranges(self) -> list[tuple[int, int, int]]:
        """Returns (low, high, count): what coordinates span, mirror images counted together, single points left out."""
        whole = 1 << WORD_BITS
        low, high = self._ends()
        mirrored = low + high > whole
        low, high = np.where(mirrored, whole - high, low), np.where(mirrored, whole - low, high)
        ranges, counts = np.unique(np.column_stack([low, high])[low < high], axis=0, return_counts=True)
        return [(int(a), int(b), int(count)) for (a, b), count in zip(ranges, counts, strict=True)]

    def _corners(self, delta: float, tokens: int) -> Composition:
        """Returns two opposite corners of the box, each coordinate in the order that is easier to tell apart."""
        low, high = self._ends()
        p, q, copies = high / (1 << WORD_BITS), low / (1 << WORD_BITS), self.spec.trials * tokens
        theta = Tilt.of_pair(p, q, copies, delta).theta
        upward = trial_log_mgf(p, q, theta) >= trial_log_mgf(q, p, theta)
        return Composition(pair_parts(np.where(upward, high, low), np.where(upward, low, high), copies))

    def _ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the least and the largest threshold of each coordinate, shape (dim,)."""
        return self.thresholds.min(axis=0).astype(np.int64), self.thresholds.max(axis=0).astype(np.int64)


def _between(attained: Bound, above: Bound) -> Bound:
    """Returns the enclosure of a supremum by what is attained and what dominates all."""
    return Bound(min(attained.lower, above.estimate), above.estimate, above.upper)


def _at_most(bound: Bound, ceiling: float) -> Bound:
    """Returns the bound with no figure above the ceiling, which holds too."""
    return Bound(min(bound.lower, ceiling), min(bound.estimate, ceiling), min(bound.upper, ceiling), bound.kind)


def _check(delta: float, tokens: int) -> None:
    """Raises UserError for a delta or a number of tokens out of range."""
    if not 0 < delta < 1:
        raise UserError(f"Expected delta in (0, 1), got delta={delta}.")
    whole_at_least("tokens", tokens, 1)
