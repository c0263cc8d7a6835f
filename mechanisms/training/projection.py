"""The paper's linear pair, v = clip(E e) and e' = D y without bias, trained with the frozen model's next-token loss.

It starts from principal components, in closed form. Both matrices are in units of the clip, so that Adam's steps are
alike for both and one training serves every clip: the cube is [-1, 1]^dim here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import input_weight
from mechanisms.models import LanguageModel
from mechanisms.own_forward import embed, embedding_table, logits_within
from mechanisms.prior import unigram_prior
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import PROJECTION_FILE, bounded, principal_pair, table_sha256
from mechanisms.training.documents import documents_sha256, draw_windows, hold_out, joined, require_tokens
from mechanisms.training.loop import History, LoopPlan, run
from mechanisms.validation import at_least

POSITIONS_AT_ONCE = 1024
"""Positions whose logits over the vocabulary are in memory together, unless one window is longer."""


@dataclass(frozen=True, slots=True)
class ProjectionTraining:
    """How the pair is trained. The paper: 20,000 steps of 4 windows of 1,024 tokens, no noise.

    fill: root mean square of the codes that training starts from, in units of the clip; the decoder absorbs it.
    whitening: 0 starts from principal coordinates as they are, 1 from coordinates of equal size.
    noise: train with the quantizer's noise on, straight through it. validation_windows: of held-out documents.
    Raises UserError for values out of range.
    """

    steps: int = 1000
    batch: int = 4
    window: int = 128
    learning_rate: float = 2e-4
    warm_up: int = 20
    decay: Literal["linear", "constant"] = "linear"
    fill: float = 0.5
    whitening: float = 0.0
    noise: bool = False
    validation_share: float = 0.05
    validation_windows: int = 16
    validate_every: int = 100
    patience: int = 5
    checkpoint_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("window", 2), ("validation_windows", 0)):
            at_least(name, getattr(self, name), least)
        for name, low, high in (("fill", 1e-3, 1e3), ("whitening", 0.0, 1.0), ("validation_share", 0.0, 0.9)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"Expected {name} in [{low:g}, {high:g}], got {name}={getattr(self, name)}.")
        _ = self.plan

    @property
    def plan(self) -> LoopPlan:
        """The loop's part of the settings."""
        return LoopPlan(
            self.steps,
            self.learning_rate,
            self.warm_up,
            self.decay,
            validate_every=self.validate_every if self.validation_windows else 0,
            patience=self.patience,
            checkpoint_every=self.checkpoint_every,
            title="training the projection",
        )


def train_projection(
    language: LanguageModel,
    spec: QuantizerSpec,
    documents: Sequence[Sequence[int]],
    settings: ProjectionTraining,
    folder: Path,
    about: Mapping[str, Json],
    *,
    fresh: bool = False,
) -> History:
    """Trains E and D, writes them to folder with a JSON card for `load_projection`, and returns the history.

    spec: its dim, and its noise where settings ask for it. documents: tokenized public text, joined with the
    end-of-text token between them. about: what the card says of the data. Goes on from folder.partial as `run` does.
    Raises UserError for empty documents, a window over the context, too little text, a dim over the width, and as run.
    """
    require_tokens(documents)
    if settings.window > language.context_tokens:
        raise UserError(f"Expected window <= {language.context_tokens}, the context, got window={settings.window}.")
    table = embedding_table(language.model)
    held = max(1, round(settings.validation_share * len(documents))) if settings.validation_windows else 0
    training, held_out = hold_out(documents, held, settings.seed)
    separator = language.tokenizer.eos_token_id
    text = joined(training, separator)
    prior = unigram_prior(training, len(table))
    start = principal_pair(table, prior, spec, settings.fill, settings.noise, settings.whitening)
    pair = _Pair(language.model, spec, settings, *start)
    draw_windows(text, settings.window, 0, simulation_generator(settings.seed))  # a text too short fails here
    validate = None
    if held:
        generator = simulation_generator(settings.seed, "projection validation")
        windows = draw_windows(joined(held_out, separator), settings.window, settings.validation_windows, generator)

        def validate() -> float:
            parts = [windows[start : start + settings.batch] for start in range(0, len(windows), settings.batch)]
            losses = [float(pair.loss(part, f"validation {at}")) * len(part) for at, part in enumerate(parts)]
            return sum(losses) / len(windows)

    def step(number: int) -> Tensor:
        generator = simulation_generator(settings.seed, "projection batches", str(number))
        return pair.loss(draw_windows(text, settings.window, settings.batch, generator), str(number))

    card = {
        "base_model": language.record.to_dict(),
        **about,
        "table_sha256": table_sha256(table),
        "documents_sha256": documents_sha256(documents),
        "dim": spec.dim,
        "width": table.shape[1],
        "noise_of": spec.to_dict() if settings.noise else None,
        "training": {key: value for key, value in asdict(settings).items() if key != "checkpoint_every"},
    }
    return run(
        step,
        {"encoder": pair.encoder, "decoder": pair.decoder},
        settings.plan,
        folder,
        card,
        validate=validate,
        write=pair.write,
        fresh=fresh,
    )


class _Pair:
    """E, shape (dim, width), and D, shape (width, dim), in front of the frozen model."""

    def __init__(
        self,
        model: PreTrainedModel,
        spec: QuantizerSpec,
        settings: ProjectionTraining,
        encoder: NDArray[np.float64],
        decoder: NDArray[np.float64],
    ) -> None:
        self._model, self._settings = model, settings
        self._quantizer = StochasticQuantizer(spec)
        device = input_weight(model).device
        self.encoder = torch.tensor(encoder, dtype=torch.float32, device=device, requires_grad=True)
        self.decoder = torch.tensor(decoder, dtype=torch.float32, device=device, requires_grad=True)

    def loss(self, windows: NDArray[np.int64], purpose: str) -> Tensor:
        """Returns the mean next-token loss of decoded windows, shape (batch, window); every position counts."""
        embedded = embed(self._model, windows[:, :-1].reshape(-1).tolist()).float()
        codes = (embedded @ self.encoder.T).clamp(-1, 1)
        if self._settings.noise:
            codes = codes + (self._released(codes.detach(), purpose) - codes).detach()
        decoded = bounded(codes) @ self.decoder.T
        inputs = decoded.reshape(len(windows), -1, decoded.shape[-1]).to(self._model.dtype)
        return next_token_loss(self._model, inputs, torch.from_numpy(windows[:, 1:]).to(inputs.device))

    def _released(self, codes: Tensor, purpose: str) -> Tensor:
        """Returns what the server would read of the codes: the quantizer's own release, in units of the clip."""
        clip = self._quantizer.spec.clip
        words = SimulatedRandomness(self._settings.seed, "projection noise", purpose)
        counts = self._quantizer.quantize(codes.cpu().numpy() * clip, words)
        return torch.from_numpy(self._quantizer.dequantize(counts) / clip).to(codes)

    def write(self, folder: Path) -> None:
        """Writes both matrices."""
        matrices = {"encoder": self.encoder, "decoder": self.decoder}
        save_file(
            {name: matrix.detach().cpu().contiguous() for name, matrix in matrices.items()}, folder / PROJECTION_FILE
        )


def next_token_loss(model: PreTrainedModel, inputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean loss of each position's next token, nats, shape (), differentiable in inputs.

    inputs: embeddings, shape (batch, positions, width). targets: the token after each, shape (batch, positions).
    The logits are the model's own, caps and scales included. Where the batch has more than POSITIONS_AT_ONCE positions,
    the model reads a few windows at a time, and again on the way back: that takes a third more time, and no more memory
    than those windows need.
    """

    def part_sum(rows: Tensor, after: Tensor) -> Tensor:
        logits = logits_within(model, list(rows), [(0, rows.shape[1])] * len(rows))
        return functional.cross_entropy(torch.cat(logits).float(), after.flatten(), reduction="sum")

    total = torch.zeros((), device=inputs.device)
    at_once = max(1, POSITIONS_AT_ONCE // inputs.shape[1])
    for start in range(0, len(inputs), at_once):
        rows, after = inputs[start : start + at_once], targets[start : start + at_once]
        if len(inputs) <= at_once or not torch.is_grad_enabled():
            total = total + part_sum(rows, after)
        else:
            total = total + checkpoint(part_sum, rows, after, use_reentrant=False, preserve_rng_state=False)
    return total / targets.numel()
