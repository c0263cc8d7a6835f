"""The mechanisms of the tables, each at a value of its knob or at an exact token epsilon."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from attacks.inversion.nearest import nearest_words
from del_audit.accounting import Accountant, Bound, Target, calibrate
from del_audit.accounting.rivals import calibrate_rival, rival_guarantee
from del_audit.reproduce.protocol import CLIP, DELTA, Kind
from mechanisms.channel import most_likely
from mechanisms.errors import UserError
from mechanisms.mechanism import Description, Mechanism
from mechanisms.pipeline import Pipeline, assemble
from mechanisms.prior import unigram_prior
from mechanisms.randomness import SimulatedWords, WordSource
from mechanisms.rivals import (
    Gaussian,
    GaussianSpec,
    Metric,
    MetricSpec,
    RandomizedResponse,
    RandomizedResponseSpec,
    RanText,
    RanTextSpec,
)
from mechanisms.rivals._points import Points
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import bounded, load_projection
from mechanisms.wire import unpack

METRIC_BITS: Final = 16
"""Split-and-Denoise sends unquantized vectors; so fine a grid stands for that."""
_LOADED_AT: Final = 40.0


@dataclass(frozen=True, slots=True)
class Knob:
    """What sets a mechanism's noise, and the range that bisection searches. More of it is less private."""

    name: str
    low: float
    high: float


KNOBS: Final[dict[str, Knob]] = {
    "del": Knob("mu", 1.0, 1000.0),
    "gaussian": Knob("mu = 2 clip sqrt(dim) / sigma", 1.0, 1000.0),
    "metric": Knob("eta x diameter, nats", 10.0, 5e4),
    "rantext": Knob("claimed epsilon, nats", 0.05, 60.0),
    "randomized response": Knob("epsilon, nats", 0.1, 40.0),
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A mechanism and its knob. bounded_by: the mechanism, or its spec alone where that says all."""

    mechanism: Mechanism
    knob: float
    bounded_by: Any

    @property
    def epsilon(self) -> Bound:
        """What it guarantees for one token at delta = 1e-5, nats; computed anew each time."""
        if isinstance(self.bounded_by, QuantizerSpec):
            return Accountant(self.bounded_by).epsilon(DELTA)
        return rival_guarantee(self.bounded_by, DELTA).epsilon


@dataclass(frozen=True, slots=True)
class LinearlyRead:
    """Gaussian noise read by the paper's linear decoder. matrix: shape (width, dim), in units of the clip."""

    inner: Gaussian
    matrix: NDArray[np.float32]
    name: str = "Gaussian noise, linear decoder"

    @property
    def spec(self) -> Description:
        """What the accountant bounds."""
        return self.inner.spec

    def release(self, tokens: Sequence[int], source: WordSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as Gaussian does."""
        return self.inner.release(tokens, source)

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns one embedding a token, float32, shape (tokens, width); raises UserError as Gaussian does."""
        released = self.inner.values(message) / np.float32(self.inner.spec.clip)
        return np.asarray(bounded(released) @ self.matrix.T, dtype=np.float32)


@dataclass(frozen=True)
class Contenders:
    """Makes mechanisms over a model's table and public text.

    pair: returns the folder of the linear pair trained for so many coordinates; it trains it where it is not there.
    """

    table: NDArray[np.float32]
    documents: Sequence[Sequence[int]]
    pair: Callable[[int], Path]

    @cached_property
    def prior(self) -> NDArray[np.float64]:
        """The unigram prior of the public text."""
        return unigram_prior(self.documents, len(self.table))

    @cached_property
    def points(self) -> Points:
        """The embeddings, as what distances are measured between."""
        return Points.of(self.table)

    @cached_property
    def radius(self) -> float:
        """The longest row of the table: metric privacy clips none."""
        return float(np.linalg.norm(self.table.astype(np.float64), axis=1).max())

    def at(self, kind: Kind, bits: int, dim: int, knob: float) -> Contender:
        """Returns the mechanism at a value of its knob; raises UserError for a value that its spec refuses."""
        spec: Any
        match kind:
            case "del":
                spec = QuantizerSpec.from_mu(bits, dim, CLIP, knob)
            case "gaussian":
                spec = GaussianSpec.of(bits, dim, CLIP, 2 * CLIP * math.sqrt(dim) / knob)
            case "metric":
                spec = MetricSpec.of(METRIC_BITS, self.table.shape[1], self.radius, knob / (2 * self.radius))
            case "rantext":
                spec = RanTextSpec.over(self.points, knob)
            case "randomized response":
                spec = calibrate_rival(kind, knob, DELTA, words=len(self.table))
            case _:
                raise UserError(f"Expected a mechanism with a knob, got {kind!r}.")
        return self._contender(spec, knob)

    def at_epsilon(self, kind: Kind, bits: int, dim: int, epsilon: float) -> Contender:
        """Returns the mechanism whose exact token epsilon is at most this, as near to it as is found.

        Raises UserError, which names the least it reaches, where the mechanism has no parameter for it.
        """
        match kind:
            case "del":
                spec: Any = calibrate(bits, dim, CLIP, Target.epsilon(epsilon, DELTA)).spec
                return self._contender(spec, spec.mu)
            case "gaussian":
                spec = calibrate_rival(kind, epsilon, DELTA, bits=bits, dim=dim, clip=CLIP)
                return self._contender(spec, 2 * CLIP * math.sqrt(dim) / spec.sigma)
            case "metric":
                width = self.table.shape[1]
                spec = calibrate_rival(kind, epsilon, DELTA, bits=METRIC_BITS, dim=width, radius=self.radius)
                return self._contender(spec, spec.eta * 2 * self.radius)
            case "rantext":
                spec = calibrate_rival(kind, epsilon, DELTA, points=self.points)
                return self._contender(spec, spec.epsilon)
            case _:
                spec = calibrate_rival(kind, epsilon, DELTA, words=len(self.table))
                return self._contender(spec, epsilon)

    def _contender(self, spec: Any, knob: float) -> Contender:
        mechanism: Mechanism
        match spec:
            case QuantizerSpec():
                pair = load_projection(self.pair(spec.dim), self.table, spec)
                mechanism = assemble(self.table, self.documents, spec, pair, "trained-linear")
                return Contender(mechanism, knob, spec)
            case GaussianSpec():
                like = QuantizerSpec.from_mu(spec.bits, spec.dim, CLIP, _LOADED_AT)
                pair = load_projection(self.pair(spec.dim), self.table, like)
                noisy = Gaussian(spec, pair.encoder.codes, prior=self.prior, decoding="plain")
                mechanism = LinearlyRead(noisy, pair.decoder.matrix)
            case MetricSpec():
                mechanism = Metric(spec, self.table, self.table, self.prior, "plain")
            case RandomizedResponseSpec():
                mechanism = RandomizedResponse(spec, self.table, self.prior, "plain")
            case _:
                mechanism = RanText(spec, self.points, self.table)
        return Contender(mechanism, knob, mechanism if isinstance(mechanism, RanText) else spec)


def nearest_hits(
    contender: Contender, table: NDArray[np.float32], tokens: NDArray[np.int64], seed: int, purpose: str
) -> int:
    """Returns how many of the tokens the paper's attack guesses from one release of them.

    purpose: the same one draws the same words at every value of the knob, another one draws fresh ones.
    """
    message = _released(contender, tokens, seed, purpose)
    return int((nearest_words(table, contender.mechanism.embeddings(message)) == tokens).sum())


def posterior_hits(
    contender: Contender, log_prior: NDArray[np.float64], tokens: NDArray[np.int64], seed: int, purpose: str
) -> int | None:
    """Returns the same for the likeliest word under the mechanism's own law and the unigram prior.

    None where the law of a release has no closed form (RANTEXT).
    """
    mechanism = contender.mechanism
    message = _released(contender, tokens, seed, purpose)
    if isinstance(mechanism, Pipeline):
        return int((most_likely(mechanism.channel, unpack(message, mechanism.spec), log_prior) == tokens).sum())
    channel = mechanism.inner if isinstance(mechanism, LinearlyRead) else mechanism
    if not isinstance(channel, (Gaussian, Metric, RandomizedResponse)):
        return None
    hits = 0
    for rows, scores in channel.scores(channel.observed(message), log_prior):
        hits += int((scores.argmax(axis=1) == tokens[rows]).sum())
    return hits


def _released(contender: Contender, tokens: NDArray[np.int64], seed: int, purpose: str) -> bytes:
    return contender.mechanism.release(tokens.tolist(), SimulatedWords(seed, "reproduce", purpose))
