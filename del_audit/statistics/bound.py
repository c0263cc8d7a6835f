"""A figure with the interval that holds the truth, and what kind of figure it is."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["proved", "float with error bound", "estimated", "asymptotic"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure: lower <= truth <= upper, with the best estimate between, and the kind of the claim.

    proved: both ends by ball arithmetic. float with error bound: both ends by the error analysis of a computation in
    floats. estimated: a confidence interval of a measurement. asymptotic: a limit that may be off at any finite size.
    Quote `upper` where less is safer (epsilon, delta, success of an attack).
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True, "use_attribute_docstrings": True}  # noqa: RUF012

    lower: float
    """Lower end, proved."""
    estimate: float
    """Best value between the ends."""
    upper: float
    """Upper end, proved: the one to quote where less is safer."""
    kind: Kind = "float with error bound"
    """Kind of the claim."""

    def __post_init__(self) -> None:
        """Raises ValueError where the three are out of order, which is a defect of the code that made them."""
        if not self.lower <= self.estimate <= self.upper:
            raise ValueError(f"Expected lower <= estimate <= upper, got {self.lower}, {self.estimate}, {self.upper}.")

    def to_dict(self) -> dict[str, float]:
        """Returns lower, estimate and upper under their names."""
        return {"lower": self.lower, "estimate": self.estimate, "upper": self.upper}
