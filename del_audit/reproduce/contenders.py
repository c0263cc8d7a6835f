"""The mechanisms of the tables, each at a value of its knob or at an exact token epsilon."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from attacks.base import AttackerKnowledge, InversionAttack
from del_audit.accounting import Accountant, Bound, Target, calibrate
from del_audit.accounting.rivals import calibrate_rival, rival_guarantee
from del_audit.reproduce.protocol import CLIP, DELTA
from mechanisms.errors import UserError
from mechanisms.mechanism import ObservableMechanism
from mechanisms.pipeline import assemble
from mechanisms.prior import unigram_prior
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import MechanismName
from mechanisms.rivals import (
    CoarseWords,
    Gaussian,
    GaussianSpec,
    Metric,
    MetricSpec,
    ProjectiveGeometry,
    RandomizedResponse,
    RanText,
    RanTextSpec,
    SubsetSelection,
)
from mechanisms.rivals._points import Points
from mechanisms.rivals.clusters import spherical_clusters
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import TrainedProjection, bounded, load_projection

METRIC_BITS: Final = 16
"""Split-and-Denoise sends unquantized vectors; so fine a grid stands for that."""
SYMBOLS: Final = 4096
"""Of coarse words, or a quarter of the words where there are fewer."""
_LOADED_AT: Final = 40.0


@dataclass(frozen=True, slots=True)
class Knob:
    """What sets a mechanism's noise, and the range that bisection searches. More of it is less private."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Contender:
    """A mechanism and its knob. bounded_by: the mechanism, or its spec alone where that says all."""

    mechanism: ObservableMechanism
    knob: float
    bounded_by: object

    @property
    def epsilon(self) -> Bound:
        """What it guarantees for one token at delta = 1e-5, nats; computed anew each time."""
        if isinstance(self.bounded_by, QuantizerSpec):
            return Accountant(self.bounded_by).epsilon(DELTA)
        return rival_guarantee(self.bounded_by, DELTA).epsilon


class LinearlyRead(Gaussian):
    """Gaussian noise on the codes of a linear pair, read by the pair's decoder."""

    def __init__(self, spec: GaussianSpec, pair: TrainedProjection, prior: NDArray[np.float64]) -> None:
        super().__init__(spec, pair.encoder.codes, prior=prior, decoding="plain", name="Gaussian noise, linear decoder")
        self.matrix = pair.decoder.matrix

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns one embedding a token, float32, shape (tokens, width); raises UserError as Gaussian does."""
        released = self.values(message) / np.float32(self.spec.clip)
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

    @cached_property
    def symbols(self) -> NDArray[np.int64]:
        """Each word's symbol of coarse words, shape (words,): public clusters of the embeddings."""
        return spherical_clusters(self.table, self.prior, min(SYMBOLS, len(self.table) // 4))

    def at(self, kind: MechanismName, bits: int, dim: int, knob: float) -> Contender:
        """Returns the mechanism at a value of its knob; raises UserError for a value that its spec refuses."""
        row = contender_kind(kind)
        return row.contender(self, row.at(self, bits, dim, knob), knob)

    def at_epsilon(self, kind: MechanismName, bits: int, dim: int, epsilon: float) -> Contender:
        """Returns the mechanism whose exact token epsilon is at most this, as near to it as is found.

        Raises UserError, which names the least it reaches, where the mechanism has no parameter for it.
        """
        row = contender_kind(kind)
        spec = row.calibrated(self, bits, dim, epsilon)
        return row.contender(self, spec, row.knob_of(self, spec, epsilon))


class ContenderKind(Protocol):
    """How a mechanism of the tables is made; its mechanism is a row of mechanisms.registry.

    quantized: whether bits and dim are the mechanism's; otherwise a row of a table has one line for all of them.
    """

    knob: Knob
    quantized: bool

    def at(self, over: Contenders, bits: int, dim: int, knob: float) -> Any:
        """Returns the spec at a value of the knob."""

    def calibrated(self, over: Contenders, bits: int, dim: int, epsilon: float) -> Any:
        """Returns the spec whose exact token epsilon is at most this."""

    def knob_of(self, over: Contenders, spec: Any, epsilon: float) -> float:
        """Returns the knob's value of a spec that was calibrated to an epsilon."""

    def contender(self, over: Contenders, spec: Any, knob: float) -> Contender:
        """Returns the mechanism of a spec."""


class _Del:
    """DEL with a linear pair: its decoder is the trained one."""

    knob, quantized = Knob("mu", 1.0, 1000.0), True

    def at(self, over: Contenders, bits: int, dim: int, knob: float) -> QuantizerSpec:
        return QuantizerSpec.from_mu(bits, dim, CLIP, knob)

    def calibrated(self, over: Contenders, bits: int, dim: int, epsilon: float) -> QuantizerSpec:
        return calibrate(bits, dim, CLIP, Target.epsilon(epsilon, DELTA)).spec

    def knob_of(self, over: Contenders, spec: QuantizerSpec, epsilon: float) -> float:
        return spec.mu

    def contender(self, over: Contenders, spec: QuantizerSpec, knob: float) -> Contender:
        pair = load_projection(over.pair(spec.dim), over.table, spec)
        return Contender(assemble(over.table, over.documents, spec, pair, "trained-linear"), knob, spec)


class _Gaussian:
    """Gaussian noise on the codes of the linear pair, read by its decoder."""

    knob, quantized = Knob("mu = 2 clip sqrt(dim) / sigma", 1.0, 1000.0), True

    def at(self, over: Contenders, bits: int, dim: int, knob: float) -> GaussianSpec:
        return GaussianSpec.of(bits, dim, CLIP, 2 * CLIP * math.sqrt(dim) / knob)

    def calibrated(self, over: Contenders, bits: int, dim: int, epsilon: float) -> Any:
        return calibrate_rival("gaussian", epsilon, DELTA, bits=bits, dim=dim, clip=CLIP)

    def knob_of(self, over: Contenders, spec: GaussianSpec, epsilon: float) -> float:
        return 2 * CLIP * math.sqrt(spec.dim) / spec.sigma

    def contender(self, over: Contenders, spec: GaussianSpec, knob: float) -> Contender:
        like = QuantizerSpec.from_mu(spec.bits, spec.dim, CLIP, _LOADED_AT)
        pair = load_projection(over.pair(spec.dim), over.table, like)
        return Contender(LinearlyRead(spec, pair, over.prior), knob, spec)


class _Metric:
    """Metric privacy on the embeddings themselves (Split-and-Denoise)."""

    knob, quantized = Knob("eta x diameter, nats", 10.0, 5e4), False

    def at(self, over: Contenders, bits: int, dim: int, knob: float) -> MetricSpec:
        return MetricSpec.of(METRIC_BITS, over.table.shape[1], over.radius, knob / (2 * over.radius))

    def calibrated(self, over: Contenders, bits: int, dim: int, epsilon: float) -> Any:
        width = over.table.shape[1]
        return calibrate_rival("metric", epsilon, DELTA, bits=METRIC_BITS, dim=width, radius=over.radius)

    def knob_of(self, over: Contenders, spec: MetricSpec, epsilon: float) -> float:
        return spec.eta * 2 * over.radius

    def contender(self, over: Contenders, spec: MetricSpec, knob: float) -> Contender:
        return Contender(Metric(spec, over.table, over.table, over.prior, "plain"), knob, spec)


class _RanText:
    """RANTEXT over the embeddings. Only the mechanism, with its points, says what it guarantees."""

    knob, quantized = Knob("claimed epsilon, nats", 0.05, 60.0), False

    def at(self, over: Contenders, bits: int, dim: int, knob: float) -> RanTextSpec:
        return RanTextSpec.over(over.points, knob)

    def calibrated(self, over: Contenders, bits: int, dim: int, epsilon: float) -> Any:
        return calibrate_rival("rantext", epsilon, DELTA, points=over.points)

    def knob_of(self, over: Contenders, spec: RanTextSpec, epsilon: float) -> float:
        return spec.epsilon

    def contender(self, over: Contenders, spec: RanTextSpec, knob: float) -> Contender:
        mechanism = RanText(spec, over.points, over.table)
        return Contender(mechanism, knob, mechanism)


class _RandomizedResponse:
    """Randomised response, whose knob is the epsilon itself."""

    knob, quantized = Knob("epsilon, nats", 0.1, 40.0), False

    def at(self, over: Contenders, bits: int, dim: int, knob: float) -> Any:
        return calibrate_rival("randomized response", knob, DELTA, words=len(over.table))

    def calibrated(self, over: Contenders, bits: int, dim: int, epsilon: float) -> Any:
        return self.at(over, bits, dim, epsilon)

    def knob_of(self, over: Contenders, spec: Any, epsilon: float) -> float:
        return epsilon

    def contender(self, over: Contenders, spec: Any, knob: float) -> Contender:
        return Contender(RandomizedResponse(spec, over.table, over.prior, "plain"), knob, spec)


class _SubsetSelection(_RandomizedResponse):
    """Sets of words, read by the posterior: no word is released."""

    def at(self, over: Contenders, bits: int, dim: int, knob: float) -> Any:
        return calibrate_rival("subset selection", knob, DELTA, words=len(over.table))

    def contender(self, over: Contenders, spec: Any, knob: float) -> Contender:
        return Contender(SubsetSelection(spec, over.table, over.prior), knob, spec)


class _ProjectiveGeometry(_RandomizedResponse):
    """Points of the space that carries most about a word at the epsilon, read by the posterior."""

    def at(self, over: Contenders, bits: int, dim: int, knob: float) -> Any:
        return calibrate_rival("projective geometry", knob, DELTA, words=len(over.table))

    def contender(self, over: Contenders, spec: Any, knob: float) -> Contender:
        return Contender(ProjectiveGeometry(spec, over.table, over.prior), knob, spec)


class _CoarseWords(_RandomizedResponse):
    """Projective geometry response behind public clusters of the embeddings, read by the posterior over words."""

    def at(self, over: Contenders, bits: int, dim: int, knob: float) -> Any:
        return calibrate_rival("coarse words", knob, DELTA, symbols=over.symbols)

    def contender(self, over: Contenders, spec: Any, knob: float) -> Contender:
        return Contender(CoarseWords(spec, over.symbols, over.table, over.prior), knob, spec)


CONTENDERS: Final[dict[MechanismName, ContenderKind]] = {
    "del": _Del(),
    "gaussian": _Gaussian(),
    "metric": _Metric(),
    "rantext": _RanText(),
    "randomized response": _RandomizedResponse(),
    "subset selection": _SubsetSelection(),
    "projective geometry": _ProjectiveGeometry(),
    "coarse words": _CoarseWords(),
}
"""How each mechanism of the tables is made, under its key of mechanisms.registry."""


def contender_kind(kind: MechanismName) -> ContenderKind:
    """Returns how a mechanism is made; raises UserError for one that the tables do not have."""
    if kind not in CONTENDERS:
        raise UserError(f"Expected a mechanism among {', '.join(CONTENDERS)}, got {kind!r}.")
    return CONTENDERS[kind]


def hits(
    over: Contenders,
    attack: InversionAttack,
    contender: Contender,
    tokens: NDArray[np.int64],
    seed: int,
    purpose: str,
) -> int:
    """Returns how many of the tokens an attack guesses from one release of them; raises UserError as its fit does.

    purpose: the same one draws the same words at every value of the knob, another one draws fresh ones.
    """
    mechanism = contender.mechanism
    message = mechanism.release(tokens.tolist(), SimulatedRandomness(seed, "reproduce", purpose))
    guesses = attack.fit(AttackerKnowledge(mechanism, over.table, over.prior)).guess([message])[0]
    return int((guesses.best == tokens).sum())
