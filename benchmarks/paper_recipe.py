"""The paper's recipe at mu 40 beside word mechanisms at a fiftieth of its epsilon, on the same articles of WikiText-2.

    python benchmarks/paper_recipe.py --data wikitext2.parquet

The file has a row per paragraph: `text`, `split` (train, valid), `article_id` and `is_heading`. The train split is
public: the paper's linear pair and its soft prompt are trained on it, and the prior of every decoder and attack is its
word frequencies. The word mechanisms have no trained part and no soft prompt. Each valid article gives one prompt: the
first 50 words of its first paragraph of 100 words or more; the next 64 tokens are the response. Gain is the loss after
another user's release less that after the right one. What is trained stays in --out, under the hash of its settings.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # `attacks` is a package

from attacks.base import AttackerKnowledge
from attacks.ladder import ladder
from attacks.outcome import invert
from del_audit.accounting import Guarantee, guarantee
from del_audit.accounting.rivals import RivalGuarantee, rival_guarantee
from del_audit.configuration.mechanisms import (
    CoarseWordsMechanism,
    OverWords,
    ProjectiveGeometryMechanism,
    RandomizedResponseMechanism,
    SubsetSelectionMechanism,
)
from del_audit.evidence.utility import CLEAN, OTHER, OTHER_CLEAN, RELEASED, clean_losses, released_losses
from del_audit.process.quiet import silence_libraries
from del_audit.service.mechanisms import mechanism_over
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.prompts import Cuts, Prompts, cut_words
from del_audit.service.provenance import commit, versions
from del_audit.statistics.comparison import compare
from del_audit.statistics.figure import Figure
from del_audit.statistics.gain_interval import gain_mean
from del_audit.statistics.intervals import clustered_rate
from mechanisms.corpora import Corpus, load_corpus
from mechanisms.description import Description
from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256, json_sha256
from mechanisms.models import LanguageModel, load_causal_lm
from mechanisms.own_forward import embedding_table
from mechanisms.pipeline import assemble
from mechanisms.public_words import PublicWords
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import DecoderName
from mechanisms.rival_pipeline import assemble_rival
from mechanisms.server import Server
from mechanisms.soft_prompt import SoftPrompt, load_soft_prompt
from mechanisms.spec import QuantizerSpec
from mechanisms.tokens import tokenized
from mechanisms.trained_projection import load_projection
from mechanisms.training import ProjectionTraining, PromptTraining, train_projection, train_soft_prompt
from mechanisms.validation import at_least

MODEL, DTYPE = "package:smollm2-135m-instruct", "bfloat16"
SPEC, DELTA = QuantizerSpec.from_mu(4, 18, 0.05, 40.0), 1e-5
PROMPT_WORDS, PARAGRAPH_WORDS, RESPONSE_TOKENS, LONGEST = 50, 100, 64, 128
RECIPE = "the paper's recipe, mu 40"
TEXT = "The following is a noisy and scrambled text; continue it as its writer would, on the topic."
MARKS = {" @-@ ": "-", " @,@ ": ",", " @.@ ": ".", "<unk>": "unknown", "( ": "(", " )": ")", " 's": "'s", " n't": "n't"}
"""Word-level marks of WikiText-2 and what they stood for; `<unk>` stands for a word that nobody can restore."""


@dataclass(frozen=True, slots=True)
class Row:
    """A word mechanism: its name, what a configuration would say of it, and how the server reads it."""

    name: str
    choice: OverWords | CoarseWordsMechanism
    decoder: DecoderName = "most-likely"


def clusters(symbols: int, epsilon: float) -> CoarseWordsMechanism:
    """Returns randomised response over so many clusters of words."""
    inner = RandomizedResponseMechanism(kind="randomized-response", epsilon=epsilon)
    return CoarseWordsMechanism(kind="coarse-words", symbols=symbols, inner=inner)


ROWS = (
    Row("projective geometry, 9", ProjectiveGeometryMechanism(kind="projective-geometry", epsilon=9.0)),
    Row("256 clusters, 8", clusters(256, 8.0)),
    Row("256 clusters, 6", clusters(256, 6.0)),
    Row("subset selection, 9", SubsetSelectionMechanism(kind="subset-selection", epsilon=9.0)),
)


def readable(text: str) -> str:
    """Returns a paragraph without word-level marks.

    >>> readable("a role @-@ playing game , and <unk> ( 1 @.@ 5 ) .")
    'a role-playing game, and unknown (1.5).'
    """
    for mark, meant in MARKS.items():
        text = text.replace(mark, meant)
    for mark in ",.;:!?":
        text = text.replace(f" {mark}", mark)
    return text.strip()


def paragraphs(corpus: Corpus, split: str) -> tuple[list[str], list[str]]:
    """Returns the paragraphs of a split and the article of each; raises UserError where a column or the split lacks."""
    part = corpus.subset(split)
    rows = zip(part.texts, part.column("article_id"), part.column("is_heading"), strict=True)
    kept = [(readable(text), str(article)) for text, article, heading in rows if not heading]
    return [text for text, _ in kept], [article for _, article in kept]


@dataclass(frozen=True, slots=True)
class Bench:
    """What every row shares. words: of the public split."""

    language: LanguageModel
    words: PublicWords
    cuts: Cuts
    options: argparse.Namespace

    def trained(self) -> tuple[AnyPipeline, SoftPrompt]:
        """Returns the paper's pair and soft prompt, trained unless they are there: first the pair without noise."""
        options, documents = self.options, self.words.documents
        about = {"data": {"sha256": options.sha256, "split": "train"}}
        stated = [options.sha256, options.seed, self.language.record.sha256, options.steps]
        pair_folder, prompt_folder = (
            Path(options.out) / f"{part}-{json_sha256(settings)[:16]}"
            for part, settings in (("pair", stated), ("prompt", [*stated, options.prompt_steps]))
        )
        if not pair_folder.exists():
            pair = ProjectionTraining(
                options.steps, learning_rate=1e-3, validate_every=80, validation_windows=12, seed=options.seed
            )
            train_projection(self.language, SPEC, documents, pair, pair_folder, about)
        table = self.words.table
        pipeline = assemble(table, documents, SPEC, load_projection(pair_folder, table, SPEC), "trained-linear")
        if not prompt_folder.exists():
            prompt = PromptTraining(
                steps=options.prompt_steps,
                virtual_tokens=100,
                window=128,
                shortest_prompt=32,
                shortest_response=32,
                learning_rate=5e-3,
                initial_text=TEXT,
                seed=options.seed,
            )
            train_soft_prompt(self.language, [pipeline], documents, prompt, prompt_folder, about)
        return pipeline, load_soft_prompt(str(prompt_folder), table.shape[1], self.language.record)

    def of(self, row: Row) -> AnyPipeline:
        """Returns the pipeline of a word mechanism."""
        return assemble_rival(mechanism_over(row.choice, self.words), self.words, row.decoder)

    def measured(self, name: str, pipeline: AnyPipeline, soft_prompt: SoftPrompt | None) -> NDArray[np.float64]:
        """Prints a row and returns the gain of each prompt, nats per token, shape (prompts,)."""
        start, seed = time.perf_counter(), self.options.seed
        source = SimulatedRandomness(seed, "paper's recipe", name)
        made = self.cuts.released(lambda tokens: pipeline.release(tokens, source))
        losses = released_losses(Server(self.language, pipeline, soft_prompt), made, Silent())
        gains = losses[OTHER] - losses[RELEASED]
        bound = proved(pipeline.spec)
        size = sum(map(len, made.messages)) / sum(map(len, made.clean))
        read = self.read(pipeline, made)
        print(
            f"{name:<26}{bound.epsilon.upper:8.2f}{bound.pure_epsilon.upper:9.2f}{size:9.1f}  {shown(read[0])}"
            f"  {shown(read[1])}  {shown(read[2])}  {np.exp(losses[RELEASED].mean()):6.1f}  "
            f"{shown(gain_mean(gains, seed, made.clusters, made.per_document))}  {time.perf_counter() - start:4.0f} s",
            flush=True,
        )
        return np.asarray(gains)

    def read(self, pipeline: AnyPipeline, made: Prompts) -> list[Figure]:
        """Returns the shares of tokens that the paper's attack, MAP and the beam recover; the beam of fewer prompts."""
        known = AttackerKnowledge(
            pipeline, self.words.table, self.words.prior, self.words.documents, self.language, self.options.seed
        )
        attacks, figures = ladder(("baseline", "cosine", "map", "beam"), depth=1), list[Figure]()
        for key in ("cosine", "map", "beam"):
            held = made.first(self.options.beam_articles) if key == "beam" else made
            outcome = invert(attacks[key], attacks[key].fit(known), held.messages, held.clean)
            unit, seed = "share of tokens recovered", self.options.seed
            figures.append(clustered_rate(outcome.hits, outcome.clusters, LONGEST, unit, "tokens", seed))
        return figures


def proved(spec: Description) -> Guarantee | RivalGuarantee:
    """Returns what is proved of one token."""
    if isinstance(spec, QuantizerSpec):
        return guarantee(spec, delta=DELTA, proved=True)
    return rival_guarantee(spec, DELTA, proved=True)


class Silent:
    """Progress that nobody looks at."""

    def update(self, n: int = 1, /) -> None:
        """Counts nothing."""


def shown(figure: Figure) -> str:
    """Returns a figure with its interval."""
    return f"{figure.value:.3f} [{figure.lower:.3f}, {figure.upper:.3f}]"


def bench_of(options: argparse.Namespace) -> Bench:
    """Returns the model, the public text and the prompts; raises UserError for a file without them."""
    corpus = load_corpus(options.data, "text")
    language = load_causal_lm(MODEL, dtype=DTYPE)
    public = tokenized(language.tokenizer, paragraphs(corpus, "train")[0], language.context_tokens, shortest=8)
    texts, articles = paragraphs(corpus, "valid")
    cuts = cut_words(
        language.tokenizer, texts, PROMPT_WORDS, PARAGRAPH_WORDS, RESPONSE_TOKENS, articles, limit=options.articles
    )
    longest = max(map(len, cuts.clean))
    if longest > LONGEST:
        raise UserError(f"Expected prompts of at most {LONGEST} tokens in {PROMPT_WORDS} words, got one of {longest}.")
    return Bench(language, PublicWords(embedding_table(language.model), public), cuts, options)


def main(options: argparse.Namespace) -> None:
    """Prints the table, then every row's gain less the recipe's on the same articles."""
    for name in ("articles", "beam_articles"):
        at_least(name, getattr(options, name), 2)  # no interval over documents stands on one
    options.sha256 = file_sha256(Path(options.data))
    bench = bench_of(options)
    cuts, words = bench.cuts, bench.words
    print(f"{date.today()}, data sha256 {options.sha256}, seed {options.seed}, commit {commit()}")
    print(f"{MODEL} in {DTYPE}; " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    if not options.words_only:
        print(f"the paper's pair: {options.steps} steps, its soft prompt of 100 tokens: {options.prompt_steps} steps")
    print(f"public: {sum(map(len, words.documents)):,} tokens; ", end="")
    print(f"{len(cuts)} articles, {sum(map(len, cuts.clean)):,} tokens of prompts", end="")
    print(f", the beam on the first {min(options.beam_articles, len(cuts))} articles")
    losses = clean_losses(bench.language, cuts.released(lambda tokens: b""), Silent())
    clean = gain_mean(losses[OTHER_CLEAN] - losses[CLEAN], options.seed, cuts.documents, cuts.per_document)
    print(f"clean prompts: perplexity {np.exp(losses[CLEAN].mean()):.1f}, gain {shown(clean)}")
    print(f"{'':<26}{'epsilon':>8}{'pure':>9}{'bytes':>9}  cosine, MAP, beam: share recovered; perplexity; gain")
    gains = {} if options.words_only else {RECIPE: bench.measured(RECIPE, *bench.trained())}
    for row in ROWS:
        gains[row.name] = bench.measured(row.name, bench.of(row), None)
    first = next(iter(gains))
    print(f"gain less that of {first}, nats per token, 95% interval, the same for all rows at once, sign-flip p (Holm)")
    for one in compare(gains, options.seed, cuts.documents, first).differences:
        together = f"[{one.simultaneous.lower:+.3f}, {one.simultaneous.upper:+.3f}]"
        print(f"{one.first:<26}{shown(one.mean)}  {together}  p {one.holm:.2g}")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the file of WikiText-2")
    parser.add_argument("--articles", type=int, default=60)
    parser.add_argument("--beam-articles", type=int, default=10, help="how many of them the beam reads")
    parser.add_argument("--steps", type=int, default=320, help="of the paper's pair")
    parser.add_argument("--prompt-steps", type=int, default=110, help="of its soft prompt")
    parser.add_argument("--words-only", action="store_true", help="leave out the recipe, which is trained first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="out/benchmark-paper-recipe")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    silence_libraries()
    main(parsed())
