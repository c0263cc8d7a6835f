"""What a configuration names, loaded, and what its client sends: the same for a certificate, a search and an attack."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from attacks.base import AttackerKnowledge
from attacks.repeated import repeated
from del_audit.configuration.configuration import Configuration
from del_audit.configuration.mechanisms import DelMechanism
from del_audit.service.language import language_of
from del_audit.service.pipelines import AnyPipeline, pipeline_of
from del_audit.service.seed import seed_of
from del_audit.service.splits import read_splits
from mechanisms.client import Client
from mechanisms.corpora import Corpus
from mechanisms.hashes import texts_sha256
from mechanisms.models import LanguageModel, SentenceEncoder, load_sentence_encoder
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rival_pipeline import RivalPipeline
from mechanisms.soft_prompt import SoftPrompt, load_soft_prompt, mechanism_warning, model_warning
from mechanisms.tokens import tokenized


@dataclass(frozen=True, slots=True)
class Assets:
    """What a configuration names, loaded. public, private: tokenized documents of the two parts of the corpus.

    public_groups, private_groups: whose each document is, the unit of splits and intervals; no group is in both parts.
    Without data.group_column they are row numbers. seed: of everything random. removed: public rows left out because
    their group is private too.
    """

    language: LanguageModel
    sentences: SentenceEncoder
    soft_prompt: SoftPrompt | None
    corpus: Corpus
    public: list[list[int]]
    private: list[list[int]]
    public_corpus: Corpus
    private_corpus: Corpus
    public_groups: list[str]
    private_groups: list[str]
    removed: int
    seed: int

    @property
    def documents(self) -> int:
        """Units of the private part: groups, or rows."""
        return len(set(self.private_groups))


def load_assets(configuration: Configuration, seed: int | None = None) -> Assets:
    """Returns the assets; raises UserError for what is missing, corrupt or does not fit together.

    seed: of everything random; left out, the one that follows from the private split and the policy (seed_of).
    Public rows of a private group are removed before anything is fitted; one line on stderr says how many.
    """
    splits = read_splits(configuration.data)
    public_corpus, private_corpus = splits.public, splits.private
    for choice in (configuration.attribute, configuration.task):
        if choice is not None:
            _say_unlabelled(choice.column, public_corpus.labels(choice.column), private_corpus.labels(choice.column))
    language = language_of(configuration)
    width = language.width
    name = configuration.soft_prompt
    soft = load_soft_prompt(name, width, language.record) if name else None
    if soft is not None:
        own = configuration.mechanism.spec() if isinstance(configuration.mechanism, DelMechanism) else None
        for warning in (model_warning(soft), mechanism_warning(soft, own) if own else None):
            if warning:
                print(f"del-audit: warning: {warning}", file=sys.stderr)
    sentences = load_sentence_encoder(configuration.sentence_encoder, language.device)
    public, private = _tokens(language, public_corpus), _tokens(language, private_corpus)
    return Assets(
        language,
        sentences,
        soft,
        splits.corpus,
        public,
        private,
        public_corpus,
        private_corpus,
        splits.public_groups,
        splits.private_groups,
        splits.removed,
        _seed(configuration, private_corpus) if seed is None else seed,
    )


def _say_unlabelled(column: str, public: Sequence[str | None], private: Sequence[str | None]) -> None:
    """Says on stderr how many rows have no label: no attack on the column sees them."""
    missing = [sum(label is None for label in labels) for labels in (public, private)]
    if any(missing):
        print(
            f"del-audit: {missing[0]} of {len(public)} public and {missing[1]} of {len(private)} private rows have no "
            f"{column}, and are left out where it is measured.",
            file=sys.stderr,
        )


def _seed(configuration: Configuration, private: Corpus) -> int:
    return seed_of(texts_sha256(private.texts), configuration.policy.model_dump(mode="json"))


def build(configuration: Configuration, assets: Assets) -> AnyPipeline:
    """Returns the configuration's pipeline over the assets."""
    return pipeline_of(configuration, assets.language, assets.public, assets.soft_prompt)


def _tokens(language: LanguageModel, corpus: Corpus) -> list[list[int]]:
    """Returns each document's tokens, cut to what the model's context holds."""
    return tokenized(language.tokenizer, corpus.texts, language.context_tokens)


def client_of(assets: Assets, pipeline: AnyPipeline, seed: int, purpose: str) -> Client:
    """Returns the client that serves, on a seeded source: these prompts are public test text."""
    words = SimulatedRandomness(seed, purpose)
    tokenizer, limit = assets.language.tokenizer, assets.language.context_tokens
    return Client(tokenizer, pipeline, limit, words)


def public_of(assets: Assets, pipeline: AnyPipeline, seed: int) -> AttackerKnowledge:
    """Returns all that an attacker knows; the private part of the corpus is not in it."""
    return AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, assets.public, assets.language, seed)


def at_sends(pipeline: AnyPipeline, sends: int) -> AnyPipeline:
    """Returns the pipeline that sends each prompt so often, with fresh noise: what an attacker of it holds."""
    if sends == 1:
        return pipeline
    found = repeated(pipeline, sends)
    assert isinstance(found, Pipeline | RivalPipeline)
    return found
