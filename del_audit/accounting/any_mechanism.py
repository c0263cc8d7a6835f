"""The guarantee of any mechanism that has a proved one: DEL's quantizer, and mechanisms with three losses a token."""

from dataclasses import dataclass
from typing import Protocol, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.accounting.accountant import Accountant, Guarantee, Unit, adjacency, check_unit, guarantee
from del_audit.accounting.gaussian_limit import GaussianLimit
from del_audit.accounting.risk import inversion_bound
from del_audit.accounting.rivals.guarantee import rival_guarantee
from del_audit.accounting.rivals.three_losses import ThreeLosses, response_success_bound
from del_audit.statistics.bound import Bound
from mechanisms.errors import UserError
from mechanisms.rivals._supports import SupportSpec
from mechanisms.spec import QuantizerSpec

Floats = NDArray[np.float64]
Proved = QuantizerSpec | SupportSpec
"""Descriptions whose guarantee is proved from the description alone."""
MOST_TOKENS = 1_000
"""Tokens, each counted as often as it is sent, whose trade-off curve is made for mechanisms with three losses."""


@dataclass(frozen=True, slots=True)
class UnitFigures:
    """What a mechanism guarantees for one unit, proved; fields as of Guarantee.

    trials, gaussian_limit: of DEL's quantizer; None for other mechanisms, which have neither.
    """

    spec: Proved
    unit: Unit
    tokens: int
    sends: int
    adjacency: str
    delta: float
    epsilon: Bound
    pure_epsilon: Bound
    total_variation: Bound
    trials: int | None = None
    gaussian_limit: GaussianLimit | None = None


def has_proof(spec: object) -> TypeGuard[Proved]:
    """Returns whether the guarantee of a mechanism is proved from its description alone."""
    return isinstance(spec, QuantizerSpec | SupportSpec)


def proved_guarantee(
    spec: Proved, unit: Unit = "token", tokens: int | None = None, delta: float = 1e-5, sends: int = 1
) -> UnitFigures:
    """Returns the proved figures of one unit; arguments and errors as of Accountant and rival_guarantee.

    With three losses a token, as many tokens as are sent are one composition: beyond 65,536 it is computed, and the
    kind of each bound says so.
    """
    if isinstance(spec, QuantizerSpec):
        return _of_quantizer(guarantee(spec, unit, tokens, delta, proved=True, sends=sends))
    tokens = check_unit(unit, tokens, sends)
    together = tokens * sends
    found = rival_guarantee(spec, delta, "token" if together == 1 else "phrase", together, proved=True)
    between = adjacency(unit, tokens, sends)
    return UnitFigures(
        spec, unit, tokens, sends, between, delta, found.epsilon, found.pure_epsilon, found.total_variation
    )


def _of_quantizer(found: Guarantee) -> UnitFigures:
    return UnitFigures(
        found.spec,
        found.unit,
        found.tokens,
        found.sends,
        found.adjacency,
        found.delta,
        found.epsilon,
        found.pure_epsilon,
        found.total_variation,
        found.trials,
        found.gaussian_limit,
    )


def guess_bound(spec: Proved, kappa: float, sends: int = 1) -> Bound:
    """Returns the most that an attacker with a prior recovers of a token sent so often, in [kappa, 1], proved.

    kappa: the largest probability of a word. Theorems 6 and 24; raises UserError for kappa or sends out of range.
    """
    if isinstance(spec, QuantizerSpec):
        return inversion_bound(spec, kappa, sends, proved=True)
    return response_success_bound(spec, kappa, sends, proved=True)


class ErrorCurve(Protocol):
    """A trade-off curve."""

    def beta(self, alpha: ArrayLike) -> Floats | float:
        """Returns the best test's error of the second kind at each error of the first, in [0, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class StraightBetween:
    """A trade-off curve by its corners, alpha rising: straight between them."""

    corners: tuple[Floats, Floats]

    def beta(self, alpha: ArrayLike) -> Floats:
        """Returns the best test's error of the second kind at each error of the first, in [0, 1]."""
        return np.interp(np.asarray(alpha, dtype=np.float64), *self.corners)


def trade_off_of(spec: Proved, tokens: int = 1) -> ErrorCurve:
    """Returns the trade-off curve of inputs that differ in so many tokens, each counted as often as it is sent.

    Raises UserError for more than MOST_TOKENS tokens of a mechanism with three losses, and as Accountant does.
    """
    if isinstance(spec, QuantizerSpec):
        return Accountant(spec).trade_off("phrase", tokens)
    if tokens > MOST_TOKENS:
        raise UserError(f"Expected tokens times sends in 1..{MOST_TOKENS} for a curve of {spec.kind}, got {tokens}.")
    return StraightBetween(ThreeLosses.of(spec).corners(tokens))


def token_trade_off(spec: Proved, alpha: NDArray[np.float64], sends: int = 1) -> NDArray[np.float64]:
    """Returns the best test's error of the second kind at each error of the first, for one token sent so often.

    alpha: in [0, 1], shape (points,). Between the two words that are told apart best. Raises UserError as trade_off_of.
    """
    return np.asarray(trade_off_of(spec, sends).beta(alpha))
