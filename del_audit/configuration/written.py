"""What a configuration's file says, key by key, as a certificate repeats it; its rules stand in configuration.py."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.config import JsonDict

from attacks.registry import default_attacks
from del_audit.configuration.mechanisms import ABOVE_ZERO, Bits, DelMechanism, Mechanism
from del_audit.configuration.policy import WrittenPolicy
from del_audit.configuration.yaml_file import Strict, not_null
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from mechanisms.projection import EncoderSettings

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
AttackKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
"""An attack's name in configurations: any, so that an older verifier reads a later version's."""
SHARE: JsonDict = {"minimum": 0, "maximum": 1}
"""Ranges of the published schema; the specs refuse other values, in words that name the range."""


def _as_text(given: Any) -> Any:
    """Returns a YAML number or boolean as the text that a corpus has in its place; everything else as it is."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int) or (isinstance(given, float) and math.isfinite(given)):
        return repr(given)
    return given


CorpusName = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str)]
"""Name of a column or a split, which is often 0, 1 or true: written so, YAML has no text for it."""


class WrittenEncoder(Strict):
    """How codes are made: a closed form, or what was trained."""

    kind: Literal["linear", "corners"] = "linear"
    """Closed form."""
    whitening: float = Field(default=0.5, json_schema_extra=SHARE)
    """Share of whitening."""
    prior_power: float = Field(default=1.0, json_schema_extra=SHARE)
    """Power of the prior that weighs words."""
    fill: float = Field(default=1.0, json_schema_extra=ABOVE_ZERO)
    """Root mean square of the codes in units of clip."""
    rotate: bool = True
    """Whether the coordinates are turned to the cube's corners."""
    seed: int = Field(default=0, ge=0)
    """Seed of the fit, and of the simulated release that the decoder is fitted on."""
    projection: str | None = None
    """Folder of a trained projection, as `del-audit train projection` writes it."""
    codes: str | None = None
    """File of trained codes, as `del-audit train codes` writes it."""

    def settings(self) -> "EncoderSettings":
        """Returns the closed form's settings; raises UserError for values out of range."""
        from mechanisms.projection import EncoderSettings  # heavy

        return EncoderSettings(**self.model_dump(exclude={"projection", "codes"}))


class Data(Strict):
    """Real text: a public part that everything is fitted on, and a private part that stands for users."""

    corpus: str
    """The corpus."""
    text_column: CorpusName | None = None
    """Its column of texts."""
    group_column: CorpusName | None = None
    """Column that says whose text a row is: nobody of the private part stays in the public one, and intervals count
    its values as the independent units. Null takes every row for a unit of its own."""
    public_split: CorpusName = "train"
    """Split that prior, encoder, decoder and probes are fitted on."""
    private_split: CorpusName = "test"
    """Split that stands for users and is attacked."""


class Attribute(Strict):
    """A column that must not leak; only its commonest classes (counted in the public part) are kept."""

    column: CorpusName
    """The column."""
    classes: int = Field(default=5, ge=2)
    """Commonest classes that are kept."""


class Task(Strict):
    """A column that the server is meant to predict: utility."""

    column: CorpusName
    """The column."""


class WrittenEvaluation(Strict):
    """Sample sizes. The seed is not among them: it follows from the private split and the policy."""

    attacks: tuple[AttackKey, ...] = Field(default_factory=default_attacks, min_length=1, strict=False)
    """Attacks asked for."""
    masked_lm: str | None = None
    """Masked language model of the attack that needs one."""
    attacked_tokens: int = Field(default=20_000, ge=1)
    """Tokens attacked one by one."""
    context_prompts: int = Field(default=128, ge=2)
    """Prompts that attacks on contexts read."""
    context_tokens: int | None = Field(default=None, ge=2, json_schema_extra=not_null)
    """Tokens of each attacked prompt: policy.prompt_tokens, which is filled in."""
    stop_early: bool = False
    """Whether attacks read only until the policy's limit was decided, by a valid sequential interval."""
    probe_tokens: int = Field(default=256, ge=1)
    """Tokens of each document, sent in prompts, that probes see."""
    probe_releases: int = Field(default=1, ge=1)
    """Releases of each public document that probes are fitted on."""
    prompts: int = Field(default=96, ge=2)
    """Prompts of the utility's figures."""
    prompt_tokens: int | None = Field(default=None, ge=2, json_schema_extra=not_null)
    """Tokens of each of them: policy.prompt_tokens, which is filled in."""
    response_tokens: int = Field(default=48, ge=1)
    """Tokens of each true response."""
    generations: int = Field(default=32, ge=2)
    """Prompts that text is written for."""
    generated_tokens: int = Field(default=32, ge=1)
    """Tokens of each written text."""
    other_bits: tuple[Bits, ...] = Field(default=(), strict=False)
    """Other numbers of bits that are measured at the same mu."""
    other_prompts: int = Field(default=32, ge=2)
    """Prompts with each other number of bits."""
    worst_prompts: int = Field(default=8, ge=2)
    """Prompts that are released again and again where the policy limits the worst prompt."""
    worst_releases: int = Field(default=64, ge=2)
    """Releases of each of them."""


class WrittenConfiguration(Strict):
    """Everything that decides what is served, and what is asked of it, every default written out."""

    name: str = Field(pattern=NAME)
    """Its name."""
    model: str
    """The language model."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format that the language model is served in, and attacks with."""
    sentence_encoder: str = "package:minilm-l6-v2"
    """Model of the cosines of coherence."""
    mechanism: Mechanism
    """What releases tokens: DEL's quantizer, or another kind."""
    encoder: WrittenEncoder = WrittenEncoder()
    """How DEL's codes are made; other kinds have none."""
    decoder: str = "posterior-mean"
    """The decoder."""
    soft_prompt: str | None = None
    """The soft prompt."""
    data: Data
    """The corpus and its parts."""
    attribute: Attribute | None = None
    """The sensitive attribute; null where none is named."""
    task: Task | None = None
    """The server's task; null where none is named."""
    evaluation: WrittenEvaluation = WrittenEvaluation()
    """Sample sizes of what is measured."""
    policy: WrittenPolicy
    """The limits that are held against what is proved and measured."""
    valid_days: int = Field(default=365, ge=1, le=3650)
    """Days from made to expires."""

    def quantizer(self, what: str) -> DelMechanism:
        """Returns DEL's quantizer; raises UserError for another kind. what: needs a quantizer; the error names it."""
        if not isinstance(self.mechanism, DelMechanism):
            raise UserError(
                f"Expected mechanism.kind: del for {what}, got {self.mechanism.kind!r}, which has no quantizer."
            )
        return self.mechanism
