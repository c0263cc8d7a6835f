"""The attacks that a command asks for, and what a result states of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from attacks.ladder import ladder, trained_attackers
from attacks.registry import AttackName, always_run, attack_names, rows_of
from attacks.self_test import SelfTest
from del_audit.configuration.attack_names import asked_attacks
from del_audit.configuration.configuration import Evaluation
from del_audit.evidence.inversion.readers import BASELINE, Ladder, usable
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError


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


def described(attacks: Ladder) -> dict[str, Json]:
    """Returns name, version and settings of each attack, as JSON: what Run compares, and what a result states."""
    stated: dict[str, Json] = {}
    for key, attack in attacks.items():
        settings = asdict(attack)  # type: ignore[call-overload]  # a dataclass, which its protocol does not say
        stated[key] = _without_folders({**settings, "name": attack.name, "version": attack.version})
    return stated


def require_usable(ladder: Ladder, tests: Mapping[AttackName, SelfTest]) -> Ladder:
    """Returns the usable attacks; raises UserError where only the baseline passes its self-test."""
    kept = usable(ladder, tests)
    if set(kept) == {BASELINE}:
        reasons = " ".join(f"{key}: {test.reason}" for key, test in tests.items())
        raise UserError(f"Expected a usable attack, got none that passes its self-test. {reasons}")
    return kept


def _without_folders(settings: Json) -> Json:
    """Returns nested settings without where fits are kept, which decides nothing and names a machine."""
    if not isinstance(settings, Mapping):
        return settings
    return {name: _without_folders(value) for name, value in settings.items() if name != "folder"}
