"""What a table of text pairs measures of a mechanism: accuracy and AUC by Split-and-Denoise, beside their controls."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.classification import classification_figures
from del_audit.reproduce.bench import Bench, first_documents
from del_audit.reproduce.protocol import Sizes
from mechanisms.canonical_json import Json
from mechanisms.corpora import Corpus
from mechanisms.errors import UserError
from mechanisms.mechanism import Mechanism
from mechanisms.models import LanguageModel
from mechanisms.nlu import (
    Clean,
    DenoiserTraining,
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
from mechanisms.nlu.denoiser import Denoiser
from mechanisms.nlu.inputs import Inputs

TEXT = "The following two sentences are noisy; tell whether they mean the same."


def measure_pairs(bench: Bench, mechanism: Mechanism | None, cell: Mapping[str, Json]) -> dict[str, Json]:
    """Returns accuracy and AUC of the held-out pairs, and of the controls; without a mechanism, of the ceiling.

    cell: names what is trained. What is there already is loaded.
    """
    assert bench.train is not None
    assert bench.test is not None
    folder = bench.run.trained({"part": "task", "cell": cell, **bench.identity})
    soft = SoftStart(bench.sizes.virtual_tokens, TEXT)
    settings = TaskTraining(soft=soft, epochs=bench.sizes.epochs, seed=bench.seed)
    if mechanism is None:
        clean = Clean(bench.language.model)
        reader = _reader(bench, clean, settings, folder, None)
        named = {"released": reader.scores(clean.rows(bench.test.tokens))}
    else:
        inputs = Released(mechanism, bench.seed)
        reader = _reader(bench, inputs, settings, folder, _denoiser(bench, inputs, soft, folder))
        named = score_task(reader, inputs, bench.train, bench.test, seed=bench.seed).by_name()
    released = _figures(bench.test, named["released"], bench.seed)
    return {
        **released,
        "controls": {name: _figures(bench.test, scores, bench.seed) for name, scores in named.items()},
        "documents": list(range(len(bench.test))),
        "values": {"accuracy": (named["released"].argmax(axis=1) == bench.test.labels).astype(float).tolist()},
    }


def _denoiser(bench: Bench, inputs: Released, soft: SoftStart, folder: Path) -> Denoiser:
    assert bench.train is not None
    beside = folder.with_name(f"{folder.name}-denoiser")
    if beside.exists():
        return load_denoiser(beside, bench.language)
    sizes = bench.sizes
    settings = DenoiserTraining(soft=soft, epochs=sizes.epochs, releases=1, seed=bench.seed)
    texts = bench.train.tokens[: sizes.denoise]
    return train_denoiser(bench.language, inputs, texts, settings, beside, {"data": "the table's corpus"})


def _reader(
    bench: Bench, inputs: Inputs, settings: TaskTraining, folder: Path, denoiser: Denoiser | None
) -> TaskReader:
    assert bench.train is not None
    if folder.exists():
        return load_task(folder, bench.language)
    about = {"data": "the table's corpus"}
    return train_task(bench.language, inputs, bench.train, settings, folder, about, denoiser)


def _figures(test: LabelledTokens, scores: NDArray[np.float64], seed: int) -> dict[str, Json]:
    labels = [test.classes[label] for label in test.labels]
    found = classification_figures(labels, scores, seed, classes=test.classes)
    return {name: asdict(getattr(found, name)) for name in ("accuracy", "auc", "majority")}


def labelled_part(
    language: LanguageModel,
    corpus: Corpus,
    columns: tuple[str, str],
    sizes: Sizes,
    count: int,
    seed: int,
    classes: tuple[str, ...] | None = None,
) -> LabelledTokens:
    """Returns so many pairs, drawn by the seed, all where there are fewer. columns: second text, label.

    Raises UserError as label_corpus does, and for a class that none of them has.
    """
    found = label_corpus(
        language.tokenizer,
        first_documents(corpus, count, seed, "pairs"),
        columns[1],
        pair_column=columns[0],
        context_tokens=language.context_tokens,
        virtual_tokens=sizes.virtual_tokens,
        classes=classes,
    )
    if missing := [name for index, name in enumerate(found.classes) if not (found.labels == index).any()]:
        raise UserError(f"Expected pairs of every class among {len(found)}, got none of {', '.join(missing)}.")
    return found
