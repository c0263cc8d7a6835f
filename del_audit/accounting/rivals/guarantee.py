"""What rivals of DEL guarantee, at DEL's units: one figure for each, with its kind, its adjacency and its reason."""

import inspect
from dataclasses import dataclass

from del_audit.accounting.accountant import Unit, adjacency, check_unit
from del_audit.accounting.registry import ACCOUNTANTS, calibrated_mechanisms
from del_audit.accounting.rivals.figures import Figures
from del_audit.statistics.bound import Bound, Kind
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.registry import imported, mechanism_of
from mechanisms.rivals._description import RivalSpec


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

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names, bounds as lower, estimate and upper."""
        return {
            name: value.to_dict() if isinstance(value, Bound) else value
            for name, value in ((name, getattr(self, name)) for name in self.__slots__)
        }


def rival_guarantee(
    mechanism: object, delta: float = 1e-5, unit: Unit = "token", tokens: int | None = None, proved: bool = False
) -> RivalGuarantee:
    """Returns what a rival, or DEL's quantizer, guarantees for one unit.

    mechanism: of mechanisms.rivals, or its spec alone. With the mechanism, figures over the public vocabulary are
    exact, which takes one pass over all pairs of words; with the spec alone they are what holds for any vocabulary.
    tokens: of the unit, each sent once; may be left out for a token only. Where each word of a release depends on the
    whole prompt, the figure of a token or a phrase is that of the longest prompt. proved: figures by ball
    arithmetic, up to 65,536 tokens, for mechanisms with the same three losses between any two words; needs
    python-flint.
    Raises UserError for an unknown mechanism, or one without proved figures where these are asked for, and for a unit,
    tokens or delta out of range.
    """
    tokens = check_unit(unit, tokens)
    if isinstance(delta, bool) or not isinstance(delta, (int, float)) or not 0 < delta < 1:
        raise UserError(f"Expected delta in (0, 1), got delta={delta!r}.")
    mechanism = getattr(mechanism, "perturbation", mechanism)  # InferDPT sends what its perturbation releases
    spec = getattr(mechanism, "spec", mechanism)
    whole = None if spec is mechanism else mechanism
    row = mechanism_of(spec)
    if row is None or row.key not in ACCOUNTANTS:
        raise UserError(f"Expected a mechanism or its spec, got a {type(mechanism).__name__}.")
    accountant = ACCOUNTANTS[row.key]
    if proved and accountant.proved is None:
        known = ", ".join(other.key for other in ACCOUNTANTS.values() if other.proved)
        raise UserError(f"Expected proved=True with one of {known}, got {row.key}: leave proved out.")
    made_by = accountant.proved if proved and accountant.proved else accountant.figures
    longest = spec.document_tokens if isinstance(spec, RivalSpec) else None
    changed = tokens if longest is None else _changed(longest, unit, tokens)
    figures: Figures = imported(made_by)(spec, whole, delta, changed)
    parts = {field: getattr(figures, field) for field in figures.__slots__}
    return RivalGuarantee(
        mechanism=row.key, unit=unit, tokens=tokens, delta=delta, adjacency=adjacency(unit, tokens), **parts
    )


def _changed(longest: int, unit: Unit, tokens: int) -> int:
    """Returns how many words of a release depend on the unit where each word depends on every token of a prompt.

    longest: tokens of the longest prompt that is released. Raises UserError for a unit that no prompt is as long as.
    """
    if unit == "session":
        return tokens
    if tokens > longest:
        raise UserError(f"Expected tokens <= {longest}, the longest prompt that is released, got tokens={tokens}.")
    return tokens if unit == "prompt" else longest


def calibrate_rival(kind: str, epsilon: float, delta: float = 1e-5, **parts: object) -> RivalSpec:
    """Returns the spec of a rival whose token epsilon at delta is at most this, as near to it as is found.

    parts: the public ones that each kind needs, with the defaults of its spec's own maker: the arguments of the
    `calibrated` in its file of del_audit.accounting.rivals. Without them, the error names them.
    exponential with exact=True, santext and custext meet the exact figure over the public points: a handful of passes
    over all pairs of words. custext's target is for words of one group: it has no epsilon between groups. dp prompt's
    and dp mlm's is for a whole document of `tokens` tokens, which is what one token of it costs.
    Raises UserError for an unknown kind, parts that do not fit it, and for an epsilon that no parameter reaches.
    """
    for name, value, holds in (("epsilon", epsilon, epsilon > 0), ("delta", delta, 0 < delta < 1)):
        if not holds:
            raise UserError(f"Expected {name} {'> 0' if name == 'epsilon' else 'in (0, 1)'}, got {name}={value}.")
    if kind not in (known := calibrated_mechanisms()):
        raise UserError(f"Expected kind to be one of {', '.join(known)}, got kind={kind!r}.")
    calibrated = imported(known[kind])
    signature = inspect.signature(calibrated)
    try:
        signature.bind(epsilon, delta, **parts)  # its error names the part alone
        spec: RivalSpec = calibrated(epsilon, delta, **parts)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[2:])
        got = ", ".join(parts) or "none"
        raise UserError(f"Expected the parts that {kind} needs ({takes}), got {got}: {error}.") from error
    return spec
