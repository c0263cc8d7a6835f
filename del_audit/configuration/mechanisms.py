"""The mechanism of a configuration, by its kind: DEL's quantizer, one over words, a rival, or a user's own class."""

import difflib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, ValidationInfo, WrapValidator
from pydantic.config import JsonDict

from del_audit.configuration.rivals import NOT_NAMED, RIVALS, RivalFields
from del_audit.configuration.yaml_file import Strict
from mechanisms.description import Description
from mechanisms.errors import UserError
from mechanisms.registry import MechanismName
from mechanisms.spec import LARGEST_DIM, MAX_BITS, QuantizerSpec

if TYPE_CHECKING:  # heavy, and whoever verifies a certificate of DEL needs none of them
    from mechanisms.rivals import ProjectiveGeometrySpec, RandomizedResponseSpec, SubsetSelectionSpec

ABOVE_ZERO: JsonDict = {"exclusiveMinimum": 0}
LARGEST_EPSILON = 40.0
"""Nats of one token. Far below what 64-bit thresholds resolve, and far above what protects anything."""
MOST_WORDS = 1 << 24
"""Words of the largest vocabulary that the mechanisms over words take."""
Bits = Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": MAX_BITS})]
Epsilon = Annotated[float, Field(gt=0, le=LARGEST_EPSILON)]
Words = Annotated[int, Field(ge=2, le=MOST_WORDS)]


class DelMechanism(Strict):
    """DEL's quantizer: exactly one of scale and mu."""

    kind: Literal["del"] = "del"
    """DEL."""
    bits: Bits
    """Bits per coordinate."""
    dim: int = Field(json_schema_extra={"minimum": 1, "maximum": LARGEST_DIM})
    """Coordinates per token."""
    clip: float = Field(default=0.05, json_schema_extra=ABOVE_ZERO)
    """Largest magnitude of a coordinate."""
    scale: float | None = Field(default=None, json_schema_extra=ABOVE_ZERO)
    """Range of the quantizer."""
    mu: float | None = Field(default=None, json_schema_extra=ABOVE_ZERO)
    """The paper's mu."""

    def spec(self) -> QuantizerSpec:
        """Returns the spec; raises UserError for values out of range and for both or neither of scale and mu."""
        if self.scale is not None and self.mu is None:
            return QuantizerSpec(bits=self.bits, dim=self.dim, clip=self.clip, scale=self.scale)
        if self.mu is not None and self.scale is None:
            return QuantizerSpec.from_mu(bits=self.bits, dim=self.dim, clip=self.clip, mu=self.mu)
        raise UserError(f"Expected exactly one of mechanism.scale and mechanism.mu, got {self.scale} and {self.mu}.")


class RandomizedResponseMechanism(Strict):
    """K-ary randomised response over the vocabulary: what is sent is a word's number."""

    kind: Literal["randomized-response"]
    """Its name."""
    epsilon: Epsilon
    """Pure epsilon of one token, nats."""
    key: ClassVar[MechanismName] = "randomized response"

    def over(self, words: int) -> "RandomizedResponseSpec":
        """Returns the least noisy spec for so many words; raises UserError where there is none."""
        from mechanisms.rivals import RandomizedResponseSpec

        return RandomizedResponseSpec.from_epsilon(words, self.epsilon)


class SubsetSelectionMechanism(Strict):
    """Subset selection over the vocabulary: what is sent is a set of words."""

    kind: Literal["subset-selection"]
    """Its name."""
    epsilon: Epsilon
    """Pure epsilon of one token, nats."""
    size: Annotated[int, Field(ge=1)] | None = None
    """Words in a set; null for as many as carry most about a uniform word."""
    key: ClassVar[MechanismName] = "subset selection"

    def over(self, words: int) -> "SubsetSelectionSpec":
        """Returns the least noisy spec for so many words; raises UserError where there is none."""
        from mechanisms.rivals import SubsetSelectionSpec

        return SubsetSelectionSpec.from_epsilon(words, self.epsilon, self.size)


class ProjectiveGeometryMechanism(Strict):
    """Projective geometry response over the vocabulary: what is sent is a point of a finite space."""

    kind: Literal["projective-geometry"]
    """Its name."""
    epsilon: Epsilon
    """Pure epsilon of one token, nats."""
    order: Annotated[int, Field(ge=2)] | None = None
    """Order of the space, a prime; null, with dimension, for the space that carries most about a uniform word."""
    dimension: Annotated[int, Field(ge=2)] | None = None
    """Dimension of the space."""
    key: ClassVar[MechanismName] = "projective geometry"

    def over(self, words: int) -> "ProjectiveGeometrySpec":
        """Returns the least noisy spec for so many words.

        Raises UserError where there is none, and for one of order and dimension without the other.
        """
        from mechanisms.rivals import ProjectiveGeometrySpec
        from mechanisms.rivals.geometry_search import best_geometry

        if (self.order is None) != (self.dimension is None):
            raise UserError(
                f"Expected mechanism.order and mechanism.dimension, or neither, got {self.order} and {self.dimension}."
            )
        if self.order is None or self.dimension is None:
            return best_geometry(words, self.epsilon)
        return ProjectiveGeometrySpec.from_epsilon(words, self.epsilon, self.order, self.dimension)


OverWords = RandomizedResponseMechanism | SubsetSelectionMechanism | ProjectiveGeometryMechanism
"""Mechanisms whose description follows from the number of words."""
_OVER_WORDS: dict[str, type[OverWords]] = {
    "randomized-response": RandomizedResponseMechanism,
    "subset-selection": SubsetSelectionMechanism,
    "projective-geometry": ProjectiveGeometryMechanism,
}


def _inner(given: Any, handler: Callable[[Any], Any]) -> Any:
    if isinstance(given, dict):
        found = _OVER_WORDS.get(given.get("kind", ""))
        if found is None:
            raise ValueError(f"expected a kind among {', '.join(_OVER_WORDS)}, got {str(given.get('kind'))[:100]!r}")
        return found.model_validate(given)
    return handler(given)


class CoarseWordsMechanism(Strict):
    """Clusters of the embedding table as symbols, which an inner mechanism releases: words of one stay together."""

    kind: Literal["coarse-words"]
    """Its name."""
    symbols: Words
    """Number of clusters."""
    inner: Annotated[OverWords, WrapValidator(_inner)]
    """What releases a symbol; its epsilon is that of one token."""
    power: float = Field(default=0.5, ge=0, le=1)
    """Power of the prior that weighs words in the clustering: the larger, the finer common words are told apart."""
    seed: int = Field(default=0, ge=0)
    """Seed of the clustering."""
    map: str | None = None
    """File of a map of words to symbols, in place of a clustering."""
    key: ClassVar[MechanismName] = "coarse words"


class OwnMechanism(Strict):
    """A user's own mechanism: a class, or an entry point of the group del_audit.mechanisms."""

    kind: str = Field(min_length=1, max_length=200)
    """package.module:Class, or the entry point's name."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """What the class's `of` is called with, beside what is public."""


class RivalMechanism(OwnMechanism):
    """A rival whose law is known: a class of this package, and no more is proved of it than of a user's own.

    kind: one of RIVALS. options: its fields with every default, as certificates write them. A configuration's file
    has them beside the kind.
    """

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Returns the rival of a mapping; raises ValidationError, which names the field, for fields that do not fit."""
        kind = given["kind"]
        fields = {name: value for name, value in given.items() if name != "kind"}
        if fields.keys() == {"options"} and isinstance(fields["options"], dict):
            fields = fields["options"]
        return cls(kind=kind, options=RIVALS[kind].model_validate(fields).model_dump(mode="json"))

    @property
    def fields(self) -> RivalFields:
        """Its fields, typed."""
        return RIVALS[self.kind].model_validate(self.options)

    def describes(self, spec: Description) -> bool:
        """Returns whether a description is of this kind and has every field that is given."""
        record = spec.to_dict()
        given = {name: value for name, value in self.options.items() if value is not None and name in record}
        return record.get("kind") == self.kind and all(record[name] == value for name, value in given.items())


WordMechanism = OverWords | CoarseWordsMechanism
"""Mechanisms that release words, or clusters of words, with one pure epsilon."""
AnyMechanism = DelMechanism | WordMechanism | OwnMechanism
KINDS: Mapping[str, type[AnyMechanism]] = {"del": DelMechanism, **_OVER_WORDS, "coarse-words": CoarseWordsMechanism}
"""The kinds of which a guarantee is proved, by their names in configurations."""


def installed_kinds() -> tuple[str, ...]:
    """Returns the names of the mechanisms that installed packages have, by their entry points."""
    return tuple(sorted({point.name for point in entry_points(group="del_audit.mechanisms")}))


def unknown_kind(kind: str, installed: tuple[str, ...]) -> str:
    """Returns what is said of a kind that no configuration can name."""
    if kind in NOT_NAMED:
        return f"expected a mechanism.kind that can be attacked token by token, got {kind!r}: {NOT_NAMED[kind]}"
    known = (*KINDS, *RIVALS, *installed)
    near = difflib.get_close_matches(kind, known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"expected mechanism.kind among {', '.join(known)}, or package.module:Class, got {kind[:100]!r}.{hint}"


def _chosen(given: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
    """Returns the mechanism of the kind that is given, DEL where none is; its errors name its own keys.

    A certificate, which is read as JSON, may name a mechanism that is not installed here.
    """
    if isinstance(given, dict):
        kind = given.get("kind", "del")
        if not isinstance(kind, str):
            raise ValueError(f"expected mechanism.kind to be text, got {str(kind)[:100]!r}")
        if kind in RIVALS:
            return RivalMechanism.read(given)
        if kind not in KINDS and ":" not in kind and info.mode == "python" and kind not in (own := installed_kinds()):
            raise ValueError(unknown_kind(kind, own))
        return KINDS.get(kind, OwnMechanism).model_validate(given)
    return handler(given)


Mechanism = Annotated[AnyMechanism, WrapValidator(_chosen)]
"""What releases tokens, by its kind."""
