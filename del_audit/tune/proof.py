"""What is refused before anything is measured: quantizers that no scale brings within the policy's proved limits."""

from dataclasses import dataclass
from typing import Any

from del_audit.accounting.accountant import Accountant
from del_audit.accounting.calibration import Target, calibrate
from del_audit.configuration.mechanisms import DelMechanism
from del_audit.configuration.policy import EpsilonLimit, Policy
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

LOUDER = 4.0
"""Without a limit on epsilon nothing is proved; the search then begins at so many times the configuration's mu."""


@dataclass(frozen=True, slots=True)
class Least:
    """The smallest scale that meets every proved limit. reason: why none does; then scale is None.

    binding: the limit that decides. beyond: its proved epsilon one step of the scale below, over the limit; None where
    every scale meets it, or none is asked for.
    """

    scale: float | None
    reason: str = ""
    binding: EpsilonLimit | None = None
    beyond: float | None = None


def least_scale(bits: int, dim: int, mechanism: DelMechanism, policy: Policy) -> Least:
    """Returns the smallest scale whose proved epsilons, and bytes a token, are within the policy's limits.

    Without a limit of epsilon, the scale of LOUDER times the configuration's mu. A reason may also be that
    python-flint is missing: ask for a proof first.
    """
    clip, most = mechanism.clip, policy.bytes_per_token_at_most
    sent = QuantizerSpec(bits, dim, clip, 2 * clip).token_bits / 8
    if most is not None and sent > most:
        return Least(None, f"{sent:g} bytes a token, where at most {most:g} are allowed")
    if not policy.epsilon:
        return Least(QuantizerSpec.from_mu(bits, dim, clip, LOUDER * mechanism.spec().mu).scale)
    found = []
    for limit in policy.epsilon:
        try:
            found.append((calibrate(bits, dim, clip, _target(limit, policy.sends)), limit))
        except UserError as error:
            return Least(None, f"no scale meets epsilon of a {limit.unit} at most {limit.at_most:g}: {error}")
    deciding, limit = max(found, key=lambda each: each[0].spec.scale)
    return Least(deciding.spec.scale, "", limit, None if deciding.beyond is None else deciding.beyond.upper)


def proved_epsilons(spec: QuantizerSpec, policy: Policy) -> list[dict[str, Any]]:
    """Returns the proved epsilon of each of the policy's units, of one token at delta 1e-5 where it names none."""
    limits = policy.epsilon or (EpsilonLimit(at_most=0.0),)
    accountant = Accountant(spec, proved=True)
    rows = []
    for limit in limits:
        sends, at_most = limit.sent(policy.sends), limit.at_most if policy.epsilon else None
        bound = accountant.epsilon(limit.delta, limit.unit, limit.tokens, sends)
        proved = {"sends": sends, "at_most": at_most, "epsilon": bound.upper, "kind": bound.kind}
        rows.append({**limit.model_dump(), **proved})
    return rows


def _target(limit: EpsilonLimit, sends: int) -> Target:
    """Returns the target of a limit: a token that is sent several times has as many trials as a phrase of as many."""
    tokens = (limit.tokens or 1) * limit.sent(sends)
    return Target.epsilon(limit.at_most, limit.delta, "token" if tokens == 1 else "phrase", tokens)
