"""The part of a certificate that follows from its configuration alone: whoever holds it can compute it again."""

import numpy as np
from scipy.special import ndtr, ndtri

from del_audit.accounting import Accountant, GaussianLimit, Unit, guarantee, inversion_bound
from del_audit.certificate.model import Allowed, Bytes, Curve, UnitGuarantee
from del_audit.configuration.policy import WrittenPolicy
from del_audit.statistics.bound import Bound
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import HEADER_BYTES, message_bytes

PHRASE_TOKENS = 5
CURVE_POINTS = 201


def guarantees_of(spec: QuantizerSpec, policy: WrittenPolicy) -> tuple[UnitGuarantee, ...]:
    """Returns the exact guarantee of one token, a phrase and a whole prompt, and of each unit that a limit names.

    All are taken at as many sends as the policy allows, a session at its own tokens.
    """
    delta = policy.quoted_delta
    units: list[tuple[Unit, int, float, int]] = [
        ("token", 1, delta, policy.sends),
        ("phrase", PHRASE_TOKENS, delta, policy.sends),
        ("prompt", policy.prompt_tokens, delta, policy.sends),
    ]
    units += [(limit.unit, limit.tokens or 1, limit.delta, limit.sent(policy.sends)) for limit in policy.epsilon]
    return tuple(
        UnitGuarantee.of(guarantee(spec, unit, tokens, at, proved=True, sends=sends))
        for unit, tokens, at, sends in dict.fromkeys(units)
    )


def curve_of(spec: QuantizerSpec, sends: int = 1) -> Curve:
    """Returns points of the trade-off curve of one token sent so often: exact, and the paper's Gaussian limit."""
    alpha = np.concatenate([[0.0], np.logspace(-4, 0, CURVE_POINTS - 1)])
    exact = Accountant(spec).trade_off("phrase", sends)
    mu = GaussianLimit.of(spec, sends).mu
    return Curve(
        unit="token",
        alpha=tuple(alpha.tolist()),
        exact=tuple(np.asarray(exact.beta(alpha)).tolist()),
        gaussian_limit=tuple(ndtr(-ndtri(alpha) - mu).tolist()),
    )


def allowed_of(spec: QuantizerSpec, kappa: float, sends: int = 1) -> Allowed:
    """Returns what theorem 6 allows any attacker who knows only how common a token is, its chance being kappa.

    sends: releases of each token that the attacker holds.
    """
    bound = inversion_bound(spec, kappa, sends, proved=True)
    source = "theorem 6, any attacker who knows the token's frequency"
    return Allowed(lower=bound.lower, estimate=bound.estimate, upper=bound.upper, kind=bound.kind, source=source)


def epsilon_of(spec: QuantizerSpec, delta: float, sends: int = 1) -> Bound:
    """Returns the proved epsilon (nats) at delta of one token that is sent so often."""
    return guarantee(spec, "token", 1, delta, proved=True, sends=sends).epsilon


def bytes_of(spec: QuantizerSpec, tokens: int, width: int) -> Bytes:
    """Returns the bytes on the wire, counted.

    tokens: of a prompt. width: of the model's embeddings, which are sent clean otherwise.
    """
    return Bytes(
        a_token=spec.token_bits / 8,
        header=HEADER_BYTES,
        a_prompt=message_bytes(spec, tokens),
        a_prompt_of_clean_float32=4 * width * tokens,
    )
