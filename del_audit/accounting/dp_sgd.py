"""The guarantee of a soft prompt that was trained with DP-SGD, which is another one than the query's.

The query's guarantee is about one who sends tokens, this one about one whose text was trained on. Neither says anything
of the other's neighbours, so the two stand side by side and nothing here adds them up (docs/theory.md, theorem 11).
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, ClassVar

from del_audit.accounting.composition import Composition
from del_audit.accounting.other_mechanisms import DIRECTIONS, DpSgd
from del_audit.statistics.bound import Bound
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

_AGREEMENT = 0.01  # relative
_FINEST = 0.002  # nats, below which Opacus's grid is not made finer
_LEAST_DELTA = 1e-10  # below, rounding inside both accountants is no longer small beside delta
_POINTS = 1 << 18
_MOST_CELLS = 1 << 21  # of one step's losses: 16 MB an array
_MOST_POINTS = 1 << 26  # of Opacus's mesh: 0.5 GB an array
_NEXT = "Choose more --noise-multiplier, fewer --steps, or a larger --delta."


@dataclass(frozen=True, slots=True)
class TrainingGuarantee:
    """What a training run guarantees to each of its examples.

    run: the training. delta: the one that epsilon is quoted at. epsilon (nats): upper is the larger of the two
    accountants' upper bounds, estimate the smaller, lower a lower bound by theorem 14. opacus, dp_accounting: what
    Opacus's PRV accountant and dp-accounting's privacy loss distributions say; None where epsilon is 0 without them,
    since the total variations of all steps add up to at most delta. selection: other releases of the same examples that
    epsilon pays for too, one a step of it: those by which layers are chosen (mechanisms.training.layer_selection).
    """

    run: DpSgd
    delta: float
    epsilon: Bound
    opacus: float | None
    dp_accounting: float | None
    selection: DpSgd | None = None

    unit: ClassVar[str] = "training example"
    adjacency: ClassVar[str] = "two training sets of which one has one example more; batches by Poisson sampling"

    def to_dict(self) -> dict[str, Json]:
        """Returns the contract of `del-audit account --dp-sgd --json`, keys in its order."""
        return {
            "training": asdict(self.run),
            "unit": self.unit,
            "adjacency": self.adjacency,
            "delta": self.delta,
            "kind": self.epsilon.kind,
            "exact": False,
            "epsilon": self.epsilon.to_dict(),
            "accountants": {"opacus": self.opacus, "dp_accounting": self.dp_accounting},
            **({"selection": asdict(self.selection)} if self.selection is not None else {}),
        }


def training_guarantee(
    noise_multiplier: float, sample_rate: float, steps: int, delta: float = 1e-5, selection: DpSgd | None = None
) -> TrainingGuarantee:
    """Returns the guarantee of a training run by two accountants that agree.

    noise_multiplier, sample_rate, steps: as of DpSgd, with its errors. delta: in [1e-10, 1). selection: composed with
    the run. It takes seconds; 100,000 steps took 15 seconds and 2.7 GB. An epsilon below 0 is raised to 0.
    Raises UserError where Opacus and dp-accounting differ by more than 1% and 0.002 nats, as they do above an epsilon
    of some thousands, or are not installed.
    """
    run = DpSgd(noise_multiplier, sample_rate, steps)
    runs = (run,) if selection is None else (run, selection)
    if isinstance(delta, bool) or not isinstance(delta, (int, float)) or not _LEAST_DELTA <= delta < 1:
        raise UserError(f"Expected delta in [{_LEAST_DELTA:g}, 1), got delta={delta!r}.")
    if sum(map(_total_variation, runs)) <= delta:
        return TrainingGuarantee(run, delta, Bound(0.0, 0.0, 0.0), None, None, selection)  # they add up at most
    from_dp_accounting = max(0.0, _figure("dp-accounting", lambda: _dp_accounting(runs, delta), run, delta))
    from_opacus = max(0.0, _figure("Opacus", lambda: _opacus(runs, delta, from_dp_accounting), run, delta))
    lower = _lower(runs, delta)
    low, high = sorted((from_dp_accounting, from_opacus))
    if not (lower <= low and high - low <= max(_AGREEMENT * high, _FINEST) and math.isfinite(high)):
        raise UserError(
            f"Expected Opacus and dp-accounting to agree within {_AGREEMENT:.0%} on an epsilon above {lower:.6g}, got "
            f"{from_opacus:.6g} and {from_dp_accounting:.6g} for noise_multiplier={noise_multiplier}, "
            f"sample_rate={sample_rate}, steps={steps}, delta={delta}: none is quoted. {_NEXT}"
        )
    return TrainingGuarantee(run, delta, Bound(lower, low, high), from_opacus, from_dp_accounting, selection)


def render(guarantee: TrainingGuarantee) -> str:
    """Returns lines of text for a terminal."""
    run, epsilon = guarantee.run, guarantee.epsilon
    accountants = (
        "           the total variations of all steps add up to at most delta: no accountant is needed"
        if guarantee.opacus is None
        else f"           Opacus (PRV) {guarantee.opacus!r}, dp-accounting (PLD) {guarantee.dp_accounting!r}; "
        "the larger is quoted"
    )
    return "\n".join(
        [
            f"Training   DP-SGD, noise_multiplier={run.noise_multiplier!r} sample_rate={run.sample_rate!r} "
            f"steps={run.steps:,}",
            *_selection_line(guarantee.selection),
            f"Unit       {guarantee.unit}",
            f"Between    {guarantee.adjacency}",
            f"Epsilon    <= {epsilon.upper!r} nats at delta={guarantee.delta!r} (upper bound, {epsilon.kind})",
            accountants,
            "It protects who was trained on, not who sends a prompt: it adds to no other epsilon, and none to it.",
        ]
    )


def _selection_line(selection: DpSgd | None) -> list[str]:
    """Returns a line about the releases that chose layers, none where there were none."""
    if selection is None:
        return []
    return [
        f"Selection  of layers, noise_multiplier={selection.noise_multiplier!r} "
        f"sample_rate={selection.sample_rate!r} releases={selection.steps:,}, in the same epsilon"
    ]


def _figure(name: str, compute: Callable[[], float], run: DpSgd, delta: float) -> float:
    """Returns an accountant's epsilon, which may be negative; raises UserError where it finds none."""
    try:
        return compute()
    except UserError:  # a missing package, which is a ValueError too
        raise
    except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
        raise UserError(
            f"Expected {name} to find an epsilon for noise_multiplier={run.noise_multiplier}, "
            f"sample_rate={run.sample_rate}, steps={run.steps}, delta={delta}, got {type(error).__name__}: none is "
            f"quoted. {_NEXT}"
        ) from None


def _total_variation(run: DpSgd) -> float:
    """Returns a bound on the total variation of all steps: that of each is at most the sample rate's share of one."""
    return run.steps * run.sample_rate * math.erf(1 / (run.noise_multiplier * math.sqrt(8))) * (1 + 1e-9)


def composed(runs: Sequence[DpSgd]) -> "PrivacyLossDistribution":
    """Returns dp-accounting's pessimistic distribution of all steps of all runs.

    Its grid is fine beside the loss of one step of the first; a grid that is coarse beside another's is still an upper
    bound. Raises UserError where dp-accounting is not installed.
    """
    try:
        from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
    except ImportError:
        raise _missing("dp-accounting") from None
    spreads = [run.pair("remove", "upper", 1e-20).losses.spread(0.0) for run in runs]
    interval = max(0.03 * math.sqrt(spreads[0][1]), *(span / _MOST_CELLS for *_, span in spreads))
    laws = [
        from_gaussian_mechanism(
            run.noise_multiplier, sampling_prob=run.sample_rate, value_discretization_interval=interval
        ).self_compose(run.steps)
        for run in runs
    ]
    return reduce(lambda first, second: first.compose(second), laws)


def _dp_accounting(runs: Sequence[DpSgd], delta: float) -> float:
    """Returns the pessimistic epsilon of dp-accounting."""
    return float(composed(runs).get_epsilon_for_delta(delta))


def _opacus(runs: Sequence[DpSgd], delta: float, expected: float) -> float:
    """Returns the upper epsilon of Opacus's PRV accountant, whose own error is a fraction of the agreement asked."""
    try:
        from opacus.accountants import PRVAccountant
    except ImportError:
        raise _missing("opacus") from None
    error = max(_FINEST / 2, expected / 300)
    mesh = error / math.sqrt(sum(run.steps for run in runs) * math.log(12_000 / delta) / 2)
    if 2 * expected / mesh > _MOST_POINTS:
        raise MemoryError
    accountant = PRVAccountant()
    accountant.history = [(run.noise_multiplier, run.sample_rate, run.steps) for run in runs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # logarithms of 0 at a sample_rate of 1; the choice of Renyi orders
        return float(accountant.get_epsilon(delta, eps_error=error, delta_error=delta / 1000))


def _lower(runs: Sequence[DpSgd], delta: float) -> float:
    """Returns an epsilon that is not above the true one."""
    ends = []
    floor = delta * 1e-7 / sum(run.steps for run in runs)
    for direction in DIRECTIONS:
        losses = [replace(run.pair(direction, "lower", floor).losses, times=run.steps) for run in runs]
        ends.append(Composition(losses, _POINTS).epsilon(delta).lower)
    return max(ends)


def _missing(package: str) -> UserError:
    return UserError(
        f"Expected {package} to be installed for training guarantees, got none: pip install 'del-audit[dp]'."
    )
