"""Training for a task: first the classifier alone, on kept states; then the soft tokens with it, through the model."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.hashes import json_sha256
from mechanisms.models import LanguageModel
from mechanisms.nlu.denoiser import Denoiser, DenoiserShape
from mechanisms.nlu.denoiser_training import require_base_model
from mechanisms.nlu.epochs import plan_of, records, step_of
from mechanisms.nlu.head import fit_head
from mechanisms.nlu.initial import freeze
from mechanisms.nlu.inputs import Inputs
from mechanisms.nlu.pairs import LabelledTokens
from mechanisms.nlu.reader import ClassifierShape, TaskParts, TaskReader
from mechanisms.nlu.states import by_length, initial_soft_tokens
from mechanisms.nlu.storage import digest_of_tensors, publish, read_folder
from mechanisms.nlu.task_settings import TaskData, TaskTraining
from mechanisms.randomness import simulation_generator
from mechanisms.training.checkpoint import RunFolder
from mechanisms.training.documents import documents_sha256
from mechanisms.training.loop import Own, fit

KIND = "task"


def train_task(
    language: LanguageModel,
    inputs: Inputs,
    examples: LabelledTokens,
    settings: TaskTraining,
    folder: Path,
    about: Mapping[str, Json],
    denoiser: Denoiser | None = None,
) -> TaskReader:
    """Trains soft tokens and a classifier, writes them to folder with a JSON card, and returns the reader.

    inputs: releases of the mechanism that will serve, or Clean for the ceiling. denoiser: of the same mechanism; None
    is the plain path. about: what the card says of the data and the configuration. The folder appears whole or not at
    all; an interrupted run goes on where the same call finds its FOLDER.partial, to the same result.

    Raises UserError for clean inputs with a denoiser, a class of fewer than two examples, and a folder that exists.
    """
    if denoiser is not None and not inputs.private:
        raise UserError("Expected no denoiser for clean embeddings: a denoiser is given nothing but releases.")
    soft = initial_soft_tokens(language, settings.soft.text, settings.soft.count)
    data = TaskData(inputs, *examples.parted(settings.validation_share, settings.seed))
    parts = TaskParts(soft, examples.classes, settings.classifier, denoiser, settings.seed).to(soft.device)
    reader = TaskReader(language.model, parts, settings.bfloat16)
    identity = {
        "kind": KIND,
        "base_model": language.record.sha256,
        "mechanism": inputs.fingerprint,
        "training": asdict(settings),
        "tokens": documents_sha256(examples.tokens),
        "labels": json_sha256([examples.labels.tolist(), list(examples.classes)]),
        "denoiser": None if denoiser is None else digest_of_tensors(denoiser.state_dict()),
    }
    with RunFolder(folder, identity) as kept:
        kept.load()  # another run's is refused before anything is read
        stages = {"head": fit_head(reader, data, settings), "joint": _fit_jointly(reader, data, settings, kept)}
        card = {
            "kind": KIND,
            **about,
            "base_model": language.record.to_dict(),
            "mechanism": inputs.fingerprint,
            "training": asdict(settings),
            "classes": list(examples.classes),
            "denoiser": None if denoiser is None else denoiser.shape.to_dict(),
            "history": stages,
        }
        publish(kept, parts.state_dict(), card)
    freeze(parts)
    return reader


def load_task(folder: Path, language: LanguageModel) -> TaskReader:
    """Returns the reader that train_task wrote.

    Raises UserError for a folder that holds none, and for one that was trained for another model.
    """
    tensors, card = read_folder(folder, KIND)
    require_base_model(card, language, folder)
    soft, seed = tensors["soft"], card["training"]["seed"]
    shape = ClassifierShape(**card["training"]["classifier"])
    denoiser = None if card["denoiser"] is None else Denoiser(soft.shape[1], DenoiserShape(**card["denoiser"]), seed)
    parts = TaskParts(soft, card["classes"], shape, denoiser, seed)
    parts.load_state_dict(tensors)
    freeze(parts)
    return TaskReader(language.model, parts, card["training"]["bfloat16"])


def _fit_jointly(reader: TaskReader, data: TaskData, settings: TaskTraining, kept: RunFolder) -> list[dict[str, float]]:
    """Runs the second stage, in which every epoch releases its examples anew; returns a record of each epoch."""
    if not settings.epochs:
        return []
    parts = reader.parts
    labels, aside = (torch.from_numpy(part.labels).to(parts.soft.device) for part in (data.fitted, data.aside))

    @lru_cache(maxsize=1)
    def released(epoch: int) -> tuple[list[Tensor], list[list[int]]]:
        rows = data.read("joint", str(epoch))
        batches = by_length(rows, settings.batch)
        order = simulation_generator(settings.seed, "nlu joint batches", str(epoch)).permutation(len(batches))
        return rows, [batches[index] for index in order]

    def loss(epoch: int, place: int) -> Tensor:
        rows, batches = released(epoch)
        return functional.cross_entropy(reader.logits([rows[i] for i in batches[place]]), labels[batches[place]])

    def validate() -> float:
        features = reader.cached_features(data.read_aside(), settings.batch, "reading the validation part")
        return float(functional.cross_entropy(parts.classifier(features), aside))

    count = -(-len(labels) // settings.batch)
    head = {f"classifier.{name}": tensor for name, tensor in parts.classifier.named_parameters()}
    own = dict.fromkeys(head, Own(settings.joint_head_rate, settings.weight_decay))
    plan = plan_of(settings.epochs, count, settings.prompt_rate, 0.0, settings.patience, "training the soft tokens")
    history = fit(step_of(loss, count), {"soft": parts.soft, **head}, plan, kept, validate=validate, own=own)
    return records(history, count)
