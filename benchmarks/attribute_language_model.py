"""What a frozen language model tells of an attribute beside naive Bayes: cross-fitted by document, and paired.

    python benchmarks/attribute_language_model.py --mu 20

The model reads the posterior mean of each token, between the two halves of a prompt that asks for the attribute; its
states are classified by logistic regression. The probe is naive Bayes through the channel. Five folds of the documents:
each is told by classifiers that were fitted, their strengths too, on releases of the other four. The clean text, where
the model must first do well, is the control.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # `attacks` is a package

from attacks.attribute import Viewer
from attacks.attribute.candidates import Candidate, Family, families
from attacks.attribute.posteriors import Rows, TokenPosteriors
from attacks.attribute.probes import balanced_accuracy
from attacks.attribute.views import TOKENS
from attacks.base import AttackerKnowledge
from del_audit.configuration.configuration import load_configuration
from del_audit.process.quiet import silence_libraries
from del_audit.service.pipelines import pipelines_of
from del_audit.service.splits import read_splits
from mechanisms.models import LanguageModel, load_causal_lm
from mechanisms.own_forward import embed
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.tokens import tokenized

BEFORE, AFTER = 'A patient reviews a medicine: "', '"\nThe patient takes this medicine to treat'
COLUMN, CLASSES, FOLDS, INNER_FOLDS, BATCH, DRAWS = "condition", 5, 5, 4, 16, 2000


def posterior_means(rows: Sequence[TokenPosteriors], table: NDArray[np.float32]) -> list[Tensor]:
    """Returns the mean embedding of each token under its posterior, float32, shape (tokens, width) a row."""
    shares = [np.asarray(row.words.sum(axis=1)).reshape(-1, 1) for row in rows]
    return [torch.from_numpy(np.asarray(row.words @ table) / share) for row, share in zip(rows, shares, strict=True)]


@torch.no_grad()
def states(language: LanguageModel, rows: Sequence[Tensor], layer: int) -> NDArray[np.float64]:
    """Returns a layer's mean state over each release's tokens, shape (rows, width).

    rows: embeddings, shape (tokens, width) each.
    """
    halves = [language.tokenizer(half, add_special_tokens=False).input_ids for half in (BEFORE, AFTER)]
    before, after = (embed(language.model, half) for half in halves)
    found = np.zeros((len(rows), before.shape[1]))
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))  # alike lengths: little padding
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        inputs = [torch.cat([before, rows[index].to(before), after]) for index in chosen]
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in inputs], batch_first=True)
        read = language.model.base_model(
            inputs_embeds=pad_sequence(inputs, batch_first=True),
            attention_mask=mask.to(before.device),
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states[layer]
        for index, row, seen in zip(chosen, inputs, read, strict=True):
            found[index] = seen[len(before) : len(row) - len(after)].float().mean(0).cpu().numpy()
    return found


def crossed(
    rows: Rows, labels: NDArray[np.str_], documents: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float64], list[str]]:
    """Returns each row's probabilities by a classifier that saw no row of its document, and the strengths taken.

    The strength is chosen in folds of the documents that are fitted on. Shape (rows, classes).
    """
    family = families(rows, seed)[0]
    told, taken = np.zeros((len(labels), CLASSES)), []
    for fitted, held in folds(labels, documents, FOLDS, seed):
        scores = np.zeros(len(family.candidates))
        for inner, judged in folds(labels[fitted], documents[fitted], INNER_FOLDS, seed):
            scores += _told(family, family.candidates, rows, labels, fitted[inner], fitted[judged])[1]
        best = family.candidates[int(scores.argmax())]
        (told[held],) = _told(family, (best,), rows, labels, fitted, held)[0]
        taken.append(best.strength)
    return told, taken


def folds(
    labels: NDArray[np.str_], documents: NDArray[np.int64], count: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields (rows to fit on, rows held out), no document in both."""
    split: Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]] = StratifiedGroupKFold(
        count, shuffle=True, random_state=seed
    ).split(labels, labels, documents)
    return split


def _told(
    family: Family,
    candidates: Sequence[Candidate],
    rows: Rows,
    labels: NDArray[np.str_],
    fitted: NDArray[np.int64],
    held: NDArray[np.int64],
) -> tuple[list[NDArray[np.float64]], list[float]]:
    """Returns each candidate's probabilities of held-out rows, and their balanced accuracies."""
    before, after = rows[fitted], rows[held]
    if family.prepare is not None:
        prepare = family.prepare().fit(before, labels[fitted])
        before, after = prepare.transform(before), prepare.transform(after)
    models = [candidate.make().fit(before, labels[fitted]) for candidate in candidates]
    told = [model.predict_proba(after) for model in models]
    classes = models[0].classes_
    return told, [balanced_accuracy(labels[held], classes[one.argmax(axis=1)], classes) for one in told]


def recall(right: NDArray[np.float64], labels: NDArray[np.str_], documents: NDArray[np.int64], seed: int) -> str:
    """Returns the mean over classes of the mean of `right`, with its 95% bootstrap interval over documents."""
    classes = np.searchsorted(np.unique(labels), labels)
    count = int(documents.max()) + 1
    totals = np.zeros((2, count, int(classes.max()) + 1))
    np.add.at(totals[0], (documents, classes), right)
    np.add.at(totals[1], (documents, classes), 1.0)
    drawn = simulation_generator(seed, "attribute language model").integers(0, count, (DRAWS, count))
    sums = totals[:, drawn].sum(axis=2)
    low, high = np.quantile((sums[0] / np.maximum(sums[1], 1)).mean(axis=1), [0.025, 0.975])
    return f"{(totals[0].sum(0) / totals[1].sum(0)).mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def main(options: argparse.Namespace) -> None:
    """Prints the balanced accuracy of the probe without the language model, of the model alone, and of both."""
    configuration = load_configuration(options.config)
    language = load_causal_lm(configuration.model, dtype=configuration.dtype)
    splits = read_splits(configuration.data)
    public = tokenized(language.tokenizer, splits.public.texts, language.context_tokens)
    own = configuration.mechanism.spec()
    spec = QuantizerSpec.from_mu(own.bits, own.dim, own.clip, options.mu)
    (pipeline,) = pipelines_of(configuration, language, public, [spec])
    common = Counter(filter(None, splits.public.column(COLUMN))).most_common(CLASSES)
    texts, named = [], []
    for part in (splits.public, splits.private):
        for text, name in zip(part.texts, part.column(COLUMN), strict=True):
            if name in dict(common):
                texts.append(text)
                named.append(str(name))
    short = [tokens[: options.tokens] for tokens in language.tokenizer(texts, add_special_tokens=False).input_ids]
    documents = np.tile(np.arange(len(short)), options.releases)
    labels = np.array(named)[documents]
    written = [short[index] for index in documents]
    messages = [
        pipeline.release(tokens, SimulatedRandomness(options.seed, "attribute language model", str(place)))
        for place, tokens in enumerate(written)
    ]
    world = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, public, language)
    viewer = Viewer(world)
    print(f"{len(short)} documents, mu {options.mu:g}, seed {options.seed}, {language.record.name}", flush=True)
    for name, rows in (
        ("clean", viewer.clean(short).rows[TOKENS]),
        ("released", viewer.released(messages, written).rows[TOKENS]),
    ):
        posteriors = [row for row in rows if isinstance(row, TokenPosteriors)]
        start, tokens = time.process_time(), sum(row.words.shape[0] for row in posteriors)
        read = states(language, posterior_means(posteriors, pipeline.table), options.layer)
        spent = (time.process_time() - start) / tokens * 1000
        print(f"{name}: {len(rows)} rows, {tokens} tokens, read in {spent:.2f} s of processor per 1,000", flush=True)
        compare(rows, read, labels[: len(rows)], documents[: len(rows)], options.seed)


def compare(
    posteriors: Rows, read: NDArray[np.float64], labels: NDArray[np.str_], documents: NDArray[np.int64], seed: int
) -> None:
    """Prints how well the probe, the language model and their vote tell the attribute, and the differences."""
    probe, smoothing = crossed(posteriors, labels, documents, seed)
    print(f"strengths taken: {', '.join(smoothing)}", flush=True)
    reader, penalties = crossed(read, labels, documents, seed)
    print(f"strengths taken: {', '.join(penalties)}", flush=True)
    logs = [np.log(np.maximum(one, np.finfo(float).tiny)) for one in (probe, reader)]
    told = {"probe": probe, "language model": reader, "vote of both": np.mean(logs, axis=0)}
    classes = np.unique(labels)
    right = {name: (classes[one.argmax(axis=1)] == labels).astype(float) for name, one in told.items()}
    for name, hits in right.items():
        less = recall(hits - right["probe"], labels, documents, seed)
        print(f"{name:<16}{recall(hits, labels, documents, seed)}  less the probe {less}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=Path("examples/smollm2-reviews.yaml"))
    parser.add_argument("--mu", type=float, default=20.0)
    parser.add_argument("--tokens", type=int, default=64, help="of each document, its first")
    parser.add_argument("--releases", type=int, default=3, help="of each document")
    parser.add_argument("--layer", type=int, default=16, help="of the language model, whose states are read")
    parser.add_argument("--seed", type=int, default=0)
    silence_libraries()
    main(parser.parse_args())
