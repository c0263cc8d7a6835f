"""Attacks run the one way there is: tested on public text, fitted once, and shown releases; what is done is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from attacks.base import Attacker, AttackerKnowledge, AttackOptions, Equipped, InversionAttack
from attacks.inversion import AdaptedBeam
from attacks.ladder import trained_attackers
from attacks.outcome import Outcome, invert
from attacks.registry import AttackName
from attacks.self_test import References, SelfTest, self_test
from del_audit.service.releases import Releases
from mechanisms.progress import Progress

BASELINE: AttackName = "baseline"
"""It reads no release, so that there is nothing to test."""
ADAPTED: AttackName = "adapted-beam"
CHUNK = 16
"""Prompts that are attacked together, and kept together."""
T = TypeVar("T")

Ladder = Mapping[AttackName, InversionAttack]


class Kept(Protocol):
    """Where finished parts are kept, so that a run that was cut off goes on."""

    def part(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns a finished part, as JSON values, computed only where it is missing."""
        ...

    def value(self, name: str, kind: object, compute: Callable[[], T]) -> T:
        """Returns a finished value of a type, computed only where it is missing."""
        ...

    def outcome(self, name: str, compute: Callable[[], Outcome]) -> Outcome:
        """Returns a finished outcome, computed only where it is missing."""
        ...

    def has_outcome(self, name: str) -> bool:
        """Returns whether an outcome is finished."""
        ...


def self_tests(
    ladder: Ladder,
    public: AttackerKnowledge,
    seed: int,
    kept: Kept | None = None,
    references: References | None = None,
) -> dict[AttackName, SelfTest]:
    """Returns the self-test of each attack but the baseline, on public text alone; references: made where not given."""
    made = [references] if references is not None else []

    def tested(attack: InversionAttack) -> dict[str, Any]:
        if not made:
            made.append(References.of(public))
        return self_test(attack, made[0], seed).to_dict()

    found = {}
    with tqdm([key for key in ladder if key != BASELINE], desc="self-tests", unit="attack") as bar:
        for key in bar:
            bar.set_postfix_str(key)
            attack = ladder[key]
            told = kept.part(f"self-test-{key}", lambda a=attack: tested(a)) if kept else tested(attack)  # type: ignore[misc]
            found[key] = SelfTest(**{name: value for name, value in told.items() if name != "passed"})
    return found


def usable(ladder: Ladder, tests: Mapping[AttackName, SelfTest]) -> dict[AttackName, InversionAttack]:
    """Returns the attacks that did not fail their self-test."""
    return {key: attack for key, attack in ladder.items() if key not in tests or tests[key].passed}


@dataclass(slots=True)
class AttackReader:
    """One attack over what is public, fitted when it is first needed, and only once."""

    attack: InversionAttack
    public: AttackerKnowledge
    _attacker: Attacker | None = field(default=None, init=False)

    @property
    def attacker(self) -> Attacker:
        """The fitted attack; raises UserError as its fit does."""
        if self._attacker is None:
            self._attacker = self.attack.fit(self.public)
        return self._attacker

    def read(self, sent: Releases) -> Outcome:
        """Returns what the attack reads of all releases; the true tokens score the guesses and reach no attack.

        Raises UserError as the attack's fit and guess do.
        """
        return invert(self.attack, self.attacker, sent.messages, sent.truths, sent.documents)

    def is_kept(self, sent: Releases, kept: Kept, name: str) -> bool:
        """Returns whether every part that read_in_parts makes is there, so that it would fit nothing."""
        return all(kept.has_outcome(f"{name}-{start:06d}") for start in range(0, len(sent), CHUNK))

    def read_in_parts(self, sent: Releases, kept: Kept, name: str, progress: Progress) -> Outcome:
        """Returns the same, CHUNK prompts at a time, each kept under the name; fitted only where one is missing.

        progress: an object with update(n), told of the prompts that are done.
        """
        parts = []
        for start in range(0, len(sent), CHUNK):
            chunk = sent[start : start + CHUNK]
            parts.append(kept.outcome(f"{name}-{start:06d}", lambda chunk=chunk: self.read(chunk)))  # type: ignore[misc]
            progress.update(len(chunk))
        return Outcome.joined(parts)


def adapted_beam() -> AdaptedBeam:
    """Returns the attack whose language model attackers read with who know the context: its fit trains or finds it."""
    return AdaptedBeam.of(AttackOptions(depth=1, folder=trained_attackers((ADAPTED,))))


def equipment(attacker: Attacker, public: AttackerKnowledge) -> tuple[str, AttackerKnowledge]:
    """Returns the sha256 of what an attack reads with and trained, "" where nothing, and what is known with that."""
    if isinstance(attacker, Equipped) and attacker.trained:
        return attacker.trained, attacker.public
    return "", public


def read_all(
    ladder: Ladder, public: AttackerKnowledge, sent: Releases
) -> dict[AttackName, tuple[InversionAttack, Outcome]]:
    """Returns each attack of the ladder with what it reads of the releases."""
    return {key: (attack, AttackReader(attack, public).read(sent)) for key, attack in ladder.items()}
