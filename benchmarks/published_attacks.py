"""Our attacks beside the published ones, on the mechanisms that those were published against.

    python benchmarks/published_attacks.py beamclean --data MRPC.parquet --attacks beam two-sided --beamclean
    python benchmarks/published_attacks.py split-and-denoise --data MRPC.parquet --eta 10 50 --attacks beam
    python benchmarks/published_attacks.py attribute

MRPC.parquet has the columns sentence1, sentence2 and split (train, test). Noise is chosen on the train part, where the
nearest neighbour is to read a given share, and every attack reads fresh releases of test sentences that the train part
does not hold. `attribute` reads the packaged reviews.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri

HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]  # `attacks` is a package
sys.path.append(str(HERE / "peers"))

from beamclean import BLOCK, BeamClean, BeamCleanAttacker, NoiseSpec, NoisyEmbeddings
from split_and_denoise import metric_of, perceptron, pooled

from attacks.attribute import Viewer, fit_probe
from attacks.attribute.views import BAG, CODES, EMBEDDING, SPREAD, TOKENS, WORDS
from attacks.base import AttackerKnowledge, InversionAttack
from attacks.inversion import MaximumLikelihood
from attacks.known_context import KnownContext
from attacks.ladder import ladder, trained_attackers
from attacks.outcome import Outcome, invert
from attacks.registry import always_run, attack_names
from del_audit.process.quiet import silence_libraries
from del_audit.service.provenance import commit, versions
from del_audit.statistics.bootstrap import bootstrap_ratio
from del_audit.statistics.intervals import balanced_rate, clustered_rate
from mechanisms.corpora import Corpus, load_corpus
from mechanisms.hashes import file_sha256
from mechanisms.mechanism import ObservableMechanism
from mechanisms.models import LanguageModel, load_causal_lm
from mechanisms.own_forward import embedding_table
from mechanisms.prior import unigram_prior
from mechanisms.randomness import RandomSource, SimulatedRandomness, simulation_generator, uniforms
from mechanisms.rivals.metric import noise
from mechanisms.tokens import tokenized

MODEL = "package:smollm2-135m-instruct"
LENGTH = 32
"""Tokens of a sentence that are read, as by BeamClean's authors on MRPC."""
PUBLISHED, PUBLISHED_NEAREST = 0.743, 0.421
"""BeamClean and the nearest neighbour on MRPC, Gaussian noise, epsilon 15 (arXiv 2505.13758)."""
MATCHED_TOKENS = 4096
CLASSES, LONGEST_REVIEW = 5, 256
OUR_VIEWS = (CODES, SPREAD, EMBEDDING, BAG, WORDS, TOKENS)


def critical_scales(
    table: NDArray[np.float32], tokens: NDArray[np.int64], drawn: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns, for each token, the factor of its noise beyond which another word is nearest, shape (tokens,).

    Word w is nearer than the token's own v where |w - v|^2 / 2 < s (w - v).noise, so the least s over words decides,
    and one pass gives what the nearest neighbour reads at every scale. drawn: noise of scale 1, shape (tokens, width).
    """
    squares, found = (table**2).sum(1), np.empty(len(tokens))
    for start in range(0, len(tokens), BLOCK):
        rows = slice(start, start + BLOCK)
        own, noisy = table[tokens[rows]], drawn[rows].astype(np.float32)
        halves = (squares + squares[tokens[rows], None]) / 2 - own @ table.T
        along = noisy @ table.T - np.einsum("ij,ij->i", noisy, own)[:, None]
        along[np.arange(len(own)), tokens[rows]] = 0
        nearer = along > 0
        found[rows] = np.divide(np.maximum(halves, 0), along, np.full_like(along, np.inf), where=nearer).min(1)
    return found


def matched_scale(
    table: NDArray[np.float32],
    public: Sequence[Sequence[int]],
    draw: Callable[[int, int, RandomSource], NDArray[np.float64]],
    share: float,
    seed: int,
) -> float:
    """Returns the factor of drawn noise at which the nearest neighbour reads that share of public tokens."""
    text = np.array([token for tokens in public for token in tokens][:MATCHED_TOKENS])
    source = SimulatedRandomness(seed, "matched noise")
    return float(np.quantile(critical_scales(table, text, draw(len(text), table.shape[1], source)), 1 - share))


@dataclass(frozen=True, slots=True)
class Sentences:
    """Tokens of the public part, and of held-out sentences that the public part does not hold, LENGTH at most."""

    public: list[list[int]]
    held: list[list[int]]


def sentences(corpus: Corpus, language: LanguageModel, count: int, seed: int) -> Sentences:
    """Returns the train part's sentences in an order drawn anew, and `count` first sentences of the test part."""
    train, test = corpus.subset("train"), corpus.subset("test")
    known = list(dict.fromkeys([*train.texts, *map(str, train.column("sentence2"))]))
    fresh = [text for text in dict.fromkeys(test.texts) if text not in set(known)]
    generator = simulation_generator(seed, "published attacks")
    public, held = ([texts[i] for i in generator.permutation(len(texts))] for texts in (known, fresh))
    return Sentences(*(tokenized(language.tokenizer, texts, LENGTH) for texts in (public, held[:count])))


def known_to(mechanism: ObservableMechanism, language: LanguageModel, public: list[list[int]]) -> AttackerKnowledge:
    """Returns what an attacker of a mechanism knows: its law, the language model, public text and its unigrams."""
    table = embedding_table(language.model)
    return AttackerKnowledge(mechanism, table, unigram_prior(public, len(table)), public, language)


def chosen_attacks(keys: Sequence[str], beamclean: bool = False) -> list[InversionAttack]:
    """Returns the nearest neighbour, which every ratio is over, BeamClean if asked for, MAP, and the named attacks."""
    ours = ladder([*always_run(), *keys], folder=trained_attackers(keys), depth=1)
    published: list[InversionAttack] = [MaximumLikelihood("nearest neighbour", depth=1)]
    return [*published, *([BeamClean()] if beamclean else []), *(a for key, a in ours.items() if key != "baseline")]


def released(public: AttackerKnowledge, held: list[list[int]], seed: int) -> list[bytes]:
    """Returns one release of each sentence, the same for the same seed."""
    source = SimulatedRandomness(seed, "published attacks")
    return [public.mechanism.release(tokens, source) for tokens in held]


def show(label: str, name: str, hits: NDArray[np.bool_], nearest: Outcome, seed: int, note: str) -> None:
    """Prints the share of tokens read, with its interval over sentences, and how many times the nearest neighbour's.

    `a sentence` is the mean over sentences of the share read, as BeamClean's authors count.
    """
    figure = clustered_rate(hits, nearest.clusters, LENGTH, "share of tokens read", "tokens", seed)
    mean = np.mean([hits[nearest.prompt == i].mean() for i in range(len(nearest.documents))])
    ratio = "no ratio"
    if nearest.hits.any():
        over = bootstrap_ratio(hits, nearest.hits, "times", "tokens", seed, clusters=nearest.clusters)
        ratio = f"{over.value:5.2f}x [{over.lower:.2f}, {over.upper:.2f}]"
    print(
        f"{label}  {name:<34}{figure.value:6.3f} [{figure.lower:.3f}, {figure.upper:.3f}]  a sentence {mean:.3f}  "
        f"{ratio}  {note}",
        flush=True,
    )


def compare(
    label: str, attacks: Sequence[InversionAttack], public: AttackerKnowledge, held: list[list[int]], seed: int
) -> list[Outcome]:
    """Prints what each attack reads of one release of the sentences; ratios are to the first."""
    messages, outcomes = released(public, held, seed), list[Outcome]()
    for attack in attacks:
        start = time.perf_counter()
        attacker = attack.fit(public)
        outcomes.append(outcome := invert(attack, attacker, messages, held))
        note = f"{time.perf_counter() - start:6.1f} s"
        note += f"  sigma estimated {attacker.sigma:.4f}" if isinstance(attacker, BeamCleanAttacker) else ""
        show(label, attack.name, outcome.hits, outcomes[0], seed, note)
    return outcomes


def beamclean(
    language: LanguageModel, text: Sentences, attacks: Sequence[InversionAttack], seed: int, share: float
) -> list[Outcome]:
    """Compares the attacks under Gaussian noise at which the nearest neighbour reads a share of public text."""
    table = embedding_table(language.model)

    def draw(count: int, dim: int, source: RandomSource) -> NDArray[np.float64]:
        return np.asarray(ndtri(uniforms((count, dim), source)))

    sigma = matched_scale(table, text.public, draw, share, seed)
    mechanism = NoisyEmbeddings(NoiseSpec(sigma, table.shape[1]), table)
    public = known_to(mechanism, language, text.public)
    label = f"sigma {sigma:.4f}"
    outcomes = compare(label, attacks, public, text.held, seed)
    told = KnownContext().fit(public).read(released(public, text.held, seed), text.held).given
    show(label, "who knows all words to the left", told, outcomes[0], seed, "not blind: a ceiling")
    print(f"published: {PUBLISHED:.3f} over {PUBLISHED_NEAREST:.3f}, {PUBLISHED / PUBLISHED_NEAREST:.2f}x")
    return outcomes


def matched_eta(table: NDArray[np.float32], public: Sequence[Sequence[int]], share: float, seed: int) -> float:
    """Returns the eta at which the nearest neighbour reads that share of public tokens."""
    return 1 / matched_scale(table, public, lambda count, dim, source: noise(count, dim, 1.0, source), share, seed)


def split_and_denoise(
    language: LanguageModel,
    text: Sentences,
    attacks: Sequence[InversionAttack],
    seed: int,
    etas: Sequence[float],
    share: float,
) -> None:
    """Compares the attacks under metric privacy: its token inversion is the nearest neighbour. 0 stands for matched."""
    table = embedding_table(language.model)
    for eta in etas:
        used = eta or matched_eta(table, text.public, share, seed)
        public = known_to(metric_of(table, used), language, text.public)
        compare(f"eta {used:7.3f}", attacks, public, text.held, seed)


def attribute(language: LanguageModel, corpus: Corpus, column: str, etas: Sequence[float], seed: int) -> None:
    """Prints how well each attack tells an attribute of five commonest classes from metric releases.

    corpus: with the splits train and test. etas: 0 stands for the eta at which the nearest neighbour reads as much as
    it does in BeamClean's table.
    """
    table = embedding_table(language.model)
    common = [name for name, _ in Counter(corpus.subset("train").column(column)).most_common() if name][:CLASSES]
    parts, labels = {}, {}
    for part in ("train", "test"):
        rows = corpus.subset(part)
        kept = [i for i, value in enumerate(rows.column(column)) if value in common]
        parts[part] = tokenized(language.tokenizer, rows.take(kept).texts, LONGEST_REVIEW)
        labels[part] = [str(rows.column(column)[i]) for i in kept]
    held_out = [count for _, count in sorted(Counter(labels["test"]).items())]

    def told_of_each(label: str, name: str, told: Sequence[int]) -> None:
        figure = balanced_rate(told, held_out, seed)
        print(
            f"{label}  {name:<58}balanced accuracy {figure.value:.3f} [{figure.lower:.3f}, {figure.upper:.3f}]  "
            f"accuracy {sum(told) / sum(held_out):.3f}",
            flush=True,
        )

    for eta in etas:
        used = eta or matched_eta(table, parts["train"], PUBLISHED_NEAREST, seed)
        mechanism, label = metric_of(table, used), f"eta {used:7.3f}"
        messages = {
            part: [
                mechanism.release(row, SimulatedRandomness(seed, "attribute", part, str(i)))
                for i, row in enumerate(rows)
            ]
            for part, rows in parts.items()
        }
        train, test = (pooled(language, [mechanism.embeddings(m) for m in messages[p]]) for p in ("train", "test"))
        for view, rows in train.items():
            told = perceptron(rows, labels["train"], test[view], labels["test"], seed)
            told_of_each(label, f"Split-and-Denoise's perceptron, {view}, best epoch", told)
        viewer = Viewer(known_to(mechanism, language, parts["train"]))
        views = [viewer.released(messages["train"], parts["train"]).rows, viewer.released(messages["test"]).rows]
        ours, seen = ({name: rows[name] for name in OUR_VIEWS} for rows in views)
        result = fit_probe(ours, labels["train"], range(len(labels["train"])), seed).score(seen, labels["test"])
        told_of_each(label, f"ours: {result.features}, {result.classifier}", result.recalled)


def about(options: argparse.Namespace, language: LanguageModel, text: str, sha256: str) -> None:
    """Prints what the figures depend on."""
    print(f"{date.today()}  commit {commit()}  seed {options.seed}  {torch.get_num_threads()} threads")
    print(f"model {language.record.name} sha256 {language.record.sha256}, {options.dtype}")
    print(f"{text} sha256 {sha256}")
    print(json.dumps(versions()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    named = [name for name in attack_names() if name not in ("code", *always_run())]
    parts = ("beamclean", "split-and-denoise", "attribute")
    parser.add_argument("part", choices=parts, nargs="?", default="attribute")
    parser.add_argument("--data", help="MRPC as a table with sentence1, sentence2 and split; attribute needs none")
    parser.add_argument("--sentences", type=int, default=110, help="held-out sentences")
    parser.add_argument("--attacks", nargs="*", choices=named, default=["beam"], help="beside the nearest and MAP")
    parser.add_argument("--beamclean", action="store_true", help="run BeamClean as well")
    parser.add_argument("--eta", nargs="*", type=float, default=[0.0, 10.0, 50.0, 100.0], help="0: matched")
    parser.add_argument("--share", type=float, default=PUBLISHED_NEAREST, help="nearest neighbour's, to match")
    parser.add_argument("--dtype", default="bfloat16", help="of the language model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.data is None and options.part != "attribute":
        parser.error(f"{options.part} reads MRPC: give its table with --data PATH")
    silence_libraries()
    model = load_causal_lm(MODEL, dtype=options.dtype)
    if options.part == "attribute":
        reviews = load_corpus("package:drug-reviews")
        about(options, model, reviews.record.name, reviews.record.sha256)
        attribute(model, reviews, "condition", options.eta, options.seed)
    else:
        mrpc = load_corpus(options.data, text_column="sentence1")
        about(options, model, "MRPC", file_sha256(Path(options.data)))
        text = sentences(mrpc, model, options.sentences, options.seed)
        print(f"{len(text.held)} held-out sentences, {sum(map(len, text.held))} tokens; {len(text.public)} public ones")
        if options.part == "beamclean":
            attacks = chosen_attacks(options.attacks, options.beamclean)
            beamclean(model, text, attacks, options.seed, options.share)
        else:
            attacks = chosen_attacks(options.attacks)
            split_and_denoise(model, text, attacks, options.seed, options.eta, options.share)
