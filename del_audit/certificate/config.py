"""The configuration that is certified, and the policy that it is held against: one YAML file, nothing else."""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mechanisms.errors import UserError
from mechanisms.projection import EncoderSettings
from mechanisms.spec import QuantizerSpec

LARGEST_FILE = 1 << 20
"""Bytes. A configuration is a page of text; more is a mistake or an attack."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Mechanism(_Strict):
    """The quantizer: exactly one of scale and mu."""

    bits: int
    dim: int
    clip: float = 0.05
    scale: float | None = None
    mu: float | None = None

    def spec(self) -> QuantizerSpec:
        """Returns the spec; raises UserError for values out of range and for both or neither of scale and mu."""
        if self.scale is not None and self.mu is None:
            return QuantizerSpec(bits=self.bits, dim=self.dim, clip=self.clip, scale=self.scale)
        if self.mu is not None and self.scale is None:
            return QuantizerSpec.from_mu(bits=self.bits, dim=self.dim, clip=self.clip, mu=self.mu)
        raise UserError(f"Expected exactly one of mechanism.scale and mechanism.mu, got {self.scale} and {self.mu}.")


class EncoderChoice(_Strict):
    """See mechanisms.projection.EncoderSettings."""

    whitening: float = 0.5
    prior_power: float = 1.0
    fill: float = 1.0
    rotate: bool = True
    seed: int = Field(default=0, ge=0)

    def settings(self) -> EncoderSettings:
        """Returns the settings; raises UserError for values out of range."""
        return EncoderSettings(**self.model_dump())


class Data(_Strict):
    """Real text. The public part fits prior, encoder and probes; the private part stands for users and is attacked."""

    corpus: str
    text_column: str | None = None
    public_split: str = "train"
    private_split: str = "test"


class Attribute(_Strict):
    """A column that must not leak; only its commonest classes (counted in the public part) are kept."""

    column: str
    classes: int = Field(default=5, ge=2)


class Task(_Strict):
    """A column that the server is meant to predict: utility."""

    column: str


class Evaluation(_Strict):
    """Sample sizes and seed of what is measured."""

    seed: int = Field(default=0, ge=0)
    attacked_tokens: int = Field(default=20_000, ge=1)
    probe_tokens: int = Field(default=256, ge=1)
    probe_releases: int = Field(default=4, ge=1)
    prompts: int = Field(default=96, ge=2)
    prompt_tokens: int = Field(default=48, ge=1)
    response_tokens: int = Field(default=48, ge=1)
    generations: int = Field(default=32, ge=2)
    generated_tokens: int = Field(default=32, ge=1)
    other_bits: tuple[int, ...] = Field(default=(), strict=False)
    other_prompts: int = Field(default=32, ge=2)

    @model_validator(mode="after")
    def _samples_fit(self) -> Self:
        for name in ("generations", "other_prompts"):
            if getattr(self, name) > self.prompts:
                raise ValueError(f"expected {name} <= prompts={self.prompts}, got {getattr(self, name)}")
        return self


class EpsilonLimit(_Strict):
    """The guarantee asked for: epsilon at delta, for a unit of that many tokens."""

    unit: Literal["token", "phrase", "prompt", "session"] = "token"
    tokens: int = Field(default=1, ge=1)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    at_most: float = Field(ge=0)


class Policy(_Strict):
    """Limits; each one that is given is a check. An upper limit is held against the interval's upper end, and so on."""

    epsilon: EpsilonLimit | None = None
    attack_success_at_most: float | None = Field(default=None, gt=0, le=1)
    attribute_advantage_at_most: float | None = Field(default=None, ge=0, le=1)
    paired_gain_at_least: float | None = None
    task_accuracy_at_least: float | None = Field(default=None, ge=0, le=1)
    bytes_per_token_at_most: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("expected at least one limit, got an empty policy: it would certify anything")
        return self


class Configuration(_Strict):
    """Everything that decides what is served, and what is asked of it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    model: str
    sentence_encoder: str = "package:minilm-l6-v2"
    mechanism: Mechanism
    encoder: EncoderChoice = EncoderChoice()
    decoder: Literal["posterior-mean", "linear"] = "posterior-mean"
    soft_prompt: str | None = None
    data: Data
    attribute: Attribute | None = None
    task: Task | None = None
    evaluation: Evaluation = Evaluation()
    policy: Policy

    @model_validator(mode="after")
    def _limits_have_evidence(self) -> Self:
        if self.policy.attribute_advantage_at_most is not None and self.attribute is None:
            raise ValueError("policy.attribute_advantage_at_most needs an attribute to measure")
        if self.policy.task_accuracy_at_least is not None and self.task is None:
            raise ValueError("policy.task_accuracy_at_least needs a task to measure")
        return self


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key given twice, and aliases, which can make a small file huge."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(problem="aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Returns the mapping of a node; raises ConstructorError for a key that stands in it twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(problem=f"key {key!r} is given twice")
        return super().construct_mapping(node, deep)


def load_configuration(path: Path) -> Configuration:
    """Returns the configuration in a YAML file.

    Raises UserError for a file that cannot be read, is no YAML, or has an unknown key or a value out of range.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"Expected a configuration of at most {LARGEST_FILE} bytes, got {path.stat().st_size}.")
        text = path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Expected a readable UTF-8 configuration file, got {str(path)!r}: {error}.") from None
    try:
        content = yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"Expected valid YAML in {str(path)!r}: {said[:300]}.") from None
    if not isinstance(content, dict):
        raise UserError(f"Expected {str(path)!r} to hold keys and values, got {type(content).__name__}.")
    try:
        configuration = Configuration.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(map(_said, error.errors())) + ".") from None
    configuration.mechanism.spec()
    configuration.encoder.settings()
    return configuration


def _said(error: Any) -> str:
    """Returns one validation error as `key: what was expected, what was got`."""
    where = ".".join(map(str, error["loc"])) or "configuration"
    if error["type"] == "extra_forbidden":
        return f"Expected only known keys, got the unknown key {where!r}"
    if error["type"] == "missing":
        return f"Expected the key {where!r}, got none"
    got = "" if isinstance(error["input"], (dict, list)) else f", got {error['input']!r}"
    return f"{where}: {error['msg']}{got}"
