"""The configuration that is certified, and the policy that it is held against: one YAML file, nothing else."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from attacks.registry import AttackName, default_attacks, without_codes
from del_audit.configuration.asked import FEWEST_PROMPTS
from del_audit.configuration.attack_names import asked_attacks
from del_audit.configuration.changed_file import ChangedFile, ConfigurationFile
from del_audit.configuration.mechanisms import DelMechanism, OwnMechanism, RivalMechanism
from del_audit.configuration.policy import Policy
from del_audit.configuration.written import (
    CorpusName,
    Data,
    WrittenConfiguration,
    WrittenEncoder,
    WrittenEvaluation,
)
from del_audit.configuration.yaml_file import load_yaml
from mechanisms.errors import UserError
from mechanisms.model_sources import stored_number_format
from mechanisms.padding import require_rising
from mechanisms.registry import DECODERS, DecoderName, checked_decoder
from mechanisms.spec import QuantizerSpec

DEVICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]{1,3})?")
"""Names of devices, as torch has them."""
PROBE_ROWS = 5_000
"""Public rows that probes are fitted on, at most, unless a configuration asks for more."""
Decoder = Annotated[DecoderName, AfterValidator(checked_decoder)]
"""Name of a row of mechanisms.registry."""


class EncoderChoice(WrittenEncoder):
    """Either a closed form (mechanisms.projection.EncoderSettings), or what was trained, in projection or codes."""

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


class DataChoice(Data):
    """split_column, public_share: where the splits' names come from, `split` unless one says otherwise.

    They are no part of what is described and hashed, since the hashes of both parts' texts say what they made of the
    corpus; a certificate states them in a section of their own.
    """

    split_column: CorpusName | None = Field(default=None, exclude=True)
    public_share: float | None = Field(default=None, gt=0, lt=1, exclude=True)

    @model_validator(mode="after")
    def _splits_come_from_one_place(self) -> Self:
        if self.split_column is not None and self.public_share is not None:
            raise ValueError(
                f"expected one of split_column and public_share, got both: the column {self.split_column!r} says the "
                "split already, or a share is drawn"
            )
        return self


class Evaluation(WrittenEvaluation):
    """Sample sizes of what is measured; another prompt_tokens or context_tokens than the policy's is refused.

    probe_rows: public rows that probes are fitted on, at most. It is no part of what is described, hashed and
    certified, so it may only be raised.
    """

    probe_rows: int = Field(default=PROBE_ROWS, exclude=True)
    attacks: Annotated[tuple[AttackName, ...], AfterValidator(asked_attacks)] = Field(
        default_factory=default_attacks, strict=False
    )

    @model_validator(mode="before")
    @classmethod
    def _no_seed_is_chosen(cls, given: object) -> object:
        if isinstance(given, dict) and "seed" in given:
            raise ValueError(
                "expected no seed, since who can choose it can choose the verdict: it follows from the private split "
                "and the policy. Remove evaluation.seed"
            )
        return given

    @field_validator("probe_rows")
    @classmethod
    def _probes_are_no_weaker(cls, rows: int) -> int:
        if rows < PROBE_ROWS:
            raise ValueError(
                f"expected probe_rows >= {PROBE_ROWS}, got {rows}: no certificate says it, and fewer rows make a "
                "weaker probe. Take rows out of the public split instead"
            )
        return rows

    @model_validator(mode="after")
    def _samples_fit(self) -> Self:
        for name in ("generations", *(["other_prompts"] if self.other_bits else [])):
            if getattr(self, name) > self.prompts:
                raise ValueError(f"expected {name} <= prompts={self.prompts}, got {getattr(self, name)}")
        return self


def _device(name: str) -> str:
    if not DEVICE.fullmatch(name):
        raise ValueError("expected auto, cpu, cuda, cuda:N or mps")
    return name


class Configuration(WrittenConfiguration):
    """Everything that decides what is served, and what is asked of it.

    device, device_map, max_memory: where this machine holds the language model. They are no part of what is described,
    hashed and certified; a certificate names the device among its versions. pad_to: tokens that the client fills each
    prompt up to; a certificate states them in a section of their own.
    """

    device: Annotated[str, AfterValidator(_device)] = Field(default="auto", exclude=True)
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | dict[str, int | str] | None = Field(
        default=None, exclude=True
    )
    max_memory: dict[int | str, int | str] | None = Field(default=None, exclude=True)
    pad_to: tuple[int, ...] | None = Field(default=None, exclude=True, strict=False)
    data: DataChoice
    encoder: EncoderChoice = EncoderChoice()
    decoder: Decoder = "posterior-mean"
    evaluation: Evaluation = Evaluation()
    policy: Policy

    @model_validator(mode="before")
    @classmethod
    def _automatic_format_is_the_models(cls, given: object) -> object:
        """Puts the format that the model's files name in place of `auto`: certificates state what was served."""
        if isinstance(given, dict) and given.get("dtype") == "auto" and isinstance(given.get("model"), str):
            try:
                return {**given, "dtype": stored_number_format(given["model"])}
            except UserError as error:
                raise ValueError(str(error)) from None
        return given

    @model_validator(mode="after")
    def _device_map_has_room(self) -> Self:
        if self.max_memory is not None and self.device_map is None:
            raise ValueError("expected max_memory with device_map, which keeps to it: add device_map: auto")
        if self.device_map is not None and self.device != "auto":
            raise ValueError(f"expected device: auto beside device_map, which names the devices, got {self.device}")
        return self

    @model_validator(mode="after")
    def _lengths_fit_the_policy(self) -> Self:
        if self.pad_to is None:
            return self
        try:
            require_rising(self.pad_to)
        except UserError as error:
            raise ValueError(f"pad_to: {error}") from None
        if self.pad_to[-1] != (longest := self.policy.prompt_tokens):
            raise ValueError(
                f"expected pad_to to end with policy.prompt_tokens={longest}, the longest prompt that is sent, got "
                f"{self.pad_to[-1]}: add {longest}, or set policy.prompt_tokens: {self.pad_to[-1]}"
            )
        return self

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
    def _other_bits_are_there(self) -> Self:
        if not self.evaluation.other_bits:
            return self
        try:
            here = self.quantizer("evaluation.other_bits").spec()
        except UserError as error:
            raise ValueError(str(error)) from None
        for bits in self.evaluation.other_bits:
            try:
                QuantizerSpec.from_mu(bits, here.dim, here.clip, here.mu)
            except UserError as error:
                raise ValueError(f"evaluation.other_bits: {error}") from None
        return self

    @model_validator(mode="after")
    def _parts_fit_the_mechanism(self) -> Self:
        if isinstance(self.mechanism, DelMechanism):
            return self
        kind, plan = self.mechanism.kind, self.evaluation
        if isinstance(self.mechanism, OwnMechanism):
            self._require_no_epsilon()
        if isinstance(self.mechanism, OwnMechanism) and not isinstance(self.mechanism, RivalMechanism):
            self._require_own_server()
        elif DECODERS[self.decoder].codes:
            others = ", ".join(row.key for row in DECODERS.values() if not row.codes)
            raise ValueError(f"expected decoder among {others} for mechanism.kind: {kind}, got {self.decoder}")
        if "encoder" in self.model_fields_set:
            raise ValueError(f"expected no encoder beside mechanism.kind: {kind}, got one: it has no codes")
        if (fitting := without_codes(plan.attacks)) != plan.attacks:
            if "attacks" in plan.model_fields_set:
                named = ", ".join(name for name in plan.attacks if name not in fitting)
                raise ValueError(
                    f"expected no attack on codes in evaluation.attacks for mechanism.kind: {kind}, got {named}"
                )
            object.__setattr__(self, "evaluation", plan.model_copy(update={"attacks": fitting}))
        return self

    def _require_no_epsilon(self) -> None:
        if self.policy.epsilon:
            raise ValueError(
                f"expected no policy.epsilon with mechanism.kind: {self.mechanism.kind}, of which no guarantee is "
                "proved: leave it out, and the certificate says so first"
            )

    def _require_own_server(self) -> None:
        if "decoder" in self.model_fields_set:
            raise ValueError(
                f"expected no decoder beside mechanism.kind: {self.mechanism.kind}, whose own `embeddings` decode, got "
                f"{self.decoder}"
            )

    @model_validator(mode="after")
    def _decoder_is_there(self) -> Self:
        if DECODERS[self.decoder].trained_projection and self.encoder.projection is None:
            raise ValueError(
                f"decoder: {self.decoder} needs encoder.projection, a folder that `del-audit train projection` wrote"
            )
        return self

    @model_validator(mode="after")
    def _stopping_has_a_limit(self) -> Self:
        policy = self.policy
        if self.evaluation.stop_early and policy.attack_success_at_most is None:
            raise ValueError("evaluation.stop_early needs policy.attack_success_at_most, which it stops at")
        if self.evaluation.stop_early and (policy.slice_success_at_most or policy.meaning_success_at_most is not None):
            raise ValueError(
                "evaluation.stop_early goes with no limit on slices and none on meaning: their intervals do not hold "
                "for a sample whose size depends on what was recovered"
            )
        return self

    @model_validator(mode="after")
    def _limits_can_be_decided(self) -> Self:
        columns, prompts = {"attribute": self.attribute, "task": self.task}, self.evaluation.prompts
        for name, row in self.policy.asked().items():
            if row.needs in columns and columns[row.needs] is None:
                column = "an attribute" if row.needs == "attribute" else "a task"
                raise ValueError(f"policy.{name} needs {column} to measure")
            if row.needs == "gains" and prompts < FEWEST_PROMPTS:
                raise ValueError(
                    f"expected evaluation.prompts >= {FEWEST_PROMPTS} for policy.{name}, got {prompts}: with fewer, no "
                    "interval of the gain keeps its level"
                )
            if row.require is not None:
                row.require(name, getattr(self.policy, name), self)
        return self


def load_configuration(file: ConfigurationFile) -> Configuration:
    """Returns the configuration in a YAML file; raises UserError as load_yaml, and for values that do not fit."""
    path, changes = (file.path, file.changes) if isinstance(file, ChangedFile) else (file, {})
    configuration = load_yaml(path, Configuration, "configuration", changes)
    if isinstance(configuration.mechanism, DelMechanism):
        configuration.mechanism.spec()
    configuration.encoder.settings()  # their ranges are checked here, not after the model is loaded
    return configuration
