"""The configuration that is certified, and the policy that it is held against: one YAML file, nothing else."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from attacks.names import DEFAULT_ATTACKS, AttackName, checked_names
from del_audit.evidence.slice_names import SLICE_NAMES, is_slice_name
from del_audit.yaml_file import Strict, load_yaml
from mechanisms.errors import UserError
from mechanisms.pipeline import DecoderName
from mechanisms.projection import EncoderKind, EncoderSettings
from mechanisms.spec import QuantizerSpec

Share = Annotated[float, Field(gt=0, le=1)]


class Mechanism(Strict):
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


class EncoderChoice(Strict):
    """Either a closed form (mechanisms.projection.EncoderSettings), or what was trained, in projection or codes.

    projection: folder of `del-audit train projection`. codes: an encoder's file, as `del-audit train codes` writes it.
    seed: of the closed form, and of the simulated release that the decoder is fitted on.
    """

    kind: EncoderKind = "linear"
    whitening: float = 0.5
    prior_power: float = 1.0
    fill: float = 1.0
    rotate: bool = True
    seed: int = Field(default=0, ge=0)
    projection: str | None = None
    codes: str | None = None

    @model_validator(mode="after")
    def _fields_apply(self) -> Self:
        trained = [name for name in ("projection", "codes") if getattr(self, name) is not None]
        if len(trained) > 1:
            raise ValueError("expected one of projection and codes, got both")
        source = trained[0] if trained else "kind: corners" if self.kind == "corners" else None
        barred = {"whitening", "prior_power", "fill", "rotate", *(["kind"] if trained else [])}
        if source and (given := sorted(barred & self.model_fields_set)):
            raise ValueError(f"expected only seed beside {source}, got {', '.join(given)}: it would change nothing")
        return self

    def settings(self) -> EncoderSettings:
        """Returns the closed form's settings; raises UserError for values out of range."""
        return EncoderSettings(**self.model_dump(exclude={"projection", "codes"}))


class Data(Strict):
    """Real text. The public part fits prior, encoder and probes; the private part stands for users and is attacked.

    group_column: whose text a row is (author, patient, document): nobody of the private part stays in the public one, and
    intervals count its values as the independent units. None takes every row for a unit of its own.
    """

    corpus: str
    text_column: str | None = None
    group_column: str | None = None
    public_split: str = "train"
    private_split: str = "test"


class Attribute(Strict):
    """A column that must not leak; only its commonest classes (counted in the public part) are kept."""

    column: str
    classes: int = Field(default=5, ge=2)


class Task(Strict):
    """A column that the server is meant to predict: utility."""

    column: str


class Evaluation(Strict):
    """Sample sizes and seed of what is measured."""

    seed: int = Field(default=0, ge=0)
    attacks: tuple[AttackName, ...] = Field(default=DEFAULT_ATTACKS, strict=False)
    masked_lm: str | None = None
    attacked_tokens: int = Field(default=20_000, ge=1)
    context_prompts: int = Field(default=128, ge=2)
    context_tokens: int = Field(default=40, ge=2)
    stop_early: bool = False
    probe_tokens: int = Field(default=256, ge=1)
    probe_releases: int = Field(default=1, ge=1)
    prompts: int = Field(default=96, ge=2)
    prompt_tokens: int = Field(default=48, ge=1)
    response_tokens: int = Field(default=48, ge=1)
    generations: int = Field(default=32, ge=2)
    generated_tokens: int = Field(default=32, ge=1)
    other_bits: tuple[int, ...] = Field(default=(), strict=False)
    other_prompts: int = Field(default=32, ge=2)

    @model_validator(mode="after")
    def _samples_fit(self) -> Self:
        for name in ("generations", *(["other_prompts"] if self.other_bits else [])):
            if getattr(self, name) > self.prompts:
                raise ValueError(f"expected {name} <= prompts={self.prompts}, got {getattr(self, name)}")
        return self

    @model_validator(mode="after")
    def _attacks_suffice(self) -> Self:
        checked_names(self.attacks)
        return self


class EpsilonLimit(Strict):
    """The guarantee asked for: epsilon at delta, for a unit of that many tokens."""

    unit: Literal["token", "phrase", "prompt", "session"] = "token"
    tokens: int = Field(default=1, ge=1)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    at_most: float = Field(ge=0)


class Policy(Strict):
    """Limits; each one that is given is a check. An upper limit is held against the interval's upper end, and so on.

    epsilon: one limit, or a list with at most one for each unit, tokens and delta. slice_success_at_most: a limit for
    the share read of each slice named (del_audit.evidence.slices).
    """

    epsilon: tuple[EpsilonLimit, ...] = Field(default=(), strict=False)
    attack_success_at_most: float | None = Field(default=None, gt=0, le=1)
    slice_success_at_most: dict[str, Share] = Field(default_factory=dict)
    worst_prompt_success_at_most: float | None = Field(default=None, gt=0, le=1)
    attribute_advantage_at_most: float | None = Field(default=None, ge=0, le=1)
    paired_gain_at_least: float | None = None
    task_accuracy_at_least: float | None = Field(default=None, ge=0, le=1)
    bytes_per_token_at_most: float | None = Field(default=None, gt=0)

    @field_validator("epsilon", mode="before")
    @classmethod
    def _one_limit_or_several(cls, given: Any) -> Any:
        return () if given is None else given if isinstance(given, list | tuple) else (given,)

    @field_validator("epsilon")
    @classmethod
    def _each_unit_once(cls, limits: tuple[EpsilonLimit, ...]) -> tuple[EpsilonLimit, ...]:
        asked = [(limit.unit, limit.tokens, limit.delta) for limit in limits]
        if twice := [each for each in asked if asked.count(each) > 1]:
            raise ValueError(f"expected each unit, tokens and delta once, got {twice[0]} twice")
        return limits

    @field_validator("slice_success_at_most")
    @classmethod
    def _slices_are_known(cls, limits: dict[str, float]) -> dict[str, float]:
        for name in limits:
            if not is_slice_name(name):
                raise ValueError(f"expected {SLICE_NAMES}, got {name!r}")
        return limits

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.model_dump(exclude_defaults=True):
            raise ValueError("expected at least one limit, got an empty policy: it would certify anything")
        return self


class Configuration(Strict):
    """Everything that decides what is served, and what is asked of it.

    dtype: number format that the language model is served in, and attacks with.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    model: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    sentence_encoder: str = "package:minilm-l6-v2"
    mechanism: Mechanism
    encoder: EncoderChoice = EncoderChoice()
    decoder: DecoderName | Literal["language-prior"] = "posterior-mean"
    soft_prompt: str | None = None
    data: Data
    attribute: Attribute | None = None
    task: Task | None = None
    evaluation: Evaluation = Evaluation()
    policy: Policy
    valid_days: int = Field(default=365, ge=1, le=3650)

    @model_validator(mode="after")
    def _decoder_is_there(self) -> Self:
        if self.decoder == "trained-linear" and self.encoder.projection is None:
            raise ValueError("decoder: trained-linear needs encoder.projection, whose decoder it is")
        return self

    @model_validator(mode="after")
    def _stopping_has_a_limit(self) -> Self:
        policy = self.policy
        if self.evaluation.stop_early and policy.attack_success_at_most is None:
            raise ValueError("evaluation.stop_early needs policy.attack_success_at_most, which it stops at")
        if self.evaluation.stop_early and (policy.slice_success_at_most or policy.worst_prompt_success_at_most):
            raise ValueError(
                "evaluation.stop_early goes with no limit on slices or the worst prompt: their intervals do not hold "
                "of a sample that hangs on what was read"
            )
        return self

    @model_validator(mode="after")
    def _limits_have_evidence(self) -> Self:
        if self.policy.attribute_advantage_at_most is not None and self.attribute is None:
            raise ValueError("policy.attribute_advantage_at_most needs an attribute to measure")
        if self.policy.task_accuracy_at_least is not None and self.task is None:
            raise ValueError("policy.task_accuracy_at_least needs a task to measure")
        return self


def load_configuration(path: Path) -> Configuration:
    """Returns the configuration in a YAML file; raises UserError as load_yaml, and for values that do not fit."""
    configuration = load_yaml(path, Configuration, "configuration")
    configuration.mechanism.spec()
    configuration.encoder.settings()  # their ranges are checked here, not after the model is loaded
    return configuration
