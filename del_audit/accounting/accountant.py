"""Every figure of the quantizer's guarantee, with its unit, its adjacency and its kind."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from del_audit.accounting.computed import ComputedTradeOff
from del_audit.accounting.gaussian_limit import GaussianLimit
from del_audit.accounting.log_tail import MAX_TRIALS
from del_audit.accounting.rigorous import ProvedTradeOff
from del_audit.accounting.trade_off import TradeOff
from del_audit.statistics.bound import Bound, Kind
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.spec import WORD_BITS, QuantizerSpec
from mechanisms.validation import at_least

Unit = Literal["token", "phrase", "prompt", "session"]
UNITS: tuple[Unit, ...] = get_args(Unit)

_ADJACENCY: dict[Unit, str] = {
    "token": "two prompts of equal length that differ in one token, each token sent {often}",
    "phrase": "two prompts of equal length that differ in at most {tokens}, each token sent {often}",
    "prompt": "any two prompts of {tokens}, {whole}sent {often}",
    "session": "any two sessions in which {tokens} {are} sent, {counted}",
}


@dataclass(frozen=True, slots=True)
class Accountant:
    """The exact guarantee of one quantizer, for every unit. Theorems 1 to 4.

    spec: the quantizer. exact_reals: account for p = (scale + clip) / (2 scale) itself instead of the integer
    threshold that is on the wire; for comparison with published figures only, never for a certificate. proved: bounds
    by ball arithmetic, which takes a hundred times as long and needs python-flint; a certificate quotes these.

    Every method takes `unit` (token, phrase, prompt or session), `tokens`, the number of tokens of that unit, and
    `sends`, how often each of them is sent with fresh noise. tokens may be left out for unit=token only, which is one.
    They raise UserError where these do not fit or where the trials exceed 10^10.

    >>> spec = QuantizerSpec.from_mu(bits=4, dim=18, clip=0.05, mu=2)
    >>> round(Accountant(spec).epsilon(delta=1e-5).estimate, 6)
    9.900066
    """

    spec: QuantizerSpec
    exact_reals: bool = False
    proved: bool = False

    def epsilon(self, delta: float = 1e-5, unit: Unit = "token", tokens: int | None = None, sends: int = 1) -> Bound:
        """Returns epsilon (nats) at delta, for delta in (0, 1)."""
        return self.figures(unit, tokens, sends).epsilon(_number("delta", delta))

    def delta(self, epsilon: float, unit: Unit = "token", tokens: int | None = None, sends: int = 1) -> Bound:
        """Returns delta at epsilon (nats, >= 0)."""
        return self.figures(unit, tokens, sends).delta(_number("epsilon", epsilon))

    def total_variation(self, unit: Unit = "token", tokens: int | None = None, sends: int = 1) -> Bound:
        """Returns the best advantage of any distinguisher, in [0, 1]."""
        return self.figures(unit, tokens, sends).total_variation

    def pure_epsilon(self, unit: Unit = "token", tokens: int | None = None, sends: int = 1) -> Bound:
        """Returns the epsilon (nats) that holds with delta = 0: the trials times the log-odds of one."""
        return self.figures(unit, tokens, sends).pure_epsilon

    def figures(
        self, unit: Unit = "token", tokens: int | None = None, sends: int = 1
    ) -> ComputedTradeOff | ProvedTradeOff:
        """Returns the curve of the worst pair, one figure at a time, each as a Bound."""
        if self.proved:
            return ProvedTradeOff.of_vertices(self.trials(unit, tokens, sends), self.success)
        return ComputedTradeOff(self.trade_off(unit, tokens, sends))

    def centre_figures(
        self, unit: Unit = "token", tokens: int | None = None, sends: int = 1
    ) -> ComputedTradeOff | ProvedTradeOff:
        """Returns the same of the cube's centre against a vertex, which bounds what can be guessed (theorem 6)."""
        trials = self.trials(unit, tokens, sends)
        if self.proved:
            return ProvedTradeOff.of_centre(trials, self.success)
        return ComputedTradeOff(TradeOff.of_centre(trials, *self.offset))

    def trade_off(self, unit: Unit = "token", tokens: int | None = None, sends: int = 1) -> TradeOff:
        """Returns the exact curve of the worst pair, array in and array out."""
        return TradeOff.of_vertices(self.trials(unit, tokens, sends), *self.offset)

    def trials(self, unit: Unit = "token", tokens: int | None = None, sends: int = 1) -> int:
        """Returns N, the trials that depend on the unit: tokens times sends times dim times 2^bits - 1. Theorem 14."""
        tokens = check_unit(unit, tokens, sends)
        trials = tokens * sends * self.spec.dim * self.spec.trials
        if trials > MAX_TRIALS:
            raise UserError(
                f"Expected at most {MAX_TRIALS} trials (tokens x sends x dim x (2^bits - 1)), got tokens={tokens} and "
                f"sends={sends} with dim={self.spec.dim} and bits={self.spec.bits}: {trials} trials. Account for fewer "
                "tokens or sends."
            )
        return trials

    @property
    def success(self) -> Fraction:
        """p+, the largest success probability of one trial; of integer thresholds unless exact_reals (theorem 3)."""
        if self.exact_reals:
            return Fraction(1, 2) + Fraction(self.spec.clip) / (2 * Fraction(self.spec.scale))
        return Fraction(self.spec.threshold_high, 1 << WORD_BITS)

    @property
    def offset(self) -> tuple[float, float]:
        """p+ - 1/2 of one trial as a float and its remainder."""
        exact = self.success - Fraction(1, 2)
        return float(exact), float(exact - Fraction(float(exact)))


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What a release of this spec guarantees for one unit: figures with their kinds, and between whom.

    adjacency: which two inputs nobody can tell apart better than this. sends: how often each token is sent with fresh
    noise. delta: the one that epsilon is quoted at. trials: N. gaussian_limit: the paper's theorem for the same unit
    and sends, for comparison.
    """

    spec: QuantizerSpec
    unit: Unit
    tokens: int
    trials: int
    adjacency: str
    delta: float
    epsilon: Bound
    pure_epsilon: Bound
    total_variation: Bound
    gaussian_limit: GaussianLimit
    sends: int = 1

    @property
    def kind(self) -> Kind:
        """How sure the figures are; the least sure of them."""
        return self.epsilon.kind

    def to_dict(self) -> dict[str, Json]:
        """Returns the contract of `del-audit account --json`, keys in its order."""
        limit = self.gaussian_limit
        return {
            "spec": self.spec.to_dict(),
            "unit": self.unit,
            "tokens": self.tokens,
            "sends": self.sends,
            "trials": self.trials,
            "delta": self.delta,
            "epsilon": self.epsilon.to_dict(),
            "pure_epsilon": self.pure_epsilon.estimate,
            "total_variation": self.total_variation.estimate,
            "gaussian_limit": {
                "mu": limit.mu,
                "gamma": limit.gamma,
                "epsilon_certified": limit.epsilon_certified(self.delta),
                "epsilon_ignoring_gamma": limit.epsilon_ignoring_gamma(self.delta),
            },
        }


def guarantee(
    spec: QuantizerSpec,
    unit: Unit = "token",
    tokens: int | None = None,
    delta: float = 1e-5,
    proved: bool = False,
    sends: int = 1,
) -> Guarantee:
    """Returns every figure for one unit; arguments and errors as of `Accountant`.

    >>> spec = QuantizerSpec.from_mu(bits=4, dim=18, clip=0.05, mu=2)
    >>> guarantee(spec, "prompt", tokens=16, sends=2).adjacency
    'any two prompts of 16 tokens, each token sent 2 times'
    """
    accountant = Accountant(spec, proved=proved)
    tokens = check_unit(unit, tokens, sends)
    figures = accountant.figures(unit, tokens, sends)
    return Guarantee(
        spec=spec,
        unit=unit,
        tokens=tokens,
        trials=accountant.trials(unit, tokens, sends),
        adjacency=adjacency(unit, tokens, sends),
        delta=delta,
        epsilon=figures.epsilon(_number("delta", delta)),
        pure_epsilon=figures.pure_epsilon,
        total_variation=figures.total_variation,
        gaussian_limit=GaussianLimit.of(spec, tokens, sends),
        sends=sends,
    )


def adjacency(unit: Unit, tokens: int, sends: int = 1) -> str:
    """Returns which two inputs a figure of that unit is about, in words; arguments as of `Accountant`."""
    resent = sends > 1
    return _ADJACENCY[unit].format(
        tokens=count(tokens),
        are="is" if tokens == 1 else "are",
        whole="each token " if resent else "",
        often=f"{sends} times" if resent else "once",
        counted=f"each token sent {sends} times" if resent else "resent ones counted each time",
    )


def count(tokens: int, noun: str = "token") -> str:
    """Returns the number with its noun.

    >>> count(1), count(16)
    ('1 token', '16 tokens')
    """
    return f"{tokens:,} {noun}{'' if tokens == 1 else 's'}"


def check_unit(unit: str, tokens: int | None, sends: int = 1) -> int:
    """Returns the number of tokens of the unit, 1 for a token where it is left out (None).

    Raises UserError for an unknown unit, a number of tokens that does not fit it or is missing, and sends < 1.
    """
    if unit not in UNITS:
        raise UserError(f"Expected unit to be one of {', '.join(UNITS)}, got unit={unit!r}.")
    if tokens is None and unit != "token":
        raise UserError(
            f"Expected tokens, a whole number >= 1, with unit={unit}, got none: pass tokens=16 for a {unit} of "
            "16 tokens."
        )
    tokens = 1 if tokens is None else tokens
    for name, value in (("tokens", tokens), ("sends", sends)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise UserError(f"Expected {name} to be a whole number, got {name}={value!r}.")
        at_least(name, value, 1)
    if unit == "token" and tokens != 1:
        raise UserError(f"Expected tokens=1 for unit=token, got tokens={tokens}: phrase, prompt and session take more.")
    return tokens


def _number(name: str, value: float) -> float:
    """Returns the value as a float; raises UserError for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"Expected {name} to be a number, got {name}={value!r}.")
    return float(value)
