"""Learned codes: the encoder trained with the language model's loss through the noise and the posterior decoder.

The guarantee pays for the whole cube, wherever the codes lie (docs/theory.md, theorem 9), so at one exact epsilon the
codes are free, and are moved to where the response is predicted best. A soft prompt is trained with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mechanisms.canonical_json import Json
from mechanisms.continuation import response_losses
from mechanisms.encoder_file import EncoderCard, save_encoder
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.own_forward import embedding_table
from mechanisms.prior import unigram_prior
from mechanisms.projection import EncoderSettings, fit_codes
from mechanisms.randomness import Generator, SimulatedRandomness, simulation_generator
from mechanisms.registry import DECODERS, DecoderName, decoders_that_train_codes
from mechanisms.soft_prompt import save_soft_prompt
from mechanisms.spec import QuantizerSpec
from mechanisms.training.documents import documents_sha256, require_tokens, split_long_enough
from mechanisms.training.loop import History, LoopPlan, run
from mechanisms.training.noisy_codes import Candidates, NoisyCodes
from mechanisms.training.prompt_examples import initial_vectors
from mechanisms.training.prompt_settings import PromptTraining
from mechanisms.validation import at_least

CODES_FILE = "encoder.safetensors"


@dataclass(frozen=True, slots=True)
class CodesTraining:
    """How codes are trained. A window of a document is cut at random: its head is released, its tail is predicted.

    start: the closed form that training starts from. information: weight of the posterior's own loss, nats a prompt
    token: it keeps words apart that the response does not ask for yet. squared_error: weight of the posterior mean's
    relative squared error. decoder: what the model reads, the most likely word or the posterior mean; the gradient is
    the posterior mean's for both (straight through), since a choice has none. common, drawn: words of a step's
    posterior, see Candidates. virtual_tokens: of the soft prompt.
    Raises UserError for values out of range.
    """

    steps: int = 200
    batch: int = 4
    window: int = 128
    shortest_prompt: int = 32
    shortest_response: int = 32
    learning_rate: float = 3e-2
    warm_up: int = 10
    decay: Literal["linear", "constant"] = "linear"
    virtual_tokens: int = 20
    decoder: DecoderName = "most-likely"
    information: float = 0.2
    squared_error: float = 0.5
    common: int = 8192
    drawn: int = 4096
    start: EncoderSettings = field(default_factory=lambda: EncoderSettings(kind="corners"))
    initial_text: str = (
        "The following is a noisy and scrambled text; continue it as its writer would, on the same topic."
    )
    validation_documents: int = 0
    validate_every: int = 50
    patience: int = 0
    checkpoint_every: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "shortest_prompt", "shortest_response", "virtual_tokens", "common"):
            at_least(name, getattr(self, name), 1)
        if self.decoder not in (allowed := decoders_that_train_codes()):
            raise UserError(f"Expected decoder to be one of {', '.join(allowed)}, got decoder={self.decoder!r}.")
        for name in ("information", "squared_error", "drawn", "validation_documents"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"Expected {name} >= 0, got {name}={getattr(self, name)}.")
        shortest = self.shortest_prompt + self.shortest_response
        if self.window < shortest:
            raise UserError(f"Expected window >= {shortest}, shortest prompt and response, got window={self.window}.")
        _ = self.plan

    @property
    def plan(self) -> LoopPlan:
        """The loop's part of the settings."""
        return LoopPlan(
            self.steps,
            self.learning_rate,
            self.warm_up,
            self.decay,
            validate_every=self.validate_every if self.validation_documents else 0,
            patience=self.patience,
            checkpoint_every=self.checkpoint_every,
            title="training the codes",
        )

    @property
    def prompt(self) -> PromptTraining:
        """What the soft prompt starts from."""
        return PromptTraining(virtual_tokens=self.virtual_tokens, initial_text=self.initial_text, seed=self.seed)


def train_codes(
    language: LanguageModel,
    specs: Sequence[QuantizerSpec],
    documents: Sequence[Sequence[int]],
    settings: CodesTraining,
    folder: Path,
    about: Mapping[str, Json],
    *,
    fresh: bool = False,
) -> History:
    """Trains codes and a soft prompt, writes an encoder's file and a PEFT adapter to folder, and returns the history.

    specs: one quantizer, or several of one dim and clip of which each step draws one. documents: tokenized public text;
    about: what the card says of it. The posterior is under these documents' unigram prior, and the mean has gain 1.
    Goes on from folder.partial as `run` does. Raises UserError for no specs, specs of different dims or clips, empty
    or too few long documents, a window over the context, and as `run` does.
    """
    require_tokens(documents)
    _require_alike(specs)
    if settings.window + settings.virtual_tokens > language.context_tokens:
        raise UserError(
            f"Expected window <= {language.context_tokens - settings.virtual_tokens}, the context less "
            f"{settings.virtual_tokens} virtual tokens, got window={settings.window}."
        )
    training, held_out = split_long_enough(
        documents,
        settings.shortest_prompt + settings.shortest_response,
        settings.batch,
        settings.validation_documents,
        settings.seed,
    )
    objective = _Objective(language, specs, documents, settings)

    def step(number: int) -> Tensor:
        generator = simulation_generator(settings.seed, "codes batches", str(number))
        chosen = generator.choice(len(training), settings.batch, replace=False)
        return objective.loss([training[index] for index in chosen], str(number))[0]

    def validate() -> float:
        parts = [held_out[at : at + settings.batch] for at in range(0, len(held_out), settings.batch)]
        losses = [float(objective.loss(part, f"validation {at}")[1]) * len(part) for at, part in enumerate(parts)]
        return sum(losses) / len(held_out)

    trained = {name: value for name, value in asdict(settings).items() if name != "checkpoint_every"}
    card: dict[str, Json] = {
        "base_model": language.record.to_dict(),
        **about,
        "mechanisms": [
            {"name": "DEL", "fingerprint": spec.fingerprint.hex(), "spec": spec.to_dict()} for spec in specs
        ],
        "width": objective.table.shape[1],
        "training": trained,
        "documents_sha256": documents_sha256(documents),
    }

    def write(beside: Path) -> None:
        made_for = EncoderCard(language.record.name, language.record.sha256, specs[0], {"training": trained})
        save_encoder(beside / CODES_FILE, objective.codes.encoder(), made_for)
        save_soft_prompt(objective.virtual, language, beside)

    return run(
        step,
        {"codes": objective.codes.parameters, "prompt_embeddings": objective.virtual},
        settings.plan,
        folder,
        card,
        validate=validate if held_out else None,
        write=write,
        fresh=fresh,
    )


class _Objective:
    """What is minimised: the response's loss behind the soft prompt and the decoded release, and two helpers' terms."""

    def __init__(
        self,
        language: LanguageModel,
        specs: Sequence[QuantizerSpec],
        documents: Sequence[Sequence[int]],
        settings: CodesTraining,
    ) -> None:
        self._language, self._specs, self._settings = language, specs, settings
        self.table = torch.from_numpy(embedding_table(language.model))
        words = len(self.table)
        prior = unigram_prior(documents, words)
        self._candidates = Candidates(prior, min(settings.common, words), settings.drawn)
        self._mean = torch.from_numpy(prior).float() @ self.table
        self.codes = NoisyCodes(fit_codes(self.table.numpy(), prior, specs[0], settings.start), specs[0].clip)
        self.virtual = initial_vectors(language, settings.prompt).cpu().requires_grad_()

    def loss(self, documents: Sequence[Sequence[int]], purpose: str) -> tuple[Tensor, Tensor]:
        """Returns what is minimised and the response's loss alone, nats a token, for one fresh release of each."""
        generator = simulation_generator(self._settings.seed, "codes draws", purpose)
        spec = self._specs[int(generator.integers(len(self._specs)))]
        heads, tails = zip(*(self._cut(document, generator) for document in documents), strict=True)
        tokens = np.concatenate([np.asarray(head, dtype=np.int64) for head in heads])
        words, log_prior = self._candidates.choose(tokens, generator)
        source = SimulatedRandomness(self._settings.seed, "codes noise", purpose)
        log_posterior = self.codes.log_posterior(spec, tokens, words, log_prior, source)
        decoded = log_posterior.exp() @ self.table[words]
        rows = torch.arange(len(tokens))
        information = -log_posterior[rows, torch.searchsorted(words, torch.from_numpy(tokens))].mean()
        true = self.table[torch.from_numpy(tokens)]
        error = ((decoded - true) ** 2).sum() / ((self._mean - true) ** 2).sum()
        if DECODERS[self._settings.decoder].trains_codes == "word":
            read = self.table[words[log_posterior.argmax(dim=1)]]
            decoded = decoded + (read - decoded).detach()
        prefixes = [
            torch.cat([self.virtual, part]).to(self._language.model.device)
            for part in torch.split(decoded, [len(head) for head in heads])
        ]
        response = torch.cat(response_losses(self._language.model, prefixes, tails)).mean().cpu()
        weighted = self._settings.information * information + self._settings.squared_error * error
        return response + weighted, response

    def _cut(self, document: Sequence[int], generator: Generator) -> tuple[Sequence[int], Sequence[int]]:
        window = document[: self._settings.window]
        longest = len(window) - self._settings.shortest_response
        cut = int(generator.integers(self._settings.shortest_prompt, longest + 1))
        return window[:cut], window[cut:]


def _require_alike(specs: Sequence[QuantizerSpec]) -> None:
    """Raises UserError for no specs, and for specs that one table of codes cannot serve."""
    if not specs:
        raise UserError("Expected at least one quantizer to train codes for, got none.")
    for name in ("dim", "clip"):
        values = sorted({getattr(spec, name) for spec in specs})
        if len(values) > 1:
            raise UserError(f"Expected quantizers of one {name}, got {name} in {values}.")
