"""The certificate: one JSON object that holds every figure, the configuration and what made it."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from attacks.registry import attack_names, required_by
from del_audit.certificate.attempts import Attempt
from del_audit.certificate.checks import checks_of
from del_audit.certificate.error_rate import error_rate_of
from del_audit.certificate.gather import Evidence
from del_audit.certificate.proved import allowed_of, bytes_of, curve_of, epsilon_of, guarantees_of
from del_audit.certificate.schema import FORMAT_3
from del_audit.configuration.asked import quoted_delta
from del_audit.configuration.configuration import Configuration
from del_audit.configuration.verdict import verdict_of
from del_audit.evidence.inference import Inference
from del_audit.service.asset_hashes import hashes
from del_audit.service.assets import Assets
from del_audit.service.provenance import commit, versions
from mechanisms.assets import AssetRecord
from mechanisms.pipeline import Pipeline
from mechanisms.spec import QuantizerSpec

NOT_PROTECTED = (
    "The number of tokens of a prompt, its time and its sender: the message shows them.",
    "A text sent more often than the policy's `sends`: each sending is a fresh release, and their guarantees add up.",
    "A user with two machines: each keeps a ledger of its own, and neither knows what the other sent.",
    "A whole prompt: its epsilon is that of as many trials as its tokens have together (unit: prompt).",
    "What many tokens tell together, such as the topic or an attribute of the author, although no single one does.",
    "The answer, which the server writes and sees.",
    "An attacker who knows more of a token than its frequency, such as the words beside it: no theorem here bounds "
    "what that one reads, it is measured only.",
)


def body_of(
    configuration: Configuration,
    assets: Assets,
    pipeline: Pipeline,
    evidence: Evidence,
    attempt: Attempt,
    seconds: float,
) -> dict[str, Any]:
    """Returns the certificate as JSON values, checked and with its verdict, unsigned; nothing in it names this machine.

    attempt: this one, as the log of attempts counted it. seconds: that the measuring took.
    """
    made = datetime.now(UTC).replace(microsecond=0)
    described, source = configuration.model_dump(mode="json"), commit()
    policy, hashed = described["policy"], hashes(configuration, assets, pipeline)
    body: dict[str, Any] = {
        "format": FORMAT_3,
        "name": configuration.name,
        "assurance": policy["assurance"],
        "requires": list(required_by(configuration.policy.assurance)),
        "not_protected": list(NOT_PROTECTED),
        "guarantees": guarantees_of(pipeline.spec, described),
        "curve": curve_of(pipeline.spec, policy["sends"]),
        "inversion": _inversion(configuration, pipeline.spec, evidence),
        "attribute": _inference(evidence.attribute),
        "utility": _utility(evidence, quoted_delta(described), policy["sends"]),
        "bytes": bytes_of(pipeline.spec, described, pipeline.table.shape[1]),
        "examples": evidence.examples,
        "configuration": described,
        "spec": pipeline.spec.to_dict(),
        "hashes": hashed,
        "assets": [_asset(r) for r in (assets.language.record, assets.sentences.record, assets.corpus.record)],
        "soft_prompt": assets.soft_prompt.card if assets.soft_prompt else None,
        "attempts": {"private_texts": hashed["private_texts"], "count": attempt.count, "previous": attempt.previous},
        "error_rate": error_rate_of(attempt.count),
        "sections": {},
        "versions": versions(),
        "commit": source,
        "seed": assets.seed,
        "reproduce": {"command": f"del-audit certify {configuration.name}.yaml", "commit": source, "seed": assets.seed},
        "made": made.isoformat(),
        "expires": (made + timedelta(days=configuration.valid_days)).isoformat(),
        "seconds": round(seconds, 1),
    }
    checks = checks_of(body)
    return {
        **body,
        "verdict": verdict_of(checks),
        "reasons": [f"{check.limit}: {check.reason}" for check in checks if check.status != "passed"],
        "checks": [check.to_dict() for check in checks],
    }


def _asset(record: AssetRecord) -> dict[str, str]:
    """Returns an asset's record without the place on this machine that a folder or file has for an origin."""
    origin = record.origin if record.kind in ("package", "hub") else ""
    return {**record.to_dict(), "origin": origin}


def _inversion(configuration: Configuration, spec: QuantizerSpec, evidence: Evidence) -> dict[str, Any]:
    """Returns what each attack read, and which attacks were not run: a certificate says what it did not look at."""
    readings, sends = evidence.readings, configuration.policy.sends
    leakage = readings.leakage
    return {
        "unit": "token",
        "sends": sends,
        "kappa": leakage.kappa,
        "allowed": allowed_of(spec, leakage.kappa, sends),
        "strongest": leakage.strongest.name,
        "attacks": [
            {
                "key": attack.key,
                "name": attack.name,
                "version": attack.version,
                "context_free": attack.broken_below is not None,
                "success": attack.success.to_dict(),
                "above": attack.above,
                "rare": attack.rare.to_dict() if attack.rare else None,
                "worst_prompt": attack.worst.to_dict(),
                "worst_of_releases": readings.worst[attack.key].to_dict() if attack.key in readings.worst else None,
                "broken_below": attack.broken_below,
                "slices": [part.to_dict() for part in evidence.slices[attack.key]],
            }
            for attack in leakage.attacks
        ],
        "unusable": [{"key": key, **test.to_dict()} for key, test in readings.unusable.items()],
        "not_run": [name for name in attack_names() if name not in configuration.evaluation.attacks],
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
        "over_majority": inference.figures.over_majority.to_dict(),
        "recalls": {name: figure.to_dict() for name, figure in inference.recalls.items()},
    }


def _utility(evidence: Evidence, delta: float, sends: int) -> dict[str, Any]:
    prediction = evidence.prediction
    return {
        "paired_gain": prediction.gain.to_dict(),
        "gains_over": {control: figure.to_dict() for control, figure in prediction.over.items()},
        "clean_paired_gain": prediction.clean_gain.to_dict(),
        "share_of_clean_gain": prediction.share.to_dict() if prediction.share else None,
        "losses": {name: figure.to_dict() for name, figure in prediction.losses.items()},
        "perplexity": {
            name: figure.mapped(math.exp, "perplexity per token").to_dict()
            for name, figure in prediction.losses.items()
        },
        "coherence": {name: figure.to_dict() for name, figure in evidence.coherence.items()},
        "task": _inference(evidence.task),
        "other_bits": [
            {
                "spec": other.spec.to_dict(),
                "delta": delta,
                "epsilon": epsilon_of(other.spec, delta, sends),
                "paired_gain": other.gain.to_dict(),
                "strongest_attack": other.success.to_dict(),
            }
            for other in evidence.other_bits
        ],
    }
