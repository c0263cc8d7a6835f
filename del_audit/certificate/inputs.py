"""What a configuration names, loaded, and what its client sends: the same for a certificate, a search and an attack."""

import math
import sys
from dataclasses import dataclass
from typing import Any

from attacks.base import Public
from del_audit.certificate.assembly import pipelines_of
from del_audit.certificate.config import Configuration, Evaluation
from del_audit.evidence.leakage import Sent
from mechanisms.client import Client
from mechanisms.corpora import Corpus, load_corpus
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel, load_causal_lm, load_sentence_encoder
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedWords
from mechanisms.soft_prompt import SoftPrompt, load_soft_prompt, mechanism_warning
from mechanisms.spec import QuantizerSpec


@dataclass(frozen=True, slots=True)
class Assets:
    """What a configuration names, loaded. public, private: tokenized documents of the two parts of the corpus."""

    language: LanguageModel
    sentences: Any
    soft_prompt: SoftPrompt | None
    corpus: Corpus
    public: list[list[int]]
    private: list[list[int]]
    public_corpus: Corpus
    private_corpus: Corpus


def load_assets(configuration: Configuration) -> Assets:
    """Returns the assets; raises UserError for what is missing, corrupt or does not fit together."""
    data = configuration.data
    corpus = load_corpus(data.corpus, data.text_column)
    public_corpus, private_corpus = corpus.subset(data.public_split), corpus.subset(data.private_split)
    for choice in (configuration.attribute, configuration.task):
        if choice is not None:
            public_corpus.labels(choice.column)
            private_corpus.labels(choice.column)
    if data.public_split == data.private_split:
        raise UserError(f"Expected public_split and private_split to differ, got {data.public_split!r} twice.")
    language = load_causal_lm(configuration.model, dtype=configuration.dtype)
    width = int(language.model.config.hidden_size)
    name = configuration.soft_prompt
    soft = load_soft_prompt(name, width, language.record) if name else None
    if soft is not None and (warning := mechanism_warning(soft, configuration.mechanism.spec())):
        print(f"del-audit: warning: {warning}", file=sys.stderr)
    sentences = load_sentence_encoder(configuration.sentence_encoder)
    public, private = _tokens(language, public_corpus), _tokens(language, private_corpus)
    return Assets(language, sentences, soft, corpus, public, private, public_corpus, private_corpus)


def build(configuration: Configuration, assets: Assets, spec: QuantizerSpec) -> Pipeline:
    """Returns the pipeline of a spec over the assets."""
    return pipelines_of(configuration, assets.language, assets.public, [spec], assets.soft_prompt)[0]


def _tokens(language: LanguageModel, corpus: Corpus) -> list[list[int]]:
    """Returns each document's tokens, cut to what the model's context holds."""
    limit = language.context_tokens
    rows = language.tokenizer(corpus.texts, add_special_tokens=False).input_ids
    return [list(row[:limit]) for row in rows]


def client_of(assets: Assets, pipeline: Pipeline, seed: int, purpose: str) -> Client:
    """Returns the client that serves, on a seeded source: these prompts are public test text."""
    words = SimulatedWords(seed, purpose)
    tokenizer, limit = assets.language.tokenizer, assets.language.context_tokens
    return Client(tokenizer, pipeline, limit, words)


def public_of(assets: Assets, pipeline: Pipeline, seed: int) -> Public:
    """Returns all that an attacker knows; the private part of the corpus is not in it."""
    return Public(pipeline, pipeline.table, pipeline.prior, assets.public, assets.language, seed)


def attacked_rounds(documents: int, tokens: int, prompt_tokens: int) -> int:
    """Returns how many prompts of each document may be attacked, so that about so many tokens are, together.

    It is fixed by the number of documents, before any of their lengths is seen: no document then has more than
    attacked_rounds * prompt_tokens tokens, the `longest` that intervals over documents ask for.
    Raises UserError for documents, tokens or prompt_tokens below 1.

    >>> attacked_rounds(documents=100, tokens=10_000, prompt_tokens=40)
    3
    """
    for name, value in (("documents", documents), ("tokens", tokens), ("prompt_tokens", prompt_tokens)):
        if value < 1:
            raise UserError(f"Expected {name} >= 1, got {name}={value}.")
    return max(1, math.ceil(tokens / (documents * prompt_tokens)))


def attacked_text(assets: Assets, tokens: int, prompt_tokens: int) -> tuple[list[list[int]], list[int]]:
    """Returns private prompts of so many tokens together, and each prompt's document.

    Every document's first prompt comes before any second one: documents are what an interval counts. No document has
    more than attacked_rounds of them, so that fewer tokens are attacked where documents are short.
    """
    prompts: list[list[int]] = []
    documents: list[int] = []
    rounds = attacked_rounds(max(1, len(assets.private)), tokens, prompt_tokens)
    for start in range(0, rounds * prompt_tokens, prompt_tokens):
        for number, document in enumerate(assets.private):
            text = document[start : start + min(prompt_tokens, tokens)]
            if text:
                prompts.append(text)
                documents.append(number)
                tokens -= len(text)
            if tokens <= 0:
                return prompts, documents
    return prompts, documents


def send_all(assets: Assets, pipeline: Pipeline, tokens: int, plan: Evaluation, purpose: str) -> Sent:
    """Returns attacked_text as the client that serves sends it."""
    prompts, documents = attacked_text(assets, tokens, plan.context_tokens)
    client = client_of(assets, pipeline, plan.seed, purpose)
    return Sent([client.release_tokens(prompt) for prompt in prompts], prompts, documents)
