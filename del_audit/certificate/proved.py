"""The part of a certificate that follows from its configuration alone: whoever holds it can compute it again."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from del_audit.accounting import Accountant, GaussianLimit, Unit, guarantee, inversion_bound
from del_audit.configuration.asked import asked_limits, prompt_tokens_of, quoted_delta, sends_of
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import HEADER_BYTES, message_bytes

PHRASE_TOKENS = 5
CURVE_POINTS = 201


def guarantees_of(spec: QuantizerSpec, configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the exact guarantee of one token, a phrase and a whole prompt, and of each unit that a limit names.

    All are taken at as many sends as the policy allows, a session at its own tokens.
    """
    delta, policy = quoted_delta(configuration), configuration["policy"]
    units: list[tuple[Unit, int, float]] = [
        ("token", 1, delta),
        ("phrase", PHRASE_TOKENS, delta),
        ("prompt", prompt_tokens_of(configuration), delta),
    ]
    units += [(limit["unit"], limit["tokens"], limit["delta"]) for limit in asked_limits(configuration)]
    found = [
        guarantee(spec, unit, tokens, at, proved=True, sends=sends_of(policy, unit))
        for unit, tokens, at in dict.fromkeys(units)
    ]
    return [
        {
            **figures.to_dict(),
            "pure_epsilon": figures.pure_epsilon.to_dict(),
            "total_variation": figures.total_variation.to_dict(),
            "adjacency": figures.adjacency,
            "kind": figures.epsilon.kind,
        }
        for figures in found
    ]


def curve_of(spec: QuantizerSpec, sends: int = 1) -> dict[str, Any]:
    """Returns points of the trade-off curve of one token sent so often: exact, and the paper's Gaussian limit."""
    alpha = np.concatenate([[0.0], np.logspace(-4, 0, CURVE_POINTS - 1)])
    exact = Accountant(spec).trade_off("phrase", sends)
    mu = GaussianLimit.of(spec, sends).mu
    return {
        "unit": "token",
        "alpha": alpha.tolist(),
        "exact": np.asarray(exact.beta(alpha)).tolist(),
        "gaussian_limit": ndtr(-ndtri(alpha) - mu).tolist(),
    }


def allowed_of(spec: QuantizerSpec, kappa: float, sends: int = 1) -> dict[str, Any]:
    """Returns what theorem 6 allows any attacker who knows only how common a token is, its chance being kappa.

    sends: releases of each token that the attacker holds.
    """
    bound = inversion_bound(spec, kappa, sends, proved=True)
    return {**asdict(bound), "source": "theorem 6, any attacker who knows the token's frequency"}


def epsilon_of(spec: QuantizerSpec, delta: float, sends: int = 1) -> dict[str, Any]:
    """Returns the proved epsilon (nats) at delta of one token that is sent so often."""
    return asdict(guarantee(spec, "token", 1, delta, proved=True, sends=sends).epsilon)


def bytes_of(spec: QuantizerSpec, configuration: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Returns the bytes on the wire, counted; width: of the model's embeddings, which are sent clean otherwise."""
    tokens = prompt_tokens_of(configuration)
    return {
        "a_token": spec.token_bits / 8,
        "header": HEADER_BYTES,
        "a_prompt": message_bytes(spec, tokens),
        "a_prompt_of_clean_float32": 4 * width * tokens,
    }


def proved_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parts of a body that need no measurement, computed from its spec, configuration and kappa.

    Keys: guarantees, curve, allowed (that of `inversion`), other_bits (the epsilons in `utility.other_bits`).
    Raises UserError for a spec out of range, KeyError or TypeError for a body that lacks a part.
    """
    spec, configuration = QuantizerSpec(**body["spec"]), body["configuration"]
    sends = sends_of(configuration["policy"])
    return {
        "guarantees": guarantees_of(spec, configuration),
        "curve": curve_of(spec, sends),
        "allowed": allowed_of(spec, body["inversion"]["kappa"], sends),
        "other_bits": [
            epsilon_of(QuantizerSpec(**other["spec"]), other["delta"], sends) for other in body["utility"]["other_bits"]
        ],
    }
