"""Training the denoiser on public text: releases of it against the clean text, squared error, early stop."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.nlu.denoiser import Denoiser, DenoiserShape
from mechanisms.nlu.epochs import plan_of, records, step_of
from mechanisms.nlu.initial import freeze
from mechanisms.nlu.inputs import Clean, Inputs
from mechanisms.nlu.states import by_length, cached_states, initial_soft_tokens
from mechanisms.nlu.storage import publish, read_folder
from mechanisms.randomness import simulation_generator
from mechanisms.training.checkpoint import RunFolder
from mechanisms.training.documents import documents_sha256
from mechanisms.training.loop import fit
from mechanisms.validation import at_least

KIND = "denoiser"
SHORTEST = 4
"""Tokens of the shortest piece of a document that is trained on."""


@dataclass(frozen=True, slots=True)
class SoftStart:
    """The virtual tokens in front before any training: the embeddings of a text, repeated to count tokens."""

    count: int = 20
    text: str = "The following text is noisy and scrambled; tell what it means."

    def __post_init__(self) -> None:
        at_least("virtual_tokens", self.count, 1)


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
            at_least(name, getattr(self, name), 1)
        at_least("window", self.window, SHORTEST)
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
    about: Mapping[str, Json],
) -> Denoiser:
    """Trains a denoiser, writes it to folder with a JSON card, and returns it, frozen.

    inputs: releases of the mechanism that it will serve. documents: tokenized public text. about: what the card says of
    the data and the configuration. The folder appears whole or not at all; an interrupted run goes on where the same
    call finds its FOLDER.partial, to the same result.

    Raises UserError for clean inputs, fewer than two documents that are long enough, and a folder that exists.
    """
    if not inputs.private:
        raise UserError("Expected releases of a mechanism to train a denoiser on, got clean embeddings.")
    pieces = _pieces(documents, settings)
    soft = initial_soft_tokens(language, settings.soft.text, settings.soft.count)
    pairs = PublicPairs(language, inputs, settings, pieces, soft)
    denoiser = Denoiser(soft.shape[1], settings.shape, settings.seed).to(soft.device)
    identity = {
        "kind": KIND,
        "base_model": language.record.sha256,
        "mechanism": inputs.fingerprint,
        "training": asdict(settings),
        "pieces": [documents_sha256(part) for part in pieces],
    }
    with RunFolder(folder, identity) as kept:
        kept.load()  # another run's is refused before anything is read
        noisy, clean = pairs.noisy(True, 0), pairs.clean(True)
        history = _fit(denoiser, pairs, (noisy, clean), kept)
        card = {
            "kind": KIND,
            **about,
            "base_model": language.record.to_dict(),
            "mechanism": inputs.fingerprint,
            "training": asdict(settings),
            "raw_error": float(denoiser.error(noisy, clean)),
            "history": history,
        }
        publish(kept, denoiser.state_dict(), card)
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


def _fit(
    denoiser: Denoiser, pairs: PublicPairs, validation: tuple[list[Tensor], list[Tensor]], kept: RunFolder
) -> list[dict[str, float]]:
    """Trains the denoiser and returns a record of each epoch; the language model reads each release once."""
    settings, targets = pairs.settings, pairs.clean(False)

    @cache
    def fitted(release: int) -> list[Tensor]:
        return pairs.noisy(False, release)

    @lru_cache(maxsize=1)
    def batches(epoch: int) -> list[list[int]]:
        found = by_length(targets, settings.batch)
        order = simulation_generator(settings.seed, "denoiser batches", str(epoch)).permutation(len(found))
        return [found[index] for index in order]

    def loss(epoch: int, place: int) -> Tensor:
        noisy, chosen = fitted((epoch - 1) % settings.releases), batches(epoch)[place]
        return denoiser.error(denoiser.denoise([noisy[i] for i in chosen]), [targets[i] for i in chosen])

    def validate() -> float:
        noisy, clean = validation
        estimates = [
            estimate
            for start in range(0, len(noisy), settings.batch)
            for estimate in denoiser.denoise(noisy[start : start + settings.batch])
        ]
        return float(denoiser.error(estimates, clean))

    denoiser.fit_affine(fitted(0), targets)  # no step changes it: an interrupted run finds the same
    count = -(-len(targets) // settings.batch)
    plan = plan_of(
        settings.epochs,
        count,
        settings.learning_rate,
        settings.weight_decay,
        settings.patience,
        "training the denoiser",
    )
    history = fit(step_of(loss, count), dict(denoiser.named_parameters()), plan, kept, validate=validate)
    return records(history, count)
