"""What one test of a battery found, and which tests reject: Holm's procedure with weights."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

from mechanisms.canonical_json import Json

Group = Literal[
    "contract",
    "law",
    "independence",
    "guarantee",
    "clipping",
    "batch",
    "message",
    "resending",
    "known answers",
]


class Part(NamedTuple):
    """A p-value and what it says, in words with figures."""

    p: float
    text: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One test before the others are known. meaning: of a rejection. weight: its share of alpha, relative to others.

    weight 0: a check without chance, whose p-value is 0 or 1; it takes no share of alpha.
    """

    group: Group
    name: str
    p_value: float
    evidence: str
    meaning: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One test. evidence: what was measured. rejected: whether the claim fails, after Holm's correction for all tests.

    p_value: a bound on the chance of such evidence from a correct client, before correction; 0 where there is none.
    meaning: what a rejection says about privacy and where to look.
    """

    name: str
    group: Group
    evidence: str
    p_value: float
    rejected: bool
    meaning: str

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return asdict(self)


def check(group: Group, name: str, wrong: Sequence[str], right: str, meaning: str) -> Measurement:
    """Returns a check without chance: it fails where anything is wrong, and says what."""
    return Measurement(group, name, 0.0 if wrong else 1.0, "; ".join(wrong) if wrong else right, meaning, weight=0.0)


def smallest(parts: Iterable[Part], otherwise: str = "Nothing to test: no rows of this kind were released.") -> Part:
    """Returns the part with the smallest p-value, times the number of parts (Bonferroni), at most 1."""
    every = list(parts)
    if not every:
        return Part(1.0, otherwise)
    least = min(every)
    return Part(min(1.0, least.p * len(every)), least.text)


def holm(p_values: Sequence[float], weights: Sequence[float], alpha: float) -> list[bool]:
    """Returns which hypotheses are rejected with a familywise error of at most alpha (Holm, 1979, with weights).

    weights: fixed before the data; a hypothesis without weight is rejected only at a p-value of 0.

    >>> holm([0.03, 0.03, 0.5], [8, 1, 1], alpha=0.05)
    [True, False, False]
    """
    rejected = [p == 0.0 for p in p_values]
    order = sorted((p / w, at) for at, (p, w) in enumerate(zip(p_values, weights, strict=True)) if w > 0)
    left = sum(weights[at] for _, at in order)
    for ratio, at in order:
        if ratio > alpha / left:
            break
        rejected[at] = True
        left -= weights[at]
    return rejected


def battery_p(tested: Sequence[Measurement]) -> float:
    """Returns the smallest alpha at which anything is rejected: a p-value of the whole battery, at most 1."""
    total = sum(test.weight for test in tested)
    return min(1.0, *(t.p_value if not t.weight else t.p_value * total / t.weight for t in tested))


def findings(tested: Sequence[Measurement], alpha: float) -> tuple[Finding, ...]:
    """Returns the findings in the order of the tests."""
    verdicts = holm([t.p_value for t in tested], [t.weight for t in tested], alpha)
    return tuple(
        Finding(t.name, t.group, t.evidence, float(t.p_value), bool(verdict), t.meaning)
        for t, verdict in zip(tested, verdicts, strict=True)
    )
