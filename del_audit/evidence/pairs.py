"""Pairs of prompts worth telling apart, and the exact figures of each pair itself (docs/theory.md, theorem 5)."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.base import AttackerKnowledge
from attacks.distinguishing import LikelihoodRatio
from attacks.repeated import RepeatedPipeline
from del_audit.accounting import Bound, Composition, Trials
from del_audit.accounting.vocabulary import Vocabulary
from mechanisms.channel import Channel
from mechanisms.decoding import LinearDecoder
from mechanisms.device_channel import looked_up
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer, level_thresholds
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import WORD_BITS, QuantizerSpec

Floats = NDArray[np.float64]
Pair = tuple[Sequence[int], Sequence[int]]

PARTS = 128
"""Coordinates of different laws up to which a pair's own figures are computed: 1 s for 18, 3 s for 128."""
SAMPLED_PAIRS = 2_001
MOST_COMMON = 100


def corner_public(spec: QuantizerSpec) -> AttackerKnowledge:
    """Returns a vocabulary of two words at opposite corners of the cube: the worst pair (theorem 1), to be released."""
    encoder = Encoder.of(spec.clip * np.array([[-1.0], [1.0]]) * np.ones(spec.dim), spec.clip)
    table, prior = encoder.codes, np.full(2, 0.5)
    linear = LinearDecoder.fit(StochasticQuantizer(spec), encoder, prior, table)
    return AttackerKnowledge(
        Pipeline(spec, table, prior, encoder, Channel.of(spec, encoder.codes), linear, linear), table, prior
    )


def notable_pairs(public: AttackerKnowledge, delta: float = 1e-5, seed: int = 0) -> dict[str, Pair]:
    """Returns the vocabulary's worst pair of words at delta, and the median one of pairs drawn from the prior.

    The median is by the divergence E[log-likelihood ratio] of the laws. Raises UserError for a mechanism other than
    DEL, and for fewer than two words that differ on the wire.
    """
    mechanism = public.mechanism
    if not isinstance(mechanism, Pipeline):
        raise UserError(f"Expected DEL for the vocabulary's pairs, got {mechanism.name!r}.")
    worst = Vocabulary.of(mechanism.encoder.codes, mechanism.spec).pairs(delta).words
    drawn = simulation_generator(seed, "typical pair").choice(public.words, (SAMPLED_PAIRS, 2), p=public.prior)
    drawn = drawn[drawn[:, 0] != drawn[:, 1]]
    pairs: dict[str, Pair] = {"worst of the vocabulary": ((worst[0],), (worst[1],))}
    if len(drawn):
        p, q = (_chances(mechanism, drawn[:, side]) for side in (0, 1))
        divergence = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=1)
        median = drawn[np.argsort(divergence)[len(drawn) // 2]]
        pairs["median of the vocabulary"] = ((int(median[0]),), (int(median[1]),))
    return pairs


def common_pair(public: AttackerKnowledge) -> Pair:
    """Returns the two commonest words that the mechanism's law tells apart, each as a prompt of one token.

    Raises UserError where it tells no two of the commonest hundred apart.
    """
    common = np.argsort(-public.prior, kind="stable")[:MOST_COMMON]
    source = SimulatedRandomness(0, "common pair")
    seen = public.mechanism.observed(public.mechanism.release([int(word) for word in common], source))
    blocks = public.placed_scores()(seen)
    scores = np.concatenate([looked_up(block, np.tile(common, (len(block), 1))) for _, block in blocks])
    for first, second in itertools.combinations(range(len(common)), 2):
        if (scores[:, first] != scores[:, second]).any():
            return (int(common[first]),), (int(common[second]),)
    raise UserError(f"Expected two words that {public.mechanism.name} tells apart, got none among {len(common)}.")


def pair_figures(public: AttackerKnowledge, test: LikelihoodRatio, delta: float) -> tuple[Bound | None, Bound | None]:
    """Returns total variation, and epsilon (nats) at delta, of this very pair of prompts in either order.

    None each for another mechanism than DEL, and where more than PARTS coordinates of different laws make it slow.
    """
    if not isinstance(public.mechanism, Pipeline):
        return None, None
    parts = _trials(public.mechanism, test)
    if not parts:
        nothing = Bound(0.0, 0.0, 0.0)
        return nothing, nothing
    if len(parts) > PARTS:
        return None, None
    forward = Composition(parts)
    backward = Composition(_exchanged(parts))
    ends = [one.epsilon(delta) for one in (forward, backward)]
    return forward.delta(0.0), max(ends, key=lambda bound: bound.upper)


def pair_curve(public: AttackerKnowledge, pair: Pair, alphas: Sequence[float], epsilons: int = 24) -> Floats:
    """Returns a lower bound on this pair's own trade-off curve at each alpha, tight but for the grid of epsilons.

    It takes two evaluations an epsilon, seconds for one token. Raises UserError for another mechanism than DEL, and
    as LikelihoodRatio does.
    """
    test = LikelihoodRatio(tuple(pair[0]), tuple(pair[1]))
    if not isinstance(public.mechanism, Pipeline):
        raise UserError(f"Expected DEL for a pair's exact curve, got {public.mechanism.name!r}.")
    test.fit(public)
    parts, alpha = _trials(public.mechanism, test), np.asarray(alphas, dtype=np.float64)
    if not parts:
        return 1 - alpha
    beta = np.zeros_like(alpha)
    forward, backward = Composition(parts), Composition(_exchanged(parts))
    for law in (forward, backward):
        for epsilon in np.linspace(0.0, law.epsilon(1e-4).upper, epsilons):
            left, scale = 1 - law.delta(float(epsilon)).upper, math.exp(epsilon)
            line = left - scale * alpha if law is forward else (left - alpha) / scale
            beta = np.maximum(beta, line)
    return beta


def _chances(mechanism: Pipeline, words: NDArray[np.int64]) -> Floats:
    """Returns the success probability of a trial of each coordinate, shape (words, dim)."""
    return np.asarray(level_thresholds(mechanism.spec)[mechanism.encoder.levels_of(words)] / float(1 << WORD_BITS))


def _trials(mechanism: Pipeline, test: LikelihoodRatio) -> list[Trials]:
    """Returns the coordinates that differ as parts of a composition, equal laws together."""
    places = test.places
    p, q = (_chances(mechanism, np.array(side)[places]).ravel() for side in (test.second, test.first))
    turned = p + q > 1  # failures counted instead of successes: the same law
    ends = np.column_stack([np.where(turned, 1 - p, p), np.where(turned, 1 - q, q)])[p != q]
    kinds, counts = np.unique(ends, axis=0, return_counts=True)
    copies = mechanism.spec.trials * (mechanism.times if isinstance(mechanism, RepeatedPipeline) else 1)
    return [Trials(int(count) * copies, float(a), float(b)) for (a, b), count in zip(kinds, counts, strict=True)]


def _exchanged(parts: Sequence[Trials]) -> list[Trials]:
    """Returns the parts with null and alternative exchanged."""
    return [Trials(part.count, part.q, part.p) for part in parts]
