"""Training the denoiser on public text: releases of it against the clean text, squared error, early stop."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.nlu.denoiser import Denoiser, DenoiserShape
from mechanisms.nlu.fitting import Problem, fit, freeze
from mechanisms.nlu.inputs import Clean, Inputs
from mechanisms.nlu.states import by_length, cached_states, initial_soft_tokens
from mechanisms.nlu.storage import digest_of, read_folder, write_folder
from mechanisms.randomness import simulation_generator

KIND = "denoiser"
SHORTEST = 4
"""Tokens of the shortest piece of a document that is trained on."""


@dataclass(frozen=True, slots=True)
class SoftStart:
    """The virtual tokens in front before any training: the embeddings of a text, repeated to count tokens."""

    count: int = 20
    text: str = "The following text is noisy and scrambled; tell what it means."

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"Expected virtual_tokens >= 1, got virtual_tokens={self.count}.")


@dataclass(frozen=True, slots=True)
class DenoiserTraining:
    """How a denoiser is trained. Documents are cut into pieces of window tokens; a share of documents validates.

    releases: how often the public text is released afresh; epochs take turns with them, since what the language model
    makes of each is kept in memory (4 bytes x tokens x width, once a release and once for the clean text).
    """

    shape: DenoiserShape = field(default_factory=DenoiserShape)
    soft: SoftStart = field(default_factory=SoftStart)
    epochs: int = 20
    patience: int = 3
    batch: int = 16
    releases: int = 2
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    window: int = 128
    validation_share: float = 0.15
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch", "releases"):
            if getattr(self, name) < 1:
                raise UserError(f"Expected {name} >= 1, got {name}={getattr(self, name)}.")
        if self.window < SHORTEST:
            raise UserError(f"Expected window >= {SHORTEST}, got window={self.window}.")
        if not 0 < self.validation_share < 1:
            raise UserError(f"Expected validation_share in (0, 1), got validation_share={self.validation_share}.")
        if not self.learning_rate > 0:
            raise UserError(f"Expected learning_rate > 0, got learning_rate={self.learning_rate}.")


@dataclass(frozen=True, slots=True)
class PublicPairs:
    """What the denoiser reads and should say, for the fit and for validation, by release; all sequences of (T, W)."""

    language: LanguageModel
    inputs: Inputs
    settings: DenoiserTraining
    pieces: tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]
    soft: Tensor

    def noisy(self, validation: bool, release: int) -> list[Tensor]:
        """Returns what one release gives."""
        purpose = ("denoiser validation",) if validation else ("denoiser", str(release))
        return self._seen(self.inputs.rows(self.pieces[validation], *purpose), f"release {release}")

    def clean(self, validation: bool) -> list[Tensor]:
        """Returns what clean text gives."""
        return self._seen(Clean(self.language.model).rows(self.pieces[validation]), "clean text")

    def _seen(self, rows: list[Tensor], label: str) -> list[Tensor]:
        if self.settings.shape.place == "embeddings":
            return rows
        model, settings = self.language.model, self.settings
        return cached_states(model, self.soft, rows, settings.batch, f"reading {label}", settings.bfloat16)


def train_denoiser(
    language: LanguageModel,
    inputs: Inputs,
    documents: Sequence[Sequence[int]],
    settings: DenoiserTraining,
    folder: Path,
    about: dict[str, Any],
) -> Denoiser:
    """Trains a denoiser, writes it to folder with a JSON card, and returns it, frozen.

    inputs: releases of the mechanism that it will serve. documents: tokenized public text. about: what the card says of
    the data and the configuration. The folder appears whole or not at all; an interrupted run goes on after its last
    whole epoch, from files beside the folder, to the same result.

    Raises UserError for clean inputs, fewer than two documents that are long enough, and a folder that exists.
    """
    if folder.exists():
        raise UserError(f"Expected a folder that does not exist yet, got {folder}.")
    if not inputs.private:
        raise UserError("Expected releases of a mechanism to train a denoiser on, got clean embeddings.")
    pieces = _pieces(documents, settings)
    soft = initial_soft_tokens(language, settings.soft.text, settings.soft.count)
    pairs = PublicPairs(language, inputs, settings, pieces, soft)
    denoiser = Denoiser(soft.shape[1], settings.shape, settings.seed).to(soft.device)
    identity = digest_of([language.record.sha256, inputs.fingerprint, asdict(settings), pieces])
    partial = folder.with_name(f".{folder.name}.partial")
    problem, validation = _problem(denoiser, pairs, identity)
    history = fit(problem, settings.epochs, settings.patience, partial / "denoiser.safetensors")
    noisy, clean = validation()
    card = {
        "kind": KIND,
        **about,
        "base_model": language.record.to_dict(),
        "mechanism": inputs.fingerprint,
        "training": asdict(settings),
        "raw_error": float(denoiser.error(noisy, clean)),
        "history": [{k: v for k, v in record.items() if v == v} for record in history],  # JSON has no NaN
    }
    write_folder(folder, denoiser.state_dict(), card)
    shutil.rmtree(partial, ignore_errors=True)
    freeze(denoiser)
    return denoiser


def load_denoiser(folder: Path, language: LanguageModel) -> Denoiser:
    """Returns a denoiser that train_denoiser wrote, frozen.

    Raises UserError for a folder that holds none, and for one that was trained for another model.
    """
    tensors, card = read_folder(folder, KIND)
    require_base_model(card, language, folder)
    shape = DenoiserShape(**card["training"]["shape"])
    denoiser = Denoiser(len(tensors["mean"]), shape, card["training"]["seed"])
    denoiser.load_state_dict(tensors)
    freeze(denoiser)
    return denoiser


def require_base_model(card: dict[str, Any], language: LanguageModel, folder: Path) -> None:
    """Raises UserError where what the folder holds was trained for another model."""
    base = card.get("base_model", {})
    if base.get("sha256") != language.record.sha256:
        raise UserError(
            f"Expected {folder} to be trained for {language.record.name!r}, got one for {base.get('name')!r}: "
            f"train one for this model."
        )


def _pieces(
    documents: Sequence[Sequence[int]], settings: DenoiserTraining
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Returns the pieces to fit on and those of other documents to validate on."""
    window = settings.window
    cut = [
        [tuple(document[start : start + window]) for start in range(0, len(document), window)] for document in documents
    ]
    kept = [[piece for piece in pieces if len(piece) >= SHORTEST] for pieces in cut]
    kept = [pieces for pieces in kept if pieces]
    if len(kept) < 2:
        raise UserError(f"Expected two public documents of {SHORTEST} tokens or more, got {len(kept)}.")
    order = simulation_generator(settings.seed, "denoiser documents").permutation(len(kept))
    aside = min(max(1, round(settings.validation_share * len(kept))), len(kept) - 1)
    fitted = tuple(piece for index in order[aside:] for piece in kept[index])
    return fitted, tuple(piece for index in order[:aside] for piece in kept[index])


def _problem(denoiser: Denoiser, pairs: PublicPairs, identity: str) -> tuple[Problem, Any]:
    """Returns the fit, and a function of the validation part; the language model reads each release once."""
    settings = pairs.settings

    @cache
    def fitted(release: int) -> list[Tensor]:
        return pairs.noisy(False, release)

    @cache
    def targets() -> list[Tensor]:
        return pairs.clean(False)

    @cache
    def validation() -> tuple[list[Tensor], list[Tensor]]:
        return pairs.noisy(True, 0), pairs.clean(True)

    def losses(epoch: int) -> Iterator[Tensor]:
        noisy = fitted((epoch - 1) % settings.releases)
        batches = by_length(noisy, settings.batch)
        for index in simulation_generator(settings.seed, "denoiser batches", str(epoch)).permutation(len(batches)):
            chosen = batches[index]
            yield denoiser.error(denoiser.denoise([noisy[i] for i in chosen]), [targets()[i] for i in chosen])

    @torch.no_grad()
    def validate() -> float:
        noisy, clean = validation()
        estimates = [
            estimate
            for start in range(0, len(noisy), settings.batch)
            for estimate in denoiser.denoise(noisy[start : start + settings.batch])
        ]
        return float(denoiser.error(estimates, clean))

    groups = [
        {"params": list(denoiser.parameters()), "lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    ]
    problem = Problem(
        denoiser,
        groups,
        losses,
        validate,
        identity,
        "training the denoiser",
        prepare=lambda: denoiser.fit_affine(fitted(0), targets()),
    )
    return problem, validation
