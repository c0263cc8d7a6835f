"""A measured number with all that a reader needs to act on it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from mechanisms.canonical_json import Json


@dataclass(frozen=True, slots=True)
class Figure:
    """value with its interval [lower, upper] at confidence, from a sample of that many units.

    unit: what value counts, such as `share of tokens` or `nats a token`. method: of the interval.
    documents: independent documents that the sample comes from; None where every unit of the sample is its own.
    seed: of the random draws behind the interval; None where there are none.
    kind is always `estimated`: proved bounds have a type of their own.
    """

    value: float
    lower: float
    upper: float
    unit: str
    sample: int
    sample_unit: str
    method: str
    confidence: float = 0.95
    kind: str = "estimated, with interval"
    documents: int | None = None
    seed: int | None = None

    def mapped(self, increasing: Callable[[float], float], unit: str) -> "Figure":
        """Returns the figure on another scale: an increasing function keeps the interval's confidence."""
        value, lower, upper = (float(increasing(end)) for end in (self.value, self.lower, self.upper))
        return replace(self, value=value, lower=lower, upper=upper, unit=unit)

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return asdict(self)
