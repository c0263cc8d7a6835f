"""What a run attacks: a configuration's mechanism over its public world, and prompts of its private split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attacks.base import Public
from del_audit.certificate.config import Configuration, load_configuration
from del_audit.certificate.document import hashes
from del_audit.certificate.inputs import Assets, build, by_turns, load_assets, public_of
from del_audit.certificate.provenance import commit, versions
from del_audit.evidence.planted import PlantedTokens, plant, tokenized
from del_audit.quiet import silence_libraries
from mechanisms.client import Client
from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedWords

FORMAT = "del-audit attack 1"


@dataclass(frozen=True, slots=True)
class Private:
    """Prompts of the private split, in tokens, and the document of each.

    planted: the same prompts with where their identifiers are; None where none were planted.
    """

    prompts: list[list[int]]
    documents: list[str]
    planted: list[PlantedTokens] | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.prompts))


@dataclass(frozen=True, slots=True)
class Scene:
    """A configuration with all that it names, and the attackers' public world. seed: of everything random in a run."""

    configuration: Configuration
    assets: Assets
    pipeline: Pipeline
    public: Public
    seed: int

    @classmethod
    def of(cls, configuration: Configuration, seed: int | None = None) -> "Scene":
        """Returns the scene; seed: the configuration's if left out. Raises UserError as load_assets and build do."""
        silence_libraries()
        seed = configuration.evaluation.seed if seed is None else seed
        assets = load_assets(configuration)
        pipeline = build(configuration, assets, configuration.mechanism.spec())
        return cls(configuration, assets, pipeline, public_of(assets, pipeline, seed), seed)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt: the model's context, less the token that opens a text."""
        return self.assets.language.context_tokens - 1

    @property
    def identity(self) -> dict[str, Any]:
        """Everything about the scene that decides a figure, for Run to compare."""
        return {
            **{f"{name} hash": value for name, value in self.hashes.items()},
            "seed": self.seed,
            "versions": versions(),
            "commit": commit(),
        }

    @property
    def hashes(self) -> dict[str, str]:
        """sha256 of configuration, spec, encoder, prior, model, tokenizer and texts."""
        return hashes(self.configuration, self.assets, self.pipeline)

    def client(self, purpose: str) -> Client:
        """Returns the client that serves, on a seeded source: the private split is test text that stands for users."""
        language = self.assets.language
        return Client(language.tokenizer, self.pipeline, language.context_tokens, SimulatedWords(self.seed, purpose))

    def prompts(self, count: int | None, tokens: int | None, planting: bool = False) -> Private:
        """Returns the first tokens of each private document, then further whole windows of long ones.

        Every unit's first prompt comes before any second: a unit is a group of data.group_column, or a document_id.
        count, tokens: of prompts and of each; the configuration's context_prompts, or as many as there are, and
        context_tokens, where left out. planting: a made-up identifier is put into each prompt, which grows by it.
        Raises UserError for values out of range, and for prompts of a single document.
        """
        plan = self.configuration.evaluation
        length = at_least(1, "prompt-tokens", plan.context_tokens if tokens is None else tokens)
        if length > self.longest:
            raise UserError(f"Expected prompt-tokens <= {self.longest}, the model's, got prompt-tokens={length}.")
        units, places = self.units, windows(self.assets.private, length)
        places = [places[number] for _, number in by_turns(places, units)]
        wanted = plan.context_prompts if count is None else at_least(2, "prompts", count)
        if count is not None and count > len(places):
            raise UserError(f"Expected prompts <= {len(places)}, what the private split has, got prompts={count}.")
        chosen = places[:wanted]
        names = [units[index] for index, _ in chosen]
        if len(set(names)) < 2:
            raise UserError(f"Expected private prompts of two documents or more, got {len(chosen)} of one.")
        prompts = [self.assets.private[index][start : start + length] for index, start in chosen]
        return Private(prompts, names) if not planting else self._planted(prompts, names)

    @property
    def units(self) -> list[str]:
        """Whose each private document is: what intervals count."""
        if self.configuration.data.group_column is not None:
            return self.assets.private_groups
        return [str(name) for name in self.assets.private_corpus.columns["document_id"]]

    def _planted(self, prompts: Sequence[Sequence[int]], names: list[str]) -> Private:
        tokenizer = self.assets.language.tokenizer
        texts = plant([tokenizer.decode(prompt, skip_special_tokens=True) for prompt in prompts], self.seed)
        planted = [tokenized(text, tokenizer, self.longest) for text in texts]
        return Private([list(prompt.ids) for prompt in planted], names, planted)

    def document(self, command: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Returns the head of a result: what was attacked, how, and what made it."""
        return {
            "format": FORMAT,
            "command": command,
            "name": self.configuration.name,
            "configuration": self.configuration.model_dump(mode="json"),
            "spec": self.pipeline.spec.to_dict(),
            "settings": settings,
            "seed": self.seed,
            "hashes": self.hashes,
            "model": self.assets.language.record.to_dict(),
            "corpus": self.assets.corpus.record.to_dict(),
            "versions": versions(),
            "commit": commit(),
        }


def opened(path: Path, out: Path) -> Configuration:
    """Returns the configuration in a file; raises UserError as load_configuration does, and for an OUT that exists."""
    if out.exists():
        raise UserError(f"Expected --out to be a folder that does not exist yet, got {out}.")
    return load_configuration(path)


def windows(documents: Sequence[Sequence[int]], length: int) -> list[tuple[int, int]]:
    """Returns (document, start) of windows, every document's first before any second; only a first may be short.

    >>> windows([[1, 2, 3, 4, 5], [], [6]], 2)
    [(0, 0), (2, 0), (0, 2)]
    """
    longest = max(map(len, documents), default=0)
    return [
        (index, start)
        for start in range(0, longest, length)
        for index, document in enumerate(documents)
        if len(document) >= start + length or (document and not start)
    ]


def at_least(low: int, name: str, value: int) -> int:
    """Returns the value; raises UserError where it is lower."""
    if value < low:
        raise UserError(f"Expected {name} >= {low}, got {name}={value}.")
    return value
