"""The fields of rivals of DEL in a configuration: mechanisms whose law is known, and of which no guarantee is proved.

Distances are between the model's embeddings, so every unit is theirs unless a field says otherwise.
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from del_audit.configuration.yaml_file import Strict
from mechanisms.spec import LARGEST_DIM, MAX_BITS

METRIC_BITS = 16
"""Bits per coordinate of metric privacy: so fine a grid stands for unquantized vectors."""
SANTEXT_PLUS = 0.2
"""SanText+'s p, as its authors' code has it."""
GROUP_SIZE = 20
"""CusText's K, as its paper has it."""
MOST = 1e6
"""The largest epsilon, eta and sigma that are taken: far beyond what protects, or lets anything through."""
Above0 = Annotated[float, Field(gt=0, le=MOST)]


class GaussianFields(Strict):
    """Gaussian noise: what is sent is a cell of a fixed public grid for each coordinate."""

    sigma: Above0
    """Standard deviation of the noise, in the unit of the coordinates."""
    bits: int = Field(default=4, ge=1, le=MAX_BITS)
    """Bits per coordinate, of the grid."""
    dim: Annotated[int, Field(ge=1, le=LARGEST_DIM)] | None = None
    """Coordinates per token: those of DEL's codes in closed form; null for the embedding as it is."""
    clip: Above0 | None = None
    """Largest magnitude of a coordinate; null for 0.05 of codes, and for the largest there is of the embedding."""


class MetricFields(Strict):
    """Metric privacy (d_chi), as of Split-and-Denoise: an embedding with noise, in cells of a fixed public grid."""

    eta: Above0
    """Nats for each unit of distance: the noise has density proportional to e^(-eta norm)."""
    bits: int = Field(default=METRIC_BITS, ge=1, le=METRIC_BITS)
    """Bits per coordinate, of the grid."""
    radius: Above0 | None = None
    """Largest norm of an embedding, longer ones are shortened; null for the longest there is."""


class ExponentialFields(Strict):
    """The exponential mechanism with distances between embeddings: what is sent is the number of a word."""

    epsilon: Above0
    """Nats that the weights are made for: no two words' releases differ by more."""
    scale: Above0 | None = None
    """Distance from which words are as unlikely as can be; null for a bound on the largest there is."""


class SanTextFields(Strict):
    """SanText, or SanText+ where some words are not sensitive: what is sent is the number of a word."""

    epsilon: Above0
    """Nats for each unit of distance, between sensitive words."""
    sensitive_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the vocabulary that is sensitive, the rarest in public text: 1 is SanText, less is SanText+."""
    p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Probability that a word that is not sensitive changes: 0.2 where left out, and 1 where all are sensitive."""

    @model_validator(mode="after")
    def _p_is_there(self) -> Self:
        every = self.sensitive_share == 1
        if every and self.p not in (None, 1):
            raise ValueError(f"expected p with sensitive_share below 1 only, got p={self.p} where all are sensitive")
        if self.p is None:
            object.__setattr__(self, "p", 1.0 if every else SANTEXT_PLUS)  # the model is frozen for everybody else
        return self


class CusTextFields(Strict):
    """CusText: what is sent is the number of a word of the same group."""

    epsilon: Above0
    """Nats between words of one group; between groups no epsilon holds."""
    group_size: int = Field(default=GROUP_SIZE, ge=2)
    """Words in a group, the paper's K."""


RivalFields = GaussianFields | MetricFields | ExponentialFields | SanTextFields | CusTextFields
RIVALS: Mapping[str, type[RivalFields]] = {
    "gaussian": GaussianFields,
    "metric": MetricFields,
    "exponential": ExponentialFields,
    "santext": SanTextFields,
    "custext": CusTextFields,
}
"""Their fields by their names in configurations, which are their keys in mechanisms.registry."""

_DOCUMENT = (
    "each word that it sends depends on the whole text through a language model, so no law of one token is written "
    "down for attacks to read by. In Python rival_guarantee says what it guarantees"
)
NOT_NAMED: Mapping[str, str] = {
    "rantext": (
        "it draws its list of words anew for each token, so the law of a release, which attacks read by, is not "
        "written down. `del-audit reproduce 1` measures it, and in Python rival_guarantee says what it guarantees"
    ),
    "dp-prompt": _DOCUMENT,
    "dp-mlm": _DOCUMENT,
}
"""Why the other mechanisms of the registry cannot be named in a configuration, and what knows them."""
