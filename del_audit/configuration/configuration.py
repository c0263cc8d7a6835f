"""The configuration that is certified, and the policy that it is held against: one YAML file, nothing else."""

import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from attacks.registry import AttackName, default_attacks
from del_audit.configuration.asked import CLEAN_BYTES, FEWEST_PROMPTS
from del_audit.configuration.attack_names import asked_attacks
from del_audit.configuration.policy import Policy
from del_audit.configuration.yaml_file import Strict, load_yaml
from del_audit.statistics.worst_of_releases import fewest_releases
from mechanisms.errors import UserError
from mechanisms.projection import EncoderKind, EncoderSettings
from mechanisms.registry import DECODERS, DecoderName, checked_decoder
from mechanisms.spec import QuantizerSpec


def _as_text(given: object) -> object:
    """Returns a YAML number or boolean as the text that a corpus has in its place; everything else as it is."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int) or (isinstance(given, float) and math.isfinite(given)):
        return repr(given)
    return given


CorpusName = Annotated[str, BeforeValidator(_as_text)]
"""Name of a column or a split, which is often 0, 1 or true: written so, YAML has no text for it."""
Decoder = Annotated[DecoderName, AfterValidator(checked_decoder)]
"""Name of a row of mechanisms.registry."""


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

    group_column: whose text a row is (author, patient, document): nobody of the private part stays in the public one,
    and intervals count its values as the independent units. None takes every row for a unit of its own.
    """

    corpus: str
    text_column: CorpusName | None = None
    group_column: CorpusName | None = None
    public_split: CorpusName = "train"
    private_split: CorpusName = "test"


class Attribute(Strict):
    """A column that must not leak; only its commonest classes (counted in the public part) are kept."""

    column: CorpusName
    classes: int = Field(default=5, ge=2)


class Task(Strict):
    """A column that the server is meant to predict: utility."""

    column: CorpusName


class Evaluation(Strict):
    """Sample sizes of what is measured. The seed is not among them: it follows from the private split and the policy.

    prompt_tokens, context_tokens: policy.prompt_tokens, which is filled in; another value is refused. probe_tokens: of
    a document, sent in prompts, that the attribute's probes see. worst_prompts, worst_releases: prompts that are
    released again and again, and how often, where the policy limits the worst prompt.
    """

    attacks: Annotated[tuple[AttackName, ...], AfterValidator(asked_attacks)] = Field(
        default_factory=default_attacks, strict=False
    )
    masked_lm: str | None = None
    attacked_tokens: int = Field(default=20_000, ge=1)
    context_prompts: int = Field(default=128, ge=2)
    context_tokens: int | None = Field(default=None, ge=2)
    stop_early: bool = False
    probe_tokens: int = Field(default=256, ge=1)
    probe_releases: int = Field(default=1, ge=1)
    prompts: int = Field(default=96, ge=2)
    prompt_tokens: int | None = Field(default=None, ge=2)
    response_tokens: int = Field(default=48, ge=1)
    generations: int = Field(default=32, ge=2)
    generated_tokens: int = Field(default=32, ge=1)
    other_bits: tuple[int, ...] = Field(default=(), strict=False)
    other_prompts: int = Field(default=32, ge=2)
    worst_prompts: int = Field(default=8, ge=2)
    worst_releases: int = Field(default=64, ge=2)

    @model_validator(mode="before")
    @classmethod
    def _no_seed_is_chosen(cls, given: object) -> object:
        if isinstance(given, dict) and "seed" in given:
            raise ValueError(
                "expected no seed, since who can choose it can choose the verdict: it follows from the private split "
                "and the policy. Remove evaluation.seed"
            )
        return given

    @model_validator(mode="after")
    def _samples_fit(self) -> Self:
        for name in ("generations", *(["other_prompts"] if self.other_bits else [])):
            if getattr(self, name) > self.prompts:
                raise ValueError(f"expected {name} <= prompts={self.prompts}, got {getattr(self, name)}")
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
    decoder: Decoder = "posterior-mean"
    soft_prompt: str | None = None
    data: Data
    attribute: Attribute | None = None
    task: Task | None = None
    evaluation: Evaluation = Evaluation()
    policy: Policy
    valid_days: int = Field(default=365, ge=1, le=3650)

    @model_validator(mode="after")
    def _prompts_have_one_length(self) -> Self:
        plan, tokens = self.evaluation, self.policy.prompt_tokens
        for name in ("prompt_tokens", "context_tokens"):
            if getattr(plan, name) not in (None, tokens):
                got = getattr(plan, name)
                raise ValueError(
                    f"expected evaluation.{name} to be policy.prompt_tokens={tokens}, got {got}: set "
                    f"policy.prompt_tokens: {got}, or leave evaluation.{name} out"
                )
        if plan.probe_tokens < tokens:
            raise ValueError(
                f"expected evaluation.probe_tokens >= policy.prompt_tokens={tokens}, got {plan.probe_tokens}: the "
                "probes must see what a whole prompt tells"
            )
        filled = plan.model_copy(update={"prompt_tokens": tokens, "context_tokens": tokens})
        object.__setattr__(self, "evaluation", filled)  # the model is frozen for everybody else
        return self

    @model_validator(mode="after")
    def _limits_can_be_missed(self) -> Self:
        spec, limit = self.mechanism.spec(), self.policy.bytes_per_token_at_most
        self.policy.require_missable(spec.dim, spec.trials)
        if limit is not None and limit > (most := CLEAN_BYTES * spec.dim):
            raise ValueError(
                f"expected policy.bytes_per_token_at_most <= {most}, what {spec.dim} coordinates take as they are, got "
                f"{limit:g}: nothing can miss it"
            )
        return self

    @model_validator(mode="after")
    def _other_bits_are_there(self) -> Self:
        here = self.mechanism.spec()
        for bits in self.evaluation.other_bits:
            try:
                QuantizerSpec.from_mu(bits, here.dim, here.clip, here.mu)
            except UserError as error:
                raise ValueError(f"evaluation.other_bits: {error}") from None
        return self

    @model_validator(mode="after")
    def _decoder_is_there(self) -> Self:
        if DECODERS[self.decoder].trained_projection and self.encoder.projection is None:
            raise ValueError(
                f"decoder: {self.decoder} needs encoder.projection, a folder that `del-audit train projection` wrote"
            )
        return self

    @model_validator(mode="after")
    def _worst_prompt_can_be_decided(self) -> Self:
        limit, releases = self.policy.worst_prompt_success_at_most, self.evaluation.worst_releases
        if limit is not None and (fewest := fewest_releases(limit)) > releases:
            raise ValueError(
                f"expected evaluation.worst_releases >= {fewest} for policy.worst_prompt_success_at_most={limit:g}, "
                f"got {releases}: with fewer releases of a prompt even one that is never read could not pass"
            )
        return self

    @model_validator(mode="after")
    def _stopping_has_a_limit(self) -> Self:
        policy = self.policy
        if self.evaluation.stop_early and policy.attack_success_at_most is None:
            raise ValueError("evaluation.stop_early needs policy.attack_success_at_most, which it stops at")
        if self.evaluation.stop_early and policy.slice_success_at_most:
            raise ValueError(
                "evaluation.stop_early goes with no limit on slices: their intervals do not hold for a sample whose "
                "size depends on what was recovered"
            )
        return self

    @model_validator(mode="after")
    def _limits_have_evidence(self) -> Self:
        if self.policy.attribute_advantage_at_most is not None and self.attribute is None:
            raise ValueError("policy.attribute_advantage_at_most needs an attribute to measure")
        gains = [name for name in ("paired_gain_at_least", "share_of_clean_gain_at_least") if self.policy.asks(name)]
        if gains and (prompts := self.evaluation.prompts) < FEWEST_PROMPTS:
            raise ValueError(
                f"expected evaluation.prompts >= {FEWEST_PROMPTS} for policy.{gains[0]}, got {prompts}: with fewer, no "
                "interval of the gain keeps its level"
            )
        if self.policy.task_accuracy_at_least is not None and self.task is None:
            raise ValueError("policy.task_accuracy_at_least needs a task to measure")
        return self


def load_configuration(path: Path) -> Configuration:
    """Returns the configuration in a YAML file; raises UserError as load_yaml, and for values that do not fit."""
    configuration = load_yaml(path, Configuration, "configuration")
    configuration.mechanism.spec()
    configuration.encoder.settings()  # their ranges are checked here, not after the model is loaded
    return configuration
