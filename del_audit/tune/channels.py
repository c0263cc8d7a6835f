"""What a candidate sends: a configuration's mechanism, and how loud it is, the axis that a search goes along."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from del_audit.accounting.any_mechanism import Proved
from del_audit.configuration.configuration import Configuration, EncoderChoice
from del_audit.configuration.mechanisms import LARGEST_EPSILON, CoarseWordsMechanism, DelMechanism, WordMechanism
from del_audit.configuration.named import DEL, Named
from del_audit.configuration.other_mechanisms import content_over_words
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec


@dataclass(frozen=True, slots=True)
class DelChannel:
    """DEL's quantizer behind an encoder. quantizer: without a scale until the search has set it; never with mu."""

    quantizer: DelMechanism
    encoder: EncoderChoice
    level_name: ClassVar[str] = "scale"

    @classmethod
    def of(cls, bits: int, dim: int, clip: float, encoder: EncoderChoice) -> Self:
        """Returns the channel without a scale."""
        return cls(DelMechanism(bits=bits, dim=dim, clip=clip), encoder)

    @property
    def name(self) -> str:
        """The mechanism's name on the command line."""
        return DEL

    @property
    def shape(self) -> tuple[int, int]:
        """Bits and dim: what the proof depends on beside the scale."""
        return self.quantizer.bits, self.quantizer.dim

    @property
    def level(self) -> float | None:
        """The scale."""
        return self.quantizer.scale

    @property
    def loudness(self) -> float:
        """The paper's mu: attacks read more of a larger one."""
        return self.spec().mu

    def at(self, level: float) -> Self:
        """Returns the channel with a scale."""
        return replace(self, quantizer=self.quantizer.model_copy(update={"scale": level}))

    def at_loudness(self, loudness: float) -> Self:
        """Returns the channel with the scale of a mu."""
        bits, dim = self.shape
        return self.at(QuantizerSpec.from_mu(bits, dim, self.quantizer.clip, loudness).scale)

    def spec(self) -> QuantizerSpec:
        """Returns the quantizer; raises UserError for values out of range and without a scale."""
        if self.level is None:
            raise UserError("Expected a candidate with a scale, got none.")
        return self.quantizer.spec()

    def content(self, base: Configuration) -> dict[str, Any]:
        """Returns the content of a configuration that sends through the channel."""
        return base.model_dump(mode="json", exclude_unset=True) | {
            "mechanism": self.quantizer.model_dump(mode="json", exclude_unset=True),
            "encoder": self.encoder.model_dump(mode="json", exclude_unset=True),
        }

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields as JSON values."""
        bits, dim = self.shape
        encoder = self.encoder.model_dump(mode="json", exclude_unset=True)
        return {"bits": bits, "dim": dim, "encoder": encoder, "scale": self.level}

    def described(self) -> str:
        """Returns it for a person.

        >>> DelChannel.of(4, 18, 0.05, EncoderChoice(kind="corners")).at(0.25).described()
        '4 bits, dim 18, scale 0.25, corners'
        """
        (bits, dim), choice = self.shape, self.encoder
        encoder = choice.projection or choice.codes or ("corners" if choice.kind == "corners" else _linear(choice))
        scale = "" if self.level is None else f", scale {self.level:.4g}"
        return f"{bits} bits, dim {dim}{scale}, {encoder}"


@dataclass(frozen=True, slots=True)
class WordChannel:
    """A mechanism over words. choice: whose own epsilon is not looked at (WordChannel.of). epsilon: None until set.

    inputs: what it tells apart: the vocabulary's words, or the clusters that they are in.
    """

    choice: WordMechanism
    inputs: int
    epsilon: float | None = None
    level_name: ClassVar[str] = "epsilon"

    @classmethod
    def of(cls, choice: WordMechanism, words: int) -> Self:
        """Returns the channel without an epsilon, over a vocabulary of so many words."""
        inputs = choice.symbols if isinstance(choice, CoarseWordsMechanism) else words
        return cls(_with_epsilon(choice, LARGEST_EPSILON), inputs)

    @property
    def name(self) -> str:
        """The mechanism's name on the command line."""
        return Named.of(self.choice).name

    @property
    def shape(self) -> "WordChannel":
        """What the proof depends on beside epsilon."""
        return replace(self, epsilon=None)

    @property
    def level(self) -> float | None:
        """Pure epsilon of one token, nats."""
        return self.epsilon

    @property
    def loudness(self) -> float:
        """Epsilon: attacks read more of a larger one."""
        return self._set_epsilon()

    @property
    def mechanism(self) -> WordMechanism:
        """The configuration's mechanism; raises UserError without an epsilon."""
        return _with_epsilon(self.choice, self._set_epsilon())

    def at(self, level: float) -> Self:
        """Returns the channel with an epsilon."""
        return replace(self, epsilon=level)

    def at_loudness(self, loudness: float) -> Self:
        """As `at`."""
        return self.at(loudness)

    def spec(self) -> Proved:
        """Returns what its guarantee is proved of; raises UserError where so many inputs allow none."""
        mechanism = self.mechanism
        return (mechanism.inner if isinstance(mechanism, CoarseWordsMechanism) else mechanism).over(self.inputs)

    def content(self, base: Configuration) -> dict[str, Any]:
        """Returns the content of a configuration that sends through the channel."""
        return content_over_words(base) | {"mechanism": self.mechanism.model_dump(mode="json", exclude_unset=True)}

    def to_dict(self) -> dict[str, Json]:
        """Returns the mechanism as JSON values, with its epsilon beside them."""
        fields = self.choice.model_dump(mode="json", exclude_unset=True)
        for each in (fields, fields.get("inner", {})):
            each.pop("epsilon", None)
        return fields | {"epsilon": self.epsilon}

    def described(self) -> str:
        """Returns it for a person."""
        return self.name if self.epsilon is None else f"{self.name}, epsilon {self.epsilon:.4g}"

    def _set_epsilon(self) -> float:
        if self.epsilon is None:
            raise UserError("Expected a candidate with an epsilon, got none.")
        return self.epsilon


Channel = DelChannel | WordChannel
"""What an attacker sees, whatever is made of it behind: one for all candidates that share it."""
Shape = tuple[int, int] | WordChannel


def _with_epsilon(choice: WordMechanism, epsilon: float) -> WordMechanism:
    if isinstance(choice, CoarseWordsMechanism):
        return choice.model_copy(update={"inner": choice.inner.model_copy(update={"epsilon": epsilon})})
    return choice.model_copy(update={"epsilon": epsilon})


def _linear(choice: EncoderChoice) -> str:
    return f"linear (whitening {choice.whitening:g}, prior^{choice.prior_power:g}, fill {choice.fill:g})"
