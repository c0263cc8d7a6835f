"""Training of the adapters on public text alone, kept under a hash of all that decides it."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.base import AttackerKnowledge
from attacks.inversion.adapted.adapter import Adapter, adapted_copy, parameters_of, shipped, write_adapter
from attacks.inversion.adapted.practice import Lesson, worlds
from attacks.inversion.adapted.settings import Adaptation
from attacks.public_text import Text
from mechanisms.canonical_json import Json
from mechanisms.continuation import embed
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel
from mechanisms.randomness import simulation_generator
from mechanisms.training.checkpoint import made_once
from mechanisms.training.documents import documents_sha256, hold_out, require_tokens
from mechanisms.training.loop import run

FEWEST_DOCUMENTS = 2
PRACTICE = 1
"""Version of what adapters practise: one more ends those that are shipped or kept."""


def require_text(documents: Sequence[Sequence[int]]) -> None:
    """Raises UserError for fewer public documents than two, one of which validates, and for an empty one."""
    if len(documents) < FEWEST_DOCUMENTS:
        raise UserError(
            f"Expected {FEWEST_DOCUMENTS} public documents or more, one of them to validate on, got {len(documents)}: "
            "the attacker's language model is adapted to public text. Add public text."
        )
    require_tokens(documents)


def trained(public: AttackerKnowledge, settings: Adaptation, folder: Path | None) -> Adapter:
    """Returns the adapter for a model and public text: shipped, kept in the folder, or trained and kept there.

    A shipped adapter of the same model, for other public text, is gone on from. What is kept is read back, so that a
    fit is the same from the folder and afresh. Raises UserError as require_text does, and without a language model.
    """
    language = language_of(public)
    identity = _identity(public, language, settings)
    ready = shipped()
    for adapter in ready:
        if adapter.fits(identity):
            return adapter
    start = next((one for one in ready if one.card.get("model_sha256") == language.record.sha256), None)
    identity["start_sha256"] = start.sha256 if start else ""
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    with tempfile.TemporaryDirectory() as passing:
        kept = (folder or Path(passing)) / f"adapted-{name}"
        made_once(kept, lambda place: train(public, settings, place, start))
        return Adapter.read(kept)


def train(public: AttackerKnowledge, settings: Adaptation, kept: Path, start: Adapter | None = None) -> None:
    """Trains an adapter and makes the folder appear with it; start: one to go on from."""
    language = language_of(public)
    require_text(public.documents)
    wrapped = adapted_copy(language.model, settings.rank, settings.seed)
    if start is not None:
        start.load_into(wrapped)
    model: PreTrainedModel = wrapped.get_base_model()
    with suppress(ValueError):  # of models that have one kind of attention alone
        model.set_attn_implementation("eager")  # over short windows the fastest to differentiate on a CPU
    training, held = (Text.of(part) for part in parts_of(public, settings))
    lesson, practised = lesson_of(public, settings), worlds(public, settings)
    count, steps = len(practised), settings.steps_for(len(training.tokens), start is not None)

    def step(number: int) -> Tensor:
        generator = simulation_generator(settings.seed, "adaptation windows", str(number))
        windows = training.draw(settings.window, settings.batch, generator)
        again = bool(generator.random() < settings.again)
        tokens, total = sum(map(len, windows)), 0.0
        with _products(settings, model):
            for loss, _ in lesson.losses(
                model, windows, practised[number % count], str(number), again=again, clean=settings.clean
            ):
                (loss / tokens).backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
        return torch.tensor(total / tokens)

    def validate() -> float:
        windows = held_windows(held, settings)
        parts = [(windows[place::count], world) for place, world in enumerate(practised)]
        with _products(settings, model):
            return mean_loss(lesson, model, [part for part in parts if part[0]])

    run(
        step,
        parameters_of(wrapped),
        settings.plan(steps),
        kept,
        {**_identity(public, language, settings), "rank": settings.rank, "start_sha256": start.sha256 if start else ""},
        validate=validate,
        write=lambda beside: write_adapter(wrapped, language.record.name, beside),
    )


def loss_of(public: AttackerKnowledge, model: PreTrainedModel, settings: Adaptation) -> float:
    """Returns the loss of a model on held-out public text at the very mechanism that is attacked, nats per token."""
    held = Text.of(parts_of(public, settings)[1])
    return mean_loss(lesson_of(public, settings), model, [(held_windows(held, settings), public)])


@torch.no_grad()
def mean_loss(
    lesson: Lesson, model: PreTrainedModel, parts: Sequence[tuple[list[NDArray[np.int64]], AttackerKnowledge]]
) -> float:
    """Returns the mean loss of windows of each world, read after the model's own guesses; the same each time."""
    total, tokens = 0.0, 0
    for place, (windows, world) in enumerate(parts):
        for loss, count in lesson.losses(model, windows, world, "validation", str(place), again=True):
            total, tokens = total + float(loss), tokens + count
    return total / tokens


def lesson_of(public: AttackerKnowledge, settings: Adaptation) -> Lesson:
    """Returns how windows of the public text are read."""
    model = language_of(public).model
    opening = embed(model, opening_tokens(model))
    return Lesson(opening, torch.from_numpy(public.log_prior.astype(np.float32)), settings)


def held_windows(held: Text, settings: Adaptation) -> list[NDArray[np.int64]]:
    """Returns the windows to validate on."""
    generator = simulation_generator(settings.seed, "adaptation validation")
    return held.draw(settings.window, settings.validation_windows, generator)


def language_of(public: AttackerKnowledge) -> LanguageModel:
    """Returns the language model that an attacker reads with; raises UserError where there is none."""
    if public.language is None:
        raise UserError("Expected a language model to attack with, got none.")
    return public.language


def parts_of(public: AttackerKnowledge, settings: Adaptation) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Returns the documents to train on and those to validate on."""
    aside = max(1, round(settings.validation_share * len(public.documents)))
    return hold_out(public.documents, aside, settings.seed)


def _identity(public: AttackerKnowledge, language: LanguageModel, settings: Adaptation) -> dict[str, Json]:
    """Returns what decides an adapter: nothing of it depends on the mechanism that is attacked, or on private text."""
    numbers = {key: value for key, value in asdict(settings).items() if key != "checkpoint_every"}
    return {
        "attack": "adapted-beam",
        "version": PRACTICE,
        "model_sha256": language.record.sha256,
        "documents_sha256": documents_sha256(public.documents),
        "settings": json.loads(json.dumps(numbers)),
    }


def _products(settings: Adaptation, model: PreTrainedModel) -> AbstractContextManager[object]:
    device = next(model.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16) if settings.bfloat16 else nullcontext()
