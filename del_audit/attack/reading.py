"""Runs a ladder of attacks so that nothing finished is done again: self-tests, and outcomes chunk by chunk."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from attacks.base import InversionAttack, Public
from attacks.ladder import ladder, trained_attackers
from attacks.outcome import Outcome, invert
from attacks.registry import AttackName, always_run, attack_names, rows_of
from attacks.self_test import References, SelfTest, self_test
from del_audit.attack.scene import Private
from del_audit.attack.store import Run
from del_audit.attack_names import asked_attacks
from del_audit.certificate.config import Evaluation
from mechanisms.errors import UserError

CHUNK = 16
"""Prompts that are attacked together, and kept together."""
BASELINE: AttackName = "baseline"

Ladder = dict[AttackName, InversionAttack]


def named_ladder(names: Sequence[str], masked_lm: str | None = None) -> Ladder:
    """Returns the attacks under their short names, weakest first; those that no result stands without are added.

    Raises UserError as ladder does, and for a masked language model that no attack reads with.
    """
    asked = asked_attacks([*(name for name in always_run() if name not in names), *names])
    attacks = ladder(asked, masked_lm, trained_attackers(asked))
    if masked_lm is not None and not _reads_with_masked_lm(asked):
        takers = " or ".join(row.key for row in rows_of(attack_names()) if row.masked_lm)
        raise UserError(f"Expected --masked-lm with the attack {takers} only, got {', '.join(names)}.")
    return attacks


def asked_ladder(plan: Evaluation, names: Sequence[str] | None, masked_lm: str | None) -> Ladder:
    """Returns the attacks that a command asks for, the configuration's where it names none; raises as named_ladder."""
    chosen = plan.attacks if names is None else names
    own = plan.masked_lm if _reads_with_masked_lm(chosen) else None
    return named_ladder(chosen, masked_lm if masked_lm is not None else own)


def _reads_with_masked_lm(names: Sequence[AttackName]) -> bool:
    return any(row.masked_lm for row in rows_of(names))


def described(attacks: Ladder) -> dict[str, Any]:
    """Returns name, version and settings of each attack, as JSON: what Run compares, and what a result states."""
    stated = {}
    for key, attack in attacks.items():
        settings: Any = attack  # every attack is a dataclass, which its protocol does not say
        stated[key] = {**asdict(settings), "name": attack.name, "version": attack.version}
    return dict(_without_folders(stated))


def tested(run: Run, attacks: Ladder, public: Public, seed: int) -> dict[AttackName, SelfTest]:
    """Returns the self-test of each attack but the baseline, which reads no release; on public text alone."""
    references = functools.cache(lambda: References.of(public))
    found = {}
    with tqdm(attacks.items(), desc="self-tests", unit="attack") as bar:
        for key, attack in bar:
            if key == BASELINE:
                continue
            bar.set_postfix_str(key)
            kept = run.part(f"self-test-{key}", lambda attack=attack: self_test(attack, references(), seed).to_dict())  # type: ignore[misc]
            found[key] = SelfTest(**{name: value for name, value in kept.items() if name != "passed"})
    return found


def usable(attacks: Ladder, tests: Mapping[AttackName, SelfTest]) -> Ladder:
    """Returns the attacks that did not fail their self-test; raises UserError where only the baseline is left."""
    kept = {key: attack for key, attack in attacks.items() if key not in tests or tests[key].passed}
    if set(kept) == {BASELINE}:
        reasons = " ".join(f"{key}: {test.reason}" for key, test in tests.items())
        raise UserError(f"Expected a usable attack, got none that passes its self-test. {reasons}")
    return kept


def read(
    run: Run, name: str, attack: InversionAttack, public: Public, messages: Sequence[bytes], sent: Private, bar: Any
) -> Outcome:
    """Returns what an attack reads of all prompts, CHUNK at a time; it is fitted only where a chunk is missing.

    The true tokens score the guesses and reach no attack. Raises UserError as the attack's fit and guess do.
    """
    fitted, parts = functools.cache(lambda: attack.fit(public)), []
    for start in range(0, len(messages), CHUNK):
        rows = slice(start, start + CHUNK)

        def compute(rows: slice = rows) -> Outcome:
            return invert(attack, fitted(), messages[rows], sent.prompts[rows], sent.documents[rows])

        parts.append(run.outcome(f"{name}-{start:06d}", compute))
        bar.update(len(messages[rows]))
    return Outcome.joined(parts)


def _without_folders(settings: Any) -> Any:
    """Returns nested settings without where fits are kept, which decides nothing and names a machine."""
    if not isinstance(settings, dict):
        return settings
    return {name: _without_folders(value) for name, value in settings.items() if name != "folder"}
