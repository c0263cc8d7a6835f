"""What the attack ladder reads of private prompts, and of each slice of them."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from attacks.base import AttackerKnowledge, InversionAttack
from attacks.inversion import CommonestWord
from attacks.ladder import ladder, trained_attackers
from attacks.outcome import Outcome
from attacks.registry import AttackName
from attacks.self_test import References, SelfTest
from del_audit.configuration.configuration import Configuration
from del_audit.evidence.inversion.leakage import AttackFigures, Leakage, measure_leakage
from del_audit.evidence.inversion.meaning import Meaning
from del_audit.evidence.inversion.readers import AttackReader, equipment, self_tests, usable
from del_audit.evidence.inversion.released_again import Worst, measure_worst, released_again
from del_audit.evidence.inversion.slices import (
    Slice,
    SliceFigure,
    frequency_slices,
    measure_slices,
    spread_of_each,
    text_slices,
)
from del_audit.evidence.inversion.stopping import read_until_decided
from del_audit.service.assets import Assets
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.releases import Releases
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
    knowledge: what attackers know, with the language model of the attack that was trained last, where one was.
    """

    leakage: Leakage
    shown: dict[AttackName, Outcome]
    unusable: dict[AttackName, SelfTest]
    stopped: frozenset[AttackName]
    worst: dict[AttackName, Worst]
    trained: dict[AttackName, str]
    knowledge: AttackerKnowledge


def readings_of(
    configuration: Configuration,
    assets: Assets,
    attacked: AnyPipeline,
    public: AttackerKnowledge,
    references: References,
    sent: Releases,
    show: Releases,
    longest: int,
) -> Readings:
    """Returns what the ladder recovers of private prompts, and each attack's reading of the public one to show.

    Attacks on single tokens read all of sent, those on contexts one prompt per document, or until the policy's limit is
    decided where the configuration says so. An attack that does not pass its self-test gives no figure, and is named.
    attacked: the pipeline whose releases these are, at the policy's sends. public: what attackers know of it.
    references: of self-tests. longest: tokens of one document in sent that
    there can be at most.
    """
    plan, policy = configuration.evaluation, configuration.policy
    attacks = ladder(plan.attacks, plan.masked_lm, trained_attackers(plan.attacks), depth=1)
    some = sent.one_a_document(plan.context_prompts)
    tests = self_tests(attacks, public, assets.seed, references=references)
    outcomes: dict[AttackName, tuple[InversionAttack, Outcome]] = {}
    shown: dict[AttackName, Outcome] = {}
    sequential: dict[AttackName, Figure] = {}
    worst: dict[AttackName, Outcome] = {}
    trained: dict[AttackName, str] = {}
    knowledge = public
    again = released_again(configuration, assets, attacked, some) if policy.needs("releases") else None
    for key, attack in usable(attacks, tests).items():
        reader, part = AttackReader(attack, public), sent if attack.context_free else some
        limit = policy.attack_success_at_most
        if plan.stop_early and limit is not None and not attack.context_free:
            read, sequential[key] = read_until_decided(
                reader, part, limit, longest=policy.prompt_tokens, seed=assets.seed
            )
        else:
            read = reader.read(part)
        outcomes[key] = attack, read
        shown[key] = reader.read(show)
        sha256, knows = equipment(reader.attacker, public)
        if sha256:
            trained[key], knowledge = sha256, knows
        if again is not None:
            worst[key] = reader.read(again)
    failed = {key: test for key, test in tests.items() if not test.passed}
    leakage = measure_leakage(
        outcomes,
        attacked.spec,
        attacked.prior,
        assets.seed,
        tuple(failed.values()),
        longest=longest,
        context_longest=policy.prompt_tokens,
        sends=policy.sends,
        meaning=Meaning(public.table, assets.language.tokenizer),
    )
    figures = tuple(_as_stopped(one, sequential.get(one.key)) for one in leakage.attacks)
    return Readings(
        replace(leakage, attacks=figures),
        shown,
        failed,
        frozenset(sequential),
        measure_worst(worst, plan.worst_releases),
        trained,
        knowledge,
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
