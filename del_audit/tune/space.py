"""What is searched: candidates are a quantizer, an encoder, a decoder and a soft prompt over one configuration."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from del_audit.configuration.configuration import Configuration, Decoder, EncoderChoice
from del_audit.configuration.yaml_file import Strict, load_yaml
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator
from mechanisms.registry import DecoderName
from mechanisms.spec import MAX_BITS, QuantizerSpec
from mechanisms.validation import at_least

MAX_CANDIDATES = 10_000


class Space(Strict):
    """Values of each dimension; what is left out is the configuration's own, and for encoders corners beside it.

    bits: 1 to 8. dim: coordinates a token. encoders: as a configuration's encoder. soft_prompts: null for none.
    """

    bits: tuple[int, ...] = Field(default=(), strict=False)
    dim: tuple[int, ...] = Field(default=(), strict=False)
    encoders: tuple[EncoderChoice, ...] = Field(default=(), strict=False)
    decoders: tuple[Decoder, ...] = Field(default=(), strict=False)
    soft_prompts: tuple[str | None, ...] = Field(default=(), strict=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration to try. scale: None until the search has set it."""

    bits: int
    dim: int
    encoder: EncoderChoice
    decoder: DecoderName
    soft_prompt: str | None
    scale: float | None = None

    @property
    def channel(self) -> "Candidate":
        """What decides what an attacker sees: the encoder and the quantizer's shape; one for all that share them."""
        return Candidate(self.bits, self.dim, self.encoder, "posterior-mean-plain", None, self.scale)

    def at(self, scale: float) -> "Candidate":
        """Returns the candidate with a scale."""
        return replace(self, scale=scale)

    def spec(self, clip: float) -> QuantizerSpec:
        """Returns the quantizer; raises UserError for values out of range and without a scale."""
        if self.scale is None:
            raise UserError("Expected a candidate with a scale, got none.")
        return QuantizerSpec(self.bits, self.dim, clip, self.scale)

    def configuration(self, base: Configuration) -> Configuration:
        """Returns the whole configuration; raises UserError where its parts do not fit together."""
        content = base.model_dump(mode="json", exclude_unset=True)
        encoder = self.encoder.model_dump(mode="json", exclude_unset=True)
        quantizer = {"bits": self.bits, "dim": self.dim, "clip": base.quantizer("tune").clip, "scale": self.scale}
        content |= {
            "mechanism": quantizer,
            "encoder": encoder,
            "decoder": self.decoder,
            "soft_prompt": self.soft_prompt,
        }
        try:
            return Configuration.model_validate(content)
        except ValidationError as error:
            raise UserError("; ".join(each["msg"] for each in error.errors())) from None

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields as JSON values."""
        return {
            "bits": self.bits,
            "dim": self.dim,
            "encoder": self.encoder.model_dump(mode="json", exclude_unset=True),
            "decoder": self.decoder,
            "soft_prompt": self.soft_prompt,
            "scale": self.scale,
        }


def load_space(path: Path | None, given: Mapping[str, Any]) -> Space:
    """Returns the space of a YAML file, or of options, not both; raises UserError for both and as load_yaml."""
    options = {name: value for name, value in given.items() if value is not None}
    if path is not None and options:
        raise UserError(f"Expected either --space or --{next(iter(options)).replace('_', '-')}, got both.")
    if path is not None:
        return load_yaml(path, Space, "space")
    try:
        return Space.model_validate(options)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise UserError(f"Expected a space of known values: {said}.") from None


def candidates_of(base: Configuration, space: Space, budget: int, seed: int) -> list[Candidate]:
    """Returns what is tried; where there are more than budget, the configuration's own and what the seed draws.

    Raises UserError for bits, dim and budget out of range, for a value given twice, and for more than MAX_CANDIDATES.
    """
    quantizer = base.quantizer("tune")
    own = Candidate(quantizer.bits, quantizer.dim, base.encoder, base.decoder, base.soft_prompt)
    corners = EncoderChoice(kind="corners", seed=base.encoder.seed)
    values: dict[str, tuple[Any, ...]] = {
        "bits": space.bits or (own.bits,),
        "dim": space.dim or (own.dim,),
        "encoders": space.encoders or tuple(dict.fromkeys([own.encoder, corners])),
        "decoders": space.decoders or (own.decoder,),
        "soft_prompts": space.soft_prompts or tuple(dict.fromkeys([own.soft_prompt, None])),
    }
    for name, low, high in (("bits", 1, MAX_BITS), ("dim", 1, 1 << 16)):
        if wrong := [value for value in values[name] if not low <= value <= high]:
            raise UserError(f"Expected {name} in {low}..{high}, got {name}={wrong[0]}.")
    for name, given in values.items():
        if len(set(given)) != len(given):
            raise UserError(
                f"Expected different values of {name}, got {yaml.safe_dump([str(v) for v in given]).strip()}."
            )
    at_least("budget", budget, 1)
    count = 1
    for given in values.values():
        count *= len(given)
    if count > MAX_CANDIDATES:
        raise UserError(f"Expected a space of at most {MAX_CANDIDATES} candidates, got {count}.")
    found = [Candidate(*row) for row in itertools.product(*values.values())]
    if len(found) <= budget:
        return found
    rest = [candidate for candidate in found if candidate != own]
    kept = [own] if own in found else []
    order = simulation_generator(seed, "candidates").permutation(len(rest))[: budget - len(kept)]
    return [*kept, *(rest[index] for index in sorted(order))]
