"""What is refused before anything is measured: mechanisms that no noise brings within the policy's proved limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from del_audit.accounting.accountant import Accountant
from del_audit.accounting.any_mechanism import Proved, proved_guarantee
from del_audit.accounting.calibration import Target, calibrate
from del_audit.configuration.limits import Unit
from del_audit.configuration.mechanisms import LARGEST_EPSILON, DelMechanism
from del_audit.configuration.named import LEAST
from del_audit.configuration.policy import EpsilonLimit, Policy
from del_audit.statistics.bound import Bound
from del_audit.tune.channels import Channel, WordChannel
from mechanisms.errors import UserError
from mechanisms.rivals.message_sizes import described_sizes
from mechanisms.spec import QuantizerSpec

LOUDER = 4.0
"""Without a limit on epsilon nothing is proved of DEL; the search begins at so many times the configuration's mu."""
HALVINGS = 30
"""Of the interval in which the largest epsilon lies."""


@dataclass(frozen=True, slots=True)
class Edge:
    """The least noise that meets every proved limit: DEL's smallest scale, or a word mechanism's largest epsilon.

    level: None where none meets them; reason says why. binding: the limit that decides. beyond: its proved epsilon one
    step of less noise on, over the limit; None where all meet it, where none is asked for, and among given epsilons.
    """

    level: float | None
    reason: str = ""
    binding: EpsilonLimit | None = None
    beyond: float | None = None


def edge_of(channel: Channel, base: DelMechanism | None, policy: Policy, epsilons: Sequence[float] = ()) -> Edge:
    """Returns the edge of a channel's shape. base: DEL's, of the configuration, which a channel of DEL needs."""
    if isinstance(channel, WordChannel):
        try:
            return largest_epsilon(channel, policy, epsilons)
        except UserError as error:
            return Edge(None, f"cannot be built: {error}")
    assert base is not None
    return least_scale(*channel.shape, base, policy)


def least_scale(bits: int, dim: int, mechanism: DelMechanism, policy: Policy) -> Edge:
    """Returns the smallest scale whose proved epsilons, and bytes a token, are within the policy's limits.

    Without a limit of epsilon, the scale of LOUDER times the configuration's mu. A reason may also be that
    python-flint is missing: ask for a proof first.
    """
    clip = mechanism.clip
    if why := _too_long(QuantizerSpec(bits, dim, clip, 2 * clip), policy):
        return Edge(None, why)
    if not policy.epsilon:
        return Edge(QuantizerSpec.from_mu(bits, dim, clip, LOUDER * mechanism.spec().mu).scale)
    found = []
    for limit in policy.epsilon:
        try:
            found.append((calibrate(bits, dim, clip, _target(limit, policy.sends)), limit))
        except UserError as error:
            return Edge(None, f"no scale meets epsilon of a {limit.unit} at most {limit.at_most:g}: {error}")
    deciding, limit = max(found, key=lambda each: each[0].spec.scale)
    return Edge(deciding.spec.scale, "", limit, None if deciding.beyond is None else deciding.beyond.upper)


def largest_epsilon(channel: WordChannel, policy: Policy, epsilons: Sequence[float] = ()) -> Edge:
    """Returns the largest epsilon whose proved epsilons, and bytes a token, are within the policy's limits.

    epsilons: those to take it from; left out, all up to the largest that a configuration takes. Bytes are looked at
    there alone: with more noise, some mechanisms send more.
    """
    if epsilons:
        return _largest_of(channel, policy, epsilons)
    low = high = LARGEST_EPSILON
    while broken := _broken(channel.at(low), policy):
        low, high = low / 2, low
        if low < LEAST:
            return Edge(None, f"no epsilon of {LEAST:g} nats or more meets {_said(broken)}")
    for _ in range(HALVINGS if low < high else 0):
        middle = (low + high) / 2
        low, high = (low, middle) if _broken(channel.at(middle), policy) else (middle, high)
    if why := _too_long(channel.at(low).spec(), policy):
        return Edge(None, f"{why}, at epsilon {low:.4g}")
    beyond = _broken(channel.at(high), policy)
    return Edge(low) if beyond is None else Edge(low, "", *beyond)


def proved_epsilon(spec: Proved, unit: Unit, tokens: int, sends: int, delta: float) -> Bound:
    """Returns the proved epsilon (nats) at delta of a unit of so many tokens, each sent so often."""
    if isinstance(spec, QuantizerSpec):
        return Accountant(spec, proved=True).epsilon(delta, unit, tokens, sends)
    return proved_guarantee(spec, unit, tokens, delta, sends).epsilon


def sent_bytes(spec: Proved) -> float:
    """Returns the bytes of a token on the wire."""
    sizes = described_sizes(spec)
    assert sizes is not None  # of every built-in mechanism they follow from the description
    return sizes.token_bits / 8


def refused(channel: Channel, policy: Policy) -> str:
    """Returns why a channel with more noise than its edge misses a proved limit; "" where it meets all.

    DEL meets them with any more noise. Others may not: their messages, and what many tokens tell, may grow.
    """
    if not isinstance(channel, WordChannel):
        return ""
    broken = _broken(channel, policy)
    return _said(broken) if broken else _too_long(channel.spec(), policy)


def _too_long(spec: Proved, policy: Policy) -> str:
    """Returns why a token is longer than the policy allows; "" where it is not."""
    most, sent = policy.bytes_per_token_at_most, sent_bytes(spec)
    return "" if most is None or sent <= most else f"{sent:g} bytes a token, where at most {most:g} are allowed"


def proved_epsilons(spec: Proved, policy: Policy) -> list[dict[str, Any]]:
    """Returns the proved epsilon of each of the policy's units, of one token at delta 1e-5 where it names none."""
    limits = policy.epsilon or (EpsilonLimit(at_most=0.0),)
    rows = []
    for limit in limits:
        sends, at_most = limit.sent(policy.sends), limit.at_most if policy.epsilon else None
        bound = proved_epsilon(spec, limit.unit, limit.tokens or 1, sends, limit.delta)
        proved = {"sends": sends, "at_most": at_most, "epsilon": bound.upper, "kind": bound.kind}
        rows.append({**limit.model_dump(), **proved})
    return rows


def _largest_of(channel: WordChannel, policy: Policy, epsilons: Sequence[float]) -> Edge:
    for epsilon in sorted(epsilons, reverse=True):
        if not (why := refused(channel.at(epsilon), policy)):
            return Edge(epsilon)
    return Edge(None, f"none of the epsilons asked for meets the policy; at epsilon {min(epsilons):g}, {why}")


def _broken(channel: WordChannel, policy: Policy) -> tuple[EpsilonLimit, float] | None:
    """Returns a limit that is not met, with the epsilon proved; None where all are."""
    for limit in policy.epsilon:
        found = proved_epsilon(
            channel.spec(), limit.unit, limit.tokens or 1, limit.sent(policy.sends), limit.delta
        ).upper
        if found > limit.at_most:
            return limit, found
    return None


def _said(broken: tuple[EpsilonLimit, float]) -> str:
    limit, found = broken
    return f"epsilon of a {limit.unit} at most {limit.at_most:g}: {found:.4g} is proved"


def _target(limit: EpsilonLimit, sends: int) -> Target:
    """Returns the target of a limit: a token that is sent several times has as many trials as a phrase of as many."""
    tokens = (limit.tokens or 1) * limit.sent(sends)
    return Target.epsilon(limit.at_most, limit.delta, "token" if tokens == 1 else "phrase", tokens)
