"""Accuracy and AUC of a labelled task on releases, by both paths of docs/nlu.md, beside their controls.

    python benchmarks/nlu.py MRPC.parquet --train 480 --test 400 --mu 40 10

The corpus has the columns sentence1, sentence2, label and split (train, test). Prints one JSON object a line as soon as
a path is done; trained parts and interrupted runs are kept in --folder, and a path that is there is only scored.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from mechanisms.corpora import load_corpus
from mechanisms.models import LanguageModel, load_causal_lm
from mechanisms.nlu import (
    PLAIN,
    SPLIT_AND_DENOISE,
    ClassifierShape,
    Clean,
    DenoiserTraining,
    Inputs,
    LabelledTokens,
    Released,
    SoftStart,
    TaskReader,
    TaskTraining,
    label_corpus,
    load_denoiser,
    load_task,
    score_task,
    train_denoiser,
    train_task,
)
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec

SOFT = SoftStart(20, "The following two sentences are noisy; tell whether they mean the same.")
BOOTSTRAP = 2000


def parts(language: LanguageModel, corpus_name: str, counts: dict[str, int], seed: int) -> list[LabelledTokens]:
    corpus = load_corpus(corpus_name, text_column="sentence1")
    found: list[LabelledTokens] = []
    for split, count in counts.items():
        part = corpus.subset(split)
        chosen = simulation_generator(seed, "nlu benchmark", split).permutation(len(part))[:count]
        found.append(
            label_corpus(
                language.tokenizer,
                part.take(chosen.tolist()),
                "label",
                pair_column="sentence2",
                context_tokens=language.context_tokens,
                virtual_tokens=SOFT.count,
                classes=found[0].classes if found else None,
            )
        )
    return found


def figures(scores: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, list[float]]:
    """Returns accuracy and AUC, each with a 95% bootstrap interval over examples: [value, lower, upper]."""
    right = scores.argmax(axis=1) == labels
    draws = simulation_generator(seed, "nlu bootstrap").integers(0, len(labels), (BOOTSTRAP, len(labels)))
    accuracy = [right[draw].mean() for draw in draws]
    auc = [roc_auc_score(labels[draw], scores[draw, 1]) for draw in draws]
    return {
        name: [round(float(value), 3), *np.round(np.quantile(drawn, [0.025, 0.975]), 3).tolist()]
        for name, value, drawn in (
            ("accuracy", right.mean(), accuracy),
            ("auc", roc_auc_score(labels, scores[:, 1]), auc),
        )
    }


def trained(
    language: LanguageModel,
    inputs: Inputs,
    train: LabelledTokens,
    shape: ClassifierShape,
    denoise: bool,
    folder: Path,
    options: argparse.Namespace,
) -> TaskReader:
    if folder.exists():
        return load_task(folder, language)
    denoiser = None
    if denoise:
        beside = folder.with_name(f"{folder.name}-denoiser")
        settings = DenoiserTraining(soft=SOFT, releases=1, bfloat16=True, seed=options.seed)
        documents = train.tokens[: options.denoiser_texts]
        denoiser = (
            load_denoiser(beside, language)
            if beside.exists()
            else train_denoiser(language, inputs, documents, settings, beside, {"data": options.corpus})
        )
    settings = TaskTraining(shape, SOFT, epochs=options.epochs, bfloat16=True, seed=options.seed)
    return train_task(language, inputs, train, settings, folder, {"data": options.corpus}, denoiser)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--model", default="package:smollm2-135m-instruct")
    parser.add_argument("--train", type=int, default=480)
    parser.add_argument("--test", type=int, default=400)
    parser.add_argument("--denoiser-texts", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--mu", type=float, nargs="*", default=[40.0, 10.0], help="none: the ceiling alone")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--dim", type=int, default=18)
    parser.add_argument("--decoder", default="posterior-mean")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/nlu"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    language = load_causal_lm(options.model)
    train, test = parts(language, options.corpus, {"train": options.train, "test": options.test}, options.seed)
    table = language.model.get_input_embeddings().weight.detach().numpy()
    for mu in options.mu:
        spec = QuantizerSpec.from_mu(options.bits, options.dim, 0.05, mu)
        inputs = Released(assemble(table, train.tokens, spec, EncoderSettings(), options.decoder), options.seed)
        for name, shape, denoise in (("plain", PLAIN, False), ("split-and-denoise", SPLIT_AND_DENOISE, True)):
            start = time.monotonic()
            folder = options.folder / f"{name}-{mu:g}"
            reader = trained(language, inputs, train, shape, denoise, folder, options)
            scores = score_task(reader, inputs, train, test)
            for control, values in scores.by_name().items():
                row = {"path": name, "mu": mu, "scores": control, **figures(values, scores.labels, options.seed)}
                print(json.dumps({**row, "seconds": round(time.monotonic() - start)}), flush=True)
    for name, shape in (("plain", PLAIN), ("split-and-denoise", SPLIT_AND_DENOISE)):
        start = time.monotonic()
        clean = Clean(language.model)
        reader = trained(language, clean, train, shape, False, options.folder / f"{name}-clean", options)
        row = {"path": name, "scores": "clean", **figures(reader.scores(clean.rows(test.tokens)), test.labels, 0)}
        print(json.dumps({**row, "seconds": round(time.monotonic() - start)}), flush=True)


if __name__ == "__main__":
    main()
