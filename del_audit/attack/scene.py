"""What a run attacks: a configuration's mechanism over its public world, and prompts of its private split."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from attacks.base import AttackerKnowledge
from del_audit.configuration.configuration import Configuration
from del_audit.evidence.readiness import require_texts
from del_audit.process.exit_codes import REFUSED
from del_audit.process.quiet import silence_libraries
from del_audit.runs import Run
from del_audit.service.asset_hashes import hashes
from del_audit.service.assets import Assets, build, load_assets, public_of
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.planting import plant, tokenized
from del_audit.service.private_text import attacked_rounds, windows
from del_audit.service.provenance import commit, versions
from del_audit.service.releases import PrivatePrompts
from del_audit.show.mechanism_line import mechanism_line
from mechanisms.canonical_json import Json
from mechanisms.client import Client
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec
from mechanisms.text_pieces import text_of
from mechanisms.validation import at_least

FORMAT = "del-audit attack 1"
PLANTED_TOKENS = 64
"""Tokens by which a prompt may grow when an identifier is planted in it; whatever is behind them is cut off."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A configuration with all that it names, and the attackers' public world. seed: of everything random in a run."""

    configuration: Configuration
    assets: Assets
    pipeline: AnyPipeline
    public: AttackerKnowledge
    seed: int

    @classmethod
    def of(cls, configuration: Configuration, seed: int | None = None) -> "Scene":
        """Returns the scene; seed: left out, the one that a certificate would have (seed_of).

        Raises UserError as load_assets, require_texts and build do.
        """
        silence_libraries()
        assets = load_assets(configuration, seed)
        require_texts(assets)
        pipeline = build(configuration, assets)
        return cls(configuration, assets, pipeline, public_of(assets, pipeline, assets.seed), assets.seed)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt: the model's context, less the token that opens a text."""
        return self.assets.language.context_tokens - 1

    @property
    def identity(self) -> dict[str, Json]:
        """Everything about the scene that decides a figure, for Run to compare."""
        return {
            **{f"{name} hash": value for name, value in self.hashes.items()},
            "seed": self.seed,
            "versions": versions(self.assets.language.model),
            "commit": commit(),
        }

    @property
    def hashes(self) -> dict[str, str]:
        """sha256 of configuration, spec, encoder, prior, model, tokenizer and texts."""
        return hashes(self.configuration, self.assets, self.pipeline)

    def client(self, purpose: str) -> Client:
        """Returns the client that serves, on a seeded source: the private split is test text that stands for users."""
        language = self.assets.language
        return Client(
            language.tokenizer, self.pipeline, language.context_tokens, SimulatedRandomness(self.seed, purpose)
        )

    def prompt_length(self, tokens: int | None) -> int:
        """Returns the tokens of a prompt, policy.prompt_tokens where left out; raises UserError out of range."""
        length = at_least("prompt-tokens", self.configuration.policy.prompt_tokens if tokens is None else tokens, 1)
        if length > self.longest:
            raise UserError(f"Expected prompt-tokens <= {self.longest}, the model's, got prompt-tokens={length}.")
        return length

    def prompts(self, count: int | None, tokens: int | None, planting: bool = False) -> PrivatePrompts:
        """Returns the first tokens of each private document, then further whole windows of long ones.

        Every unit's first prompt comes before any second: a unit is a group of data.group_column, or a document_id.
        count, tokens: of prompts and of each; the configuration's context_prompts, or as many as there are, and
        policy.prompt_tokens, where left out. planting: a made-up identifier is put into each prompt, which grows by it.
        No document has more prompts than count over the number of documents, rounded up: so intervals know, without a
        look at the lengths, how long a document can be.
        Raises UserError for values out of range, and for prompts of a single document.
        """
        plan = self.configuration.evaluation
        length = self.prompt_length(tokens)
        units = self.units
        wanted = plan.context_prompts if count is None else at_least("prompts", count, 2)
        each = attacked_rounds(max(1, len(set(units))), wanted, 1)
        places = windows(self.assets.private, units, length, each, whole=True)
        if count is not None and count > len(places):
            raise UserError(
                f"Expected prompts <= {len(places)}, what the private split has with at most {each} per unit, "
                f"got prompts={count}."
            )
        chosen = places[:wanted]
        names: list[Hashable] = [units[index] for index, _ in chosen]
        if len(set(names)) < 2:
            raise UserError(f"Expected private prompts of two documents or more, got {len(chosen)} of one.")
        prompts = [self.assets.private[index][start : start + length] for index, start in chosen]
        sent = PrivatePrompts(prompts, names, length, each)
        return self._planted(sent) if planting else sent

    @property
    def theorem(self) -> int:
        """The theorem that bounds attacks on single tokens: DEL's, or that of mechanisms with supports."""
        return 6 if isinstance(self.pipeline.spec, QuantizerSpec) else 24

    @property
    def units(self) -> list[str]:
        """Whose each private document is: what intervals count."""
        if self.configuration.data.group_column is not None:
            return self.assets.private_groups
        return [str(name) for name in self.assets.private_corpus.columns["document_id"]]

    def _planted(self, sent: PrivatePrompts) -> PrivatePrompts:
        tokenizer = self.assets.language.tokenizer
        texts = plant([text_of(tokenizer, prompt) for prompt in sent.prompts], self.seed)
        length = min(self.longest, sent.prompt_tokens + PLANTED_TOKENS)
        planted = [tokenized(text, tokenizer, length) for text in texts]
        return PrivatePrompts([list(prompt.ids) for prompt in planted], sent.units, length, sent.prompts_each, planted)

    def document(self, settings: Mapping[str, Json]) -> dict[str, Json]:
        """Returns the head of a result: what was attacked, how, and what made it."""
        return {
            "format": FORMAT,
            "command": settings["command"],
            "name": self.configuration.name,
            "configuration": self.configuration.model_dump(mode="json"),
            "spec": self.pipeline.spec.to_dict(),
            "mechanism": mechanism_line(self.pipeline.spec),
            "settings": settings,
            "seed": self.seed,
            "hashes": self.hashes,
            "model": self.assets.language.record.to_dict(),
            "corpus": self.assets.corpus.record.to_dict(),
            "versions": versions(self.assets.language.model),
            "commit": commit(),
        }


def finished(run: Run, document: Mapping[str, Any], show: Callable[[Mapping[str, Any]], None]) -> int:
    """Writes and shows a result; returns 0, or REFUSED where it names an attack that beats the guarantee."""
    path = run.finish(document)
    show(document)
    print(f"\nWritten: {path}")
    return REFUSED if document.get("broken") else 0
