"""The certificate's figures in the rows that its table and its page both show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING

from del_audit.certificate.model import Attack, Body, Inversion, Knowing, Probe, Slice
from del_audit.certificate.schema import FORMAT_2
from del_audit.configuration.policy import WrittenPolicy
from del_audit.show.numbers import interval, percent
from del_audit.statistics.figure import Figure
from mechanisms.spec import QuantizerSpec

CONDITIONS = (
    "released prompt",
    "another user's released prompt",
    "soft prompt alone",
    "no prompt",
    "clean prompt",
    "another user's clean prompt",
    "the prompt itself as answer",
    "an unrelated response",
)
"""What the server may see, the released prompt first; a certificate's file keeps no order of its own."""


MEANS = (
    "the guess is the word, another form of it (English), or one of its 10 nearest words in the model's table; the "
    "baseline shows how much of that is chance"
)
"""What counts as recovered up to meaning."""


@dataclass(frozen=True, slots=True)
class Point:
    """What one number of bits gives: bytes per token, epsilon of a token where it is stated, gain, strongest attack.

    own: whether it is the certified one. frontier: no other sends no more, leaks no more and gives no less. The attacks
    are those on single tokens: with other bits no others are run.
    """

    spec: QuantizerSpec
    epsilon: float | None
    gain: Figure
    success: Figure
    own: bool
    frontier: bool = True

    @property
    def bits(self) -> int:
        """Bits per coordinate."""
        return self.spec.bits

    @property
    def bytes(self) -> float:
        """Bytes per token."""
        return self.spec.token_bits / 8

    def betters(self, other: "Point") -> bool:
        """Returns whether this one sends no more, leaks no more and gives no less, and is better in something."""
        ours, theirs = ((each.bytes, each.success.value, -each.gain.value) for each in (self, other))
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


@dataclass(frozen=True, slots=True)
class SliceRow:
    """What was recovered of one slice, in the attacks' order.

    limit: of the policy. guess: the baseline's figure. cells: each attack that reads the release and what it
    recovered, None where it has no such slice. strongest: the cell of the largest upper end.
    """

    name: str
    rule: str
    limit: float | None
    guess: Figure | None
    cells: tuple[tuple[Attack, Slice | None], ...]
    strongest: tuple[Attack, Slice] | None


def terms(body: Body) -> list[str]:
    """Returns what the verdict rests on and how often such a verdict is wrong, a sentence each; none in format 2."""
    if body.format == FORMAT_2:
        return []
    policy, rate, attempts = body.configuration.policy, body.error_rate, body.attempts.count
    times = "once" if policy.sends == 1 else f"{policy.sends} times"
    wrong = f"A false verdict of certified has a chance of at most {rate.false_certified_at_most:.1%} in one attempt"
    tried = "the number of attempts on this private split is unknown"
    if attempts == 1:
        tried = "this is the first attempt on this private split"
    elif attempts is not None:
        tried = f"over all {attempts} attempts on this private split at most {rate.over_all_attempts_at_most:.1%}"
    return [
        f"Assurance: {body.assurance} (requires {', '.join(body.requires)}).",
        f"Holds for prompts of at most {policy.prompt_tokens} tokens, each text sent {times}: the client's ledger "
        "refuses more.",
        f"{wrong}; {tried} (estimate).",
    ]


def by_condition(*figures: Iterable[str]) -> list[str]:
    """Returns the names of all the figures in the order of CONDITIONS, and those that are not among them last."""
    names = dict.fromkeys(name for some in figures for name in some)
    return [*(name for name in CONDITIONS if name in names), *(name for name in names if name not in CONDITIONS)]


def knowing_rows(knowing: Knowing) -> list[tuple[str, str, str, str]]:
    """Returns each attacker who knows more, in words: who it is, what it recovers, what without a release, a note."""
    rows = []
    for each in knowing.contexts.values():
        note = f"{interval(each.lift)} by the release"
        if each.allowed is not None:
            note += f"; at most {percent(each.allowed, ROUND_CEILING)} is allowed (theorem 23)"
        name = f"knows {'the words before each token' if each.context == 'left' else 'every other word'}"
        rows.append((name, interval(each.success), interval(each.without), note))
    for found in knowing.lists:
        told = "" if found.lengths == "equal" else ", true lengths"
        name = f"picks the text out of {found.candidates:,} by {found.tokens} tokens{told}"
        rows.append((name, interval(found.success), percent(found.chance), found.decoys))
    return rows


def states_meaning(inversion: Inversion) -> bool:
    """Returns whether any attack has a figure up to meaning: a certificate of format 4 or less has none."""
    return any(attack.meaning for attack in inversion.attacks)


def is_baseline(attack: Attack) -> bool:
    """Returns whether an attack guesses without the release; its key says so, for a name may be anything."""
    return attack.key == "baseline"


def probe_rows(probe: Probe) -> list[tuple[str, Figure | None, Figure | None]]:
    """Returns name, balanced accuracy and accuracy of a probe between its floor and its ceiling, floor first."""
    return [
        ("always the commonest class", None, probe.majority_accuracy),
        ("another user's release", probe.other_users_release_balanced_accuracy, None),
        (f"the release ({probe.features})", probe.balanced_accuracy, probe.accuracy),
        ("clean text", probe.clean_balanced_accuracy, probe.clean_accuracy),
    ]


def by_bits(body: Body) -> list[Point]:
    """Returns what each number of bits gives, fewest first; nothing for other mechanisms than DEL."""
    if not isinstance(body.spec, QuantizerSpec):
        return []
    free = (attack.success for attack in body.inversion.attacks if attack.context_free)
    strongest = max(free, key=lambda success: success.upper)
    token = next((each.epsilon.upper for each in body.guarantees if each.unit == "token"), None)
    points = [
        Point(body.spec, token, body.utility.paired_gain, strongest, own=True),
        *(
            Point(other.spec, other.epsilon.upper, other.paired_gain, other.strongest_attack, own=False)
            for other in body.utility.other_bits
            if isinstance(other.spec, QuantizerSpec)
        ),
    ]
    marked = [replace(point, frontier=not any(other.betters(point) for other in points)) for point in points]
    return sorted(marked, key=lambda point: (point.bits, not point.own))


def slice_rows(inversion: Inversion, policy: WrittenPolicy) -> list[SliceRow]:
    """Returns what was recovered of each slice, in the attacks' order."""
    parts: dict[str, list[tuple[Attack, Slice]]] = {}
    for attack in inversion.attacks:
        for part in attack.slices:
            parts.setdefault(part.name, []).append((attack, part))
    return [
        SliceRow(
            name,
            found[0][1].rule,
            policy.slice_success_at_most.get(name),
            next((part.baseline for _, part in found if part.baseline is not None), None),
            tuple((attack, _of(attack, name)) for attack in sliced_attacks(inversion)),
            _strongest(found),
        )
        for name, found in parts.items()
    ]


def sliced_attacks(inversion: Inversion) -> list[Attack]:
    """Returns the attacks that read the release and have slices."""
    return [attack for attack in inversion.attacks if attack.slices and not is_baseline(attack)]


def _of(attack: Attack, name: str) -> Slice | None:
    return next((part for part in attack.slices if part.name == name), None)


def _strongest(found: Sequence[tuple[Attack, Slice]]) -> tuple[Attack, Slice] | None:
    pairs = [(attack, part) for attack, part in found if part.success and not is_baseline(attack)]
    return max(pairs, key=lambda pair: pair[1].success.upper if pair[1].success else 0.0, default=None)
