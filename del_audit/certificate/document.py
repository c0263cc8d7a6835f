"""From the evidence to the certificate's body: every figure, the configuration, what made it, and the verdict."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from attacks.registry import INFORMED_VERSIONS, AttackName, attack_names, required_by
from attacks.self_test import SelfTest
from del_audit.certificate.attempts import Attempt
from del_audit.certificate.checks import checks_of
from del_audit.certificate.claim import claim_of
from del_audit.certificate.error_rate import error_rate_of
from del_audit.certificate.gather import Evidence
from del_audit.certificate.model import (
    AssetOrigin,
    Attack,
    Attempts,
    Body,
    ContextAttack,
    Findings,
    Hashes,
    Inversion,
    Knowing,
    ListAttack,
    OtherBits,
    Probe,
    Record,
    Reproduce,
    Section,
    Slice,
    Unusable,
    Utility,
    WorstOfReleases,
)
from del_audit.certificate.proved import allowed_of, bytes_of, curve_of, epsilon_of, guarantees_of
from del_audit.certificate.schema import FORMAT_6
from del_audit.configuration.configuration import Configuration
from del_audit.configuration.verdict import verdict_of
from del_audit.evidence.inference import Inference
from del_audit.evidence.inversion.leakage import AttackFigures
from del_audit.evidence.known_context import ContextFigures
from del_audit.service.asset_hashes import hashes
from del_audit.service.assets import Assets
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.provenance import commit, versions
from mechanisms.assets import AssetRecord
from mechanisms.description import Description
from mechanisms.padding import SECTION
from mechanisms.rivals.message_sizes import counted_sizes, described_sizes
from mechanisms.spec import QuantizerSpec

LENGTH = "The number of tokens of a prompt, its time and its sender: the message shows them."
FILLED_LENGTH = "The length that a prompt was filled up to, its time and its sender: the message shows them."
NOT_PROTECTED = (
    "Which text it was, from an attacker who holds a list of texts that it may be: the certificate says how often "
    "that one picks it out.",
    LENGTH,
    "A text sent more often than the policy's `sends`: each sending is a fresh release, and their guarantees add up.",
    "A user with two machines: each keeps a ledger of its own, and neither knows what the other sent.",
    "A whole prompt: its epsilon is that of as many trials as its tokens have together (unit: prompt).",
    "What many tokens tell together, such as the topic or an attribute of the author, although no single one does.",
    "The answer, which the server writes and sees.",
    "An attacker who knows more of a token than its frequency, such as the words beside it: what that one recovers is "
    "measured, and bounded only by what the same attacker recovers without the release.",
)


def not_protected(filled: bool) -> tuple[str, ...]:
    """Returns what the certificate does not speak of; filled: whether prompts are filled up to a few lengths."""
    return tuple(FILLED_LENGTH if filled and said == LENGTH else said for said in NOT_PROTECTED)


def body_of(
    configuration: Configuration,
    assets: Assets,
    pipeline: AnyPipeline,
    evidence: Evidence,
    attempt: Attempt,
    sections: dict[str, Section],
    seconds: float,
) -> Body:
    """Returns the certificate, checked and with its verdict, unsigned; nothing in it names this machine.

    attempt: this one, as the log of attempts counted it. sections: further figures. seconds: that the measuring took.
    """
    made, source = datetime.now(UTC).replace(microsecond=0), commit()
    policy, hashed = configuration.policy, Hashes(**hashes(configuration, assets, pipeline))
    sizes = described_sizes(pipeline.spec) or counted_sizes(pipeline)
    findings = Findings(
        format=FORMAT_6,
        name=configuration.name,
        made=made.isoformat(),
        expires=(made + timedelta(days=configuration.valid_days)).isoformat(),
        seconds=round(seconds, 1),
        assurance=policy.assurance,
        requires=required_by(policy.assurance, isinstance(pipeline.spec, QuantizerSpec)),
        not_protected=not_protected(filled=SECTION in sections),
        configuration=configuration,
        spec=pipeline.spec,
        guarantees=guarantees_of(pipeline.spec, policy),
        curve=curve_of(pipeline.spec, policy.sends),
        inversion=_inversion(configuration, pipeline.spec, evidence),
        knowing=_knowing(evidence),
        attribute=_probe(evidence.attribute),
        utility=_utility(evidence, policy.quoted_delta, policy.sends),
        bytes=bytes_of(sizes, policy.prompt_tokens, pipeline.table.shape[1]),
        examples=evidence.examples,
        hashes=hashed,
        assets=tuple(_origin(r) for r in (assets.language.record, assets.sentences.record, assets.corpus.record)),
        soft_prompt=dict(assets.soft_prompt.card) if assets.soft_prompt else None,
        attempts=Attempts(private_texts=hashed.private_texts, count=attempt.count, previous=attempt.previous),
        error_rate=error_rate_of(attempt.count),
        sections=sections,
        versions=versions(assets.language.model),
        commit=source,
        seed=assets.seed,
        reproduce=Reproduce(command=f"del-audit certify {configuration.name}.yaml", commit=source, seed=assets.seed),
    )
    checks = checks_of(findings)
    reasons = tuple(f"{check.limit}: {check.reason}" for check in checks if check.status != "passed")
    return Body(
        **dict(findings),
        claim=claim_of(findings, checks),
        verdict=verdict_of(checks),
        reasons=reasons,
        checks=tuple(checks),
    )


def _origin(record: AssetRecord) -> AssetOrigin:
    """Returns an asset's record without the place on this machine that a folder or file has for an origin."""
    return AssetOrigin(
        name=record.name,
        kind=record.kind,
        version=record.version,
        sha256=record.sha256,
        licence=record.licence,
        terms=record.terms,
        origin=record.origin if record.kind in ("package", "hub") else "",
    )


def _inversion(configuration: Configuration, spec: Description, evidence: Evidence) -> Inversion:
    """Returns what each attack read, and which attacks were not run: a certificate says what it did not look at."""
    readings, sends = evidence.readings, configuration.policy.sends
    leakage = readings.leakage
    return Inversion(
        unit="token",
        sends=sends,
        kappa=leakage.kappa,
        allowed=allowed_of(spec, leakage.kappa, sends),
        strongest=leakage.strongest.name,
        attacks=tuple(_attack(figures, evidence) for figures in leakage.attacks),
        unusable=tuple(_unusable(key, test) for key, test in readings.unusable.items()),
        not_run=tuple(name for name in attack_names() if name not in configuration.evaluation.attacks),
    )


def _unusable(key: AttackName, test: SelfTest) -> Unusable:
    return Unusable(
        key=key,
        attack=test.attack,
        version=test.version,
        tokens=test.tokens,
        loud=test.loud,
        silent=test.silent,
        required=test.required,
        allowed=test.allowed,
        reason=test.reason,
        passed=False,
    )


def _attack(figures: AttackFigures, evidence: Evidence) -> Attack:
    worst = evidence.readings.worst.get(figures.key)
    return Attack(
        key=figures.key,
        name=figures.name,
        version=figures.version,
        context_free=figures.broken_below is not None,
        success=figures.success,
        above=figures.above,
        meaning=figures.meaning,
        meaning_above=figures.meaning_above,
        rare=figures.rare,
        worst_prompt=figures.worst,
        worst_of_releases=WorstOfReleases(success=worst.success, above=worst.above) if worst else None,
        broken_below=figures.broken_below,
        trained_sha256=evidence.readings.trained.get(figures.key),
        slices=tuple(Slice(**_fields(Slice, part)) for part in evidence.slices[figures.key]),
    )


def _fields(record: type[Record], measured: object) -> dict[str, Any]:
    """Returns the figures of a record, which what was measured has under the same names."""
    return {name: getattr(measured, name) for name in record.model_fields if name != "version"}


def _context(found: ContextFigures) -> ContextAttack:
    return ContextAttack(version=INFORMED_VERSIONS["known-context"], **_fields(ContextAttack, found))


def _knowing(evidence: Evidence) -> Knowing:
    return Knowing(
        context=_context(evidence.context),
        context_both=_context(evidence.context_both),
        lists=tuple(
            ListAttack(version=INFORMED_VERSIONS["candidate-list"], **_fields(ListAttack, found))
            for found in evidence.lists
        ),
        lists_why=evidence.lists_why,
    )


def _probe(inference: Inference | None) -> Probe | None:
    """Returns a probe's figures; the classes' recalls carry their own Clopper-Pearson intervals."""
    if inference is None:
        return None
    return Probe(
        column=inference.column,
        features=inference.probe.features,
        validation_balanced_accuracy=inference.probe.validation,
        chance=inference.chance,
        balanced_accuracy=inference.balanced,
        advantage=inference.advantage,
        accuracy=inference.accuracy,
        clean_balanced_accuracy=inference.clean,
        clean_accuracy=inference.clean_accuracy,
        other_users_release_balanced_accuracy=inference.other,
        majority_accuracy=inference.majority,
        over_majority=inference.figures.over_majority,
        recalls=inference.recalls,
    )


def _utility(evidence: Evidence, delta: float, sends: int) -> Utility:
    prediction = evidence.prediction
    return Utility(
        paired_gain=prediction.gain,
        gains_over=prediction.over,
        clean_paired_gain=prediction.clean_gain,
        share_of_clean_gain=prediction.share,
        losses=prediction.losses,
        perplexity={
            name: figure.mapped(math.exp, "perplexity per token") for name, figure in prediction.losses.items()
        },
        coherence=evidence.coherence,
        task=_probe(evidence.task),
        other_bits=tuple(
            OtherBits(
                spec=other.spec,
                delta=delta,
                epsilon=epsilon_of(other.spec, delta, sends),
                paired_gain=other.gain,
                strongest_attack=other.success,
            )
            for other in evidence.other_bits
        ),
    )
