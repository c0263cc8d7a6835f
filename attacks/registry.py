"""The inversion attacks, one row each, weakest first: to add one, write its file and its row. Imports nothing heavy."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from mechanisms.errors import UserError

AttackName = str
"""An attack's key: its name in configurations, on the command line and in certificates, [a-z][a-z0-9-]{0,63}."""
Assurance = Literal["full", "quick"]


@dataclass(frozen=True, slots=True)
class AttackRow:
    """What is known of an attack before it is imported.

    made_by: "module:Class", imported when the attack is made; the class has `of`, as attacks.ladder.AttackKind.
    version: one more whenever the attack becomes stronger, which ends the certificates that rest on the weaker one.
    default: whether a configuration that names no attacks is attacked with it. always: whether no result stands without
    it. required_by: the levels of assurance whose verdict is inconclusive without it. masked_lm: whether it reads with
    a masked language model where one is named. codes: whether it reads DEL's codes, so that it is no attack on another
    mechanism. trains: whether it keeps its fits in a folder. former: earlier keys, which configurations and the command
    line may still use for one version, and certificates for good.
    """

    key: AttackName
    made_by: str
    version: int
    default: bool = False
    always: bool = False
    required_by: tuple[Assurance, ...] = ()
    masked_lm: bool = False
    codes: bool = False
    trains: bool = False
    former: tuple[AttackName, ...] = ()


FULL: tuple[Assurance, ...] = ("full",)
EVERY: tuple[Assurance, ...] = ("full", "quick")
ATTACKS: dict[AttackName, AttackRow] = {
    row.key: row
    for row in (
        AttackRow(
            "baseline", "attacks.inversion.baseline:CommonestWord", 1, default=True, always=True, required_by=EVERY
        ),
        AttackRow("cosine", "attacks.inversion.nearest:CosineNeighbour", 1, default=True, required_by=FULL),
        AttackRow("inference", "attacks.inversion.masked_lm:InputInference", 1, masked_lm=True),
        AttackRow("code", "attacks.inversion.nearest:CodeNeighbour", 1, default=True, required_by=FULL, codes=True),
        AttackRow("likelihood", "attacks.inversion.bayes:MaximumLikelihood", 1, default=True, required_by=FULL),
        AttackRow("map", "attacks.inversion.bayes:MaximumAPosteriori", 1, default=True, always=True, required_by=EVERY),
        AttackRow("beam", "attacks.inversion.language_prior:LanguageBeam", 1),
        AttackRow(
            "adapted-beam",
            "attacks.inversion.adapted_beam:AdaptedBeam",
            2,
            default=True,
            required_by=FULL,
            trains=True,
        ),
        AttackRow("two-sided", "attacks.inversion.two_sided:TwoSided", 2),
        AttackRow("contextual", "attacks.inversion.contextual:ContextualInverter", 1, trains=True),
        AttackRow(
            "contextual-beam", "attacks.inversion.contextual_beam:ContextualBeam", 1, trains=True, former=("informed",)
        ),
    )
}
"""Every attack under its key, weakest kind first."""
INFORMED_VERSIONS = {"known-context": 2, "candidate-list": 1}
"""Versions of the attacks that are told more than a release: in no ladder, and they end certificates all the same."""


def attack_names() -> tuple[AttackName, ...]:
    """Returns every attack's key, weakest kind first."""
    return tuple(ATTACKS)


def always_run() -> tuple[AttackName, ...]:
    """Returns the yardstick, and the best that reads token by token: no result stands without them."""
    return tuple(row.key for row in ATTACKS.values() if row.always)


def default_attacks() -> tuple[AttackName, ...]:
    """Returns what a configuration that names none is attacked with."""
    return tuple(row.key for row in ATTACKS.values() if row.default)


def required_by(level: Assurance, codes: bool = True) -> tuple[AttackName, ...]:
    """Returns the attacks that a level of assurance requires: a verdict without one of them is inconclusive.

    codes: whether the mechanism has codes, DEL's; attacks on codes are required of no other.
    """
    return tuple(row.key for row in ATTACKS.values() if level in row.required_by and (codes or not row.codes))


def without_codes(names: Iterable[AttackName]) -> tuple[AttackName, ...]:
    """Returns the attacks among these that need no codes, which only DEL has."""
    return tuple(name for name in names if not any(row.codes for row in rows_of([name])))


def current_name(name: AttackName) -> AttackName:
    """Returns today's key of an attack that has a former one; every other name, known or not, as it is.

    >>> current_name("informed"), current_name("a-later-one")
    ('contextual-beam', 'a-later-one')
    """
    return next((row.key for row in ATTACKS.values() if name in row.former), name)


def rows_of(names: Iterable[AttackName]) -> list[AttackRow]:
    """Returns the rows of the names, today's or former, weakest kind first; unknown names have none."""
    asked = {current_name(name) for name in names}
    return [row for row in ATTACKS.values() if row.key in asked]


def version_of(name: AttackName) -> int:
    """Returns the version of an attack, which is stated in its row alone; raises KeyError for an unknown one."""
    return ATTACKS[current_name(name)].version


def checked_names(names: Sequence[AttackName]) -> tuple[AttackName, ...]:
    """Returns today's names of the attacks that are asked for.

    Raises UserError for an unknown one, one given twice, and where one of always_run() is missing.
    """
    found, always = tuple(current_name(name) for name in names), always_run()
    for name in found:
        if name not in ATTACKS:
            near = difflib.get_close_matches(name, ATTACKS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UserError(f"Expected attacks among {', '.join(ATTACKS)}, got {name!r}.{hint}")
    if len(set(found)) != len(found) or not set(always) <= set(found):
        raise UserError(f"Expected attacks without repetition, {' and '.join(always)} among them, got {list(names)}.")
    return found
