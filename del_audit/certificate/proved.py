"""The part of a certificate that follows from its configuration alone: whoever holds it can compute it again."""

import numpy as np
from scipy.special import ndtr, ndtri

from del_audit.accounting import GaussianLimit, Unit
from del_audit.accounting.any_mechanism import guess_bound, has_proof, proved_guarantee, token_trade_off
from del_audit.accounting.proved_losses import LARGEST_PROVED
from del_audit.certificate.model import Allowed, Bytes, Curve, UnitGuarantee
from del_audit.configuration.policy import WrittenPolicy
from del_audit.statistics.bound import Bound
from mechanisms.description import Description
from mechanisms.errors import UserError
from mechanisms.rivals.message_sizes import MessageSizes
from mechanisms.spec import QuantizerSpec

PHRASE_TOKENS = 5
CURVE_POINTS = 201


def guarantees_of(spec: Description, policy: WrittenPolicy) -> tuple[UnitGuarantee, ...]:
    """Returns the exact guarantee of one token, a phrase and a whole prompt, and of each unit that a limit names.

    All are taken at as many sends as the policy allows, a session at its own tokens. None for a mechanism without a
    proved guarantee; raises UserError where a limit of epsilon asks for one, and for a unit of more tokens than can be
    proved.
    """
    if not has_proof(spec):
        if policy.epsilon:
            raise UserError(
                "Expected a mechanism with a proved guarantee for policy.epsilon, which this one has not: "
                "leave policy.epsilon out, and the certificate says that no epsilon is proved."
            )
        return ()
    delta = policy.quoted_delta
    units: list[tuple[Unit, int, float, int]] = [
        ("token", 1, delta, policy.sends),
        ("phrase", PHRASE_TOKENS, delta, policy.sends),
        ("prompt", policy.prompt_tokens, delta, policy.sends),
    ]
    units += [(limit.unit, limit.tokens or 1, limit.delta, limit.sent(policy.sends)) for limit in policy.epsilon]
    found = tuple(
        UnitGuarantee.of(proved_guarantee(spec, unit, tokens, at, sends))
        for unit, tokens, at, sends in dict.fromkeys(units)
    )
    for row in found:
        if row.kind != "proved":
            raise UserError(
                f"Expected units of at most {LARGEST_PROVED:,} tokens, each counted as often as it is sent, which is "
                f"what can be proved of this mechanism, got a {row.unit_name}: lower its tokens or policy.sends."
            )
    return found


def curve_of(spec: Description, sends: int = 1) -> Curve | None:
    """Returns points of the trade-off curve of one token sent so often: exact, and of DEL the paper's Gaussian limit.

    None for a mechanism without a proved guarantee.
    """
    if not has_proof(spec):
        return None
    alpha = np.concatenate([[0.0], np.logspace(-4, 0, CURVE_POINTS - 1)])
    limit = None
    if isinstance(spec, QuantizerSpec):
        limit = tuple(ndtr(-ndtri(alpha) - GaussianLimit.of(spec, sends).mu).tolist())
    exact = tuple(token_trade_off(spec, alpha, sends).tolist())
    return Curve(unit="token", alpha=tuple(alpha.tolist()), exact=exact, gaussian_limit=limit)


def allowed_of(spec: Description, kappa: float, sends: int = 1) -> Allowed | None:
    """Returns what theorem 6, or 24, allows any attacker who knows only how common a token is, its chance being kappa.

    sends: releases of each token that the attacker holds. None for a mechanism without a proved guarantee.
    """
    if not has_proof(spec):
        return None
    bound, theorem = guess_bound(spec, kappa, sends), 6 if isinstance(spec, QuantizerSpec) else 24
    source = f"theorem {theorem}, any attacker who knows the token's frequency"
    return Allowed(lower=bound.lower, estimate=bound.estimate, upper=bound.upper, kind=bound.kind, source=source)


def epsilon_of(spec: QuantizerSpec, delta: float, sends: int = 1) -> Bound:
    """Returns the proved epsilon (nats) at delta of one token that is sent so often."""
    return proved_guarantee(spec, "token", 1, delta, sends).epsilon


def bytes_of(sizes: MessageSizes, tokens: int, width: int) -> Bytes:
    """Returns the bytes on the wire, counted.

    tokens: of a prompt. width: of the model's embeddings, which are sent clean otherwise.
    """
    return Bytes(
        a_token=sizes.token_bits / 8,
        header=sizes.header,
        a_prompt=sizes.of(tokens),
        a_prompt_of_clean_float32=4 * width * tokens,
    )
