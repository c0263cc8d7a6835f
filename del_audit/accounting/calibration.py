"""The inverse of accounting: the smallest scale proved to meet a target, and the fewest bits worth sending."""

import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Self

from del_audit.accounting.accountant import Accountant, Unit, _number, check_unit
from del_audit.accounting.computed import ComputedTradeOff
from del_audit.accounting.rigorous import ProvedTradeOff
from del_audit.accounting.risk import success_bound
from del_audit.accounting.trade_off import TradeOff
from del_audit.statistics.bound import Bound
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.spec import MAX_BITS, WORD_BITS, QuantizerSpec

TargetKind = Literal["epsilon", "delta", "total_variation", "attack_success"]

_CONDITIONS: dict[TargetKind, str | None] = {
    "epsilon": "delta",
    "delta": "epsilon",
    "total_variation": None,
    "attack_success": "kappa",
}
_CERTAIN = 1 << WORD_BITS
_EVEN = _CERTAIN // 2


@dataclass(frozen=True, slots=True)
class Target:
    """One figure of the guarantee, for one unit, that must be at most `value`. Make it by the method of its name.

    kind: which figure. value: the most that it may be. at: the delta, epsilon or kappa at which it is asked; None for
    the total variation. unit, tokens: as of `Accountant`; tokens may be left out for unit=token only, and is then 1.
    Raises UserError for values out of range.

    >>> Target.epsilon(8.0, delta=1e-6, unit="prompt", tokens=64).to_dict()
    {'kind': 'epsilon', 'value': 8.0, 'delta': 1e-06, 'unit': 'prompt', 'tokens': 64}
    """

    kind: TargetKind
    value: float
    at: float | None = None
    unit: Unit = "token"
    tokens: int | None = None

    def __post_init__(self) -> None:
        """Raises UserError for values out of range."""
        if self.kind not in _CONDITIONS:
            raise UserError(f"Expected kind to be one of {', '.join(_CONDITIONS)}, got kind={self.kind!r}.")
        condition = _CONDITIONS[self.kind]
        if condition is None and self.at is not None:
            raise UserError(f"Expected at=None for kind={self.kind}, got at={self.at!r}.")
        if condition is not None:
            object.__setattr__(self, "at", _number(condition, self.at))  # type: ignore[arg-type]
        object.__setattr__(self, "value", _number(self.kind, self.value))
        object.__setattr__(self, "tokens", check_unit(self.unit, self.tokens))
        match self.kind:
            case "epsilon":
                _check("epsilon", self.value, 0 <= self.value < math.inf, "to be a finite number >= 0")
                _check("delta", self.at, 0 < self._at < 1, "in (0, 1)")
            case "delta":
                _check("delta", self.value, 0 <= self.value < 1, "in [0, 1)")
                _check("epsilon", self.at, 0 <= self._at < math.inf, "to be a finite number >= 0")
            case "total_variation":
                _check("total_variation", self.value, 0 < self.value < 1, "in (0, 1)")
            case "attack_success":
                _check("kappa", self.at, 0 < self._at < 1, "in (0, 1)")
                allowed = f"in ({self.at}, 1), above kappa, which a guess without the release reaches"
                _check("attack_success", self.value, self._at < self.value < 1, allowed)

    @classmethod
    def epsilon(cls, value: float, delta: float = 1e-5, unit: Unit = "token", tokens: int | None = None) -> Self:
        """Returns the target that epsilon (nats) at delta is at most value, >= 0, for delta in (0, 1)."""
        return cls("epsilon", value, delta, unit, tokens)

    @classmethod
    def delta(cls, value: float, epsilon: float, unit: Unit = "token", tokens: int | None = None) -> Self:
        """Returns the target that delta at epsilon (nats, >= 0) is at most value, in [0, 1); 0 is pure epsilon."""
        return cls("delta", value, epsilon, unit, tokens)

    @classmethod
    def total_variation(cls, value: float, unit: Unit = "token", tokens: int | None = None) -> Self:
        """Returns the target that no distinguisher has an advantage above value, in (0, 1)."""
        return cls("total_variation", value, None, unit, tokens)

    @classmethod
    def attack_success(cls, value: float, kappa: float, unit: Unit = "token", tokens: int | None = None) -> Self:
        """Returns the target `inversion_bound` at kappa <= value: 0 < kappa < value < 1. Theorem 6."""
        return cls("attack_success", value, kappa, unit, tokens)

    def of(self, spec: QuantizerSpec, proved: bool = True) -> Bound:
        """Returns what the spec achieves of this figure; raises UserError where the trials exceed 10^10."""
        return self.of_threshold(spec.threshold_high, self.trials(spec), proved)

    def to_dict(self) -> dict[str, Json]:
        """Returns kind, value, the delta, epsilon or kappa under its name if there is one, unit and tokens."""
        condition = _CONDITIONS[self.kind]
        return {
            "kind": self.kind,
            "value": self.value,
            **({} if condition is None else {condition: self.at}),
            "unit": self.unit,
            "tokens": self.tokens,
        }

    @property
    def _at(self) -> float:
        return math.nan if self.at is None else self.at

    def trials(self, spec: QuantizerSpec) -> int:
        """Returns N of the unit; raises UserError where the trials exceed 10^10."""
        return Accountant(spec).trials(self.unit, self.tokens)

    def of_threshold(self, threshold: int, trials: int, proved: bool) -> Bound:
        """Returns the figure of that many trials whose success probability is at most threshold / 2^32."""
        curve: ProvedTradeOff | ComputedTradeOff
        of_centre = self.kind == "attack_success"
        if proved:
            pair = ProvedTradeOff.of_centre if of_centre else ProvedTradeOff.of_vertices
            curve = pair(trials, Fraction(threshold, _CERTAIN))
        else:
            fast = TradeOff.of_centre if of_centre else TradeOff.of_vertices
            curve = ComputedTradeOff(fast(trials, (threshold - _EVEN) / _CERTAIN))
        match self.kind:
            case "epsilon":
                return curve.epsilon(self._at)
            case "delta":
                return curve.delta(self._at)
            case "total_variation":
                return curve.total_variation
            case "attack_success":
                return success_bound(curve, self._at)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The spec of smallest scale whose proved figure meets the target.

    achieved: the figure of this spec; its upper end is at most target.value. beyond: the figure one threshold higher,
    whose upper end is above target.value; None where every scale above the clip meets the target.
    """

    spec: QuantizerSpec
    target: Target
    achieved: Bound
    beyond: Bound | None

    @property
    def is_least(self) -> bool:
        """Whether every smaller scale is proved to miss the target; otherwise the next may meet it, unproved."""
        return self.beyond is None or self.beyond.lower > self.target.value

    @property
    def bytes_a_token(self) -> int:
        """Whole bytes that hold the counts of one token."""
        return (self.spec.token_bits + 7) // 8

    @property
    def variance(self) -> float:
        """Variance of one coordinate at the centre, decoded without bias, in units of clip^2: (scale / clip)^2 / u.

        The decoder is scale (2 count / u - 1). A coordinate v has (scale^2 - v^2) / u, so the centre has the most.
        """
        return (self.spec.scale / self.spec.clip) ** 2 / self.spec.trials

    def to_dict(self) -> dict[str, Json]:
        """Returns the contract of `del-audit calibrate --json`: spec, target, achieved."""
        return {"spec": self.spec.to_dict(), "target": self.target.to_dict(), "achieved": self.achieved.to_dict()}


@dataclass(frozen=True, slots=True)
class BitsChoice:
    """The fewest bits that are worth sending: `chosen`, among `table`, one calibration for each admissible bits."""

    chosen: Calibration
    table: tuple[Calibration, ...]

    def loss(self, row: Calibration) -> float:
        """Returns by how much the row's variance is above the table's least, relative to it."""
        return row.variance / min(other.variance for other in self.table) - 1

    def to_dict(self) -> dict[str, Json]:
        """Returns the chosen calibration's contract, then `table`: bits, bytes_a_token, scale, variance, loss."""
        rows = [
            {
                "bits": row.spec.bits,
                "bytes_a_token": row.bytes_a_token,
                "scale": row.spec.scale,
                "variance": row.variance,
                "loss": self.loss(row),
            }
            for row in self.table
        ]
        return {**self.chosen.to_dict(), "table": rows}


def calibrate(bits: int, dim: int, clip: float, target: Target) -> Calibration:
    """Returns the smallest scale whose proved figure is at most the target's value, to the last digit.

    The guarantee depends on the scale through the integer threshold t+ = round(2^32 p+) alone (theorem 3), so each
    figure is a step function of the scale, and falls with it. First t+, the largest whose proved upper end meets the
    target while that of t+ + 1 does not; then the smallest float scale with that threshold: the float below it has a
    larger one. Against the scale that would solve the equation for p+ without rounding, this one is off by at most half
    a step, 2^-32 scale / clip relative.

    Raises UserError for arguments out of range, where even t+ = 2^31 + 1, the noisiest release that is not pure noise,
    misses the target, and where python-flint is not installed.

    >>> found = calibrate(bits=4, dim=18, clip=1.0, target=Target.epsilon(10, delta=1e-5))
    >>> found.spec.scale, found.achieved.upper <= 10 < found.beyond.lower
    (16.32479267269915, True)
    """
    noisiest = QuantizerSpec(bits, dim, clip, sys.float_info.max)
    threshold, beyond = _largest_threshold(target, target.trials(noisiest))
    if noisiest.threshold_high > threshold:
        raise UserError(f"Expected a clip whose scale is a finite number, got clip={clip}: choose a smaller unit.")
    spec = QuantizerSpec(bits, dim, clip, _smallest_scale(noisiest, threshold))
    return Calibration(spec, target, target.of(spec), beyond)


def smallest_bits(dim: int, clip: float, target: Target, bytes_a_token: int, loss: float = 0.05) -> BitsChoice:
    """Returns the fewest bits whose noise, at the same guarantee, is within `loss` of the best that the bytes allow.

    Bits 1 to 8 are admissible where a token's counts fit into bytes_a_token, whole bytes >= dim / 8, and the target
    can be met. loss: relative, >= 0, of `Calibration.variance`.

    More bits at the same guarantee buy little: they split the same information into more trials, each noisier. At
    equal mu, scale^2 = clip^2 (1 + 4 u d / mu^2), so the variance is clip^2 (4 d / mu^2 + 1 / u). Only the second term
    falls with the bits: more of them save at most clip^2 / u, a share of mu^2 / (4 u d) of the first. The exact
    guarantee is not a function of mu alone. It departs from this in both directions, most where delta is small or
    trials are few, and there the fewest bits often have the least noise. So each admissible bits is calibrated on its
    own, and `table` shows what was found.

    Raises UserError for arguments out of range, and where no admissible bits meets the target.
    """
    least = (QuantizerSpec(1, dim, clip, sys.float_info.max).token_bits + 7) // 8
    if isinstance(bytes_a_token, bool) or not isinstance(bytes_a_token, int) or bytes_a_token < least:
        raise UserError(
            f"Expected bytes_a_token to be a whole number >= {least} for dim={dim}, "
            f"got bytes_a_token={bytes_a_token!r}."
        )
    loss = _number("loss", loss)
    _check("loss", loss, 0 <= loss < math.inf, "to be a finite number >= 0")
    table: list[Calibration] = []
    for bits in range(1, min(MAX_BITS, 8 * bytes_a_token // dim) + 1):
        try:
            table.append(calibrate(bits, dim, clip, target))
        except UserError:
            if not table:
                raise
            break  # more bits are more trials: they miss the target too
    limit = (1 + loss) * min(row.variance for row in table)
    return BitsChoice(next(row for row in table if row.variance <= limit), tuple(table))


def render(found: Calibration | BitsChoice) -> str:
    """Returns lines of text for a terminal: the spec, the target, what is proved of it, and the table of bits."""
    if isinstance(found, BitsChoice):
        rows = [
            f"{row.spec.bits:>4}  {row.bytes_a_token:>5}  {row.spec.scale!r:<24}{row.variance:<12.6g}"
            f"{found.loss(row):.2%}"
            f"{'  chosen' * (row is found.chosen)}"
            for row in found.table
        ]
        heading = "bits  bytes  scale                   variance    above the least"
        note = "variance: of one decoded coordinate at the centre, in units of clip^2, at the same guarantee."
        return "\n".join([render(found.chosen), "", heading, "-" * len(heading), *rows, note])
    spec, target = found.spec, found.target
    condition = _CONDITIONS[target.kind]
    where = "" if condition is None else f" at {condition}={target.at!r}" + " nats" * (condition == "epsilon")
    nats = " nats" * (target.kind == "epsilon")
    name = target.kind.replace("_", " ")
    if found.beyond is None:
        least = "Every scale above the clip meets the target: this is the smallest that 32-bit words allow."
    elif found.is_least:
        least = f"Every smaller scale is proved to miss the target: {found.beyond.lower!r}{nats} or more."
    else:
        least = "The next smaller scale is proved neither to meet nor to miss the target: the safe side was taken."
    return "\n".join(
        [
            f"Quantizer  bits={spec.bits} dim={spec.dim} clip={spec.clip!r} scale={spec.scale!r}",
            f"           {found.bytes_a_token} bytes a token, mu={spec.mu:.6g} (asymptotic, no bound)",
            f"Target     {name}{where} <= {target.value!r}{nats}",
            f"Unit       {target.unit}, tokens={target.tokens}, {target.trials(spec):,} trials",
            f"Achieved   {name} <= {found.achieved.upper!r}{nats} ({found.achieved.kind})",
            least,
        ]
    )


def _largest_threshold(target: Target, trials: int) -> tuple[int, Bound | None]:
    """Returns the largest threshold whose proved upper end meets the target, and the figure of the next, if any.

    Proofs are sought first where the figures in floats cross the target, then at growing distance from there.
    """
    low, high, beyond = _EVEN, _CERTAIN, None
    probe, stride = _crossing(target, trials), 1
    while high - low > 1:
        bound = target.of_threshold(probe, trials, proved=True)
        if bound.upper <= target.value:
            low, probe = probe, probe + stride
        else:
            high, beyond, probe = probe, bound, probe - stride
        if not low < probe < high:
            probe = (low + high) // 2
        stride *= 4
    if low == _EVEN and beyond is not None:
        at = "" if target.at is None else f" at {_CONDITIONS[target.kind]}={target.at!r}"
        raise UserError(
            f"Expected {target.kind} >= {beyond.upper!r}{at}, that of the noisiest release of {trials} trials that "
            f"is not pure noise, got {target.kind}={target.value!r}."
        )
    return low, beyond


def _crossing(target: Target, trials: int) -> int:
    """Returns about the largest threshold in (2^31, 2^32) that meets the target, by figures in floats."""
    low, high = _EVEN, _CERTAIN
    while high - low > 1:
        middle = (low + high) // 2
        met = target.of_threshold(middle, trials, proved=False).estimate <= target.value
        low, high = (middle, high) if met else (low, middle)
    return max(low, _EVEN + 1)


def _smallest_scale(noisiest: QuantizerSpec, threshold: int) -> float:
    """Returns the smallest float scale whose spec is valid and has at most that threshold; noisiest: one that has."""

    def holds(scale: float) -> bool:
        try:
            return QuantizerSpec(noisiest.bits, noisiest.dim, noisiest.clip, scale).threshold_high <= threshold
        except UserError:  # so near the clip that a trial would be certain
            return False

    low, high = noisiest.clip, min(noisiest.clip * _CERTAIN, noisiest.scale)
    while low < (middle := low + (high - low) / 2) < high:
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _check(name: str, value: float | None, holds: bool, allowed: str) -> None:
    if not holds:
        raise UserError(f"Expected {name} {allowed}, got {name}={value}.")
