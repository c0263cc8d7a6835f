"""What rivals of DEL guarantee, at DEL's units: one figure for each, with its kind, its adjacency and its reason."""

from dataclasses import dataclass
from typing import Any

from del_audit.accounting import _rival_figures as rules
from del_audit.accounting._rival_calibration import CALIBRATIONS
from del_audit.accounting.accountant import Unit, adjacency, check_unit
from del_audit.statistics.bound import Bound, Kind
from mechanisms.errors import UserError
from mechanisms.rivals import (
    CusTextSpec,
    ExponentialSpec,
    GaussianSpec,
    MetricSpec,
    RandomizedResponseSpec,
    RanTextSpec,
    SanTextSpec,
)
from mechanisms.spec import QuantizerSpec


@dataclass(frozen=True, slots=True)
class RivalGuarantee:
    """What one mechanism guarantees for one unit. Quote the upper ends.

    epsilon: nats, at delta. pure_epsilon: with delta = 0. total_variation: the best advantage of any distinguisher.
    claimed_epsilon: what the mechanism's paper says of one token, where that is a number. within: epsilon between
    inputs of a smaller adjacency, within_adjacency, for mechanisms that guarantee nothing between others.
    """

    mechanism: str
    unit: Unit
    tokens: int
    delta: float
    epsilon: Bound
    pure_epsilon: Bound
    total_variation: Bound
    adjacency: str
    reason: str
    claimed_epsilon: float | None = None
    within: Bound | None = None
    within_adjacency: str | None = None

    @property
    def kind(self) -> Kind:
        """How sure the figures are."""
        return self.epsilon.kind

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields under their names, bounds as lower, estimate and upper."""
        return {
            name: value.to_dict() if isinstance(value, Bound) else value
            for name, value in ((name, getattr(self, name)) for name in self.__slots__)
        }


def rival_guarantee(
    mechanism: Any, delta: float = 1e-5, unit: Unit = "token", tokens: int | None = None
) -> RivalGuarantee:
    """Returns what a rival, or DEL's quantizer, guarantees for one unit.

    mechanism: of mechanisms.rivals, or its spec alone. With the mechanism, figures over the public vocabulary are
    exact, which takes one pass over all pairs of words; with the spec alone they are what holds for any vocabulary.
    tokens: of the unit, each sent once; may be left out for a token only.
    Raises UserError for an unknown mechanism, and for a unit, tokens or delta out of range.
    """
    tokens = check_unit(unit, tokens)
    if isinstance(delta, bool) or not isinstance(delta, (int, float)) or not 0 < delta < 1:
        raise UserError(f"Expected delta in (0, 1), got delta={delta!r}.")
    mechanism = getattr(mechanism, "perturbation", mechanism)  # InferDPT sends what its perturbation releases
    spec = getattr(mechanism, "spec", mechanism)
    whole = None if spec is mechanism else mechanism
    match spec:
        case RandomizedResponseSpec():
            figures = rules.randomized_response(spec, delta, tokens)
        case GaussianSpec():
            figures = rules.gaussian(spec, delta, tokens)
        case MetricSpec():
            figures = rules.metric(spec, whole, delta, tokens)
        case ExponentialSpec():
            figures = rules.exponential(spec, whole, delta, tokens)
        case SanTextSpec():
            figures = rules.santext(spec, whole, delta, tokens)
        case CusTextSpec():
            figures = rules.custext(spec, whole, delta, tokens)
        case RanTextSpec():
            figures = rules.rantext(spec, whole, delta, tokens)
        case QuantizerSpec():
            figures = rules.quantizer(spec, delta, unit, tokens)
        case _:
            raise UserError(f"Expected a mechanism or its spec, got a {type(mechanism).__name__}.")
    name = getattr(spec, "kind", "del")
    parts = {field: getattr(figures, field) for field in figures.__slots__}
    return RivalGuarantee(
        mechanism=name, unit=unit, tokens=tokens, delta=delta, adjacency=adjacency(unit, tokens), **parts
    )


def calibrate_rival(kind: str, epsilon: float, delta: float = 1e-5, **parts: Any) -> Any:
    """Returns the spec of a rival whose token epsilon at delta is at most this, as near to it as is found.

    The public parts that each kind needs, with the defaults of its spec's own maker:
    randomized response: words. gaussian: bits, dim, clip. metric: bits, dim, radius. exponential: points, and scale or
    exact=True. santext: points. custext: points, groups. rantext: points, and rate.
    exponential with exact=True, santext and custext meet the exact figure over the public points: a handful of passes
    over all pairs of words. custext's target is for words of one group: it has no epsilon between groups.
    Raises UserError for an unknown kind, parts that do not fit it, and for an epsilon that no parameter reaches.
    """
    for name, value, holds in (("epsilon", epsilon, epsilon > 0), ("delta", delta, 0 < delta < 1)):
        if not holds:
            raise UserError(f"Expected {name} {'> 0' if name == 'epsilon' else 'in (0, 1)'}, got {name}={value}.")
    if kind not in CALIBRATIONS:
        raise UserError(f"Expected kind to be one of {', '.join(CALIBRATIONS)}, got kind={kind!r}.")
    try:
        return CALIBRATIONS[kind](epsilon, delta, **parts)
    except TypeError as error:
        raise UserError(f"Expected the parts that {kind} needs, got {', '.join(parts) or 'none'}: {error}.") from error
