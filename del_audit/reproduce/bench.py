"""What all cells of a table share: the model, the public text, and the parts that are trained once."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from del_audit.reproduce.contenders import Contenders
from del_audit.reproduce.protocol import CLIP, LENGTHS, OTHER_MU, Protocol, Sizes
from del_audit.runs import Run
from del_audit.service.prompts import Cuts, articles, cut_words
from mechanisms.canonical_json import Json
from mechanisms.corpora import Corpus
from mechanisms.errors import UserError
from mechanisms.mechanism import Mechanism
from mechanisms.models import LanguageModel, SentenceEncoder
from mechanisms.nlu import LabelledTokens
from mechanisms.own_forward import embedding_table
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.training import ProjectionTraining, PromptTraining, train_projection, train_soft_prompt

TEXT = "The following is a noisy and scrambled text; continue it as its writer would, on the topic."
SHORTEST = 16
"""Tokens of the shortest prompt, and of the shortest response, in training."""

WINDOWS_TO_VALIDATE = 80
"""Windows of text below which the linear pair is trained without validation: a twentieth would be held out."""


@dataclass(frozen=True)
class Bench:
    """The parts of one run. public, general: tokenized; attacked: public tokens that neither prior nor training sees.

    cuts: of generation; train, test: of a task. extractor: the local model of InferDPT. seed: of everything random.
    identity: names all that decides a cell's result besides its row and target.
    """

    protocol: Protocol
    sizes: Sizes
    language: LanguageModel
    extractor: LanguageModel
    sentences: SentenceEncoder | None
    public: list[list[int]]
    general: list[list[int]]
    attacked: NDArray[np.int64]
    run: Run
    seed: int
    identity: dict[str, Json]
    cuts: Cuts | None = None
    train: LabelledTokens | None = None
    test: LabelledTokens | None = None

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """The model's embeddings, as it looks them up."""
        return embedding_table(self.language.model)

    @cached_property
    def contenders(self) -> Contenders:
        """The maker of mechanisms."""
        return Contenders(self.table, self.public, self.pair)

    @property
    def window(self) -> int:
        """Tokens of a training window: those asked for, or as many as the context holds."""
        return min(self.sizes.window, self.language.context_tokens - self.sizes.virtual_tokens)

    def pair(self, dim: int) -> Path:
        """Returns the folder of the linear pair for so many coordinates, trained on the general corpus."""
        sizes = self.sizes
        enough = sum(map(len, self.general)) >= WINDOWS_TO_VALIDATE * self.window
        settings = ProjectionTraining(
            steps=sizes.pair_steps,
            batch=sizes.batch,
            window=self.window,
            validation_windows=16 if enough else 0,
            validate_every=max(100, sizes.pair_steps // 20),
            patience=0,
            seed=self.seed,
        )
        name: dict[str, Json] = {
            "part": "linear pair",
            "dim": dim,
            "of": self.identity["model_and_text"],
            "training": asdict(settings),
        }
        folder = self.run.trained(name)
        if not folder.exists():
            spec = QuantizerSpec.from_mu(4, dim, CLIP, OTHER_MU)  # its dim alone matters: there is no noise
            train_projection(self.language, spec, self.general, settings, folder, {"data": "general corpus"})
        return folder

    def soft_prompt(self, mechanism: Mechanism, general: bool) -> Path:
        """Returns the folder of the soft prompt trained for a mechanism, on the general or the table's own corpus."""
        sizes = self.sizes
        settings = PromptTraining(
            steps=sizes.prompt_steps,
            batch=sizes.batch,
            learning_rate=1e-3,
            warm_up=max(1, sizes.prompt_steps // 20),
            virtual_tokens=sizes.virtual_tokens,
            window=self.window,
            shortest_prompt=SHORTEST,
            shortest_response=SHORTEST,
            prompt_share=(0.03, 0.2),
            initial_text=TEXT,
            seed=self.seed,
        )
        name = {
            "part": "soft prompt",
            "mechanism": mechanism.spec.fingerprint.hex(),
            "decoder": self.identity["decoder"],
            "trained_on": "general" if general else "own",
            "of": self.identity["model_and_text"],
            "training": asdict(settings),
        }
        folder = self.run.trained(name)
        if not folder.exists():
            documents = self.general if general else self.public
            data = "general corpus" if general else "the table's corpus"
            train_soft_prompt(self.language, mechanism, documents, settings, folder, {"data": data})
        return folder


def cut_samples(
    language: LanguageModel, corpus: Corpus, column: str | None, lengths: str, sizes: Sizes, seed: int
) -> Cuts:
    """Returns the prompts of a generation table: sizes.samples of them, drawn by the seed from those long enough.

    column: of the document that a text is from; without it WikiText's headings say, or each text is a document. At most
    twice sizes.samples over the number of documents are taken from each, so that intervals know it beforehand.
    Raises UserError as cut_words does.
    """
    texts = [text.strip() for text in corpus.texts]
    ids: Sequence[Hashable] = list(range(len(corpus)))
    if column is not None:
        ids = corpus.groups(column)
    else:
        paragraphs, numbers = articles(texts)
        if len(set(numbers)) > 1:
            texts, ids = paragraphs, numbers
    prompt_words, minimum_words = LENGTHS[lengths]
    documents = len(set(ids))
    each = 1 if documents == len(ids) else -(-2 * sizes.samples // documents)
    order = simulation_generator(seed, "reproduce samples").permutation(len(texts)).tolist()
    shuffled, owners = [texts[index] for index in order], [ids[index] for index in order]
    return cut_words(
        language.tokenizer, shuffled, prompt_words, minimum_words, sizes.new_tokens, owners, sizes.samples, each
    )


def part_attacked(
    documents: Sequence[Sequence[int]], tokens: int, seed: int
) -> tuple[list[list[int]], NDArray[np.int64]]:
    """Returns the public documents that are left, and the tokens of some others, drawn by the seed, for the attack.

    Raises UserError where not half of the documents would be left.
    """
    order = simulation_generator(seed, "reproduce attacked").permutation(len(documents)).tolist()
    taken: list[int] = []
    count = 0
    while count < tokens and len(taken) < len(order):
        taken.append(order[len(taken)])
        count += len(documents[taken[-1]])
    if count < tokens or 2 * len(taken) > len(documents):
        total = sum(map(len, documents))
        raise UserError(f"Expected --tokens of at most half of the {total} public tokens, got tokens={tokens}.")
    attacked = np.concatenate([np.asarray(documents[index], dtype=np.int64) for index in taken])[:tokens]
    held = set(taken)
    return [list(document) for index, document in enumerate(documents) if index not in held], attacked


def first_documents(corpus: Corpus, count: int, seed: int, purpose: str = "documents") -> Corpus:
    """Returns so many documents, drawn by the seed and the purpose, all of them where there are fewer."""
    order = simulation_generator(seed, f"reproduce {purpose}").permutation(len(corpus))[:count]
    return corpus.take(sorted(order.tolist()))
