"""What the attack ladder reads of private prompts, and of each slice of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from attacks.base import AttackerKnowledge, InversionAttack
from attacks.inversion import CommonestWord
from attacks.outcome import Outcome
from attacks.registry import AttackName
from attacks.self_test import References, SelfTest
from del_audit.configuration.configuration import Configuration
from del_audit.evidence.inversion.leakage import AttackFigures, Leakage, measure_leakage
from del_audit.evidence.inversion.meaning import Meaning
from del_audit.evidence.inversion.readers import AttackReader, Kept, equipment, self_tests
from del_audit.evidence.inversion.released_again import Worst, measure_worst, released_again
from del_audit.evidence.inversion.slices import (
    Slice,
    SliceFigure,
    frequency_slices,
    measure_slices,
    spread_of_each,
    text_slices,
)
from del_audit.evidence.inversion.stopping import read_until_decided, stopped_rate
from del_audit.service.assets import Assets, client_of, public_of
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.releases import PrivatePrompts, Releases
from del_audit.service.shown_prompt import prompt_to_show
from del_audit.statistics.figure import Figure

SLICE_TOKENS = 8
"""Tokens of a slice that count in one document, at most: so that an interval knows it beforehand."""
STOPPED = "the attack stopped early, so how many tokens of a slice it saw depends on what it recovered"


@dataclass(frozen=True, slots=True)
class Readings:
    """What the ladder recovered, all of it by the attack's key.

    leakage: of private prompts. shown: each attack's reading of the public prompt. unusable: the self-tests that were
    not passed. stopped: attacks that went on only until the limit was decided. worst: the prompt that is read best,
    over repeated releases; empty where the policy does not limit it. trained: sha256 of what was trained for an attack.
    """

    leakage: Leakage
    shown: dict[AttackName, Outcome]
    unusable: dict[AttackName, SelfTest]
    stopped: frozenset[AttackName]
    worst: dict[AttackName, Worst]
    trained: dict[AttackName, str]


@dataclass(frozen=True, slots=True)
class Target:
    """What the ladder reads. public: what attackers know of the pipeline that released, at the policy's sends.

    references: of self-tests. sent: private prompts, for attacks on single tokens. some: one prompt per document, for
    those on contexts. show: a public prompt. again: the same prompts again and again; None where the policy does not
    limit the prompt that is read best. stop_at: the limit that ends an attack on contexts once it is decided; None
    where all of some is read. longest, context_longest: tokens of one document that there can be at most in sent, and
    in some.
    """

    public: AttackerKnowledge
    references: References
    sent: Releases
    some: Releases
    show: Releases
    again: Releases | None
    stop_at: float | None
    longest: int
    context_longest: int

    @classmethod
    def of(cls, configuration: Configuration, assets: Assets, attacked: AnyPipeline, private: PrivatePrompts) -> Self:
        """Returns what a certificate's attacks read: private prompts, as the attacked pipeline releases them."""
        plan, policy = configuration.evaluation, configuration.policy
        sent = private.released(client_of(assets, attacked, assets.seed, "attacked release").release_tokens)
        some, public = sent.one_a_document(plan.context_prompts), public_of(assets, attacked, assets.seed)
        return cls(
            public,
            References.of(public),
            sent,
            some,
            prompt_to_show(assets, attacked),
            released_again(configuration, assets, attacked, some) if policy.needs("releases") else None,
            policy.attack_success_at_most if plan.stop_early else None,
            private.longest,
            policy.prompt_tokens,
        )


@dataclass(frozen=True, slots=True)
class AttackReading:
    """One attack's part of a ladder. test: its self-test; None for the baseline, which reads no release.

    read: of private prompts. shown: of the public one. again: of the same prompts again and again. stopped: the share,
    where the attack went on only until the limit was decided. trained: sha256 of what was trained for it, "" where
    nothing was. All None, and "", where the attack failed its self-test; again also where there is nothing to read.
    """

    attack: InversionAttack
    test: SelfTest | None
    read: Outcome | None = None
    shown: Outcome | None = None
    again: Outcome | None = None
    stopped: Figure | None = None
    trained: str = ""


def attack_reading(key: AttackName, attack: InversionAttack, target: Target, kept: Kept) -> AttackReading:
    """Returns what one attack recovers of the target; what is finished is kept, so that nothing is read twice.

    An attack that does not pass its self-test reads nothing.
    """
    public, again = target.public, target.again
    test = self_tests({key: attack}, public, public.seed, kept, target.references).get(key)
    if test is not None and not test.passed:
        return AttackReading(attack, test)
    reader, part = AttackReader(attack, public), target.sent if attack.context_free else target.some
    limit = None if attack.context_free else target.stop_at

    def read() -> Outcome:
        if limit is None:
            return reader.read(part)
        return read_until_decided(reader, part, limit, longest=target.context_longest, seed=public.seed)

    outcome = kept.outcome(f"{key}-read", read)
    shown = kept.outcome(f"{key}-shown", lambda: reader.read(target.show))
    worst = None if again is None else kept.outcome(f"{key}-again", lambda: reader.read(again))
    trained = kept.value(f"{key}-trained", str, lambda: equipment(reader.attacker, public)[0])
    stopped = None if limit is None else stopped_rate(outcome, len(set(part.documents)), target.context_longest)
    return AttackReading(attack, test, outcome, shown, worst, stopped, trained)


def readings_of(
    found: Mapping[AttackName, AttackReading],
    configuration: Configuration,
    assets: Assets,
    attacked: AnyPipeline,
    longest: int,
) -> Readings:
    """Returns the ladder's figures. attacked, longest: of the target that was read."""
    policy = configuration.policy
    failed = {key: one.test for key, one in found.items() if one.test is not None and not one.test.passed}
    leakage = measure_leakage(
        {key: (one.attack, one.read) for key, one in found.items() if one.read is not None},
        attacked.spec,
        attacked.prior,
        assets.seed,
        tuple(failed.values()),
        longest=longest,
        context_longest=policy.prompt_tokens,
        sends=policy.sends,
        meaning=Meaning(attacked.table, assets.language.tokenizer),
    )
    figures = tuple(_as_stopped(one, found[one.key].stopped) for one in leakage.attacks)
    again = {key: one.again for key, one in found.items() if one.again is not None}
    return Readings(
        replace(leakage, attacks=figures),
        {key: one.shown for key, one in found.items() if one.shown is not None},
        failed,
        frozenset(key for key, one in found.items() if one.stopped is not None),
        measure_worst(again, configuration.evaluation.worst_releases),
        {key: one.trained for key, one in found.items() if one.trained},
    )


def _as_stopped(figures: AttackFigures, success: Figure | None) -> AttackFigures:
    """Returns the figures of an attack that stopped by what it saw: only the sequential interval holds of it then."""
    if success is None:
        return figures
    worst = replace(figures.worst, lower=0.0, upper=1.0, method="none: the attack stopped early")
    known = replace(figures, success=success, above=success.lower, rare=None, worst=worst)
    return replace(known, meaning=None, meaning_above=None)


def slices_of(
    assets: Assets,
    leakage: Leakage,
    pipeline: AnyPipeline,
    longest: int,
    prompt_tokens: int,
    stopped: Collection[AttackName] = (),
) -> dict[AttackName, list[SliceFigure]]:
    """Returns what each attack recovered of rare and common words, names and numbers, beside the baseline.

    longest: tokens of one document that there can be at most; prompt_tokens: the same for attacks on contexts.
    stopped: attacks that stopped early; they have no figure of a slice.
    """
    found: dict[AttackName, list[SliceFigure]] = {}
    kinds: dict[tuple[bool, int], list[AttackFigures]] = {}
    for figures in leakage.attacks:
        kinds.setdefault((figures.broken_below is not None, len(figures.outcome)), []).append(figures)
    for (context_free, _), alike in kinds.items():
        outcomes = [figures.outcome for figures in alike]
        most = min(SLICE_TOKENS, longest if context_free else prompt_tokens)
        for part in _slices(outcomes[0], assets, pipeline, most):
            commonest = outcomes[0].of_one_guess(CommonestWord(), int(np.argmax(pipeline.prior)))
            together = len(leakage.attacks)
            measured = measure_slices(part, outcomes, commonest, assets.seed, longest=most, together=together)
            for figures, figure in zip(alike, measured, strict=True):
                told = figure
                if figures.key in stopped:
                    told = replace(figure, success=None, baseline=None, above=None, why=STOPPED)
                found.setdefault(figures.key, []).append(told)
    return found


def _slices(outcome: Outcome, assets: Assets, pipeline: AnyPipeline, most: int) -> list[Slice]:
    """Returns the slices of the true tokens, at most so many tokens of a document in each."""
    named = text_slices(outcome, assets.language.tokenizer, assets.public_corpus.texts)
    every = [*frequency_slices(outcome.truth, pipeline.prior), *named]
    return [spread_of_each(part, outcome, most) for part in every]
