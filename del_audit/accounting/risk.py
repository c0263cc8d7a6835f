"""What a guarantee says about attacks on a token, on membership and on attributes (docs/theory.md, 6 and 17)."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from del_audit.accounting.accountant import Accountant, Unit, _number
from del_audit.statistics.bound import Bound
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec
from mechanisms.validation import whole_at_least


class Curve(Protocol):
    """Any trade-off curve: ComputedTradeOff, ProvedTradeOff or Composition."""

    def power(self, alpha: float) -> Bound:
        """Returns the success of the best test at type I error alpha."""

    @property
    def total_variation(self) -> Bound:
        """The best advantage of any test."""


def prior_peak(prior: ArrayLike, guesses: int = 1) -> float:
    """Returns kappa: the sum of the `guesses` largest of the prior's probabilities, array (secrets,), at most 1.

    Raises UserError unless the prior is non-negative, adds up to 1 within 1e-6, and guesses >= 1.

    >>> prior_peak([0.5, 0.3, 0.2], guesses=2)
    0.8
    """
    masses = np.asarray(prior, dtype=np.float64)
    if masses.ndim != 1 or not masses.size or not (np.isfinite(masses) & (masses >= 0)).all():
        raise UserError(f"Expected prior to be a list of probabilities >= 0, got prior={prior!r}.")
    if abs(float(masses.sum()) - 1) > 1e-6:
        raise UserError(f"Expected prior to add up to 1, got a sum of {masses.sum():.9g}.")
    whole_at_least("guesses", guesses, 1)
    return min(1.0, float(np.sort(masses)[-guesses:].sum()))


def success_bound(curve: Curve, kappa: float) -> Bound:
    """Returns the most that an attacker with a prior succeeds, in [kappa, 1]: the curve's power at level kappa.

    curve: of a reference law against the release of each possible secret, or one below it. kappa: in (0, 1], the
    prior_peak.
    """
    kappa = _number("kappa", kappa)
    if not 0 < kappa <= 1:
        raise UserError(f"Expected kappa in (0, 1], got kappa={kappa}.")
    power = curve.power(kappa)
    lower, estimate, upper = (min(1.0, max(kappa, end)) for end in (power.lower, power.estimate, power.upper))
    return Bound(lower, estimate, upper, power.kind)


def inversion_bound(spec: QuantizerSpec, kappa: float, tokens: int = 1, proved: bool = False) -> Bound:
    """Returns a bound on the success probability of any guess at what was sent, in [kappa, 1]. Theorem 6.

    kappa: the sum of the m largest prior probabilities, for an attacker who names m guesses; in (0, 1]. tokens: how
    many tokens the secret spans (the prior is then over their tuples). The bound is the power, at level kappa, of the
    best test of the cube's centre against a vertex.

    It holds for attackers who know of THIS secret only its prior, besides the release. One who also knows the
    neighbouring words has a prior in context: kappa must then be the average of the prior's peak in context, which is
    unknown; measure that attack instead. A lower confidence limit of a prior-only attack above this bound proves a
    defect of the implementation. Raises UserError for kappa or tokens out of range.
    """
    return success_bound(Accountant(spec, proved=proved).centre_figures(_unit(tokens), tokens), kappa)


def membership_advantage(curve: Curve) -> Bound:
    """Returns the most by which true positives exceed false ones, whichever of two inputs was sent, in [0, 1]."""
    return curve.total_variation


def attribute_advantage(spec: QuantizerSpec, tokens: int, prior: Sequence[float], proved: bool = False) -> Bound:
    """Returns the most of the way from guessing to certainty that any attacker gets on an attribute, in [0, 1].

    tokens: how many tokens of the prompt the attribute changes at most, everything else equal and known. prior: of
    its values, adding up to 1. (success - kappa) / (1 - kappa), for kappa the largest of the prior: 0 is a guess. For
    two equally likely values it is the total variation. Theorem 17. Raises UserError for tokens or prior out of range,
    or a prior that leaves nothing to guess.
    """
    kappa = prior_peak(prior)
    if kappa >= 1:
        raise UserError(f"Expected prior to leave something to guess, got a largest probability of {kappa}.")
    accountant, unit = Accountant(spec, proved=proved), _unit(tokens)
    if len(prior) == 2:
        odds = math.log(kappa / (1 - kappa))
        return accountant.delta(max(0.0, odds - 1e-14 * (1 + odds)), unit, tokens)  # from the safe side: delta falls
    success = success_bound(accountant.centre_figures(unit, tokens), kappa)
    lower, estimate, upper = ((end - kappa) / (1 - kappa) for end in (success.lower, success.estimate, success.upper))
    return Bound(max(0.0, lower * (1 - 1e-15)), estimate, min(1.0, upper * (1 + 1e-15)), success.kind)


def _unit(tokens: int) -> Unit:
    return "token" if tokens == 1 else "phrase"
