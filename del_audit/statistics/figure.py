"""A measured number with all that a reader needs to act on it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from pydantic import ConfigDict, Field

from mechanisms.canonical_json import Json

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number with its interval. Kind: estimated."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    value: float
    """The estimate, in `unit`."""
    lower: float
    """Lower end of the interval, in `unit`."""
    upper: float
    """Upper end of the interval, in `unit`."""
    unit: str
    """What the three count, such as share of tokens recovered, nats per token, cosine."""
    sample: Count
    """Size of the sample, in `sample_unit`."""
    sample_unit: str
    """What the sample counts: tokens, documents, prompts."""
    method: str
    """How the interval was made."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence of the interval, a probability."""
    kind: str = "estimated, with interval"
    """Kind of the figure: always estimated, since proved bounds have a type of their own."""
    documents: Count | None = None
    """Independent documents that the sample comes from; null where every unit of the sample is its own."""
    seed: Count | None = None
    """Seed of the random draws behind the interval; null where there are none."""

    def mapped(self, increasing: Callable[[float], float], unit: str) -> "Figure":
        """Returns the figure on another scale: an increasing function keeps the interval's confidence."""
        value, lower, upper = (float(increasing(end)) for end in (self.value, self.lower, self.upper))
        return replace(self, value=value, lower=lower, upper=upper, unit=unit)

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return asdict(self)
