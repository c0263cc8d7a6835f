"""Training for a task: first the classifier alone, on kept states; then the soft tokens with it, through the model."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.nlu.denoiser import Denoiser, DenoiserShape
from mechanisms.nlu.denoiser_training import require_base_model
from mechanisms.nlu.fitting import Problem, fit, freeze
from mechanisms.nlu.head import fit_head
from mechanisms.nlu.inputs import Inputs
from mechanisms.nlu.pairs import LabelledTokens
from mechanisms.nlu.reader import ClassifierShape, TaskParts, TaskReader
from mechanisms.nlu.states import by_length, initial_soft_tokens
from mechanisms.nlu.storage import digest_of, digest_of_tensors, read_folder, write_folder
from mechanisms.nlu.task_settings import TaskData, TaskTraining
from mechanisms.randomness import simulation_generator

KIND = "task"


def train_task(
    language: LanguageModel,
    inputs: Inputs,
    examples: LabelledTokens,
    settings: TaskTraining,
    folder: Path,
    about: dict[str, Any],
    denoiser: Denoiser | None = None,
) -> TaskReader:
    """Trains soft tokens and a classifier, writes them to folder with a JSON card, and returns the reader.

    inputs: releases of the mechanism that will serve, or Clean for the ceiling. denoiser: of the same mechanism; None
    is the plain path. about: what the card says of the data and the configuration. The folder appears whole or not at
    all; an interrupted run goes on after its last whole epoch, from files beside the folder, to the same result.

    Raises UserError for clean inputs with a denoiser, a class of fewer than two examples, and a folder that exists.
    """
    if folder.exists():
        raise UserError(f"Expected a folder that does not exist yet, got {folder}.")
    if denoiser is not None and not inputs.private:
        raise UserError("Expected no denoiser for clean embeddings: a denoiser is given nothing but releases.")
    soft = initial_soft_tokens(language, settings.soft.text, settings.soft.count)
    data = TaskData(inputs, *examples.parted(settings.validation_share, settings.seed))
    parts = TaskParts(soft, examples.classes, settings.classifier, denoiser, settings.seed).to(soft.device)
    reader = TaskReader(language.model, parts, settings.bfloat16)
    identity = digest_of(
        [
            language.record.sha256,
            inputs.fingerprint,
            asdict(settings),
            [examples.tokens, examples.labels.tolist(), examples.classes],
            None if denoiser is None else digest_of_tensors(denoiser.state_dict()),
        ]
    )
    partial = folder.with_name(f".{folder.name}.partial")
    first = fit_head(reader, data, settings, identity, partial)
    joint = _joint_problem(reader, data, settings, identity)
    second = fit(joint, settings.epochs, settings.patience, partial / "joint.safetensors") if settings.epochs else []
    card = {
        "kind": KIND,
        **about,
        "base_model": language.record.to_dict(),
        "mechanism": inputs.fingerprint,
        "training": asdict(settings),
        "classes": list(examples.classes),
        "denoiser": None if denoiser is None else denoiser.shape.to_dict(),
        "history": {
            stage: [{k: v for k, v in record.items() if v == v} for record in history]  # JSON has no NaN
            for stage, history in (("head", first), ("joint", second))
        },
    }
    write_folder(folder, parts.state_dict(), card)
    shutil.rmtree(partial, ignore_errors=True)
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


def _joint_problem(reader: TaskReader, data: TaskData, settings: TaskTraining, identity: str) -> Problem:
    """Returns the second stage: every epoch releases its examples anew."""
    parts = reader.parts
    labels, aside = (torch.from_numpy(part.labels).to(reader.parts.soft.device) for part in (data.fitted, data.aside))

    def losses(epoch: int) -> Iterator[Tensor]:
        rows = data.read("joint", str(epoch))
        batches = by_length(rows, settings.batch)
        for index in simulation_generator(settings.seed, "nlu joint batches", str(epoch)).permutation(len(batches)):
            chosen = batches[index]
            yield functional.cross_entropy(reader.logits([rows[i] for i in chosen]), labels[chosen])

    @torch.no_grad()
    def validate() -> float:
        features = reader.cached_features(data.read_aside(), settings.batch, "reading the validation part")
        return float(functional.cross_entropy(parts.classifier(features), aside))

    groups = [
        {"params": [parts.soft], "lr": settings.prompt_rate, "weight_decay": 0.0},
        {
            "params": list(parts.classifier.parameters()),
            "lr": settings.joint_head_rate,
            "weight_decay": settings.weight_decay,
        },
    ]
    return Problem(parts, groups, losses, validate, identity, "training the soft tokens")
