"""The part of a certificate that follows from its configuration alone: whoever holds it can compute it again."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from del_audit.accounting import Accountant, GaussianLimit, Unit, guarantee, inversion_bound
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import HEADER_BYTES, message_bytes

PHRASE_TOKENS = 5
DELTA = 1e-5
"""Where the policy names none."""
CURVE_POINTS = 201


def asked_limits(configuration: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the policy's limits of epsilon; the configuration is as JSON values."""
    return list(configuration["policy"]["epsilon"])


def quoted_delta(configuration: Mapping[str, Any]) -> float:
    """Returns the delta that the certificate's own epsilons are quoted at: that of the policy's first limit."""
    limits = asked_limits(configuration)
    return float(limits[0]["delta"]) if limits else DELTA


def guarantees_of(spec: QuantizerSpec, configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the exact guarantee of one token, a phrase and a whole prompt, and of each unit that a limit names."""
    delta, prompt = quoted_delta(configuration), configuration["evaluation"]["prompt_tokens"]
    units: list[tuple[Unit, int, float]] = [
        ("token", 1, delta),
        ("phrase", PHRASE_TOKENS, delta),
        ("prompt", prompt, delta),
    ]
    units += [(limit["unit"], limit["tokens"], limit["delta"]) for limit in asked_limits(configuration)]
    found = [guarantee(spec, unit, tokens, at, proved=True) for unit, tokens, at in dict.fromkeys(units)]
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


def curve_of(spec: QuantizerSpec) -> dict[str, Any]:
    """Returns points of one token's trade-off curve: exact, and the paper's Gaussian limit (asymptotic)."""
    alpha = np.concatenate([[0.0], np.logspace(-4, 0, CURVE_POINTS - 1)])
    exact = Accountant(spec).trade_off("token", 1)
    mu = GaussianLimit.of(spec).mu
    return {
        "unit": "token",
        "alpha": alpha.tolist(),
        "exact": np.asarray(exact.beta(alpha)).tolist(),
        "gaussian_limit": ndtr(-ndtri(alpha) - mu).tolist(),
    }


def allowed_of(spec: QuantizerSpec, kappa: float) -> dict[str, Any]:
    """Returns what theorem 6 allows any attacker who knows only how common a token is, its chance being kappa."""
    bound = inversion_bound(spec, kappa, proved=True)
    return {**asdict(bound), "source": "theorem 6, any attacker who knows the token's frequency"}


def epsilon_of(spec: QuantizerSpec, delta: float) -> dict[str, Any]:
    """Returns one token's proved epsilon (nats) at delta."""
    return asdict(Accountant(spec, proved=True).epsilon(delta=delta))


def bytes_of(spec: QuantizerSpec, configuration: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Returns the bytes on the wire, counted; width: of the model's embeddings, which are sent clean otherwise."""
    tokens = configuration["evaluation"]["prompt_tokens"]
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
    return {
        "guarantees": guarantees_of(spec, configuration),
        "curve": curve_of(spec),
        "allowed": allowed_of(spec, body["inversion"]["kappa"]),
        "other_bits": [
            epsilon_of(QuantizerSpec(**other["spec"]), other["delta"]) for other in body["utility"]["other_bits"]
        ],
    }
