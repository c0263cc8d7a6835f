"""The certificate: one JSON object that holds every figure, the configuration and what made it."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np
from scipy.special import ndtr, ndtri

from attacks.names import AttackName
from del_audit.accounting import Accountant, GaussianLimit, Unit, guarantee
from del_audit.certificate.config import Configuration
from del_audit.certificate.evidence import Assets, Evidence
from del_audit.certificate.provenance import commit, sha256_of, versions
from del_audit.certificate.verdict import Check, Status, Verdict, check_bound, check_figure
from del_audit.evidence.inference import Inference
from mechanisms.pipeline import Pipeline
from mechanisms.wire import HEADER_BYTES, message_bytes

FORMAT = "del-audit certificate 1"
PHRASE_TOKENS = 5
DELTA = 1e-5
"""Where the policy names none."""
CURVE_POINTS = 201

NOT_PROTECTED = (
    "The number of tokens of a prompt, its time and its sender: the message shows them.",
    "A prompt sent again: each sending is a fresh release, and their guarantees add up (unit: session).",
    "A whole prompt: its epsilon is that of as many trials as its tokens have together (unit: prompt).",
    "What many tokens tell together, such as the topic or an attribute of the author, although no single one does.",
    "The answer, which the server writes and sees.",
    "An attacker who knows more of a token than its frequency, such as the words beside it: no theorem here bounds "
    "what that one reads, it is measured only.",
)


def checks_of(configuration: Configuration, pipeline: Pipeline, evidence: Evidence) -> list[Check]:
    """Returns one check for each limit of the policy, and first the one that no policy can drop."""
    policy, leakage = configuration.policy, evidence.leakage
    allowed = f"at most {leakage.allowed.upper:.4g} (theorem 6, kappa {leakage.kappa:.4g})"
    strongest = max(a.broken_below for a in leakage.attacks if a.broken_below is not None)
    broken: Status = "failed" if leakage.broken else "passed"
    checks = [
        Check(
            "attacks within the guarantee",
            allowed,
            f"lower limit of the strongest attack on single tokens: {strongest:.4g}",
            broken,
            f"The implementation is broken: {', '.join(leakage.broken)} reads more than the guarantee allows."
            if leakage.broken
            else "No attack reads more than the guarantee allows: the implementation is not contradicted.",
        )
    ]
    if policy.epsilon is not None:
        limit = policy.epsilon
        bound = Accountant(pipeline.spec, proved=True).epsilon(delta=limit.delta, unit=limit.unit, tokens=limit.tokens)
        where = f"{limit.unit} of {limit.tokens} tokens" if limit.tokens > 1 else limit.unit
        checks.append(check_bound(f"epsilon of a {where} at delta {limit.delta:g}", bound, limit.at_most, "nats"))
    if policy.attack_success_at_most is not None:
        name, figure = leakage.strongest.name, leakage.strongest.success
        checks.append(check_figure(f"strongest attack ({name})", figure, policy.attack_success_at_most, "at most"))
    if policy.attribute_advantage_at_most is not None and evidence.attribute is not None:
        figure = evidence.attribute.advantage
        name = f"attribute advantage ({evidence.attribute.column})"
        checks.append(check_figure(name, figure, policy.attribute_advantage_at_most, "at most"))
    if policy.paired_gain_at_least is not None:
        gain = evidence.prediction.gain
        checks.append(check_figure("utility: paired gain", gain, policy.paired_gain_at_least, "at least"))
    if policy.task_accuracy_at_least is not None and evidence.task is not None:
        figure, name = evidence.task.accuracy, f"utility: accuracy of {evidence.task.column}"
        checks.append(check_figure(name, figure, policy.task_accuracy_at_least, "at least"))
    if policy.bytes_per_token_at_most is not None:
        sent, most = pipeline.spec.token_bits / 8, policy.bytes_per_token_at_most
        reason = "Counted on the wire; the header comes once a message."
        status: Status = "passed" if sent <= most else "failed"
        checks.append(Check("bytes a token", f"at most {most:g}", f"{sent:g}", status, reason))
    return checks


def certificate_of(
    configuration: Configuration,
    assets: Assets,
    pipeline: Pipeline,
    evidence: Evidence,
    checks: Sequence[Check],
    verdict: Verdict,
    seconds: float,
) -> dict[str, Any]:
    """Returns the certificate as JSON values; nothing in it names this machine."""
    return {
        "format": FORMAT,
        "name": configuration.name,
        "verdict": verdict,
        "reasons": [f"{check.limit}: {check.reason}" for check in checks if check.status != "passed"],
        "checks": [check.to_dict() for check in checks],
        "not_protected": list(NOT_PROTECTED),
        "guarantees": _guarantees(configuration, pipeline),
        "curve": _curve(pipeline),
        "inversion": _inversion(configuration, evidence),
        "attribute": _inference(evidence.attribute),
        "utility": _utility(evidence, _delta(configuration)),
        "bytes": {
            "a_token": pipeline.spec.token_bits / 8,
            "header": HEADER_BYTES,
            "a_prompt": message_bytes(pipeline.spec, configuration.evaluation.prompt_tokens),
            "a_prompt_of_clean_float32": 4 * pipeline.table.shape[1] * configuration.evaluation.prompt_tokens,
        },
        "example": evidence.example,
        "configuration": configuration.model_dump(mode="json"),
        "spec": pipeline.spec.to_dict(),
        "hashes": hashes(configuration, assets, pipeline),
        "assets": [r.to_dict() for r in (assets.language.record, assets.sentences.record, assets.corpus.record)],
        "soft_prompt": assets.soft_prompt.card if assets.soft_prompt else None,
        "versions": versions(),
        "commit": commit(),
        "seed": configuration.evaluation.seed,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }


def _guarantees(configuration: Configuration, pipeline: Pipeline) -> list[dict[str, Any]]:
    """Returns the exact guarantee of one token, a phrase and a whole prompt, each beside Theorem 4.2's."""
    limit = configuration.policy.epsilon
    delta = _delta(configuration)
    units: list[tuple[Unit, int]] = [
        ("token", 1),
        ("phrase", PHRASE_TOKENS),
        ("prompt", configuration.evaluation.prompt_tokens),
    ]
    if limit is not None and (limit.unit, limit.tokens) not in units:
        units.append((limit.unit, limit.tokens))
    found = [guarantee(pipeline.spec, unit, tokens, delta, proved=True) for unit, tokens in units]
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


def _delta(configuration: Configuration) -> float:
    """Returns the delta that every epsilon of the certificate is quoted at."""
    limit = configuration.policy.epsilon
    return limit.delta if limit is not None else DELTA


def _curve(pipeline: Pipeline) -> dict[str, Any]:
    """Returns points of one token's trade-off curve: exact, and the paper's Gaussian limit (asymptotic)."""
    alpha = np.concatenate([[0.0], np.logspace(-4, 0, CURVE_POINTS - 1)])
    exact = Accountant(pipeline.spec).trade_off("token", 1)
    mu = GaussianLimit.of(pipeline.spec).mu
    return {
        "unit": "token",
        "alpha": alpha.tolist(),
        "exact": np.asarray(exact.beta(alpha)).tolist(),
        "gaussian_limit": ndtr(-ndtri(alpha) - mu).tolist(),
    }


def _inversion(configuration: Configuration, evidence: Evidence) -> dict[str, Any]:
    """Returns what each attack read, and which attacks were not run: a certificate says what it did not look at."""
    leakage = evidence.leakage
    return {
        "unit": "token",
        "kappa": leakage.kappa,
        "allowed": {**asdict(leakage.allowed), "source": "theorem 6, any attacker who knows the token's frequency"},
        "strongest": leakage.strongest.name,
        "attacks": [
            {
                "name": attack.name,
                "version": attack.version,
                "context_free": attack.broken_below is not None,
                "success": attack.success.to_dict(),
                "rare": attack.rare.to_dict() if attack.rare else None,
                "worst_prompt": attack.worst.to_dict(),
            }
            for attack in leakage.attacks
        ],
        "unusable": [test.to_dict() for test in leakage.unusable],
        "not_run": [name for name in get_args(AttackName) if name not in configuration.evaluation.attacks],
    }


def _inference(inference: Inference | None) -> dict[str, Any] | None:
    """Returns a probe's figures; the classes' recalls carry their own Clopper-Pearson intervals."""
    if inference is None:
        return None
    probe = inference.probe
    return {
        "column": inference.column,
        "features": probe.features,
        "validation_balanced_accuracy": probe.validation,
        "chance": inference.chance,
        "balanced_accuracy": inference.balanced.to_dict(),
        "advantage": inference.advantage.to_dict(),
        "accuracy": inference.accuracy.to_dict(),
        "clean_balanced_accuracy": inference.clean.to_dict(),
        "clean_accuracy": inference.clean_accuracy.to_dict(),
        "other_users_release_balanced_accuracy": inference.other.to_dict(),
        "majority_accuracy": inference.majority.to_dict(),
        "recalls": {name: figure.to_dict() for name, figure in inference.recalls.items()},
    }


def _utility(evidence: Evidence, delta: float) -> dict[str, Any]:
    prediction = evidence.prediction
    return {
        "paired_gain": prediction.gain.to_dict(),
        "clean_paired_gain": prediction.clean_gain.to_dict(),
        "share_of_clean_gain": prediction.share.to_dict() if prediction.share else None,
        "losses": {name: figure.to_dict() for name, figure in prediction.losses.items()},
        "perplexity": {
            name: figure.mapped(math.exp, "perplexity a token").to_dict() for name, figure in prediction.losses.items()
        },
        "coherence": {name: figure.to_dict() for name, figure in evidence.coherence.items()},
        "task": _inference(evidence.task),
        "other_bits": [
            {
                "spec": other.spec.to_dict(),
                "delta": delta,
                "epsilon": asdict(Accountant(other.spec, proved=True).epsilon(delta=delta)),
                "paired_gain": other.gain.to_dict(),
                "strongest_attack": other.success.to_dict(),
            }
            for other in evidence.other_bits
        ],
    }


def hashes(configuration: Configuration, assets: Assets, pipeline: Pipeline) -> dict[str, str]:
    """Returns the sha256 of everything that decides what is released and served."""
    texts = {"public": assets.public_corpus.texts, "private": assets.private_corpus.texts}
    return {
        "configuration": sha256_of(configuration.model_dump(mode="json")),
        "spec": pipeline.spec.fingerprint.hex(),
        "encoder": pipeline.encoder.sha256,
        "prior": hashlib.sha256(pipeline.prior.tobytes()).hexdigest(),
        "model": assets.language.record.sha256,
        "tokenizer": sha256_of(assets.language.tokenizer.get_vocab()),
        "soft_prompt": assets.soft_prompt.sha256 if assets.soft_prompt else "none",
        "corpus": assets.corpus.record.sha256,
        **{f"{part}_texts": sha256_of(rows) for part, rows in texts.items()},
    }
