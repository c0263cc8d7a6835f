"""What the attack ladder reads of private prompts, by slices, and of one public prompt that may be shown."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from attacks.base import InversionAttack
from attacks.inversion import CommonestWord
from attacks.ladder import ladder
from attacks.names import AttackName
from attacks.outcome import Outcome, invert
from attacks.self_test import References, SelfTest, self_test
from del_audit.certificate.config import Configuration, Evaluation
from del_audit.certificate.inputs import Assets, client_of, public_of
from del_audit.evidence.figure import Figure
from del_audit.evidence.leakage import AttackFigures, Leakage, Sent, measure_leakage
from del_audit.evidence.slices import (
    Slice,
    SliceFigure,
    frequency_slices,
    measure_slice,
    text_slices,
    token_texts,
)
from del_audit.evidence.stopping import read_until_decided
from mechanisms.assets import cache_folder
from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline

SHOWN_TOKENS = 40
"""Tokens of the public prompt that the report shows."""
STOPPED = "the attack stopped early, and how many tokens of a slice it saw hangs on what it read"


@dataclass(frozen=True, slots=True)
class Readings:
    """What the ladder read: leakage of private prompts, and in shown each attack's reading of the public one.

    stopped: names of the attacks that read only until the limit was decided.
    """

    leakage: Leakage
    shown: tuple[Outcome, ...]
    stopped: frozenset[str]


def readings_of(configuration: Configuration, assets: Assets, pipeline: Pipeline, sent: Sent, show: Sent) -> Readings:
    """Returns what the ladder reads of private prompts, and each attack's reading of the public one to show.

    Attacks on single tokens read all of sent, those on contexts one prompt a document, or until the policy's limit is
    decided where the configuration says so. An attack that does not pass its self-test is left out, and named.
    """
    plan, limit = configuration.evaluation, configuration.policy.attack_success_at_most
    attacks = ladder(plan.attacks, plan.masked_lm, cache_folder() / "attacks", depth=1)
    tests = self_tests(attacks, assets, pipeline, plan.seed)
    usable = [attack for attack, test in zip(attacks, tests, strict=True) if test.passed]
    public, some = public_of(assets, pipeline, plan.seed), sent.one_a_document(plan.context_prompts)
    outcomes: list[tuple[InversionAttack, Outcome]] = []
    shown: list[Outcome] = []
    sequential: dict[str, Figure] = {}
    for attack in usable:
        attacker, part = attack.fit(public), sent if attack.context_free else some
        if plan.stop_early and limit is not None and not attack.context_free:
            read, sequential[attack.name] = read_until_decided(attack, public, part, limit, seed=plan.seed)
        else:
            read = invert(attack, attacker, part.messages, part.truths, part.documents)
        outcomes.append((attack, read))
        shown.append(invert(attack, attacker, show.messages, show.truths, show.documents))
    failed = [test for test in tests if not test.passed]
    leakage = measure_leakage(outcomes, pipeline.spec, pipeline.prior, plan.seed, failed)
    figures = tuple(_as_stopped(one, sequential.get(one.name)) for one in leakage.attacks)
    return Readings(replace(leakage, attacks=figures), tuple(shown), frozenset(sequential))


def _as_stopped(figures: AttackFigures, success: Figure | None) -> AttackFigures:
    """Returns the figures of an attack that stopped by what it saw: only the sequential interval holds of it then."""
    if success is None:
        return figures
    worst = replace(figures.worst, lower=0.0, upper=1.0, method="none: the attack stopped early")
    return replace(figures, success=success, rare=None, worst=worst)


def self_tests(attacks: Sequence[InversionAttack], assets: Assets, pipeline: Pipeline, seed: int) -> list[SelfTest]:
    """Returns the self-test of each attack, on public text alone."""
    references = References.of(public_of(assets, pipeline, seed))
    with tqdm(attacks, desc="self-tests", unit="attack") as bar:
        return [self_test(attack, references, seed) for attack in bar]


def attack_keys(plan: Evaluation) -> dict[str, AttackName]:
    """Returns the configuration's name of each of its attacks, by the name that reports call it."""
    asked: list[AttackName] = [name for name in get_args(AttackName) if name in plan.attacks]
    return {attack.name: key for attack, key in zip(ladder(plan.attacks, plan.masked_lm), asked, strict=True)}


def slices_of(
    assets: Assets, leakage: Leakage, pipeline: Pipeline, seed: int, stopped: Collection[str] = ()
) -> dict[str, list[SliceFigure]]:
    """Returns what each attack read of rare and common words, names and numbers, beside the baseline.

    stopped: attacks that stopped early; they have no figure of a slice.
    """
    found: dict[str, list[SliceFigure]] = {}
    parts: dict[tuple[bool, int], tuple[list[Slice], Outcome]] = {}
    for figures in leakage.attacks:
        outcome, context_free = figures.outcome, figures.broken_below is not None
        kind = context_free, len(outcome)
        if kind not in parts:
            named = text_slices(outcome, assets.language.tokenizer, assets.public_corpus.texts)
            commonest = outcome.of_one_guess(CommonestWord(), int(np.argmax(pipeline.prior)))
            parts[kind] = [*frequency_slices(outcome.truth, pipeline.prior), *named], commonest
        slices, baseline = parts[kind]
        measured = [measure_slice(part, outcome, baseline, seed) for part in slices]
        if figures.name in stopped:
            measured = [replace(part, success=None, baseline=None, why=STOPPED) for part in measured]
        found[figures.name] = measured
    return found


def require_slices(configuration: Configuration, slices: Mapping[str, Sequence[SliceFigure]]) -> None:
    """Raises UserError for a limit on a slice that this vocabulary does not have."""
    there = list(dict.fromkeys(part.name for parts in slices.values() for part in parts))
    for name in configuration.policy.slice_success_at_most:
        if name not in there:
            raise UserError(f"Expected policy.slice_success_at_most among {', '.join(there)}, got {name!r}.")


def prompt_to_show(assets: Assets, pipeline: Pipeline, seed: int) -> Sent:
    """Returns a public prompt as the client sends it: what it says may stand in a report."""
    documents = [document for document in assets.public if document]
    prompt = next((d for d in documents if len(d) >= SHOWN_TOKENS), documents[0])[:SHOWN_TOKENS]
    message = client_of(assets, pipeline, seed, "prompt to show").release_tokens(prompt)
    return Sent([message], [prompt], ["public"])


def examples_of(
    assets: Assets, show: Sent, keys: Mapping[str, AttackName], readings: Sequence[Outcome]
) -> dict[str, Any]:
    """Returns one public prompt as its writer, the wire and each attacker see it."""
    tokenizer = assets.language.tokenizer
    return {
        "source": "public split, released here for show",
        "written": token_texts(tokenizer, list(show.truths[0])),
        "sent": show.messages[0][:48].hex(),
        "tokens": len(show.truths[0]),
        "readings": [
            {
                "attack": outcome.attack,
                "key": keys[outcome.attack],
                "read": token_texts(tokenizer, outcome.guess.tolist()),
                "hits": "".join("1" if hit else "0" for hit in outcome.hits),
            }
            for outcome in readings
        ],
    }
