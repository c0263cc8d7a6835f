"""What `del-audit curve` shows: exact curves of several releases, beside the paper's limit and theorem."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from del_audit.accounting import UNITS, Accountant, Bound, GaussianLimit, TradeOff, Unit
from del_audit.accounting.accountant import check_unit, count
from del_audit.accounting.gaussian_limit import _log_gaussian_delta
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

MAX_RELEASES = 6
"""As many colours as colour-blind readers tell apart."""

SMALLEST_DELTA = 1e-300
BOTTOM = 1e-12
"""The least delta that is drawn, unless a smaller one is asked for."""

_KEYS = {"bits": int, "dim": int, "clip": float, "mu": float, "scale": float, "unit": str, "tokens": int, "name": str}
_ALPHA_STEPS, _EPSILON_STEPS = 400, 480
_ALL_CORNERS = 10_000  # trials up to which the polygon is drawn corner by corner
_ROUNDING = 1e-12  # relative error of beta, as in accounting.risk; of exp it is far less
_POSITIVE = math.ulp(0)  # a delta too small for a float is not 0
_SQUEEZED = 10.0  # ratio of the curves' ends

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Release:
    """What one curve is about: a quantizer for a unit of so many tokens, and the name in the legend."""

    spec: QuantizerSpec
    unit: Unit
    tokens: int
    name: str

    @property
    def unit_text(self) -> str:
        """The unit and its number of tokens, which stand beside every epsilon."""
        return "one token" if self.unit == "token" else f"{self.unit}, {count(self.tokens)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the release that `KEY=VALUE,KEY=VALUE,...` describes.

        Keys: bits, dim, clip, one of mu and scale, unit where it is not token, then also tokens, and name where it is
        not to be made up from the rest. Raises UserError for an item that is malformed, unknown, repeated, missing or
        out of range.

        >>> Release.parse("bits=4,dim=18,clip=1,mu=2,unit=prompt,tokens=64").name
        '4 bits, d = 18, μ = 2, prompt of 64 tokens'
        """
        given = _items(text)
        missing = [key for key in ("bits", "dim", "clip") if key not in given]
        if missing:
            raise UserError(f"Expected --spec with bits, dim and clip, got no {' and no '.join(missing)} in {text!r}.")
        if ("mu" in given) == ("scale" in given):
            got = "both" if "mu" in given else "neither"
            raise UserError(f"Expected --spec with exactly one of mu and scale, got {got} in {text!r}.")
        unit, tokens, name = (
            given.pop(key, default) for key, default in (("unit", "token"), ("tokens", None), ("name", ""))
        )
        if tokens is None and unit in UNITS[1:]:
            raise UserError(
                f"Expected --spec with tokens, a whole number >= 1, for unit={unit}, got none in {text!r}: add "
                f"tokens=16 for a {unit} of 16 tokens."
            )
        spec = QuantizerSpec.from_mu(**given) if "mu" in given else QuantizerSpec(**given)
        tokens = check_unit(unit, tokens)
        Accountant(spec).trials(unit, tokens)
        knob = f"μ = {given['mu']:.10g}" if "mu" in given else f"scale = {given['scale']:.10g}"
        of = "" if unit == "token" else f", {unit} of {count(tokens)}"
        return cls(
            spec, unit, tokens, name or f"{spec.bits} bit{'s' if spec.bits > 1 else ''}, d = {spec.dim}, {knob}{of}"
        )


@dataclass(frozen=True, eq=False)
class Curves:
    """Every curve of one release, on the grids of its picture.

    trials: N. epsilon: exact, in nats, at the picture's delta. corners: (alpha, beta) of the exact trade-off function,
    alpha falling from 1 to 0; every corner for up to 10,000 trials, else points even in the normal quantile of alpha.
    beta, delta: exact, rounded to the safe side. limit_beta, limit_delta: mu-GDP without gamma, asymptotic, no bound.
    band: the lower and upper end that Theorem 4.2 leaves to beta; theorem_delta: what it certifies. Both are None
    where it certifies nothing, whatever delta.
    """

    release: Release
    trials: int
    epsilon: Bound
    limit: GaussianLimit
    corners: tuple[Floats, Floats]
    beta: Floats
    limit_beta: Floats
    band: tuple[Floats, Floats] | None
    delta: Floats
    limit_delta: Floats
    theorem_delta: Floats | None


@dataclass(frozen=True, eq=False)
class Picture:
    """The curves of one to six releases over common grids, ready to be drawn.

    delta: where epsilon is marked. alpha: from 0 to 1, even. epsilon: from 0 (nats), even or, where the curves end far
    from each other, even in its `square_root`. bottom: the least delta that is drawn.
    """

    delta: float
    bottom: float
    square_root: bool
    alpha: Floats
    epsilon: Floats
    curves: tuple[Curves, ...]

    @classmethod
    def of(cls, releases: Sequence[Release], delta: float = 1e-5) -> Self:
        """Returns the picture; epsilon goes to where the last exact delta falls below the bottom.

        Raises UserError for more than six releases or none, for two of one name, and for delta outside [1e-300, 1).
        """
        if not 1 <= len(releases) <= MAX_RELEASES:
            raise UserError(f"Expected 1 to {MAX_RELEASES} --spec, got {len(releases)}.")
        names = [release.name for release in releases]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"Expected every --spec to have its own name, got {name!r} twice: give one a name=.")
        if not SMALLEST_DELTA <= delta < 1:
            raise UserError(f"Expected delta in [{SMALLEST_DELTA:g}, 1), got delta={delta}.")
        bottom = min(BOTTOM, delta / 100)
        ends = [_last_epsilon(release, delta, bottom) for release in releases]
        last = 1.03 * max(ends) or 1.0
        square_root = last > _SQUEEZED * min(ends) > 0
        alpha = np.linspace(0, 1, _ALPHA_STEPS + 1)
        epsilon = last * np.linspace(0, 1, _EPSILON_STEPS + 1) ** (2 if square_root else 1)
        curves = tuple(_curves(release, delta, alpha, epsilon) for release in releases)
        return cls(delta, bottom, square_root, alpha, epsilon, curves)


def _items(text: str) -> dict[str, Any]:
    """Returns the items of --spec under their keys, converted."""
    given: dict[str, Any] = {}
    for item in text.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not (key and equals and value):
            raise UserError(f"Expected --spec to be KEY=VALUE,KEY=VALUE,..., got {item!r} in {text!r}.")
        if key not in _KEYS:
            raise UserError(f"Expected keys of --spec to be among {', '.join(_KEYS)}, got {key!r} in {text!r}.")
        if key in given:
            raise UserError(f"Expected every key of --spec once, got {key} twice in {text!r}.")
        try:
            given[key] = _KEYS[key](value)
        except ValueError:
            kind = "whole " if _KEYS[key] is int else ""
            raise UserError(f"Expected {key} to be a {kind}number, got {key}={value!r} in {text!r}.") from None
    return given


def _last_epsilon(release: Release, delta: float, bottom: float) -> float:
    """Returns the epsilon up to which a release's curves are worth drawing, in nats."""
    exact = Accountant(release.spec).trade_off(release.unit, release.tokens).epsilon(bottom)
    return max(float(exact), GaussianLimit.of(release.spec, release.tokens).epsilon_ignoring_gamma(delta))


def _curves(release: Release, delta: float, alpha: Floats, epsilon: Floats) -> Curves:
    accountant = Accountant(release.spec)
    trade_off = accountant.trade_off(release.unit, release.tokens)
    limit = GaussianLimit.of(release.spec, release.tokens)
    trials = accountant.trials(release.unit, release.tokens)
    vacuous = limit.smallest_certified_delta >= 1
    lower = np.maximum(0, _gaussian_beta(np.minimum(alpha + limit.gamma, 1), limit.mu) - limit.gamma)
    upper = np.minimum(1 - alpha, _gaussian_beta(np.maximum(alpha - limit.gamma, 0), limit.mu) + limit.gamma)
    log_delta = trade_off.enclose_log_delta(epsilon).upper
    return Curves(
        release=release,
        trials=trials,
        epsilon=accountant.epsilon(delta, release.unit, release.tokens),
        limit=limit,
        corners=trade_off.vertices() if trials <= _ALL_CORNERS else _dense(trade_off),
        beta=np.where(alpha > 0, trade_off.beta(alpha) * (1 - _ROUNDING), 1),
        limit_beta=_gaussian_beta(alpha, limit.mu),
        band=None if vacuous else (lower, upper),
        delta=np.where(np.isneginf(log_delta), 0, np.clip(np.exp(log_delta) * (1 + _ROUNDING), _POSITIVE, 1)),
        limit_delta=np.array([math.exp(_log_gaussian_delta(e, limit.mu)) for e in epsilon]),
        theorem_delta=None if vacuous else np.array([limit.delta_certified(e) for e in epsilon]),
    )


def _gaussian_beta(alpha: Floats, mu: float) -> Floats:
    """Returns G_mu(alpha) = Phi(Phi^-1(1 - alpha) - mu)."""
    beta: Floats = ndtr(-ndtri(alpha) - mu)
    return beta


def _dense(trade_off: TradeOff) -> tuple[Floats, Floats]:
    alpha = np.concatenate([[1.0], ndtr(np.linspace(8, -8, 1601)), [0.0]])
    return alpha, np.asarray(trade_off.beta(alpha))
