"""What a battery found, of values or of words, and what its arguments must be."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from del_audit.evidence.verification.finding import Finding, Measurement
from del_audit.evidence.verification.guarantee import EpsilonEvidence
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.rivals._supports import SupportSpec
from mechanisms.spec import QuantizerSpec
from mechanisms.validation import whole_at_least

if TYPE_CHECKING:
    from del_audit.evidence.verification.power import Detects
    from del_audit.evidence.verification.words.power import WordDetects

LEAST_TRIALS, TRIALS = 200, 20_000


@dataclass(frozen=True, slots=True)
class Verification:
    """What a battery found. findings: every test, rejected or not. alpha: chance of any rejection of a correct client.

    p_value: the smallest alpha at which anything would be rejected.
    trials: rows (tokens) of the main design. calls, rows: all that were made. skipped: what was not tested, and why.
    epsilon: what the games prove of one token's epsilon, beside the claimed one; None where nothing was released.
    detects: which errors so many rows would catch.
    """

    spec: QuantizerSpec | SupportSpec
    alpha: float
    trials: int
    calls: int
    rows: int
    findings: tuple[Finding, ...]
    p_value: float
    epsilon: EpsilonEvidence | None
    detects: "Detects | WordDetects | None"
    skipped: tuple[str, ...] = ()

    @property
    def rejected(self) -> tuple[Finding, ...]:
        """The findings that reject the claim."""
        return tuple(finding for finding in self.findings if finding.rejected)

    @property
    def passed(self) -> bool:
        """Whether nothing was found against the claim: no proof of it, see `detects` and `skipped`."""
        return not self.rejected

    def to_dict(self) -> dict[str, Json]:
        """Returns all of it in plain values, for JSON."""
        return asdict(self) | {"passed": self.passed, "spec": self.spec.to_dict()}


def check_arguments(release: object, trials: int, alpha: float) -> None:
    """Raises UserError for a release that is no function, and for trials and alpha out of range."""
    if not callable(release):
        raise UserError(f"Expected release to be a function, got {type(release).__name__}.")
    whole_at_least("trials", trials, LEAST_TRIALS)
    if isinstance(alpha, bool) or not isinstance(alpha, float) or not 0 < alpha < 1:
        raise UserError(f"Expected alpha in (0, 1), got alpha={alpha!r}.")


def reject_at(tested: Sequence[Measurement], name: str, alpha: float) -> tuple[float, float]:
    """Returns at which p-values the named test and one of weight 1 reject, whatever the others say."""
    total = sum(test.weight for test in tested)
    weight = next(test.weight for test in tested if test.name == name)
    return alpha * weight / total, alpha / total


def not_given(parts: Mapping[str, object]) -> list[str]:
    """Returns which parts of a client, by name, were not given to test."""
    return [f"{name}: nothing was given to test" for name, part in parts.items() if part is None]
