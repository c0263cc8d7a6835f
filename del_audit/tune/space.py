"""What is searched: candidates are what is sent, a decoder and a soft prompt over one configuration."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from del_audit.configuration.configuration import Configuration, Decoder, EncoderChoice
from del_audit.configuration.mechanisms import KINDS, LARGEST_EPSILON, DelMechanism, OwnMechanism, WordMechanism
from del_audit.configuration.named import DEL, Named, checked_epsilons, parse_all
from del_audit.configuration.other_mechanisms import decoder_without_codes, own_quantizer
from del_audit.configuration.yaml_file import Strict, load_yaml
from del_audit.service.clusters import require_symbols
from del_audit.tune.channels import Channel, DelChannel, WordChannel
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.models import words_in
from mechanisms.randomness import simulation_generator
from mechanisms.registry import DECODERS, DecoderName
from mechanisms.spec import MAX_BITS
from mechanisms.validation import at_least

MAX_CANDIDATES = 10_000


class Space(Strict):
    """Values of each dimension; what is left out is the configuration's own, and for encoders corners beside it.

    mechanisms: names, as `frontier` has them. epsilons: nats, of mechanisms over words. bits: 1 to 8. dim: coordinates
    a token. encoders: as a configuration's encoder. soft_prompts: null for none.
    """

    mechanisms: tuple[str, ...] = Field(default=(), strict=False)
    epsilons: tuple[float, ...] = Field(default=(), strict=False)
    bits: tuple[int, ...] = Field(default=(), strict=False)
    dim: tuple[int, ...] = Field(default=(), strict=False)
    encoders: tuple[EncoderChoice, ...] = Field(default=(), strict=False)
    decoders: tuple[Decoder, ...] = Field(default=(), strict=False)
    soft_prompts: tuple[str | None, ...] = Field(default=(), strict=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration to try. channel: without a scale or an epsilon until the search has set it."""

    channel: Channel
    decoder: DecoderName
    soft_prompt: str | None

    @property
    def undecoded(self) -> "Candidate":
        """The candidate as an attacker sees it: one for all that share its channel."""
        return Candidate(self.channel, "posterior-mean-plain", None)

    @property
    def unreadable(self) -> str:
        """Why the decoder cannot read what is sent; "" where it can."""
        if isinstance(self.channel, DelChannel) or not DECODERS[self.decoder].codes:
            return ""
        return f"left out: decoder {self.decoder} reads DEL's codes, which {self.channel.name} has none of"

    def at(self, level: float) -> "Candidate":
        """Returns the candidate with a scale, or an epsilon."""
        return self.through(self.channel.at(level))

    def through(self, channel: Channel) -> "Candidate":
        """Returns the candidate with another channel."""
        return replace(self, channel=channel)

    def configuration(self, base: Configuration) -> Configuration:
        """Returns the whole configuration; raises UserError where its parts do not fit together."""
        content = self.channel.content(base) | {"decoder": self.decoder, "soft_prompt": self.soft_prompt}
        try:
            return Configuration.model_validate(content)
        except ValidationError as error:
            raise UserError("; ".join(each["msg"] for each in error.errors())) from None

    def described(self) -> str:
        """Returns one line for a person."""
        return f"{self.channel.described()}, {self.decoder}, {self.soft_prompt or 'no soft prompt'}"

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields as JSON values."""
        return {**self.channel.to_dict(), "decoder": self.decoder, "soft_prompt": self.soft_prompt}


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

    Behind them come those whose decoder cannot read what is sent, which the budget does not count.
    Raises UserError for mechanisms, epsilons, bits, dim and budget out of range, for a value given twice or that no
    mechanism takes, for more than MAX_CANDIDATES, and where no decoder can read.
    """
    named = _mechanisms(base, space)
    over_words = [each for each in named if each.kind != DEL]
    _require_values(space, named)
    at_least("budget", budget, 1)
    prompts = space.soft_prompts or tuple(dict.fromkeys([base.soft_prompt, None]))
    grids: list[tuple[Sequence[Channel], Sequence[DecoderName], Sequence[str | None]]] = []
    if len(over_words) < len(named):
        grids.append((_del_channels(base, space), space.decoders or (base.decoder,), prompts))
    if over_words:
        grids.append((_word_channels(base, over_words), space.decoders or (decoder_without_codes(base),), prompts))
    count = sum(len(channels) * len(decoders) * len(prompts) for channels, decoders, prompts in grids)
    if count > MAX_CANDIDATES:
        raise UserError(f"Expected a space of at most {MAX_CANDIDATES} candidates, got {count}.")
    found = [Candidate(*row) for grid in grids for row in itertools.product(*grid)]
    readable = [each for each in found if not each.unreadable]
    if not readable:
        known = ", ".join(row.key for row in DECODERS.values() if not row.codes)
        raise UserError(
            f"Expected a decoder among {known} for mechanisms over words, got {', '.join(space.decoders)}, which read "
            "DEL's codes."
        )
    return [*_within(readable, budget, base, seed), *(each for each in found if each.unreadable)]


def _mechanisms(base: Configuration, space: Space) -> tuple[Named, ...]:
    """Returns what is searched: what is named, else the configuration's own."""
    if space.mechanisms:
        return parse_all(space.mechanisms)
    if isinstance(base.mechanism, OwnMechanism):
        raise UserError(
            f"Expected a mechanism.kind that comes with del-audit, got {base.mechanism.kind!r}, of which tune knows no "
            "scale and no epsilon. Name others with --mechanisms."
        )
    return (Named.of(base.mechanism),)


def _require_values(space: Space, named: Sequence[Named]) -> None:
    """Raises UserError for a value out of range or given twice, and for a dimension that none of the mechanisms has."""
    of_del = {each.kind == DEL for each in named}
    for name in ("bits", "dim", "encoders"):
        if True not in of_del and getattr(space, name):
            raise UserError(
                f"Expected no {name} for mechanisms over words, got some: only DEL has them. Leave {name} out, or name "
                "del with --mechanisms too."
            )
    if space.epsilons and False not in of_del:
        raise UserError(
            "Expected no epsilons for DEL, whose scale is searched, got some: they are of mechanisms over words. Leave "
            "epsilons out, or name such mechanisms with --mechanisms."
        )
    if space.epsilons:
        checked_epsilons(space.epsilons, LARGEST_EPSILON)
    for name, low, high in (("bits", 1, MAX_BITS), ("dim", 1, 1 << 16)):
        if wrong := [value for value in getattr(space, name) if not low <= value <= high]:
            raise UserError(f"Expected {name} in {low}..{high}, got {name}={wrong[0]}.")
    for name in ("bits", "dim", "encoders", "decoders", "soft_prompts"):
        given = getattr(space, name)
        if len(set(given)) != len(given):
            raise UserError(
                f"Expected different values of {name}, got {yaml.safe_dump([str(v) for v in given]).strip()}."
            )


def _del_channels(base: Configuration, space: Space) -> list[Channel]:
    own = own_quantizer(base).spec()
    corners = EncoderChoice(kind="corners", seed=base.encoder.seed)
    encoders = space.encoders or tuple(dict.fromkeys([base.encoder, corners]))
    rows = itertools.product(space.bits or (own.bits,), space.dim or (own.dim,), encoders)
    return [DelChannel.of(bits, dim, own.clip, encoder) for bits, dim, encoder in rows]


def _word_channels(base: Configuration, named: Sequence[Named]) -> list[Channel]:
    """Returns the channels; the configuration's own mechanism, where it is named, keeps its options."""
    words = words_in(base.model)
    require_symbols(words, named)
    own = base.mechanism if isinstance(base.mechanism, WordMechanism) else None
    channels: list[Channel] = []
    for each in named:
        kept = own is not None and Named.of(own) == each
        choice = own if kept else KINDS[each.kind].model_validate(each.fields(LARGEST_EPSILON))
        assert isinstance(choice, WordMechanism)
        channels.append(WordChannel.of(choice, words))
    return channels


def _within(found: list[Candidate], budget: int, base: Configuration, seed: int) -> list[Candidate]:
    """Returns what the budget allows."""
    if len(found) <= budget:
        return found
    kept = [each for each in found if _is_own(each, base)]
    rest = [each for each in found if each not in kept]
    order = simulation_generator(seed, "candidates").permutation(len(rest))[: budget - len(kept)]
    return [*kept, *(rest[index] for index in sorted(order))]


def _is_own(candidate: Candidate, base: Configuration) -> bool:
    """Returns whether a candidate is the configuration's own, but for its scale or epsilon."""
    if (candidate.decoder, candidate.soft_prompt) != (base.decoder, base.soft_prompt):
        return False
    channel, own = candidate.channel, base.mechanism
    if isinstance(channel, DelChannel) and isinstance(own, DelMechanism):
        return (*channel.shape, channel.encoder) == (own.bits, own.dim, base.encoder)
    return isinstance(own, WordMechanism) and channel.name == Named.of(own).name
