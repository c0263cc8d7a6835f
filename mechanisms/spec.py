"""Frozen descriptions of mechanisms: no behaviour, no tensors, so that they can travel and be hashed."""

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Self

from annotated_types import Gt, Interval

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.hashes import json_sha256
from mechanisms.validation import at_least

WORD_BITS = 32
"""Bits of one uniform word. A trial compares a word with an integer threshold of this resolution."""

MAX_BITS = 8
LARGEST_DIM = 1 << 20
"""Coordinates per token that a certificate may state."""


@dataclass(frozen=True, slots=True)
class QuantizerSpec:
    """The stochastic n-bit quantizer of DEL (arXiv 2602.11513), completely.

    Coordinate v in [-clip, clip] is released as the number of successes in u = 2^bits - 1 trials of
    probability (scale + v) / (2 scale). A trial is [w < t] for a uniform 32-bit word w and the integer
    threshold t = round(2^32 p), held within [threshold_low, threshold_high]: the released law is exactly
    Bernoulli(t / 2^32), whatever the rounding of v was (docs/theory.md, theorem 3).

    Raises UserError for values outside these ranges, and for a scale so near the clip that a trial would
    be certain: such a release has no finite epsilon.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True, "use_attribute_docstrings": True}  # noqa: RUF012

    bits: Annotated[int, Interval(ge=1, le=MAX_BITS)]
    """Bits per coordinate."""
    dim: Annotated[int, Interval(ge=1, le=LARGEST_DIM)]
    """Coordinates per token."""
    clip: Annotated[float, Gt(0)]
    """Largest magnitude of a coordinate, in the unit of the codes."""
    scale: Annotated[float, Gt(0)]
    """Range of the quantizer, in the unit of the codes; above clip."""

    def __post_init__(self) -> None:
        for name in ("bits", "dim"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise UserError(f"Expected {name} to be a whole number, got {name}={value!r}.")
        for name in ("clip", "scale"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise UserError(f"Expected {name} to be a finite number, got {name}={value!r}.")
            object.__setattr__(self, name, float(value))
        if not 1 <= self.bits <= MAX_BITS:
            raise UserError(f"Expected bits in 1..{MAX_BITS}, got bits={self.bits}.")
        at_least("dim", self.dim, 1)
        if self.clip <= 0:
            raise UserError(f"Expected clip > 0, got clip={self.clip}.")
        if self.scale <= self.clip:
            raise UserError(
                f"Expected scale > clip={self.clip}, got scale={self.scale}: the release would have no finite epsilon."
            )
        if self.threshold_high >= 1 << WORD_BITS:
            raise UserError(
                f"Expected scale > clip={self.clip} by more than one part in 2^{WORD_BITS}, got scale={self.scale}: "
                "a trial would be certain and the release would have no finite epsilon."
            )

    @classmethod
    def from_mu(cls, bits: int, dim: int, clip: float, mu: float) -> Self:
        """Returns the spec whose scale gives the paper's mu: scale = clip sqrt(1 + 4 u d / mu^2)."""
        if isinstance(mu, bool) or not isinstance(mu, (int, float)) or not (math.isfinite(mu) and mu > 0):
            raise UserError(f"Expected mu to be a finite number > 0, got mu={mu!r}.")
        cls(bits=bits, dim=dim, clip=clip, scale=2 * abs(clip) if clip else 1.0)  # the other fields fail first
        return cls(bits=bits, dim=dim, clip=clip, scale=clip * math.hypot(1, 2 * math.sqrt((2**bits - 1) * dim) / mu))

    @property
    def trials(self) -> int:
        """Trials a coordinate, u = 2^bits - 1; also the largest count that can be sent."""
        return (1 << self.bits) - 1

    @property
    def token_bits(self) -> int:
        """Bits on the wire for one token's counts."""
        return self.bits * self.dim

    @property
    def threshold_high(self) -> int:
        """Integer threshold of a coordinate at +clip, in units of 2^-32."""
        return round((0.5 + 0.5 * (self.clip / self.scale)) * (1 << WORD_BITS))

    @property
    def threshold_low(self) -> int:
        """Integer threshold of a coordinate at -clip; the mirror image of threshold_high."""
        return (1 << WORD_BITS) - self.threshold_high

    @property
    def mu(self) -> float:
        """The paper's mu = 2 sqrt(u d) clip / sqrt(scale^2 - clip^2): a knob, never a guarantee by itself."""
        ratio = math.sqrt((self.scale - self.clip) / self.clip) * math.sqrt(self.scale / self.clip + 1)
        return 2 * math.sqrt(self.trials * self.dim) / ratio

    def to_dict(self) -> dict[str, Json]:
        """Returns the four fields under their names."""
        return asdict(self)

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name this spec: sha256 of its fields in canonical JSON."""
        return bytes.fromhex(json_sha256(self.to_dict()))
