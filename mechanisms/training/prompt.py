"""Prompt tuning of the soft prompt on public text, with the mechanism's noise on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mechanisms.errors import UserError
from mechanisms.mechanism import Mechanism
from mechanisms.models import LanguageModel
from mechanisms.randomness import simulation_generator
from mechanisms.soft_prompt import save_soft_prompt
from mechanisms.training.documents import documents_sha256, hold_out, require_tokens
from mechanisms.training.loop import History, LoopPlan, run
from mechanisms.training.prompt_examples import PromptExamples, initial_vectors


@dataclass(frozen=True, slots=True)
class PromptTraining:
    """How a soft prompt is trained. Documents are cut to window tokens; a random share of them is the noisy prompt.

    prompt_share: range of that share, (0.03, 0.2) in the paper; None cuts anywhere. No prompt is below shortest_prompt
    tokens and no response below shortest_response. init: "text" starts from the embeddings of initial_text, "random"
    from those of words drawn uniformly. validation_documents: held out by lot, scored every validate_every steps;
    patience and checkpoint_every as of LoopPlan. Raises UserError for values out of range.
    """

    steps: int = 150
    batch: int = 4
    learning_rate: float = 1e-2
    warm_up: int = 10
    decay: Literal["linear", "constant"] = "linear"
    virtual_tokens: int = 20
    window: int = 112
    shortest_prompt: int = 16
    shortest_response: int = 16
    prompt_share: tuple[float, float] | None = None
    init: Literal["text", "random"] = "text"
    initial_text: str = (
        "The following is a noisy and scrambled drug review; continue it as its writer would, on the same topic."
    )
    validation_documents: int = 0
    validate_every: int = 50
    patience: int = 0
    checkpoint_every: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "warm_up", "virtual_tokens", "shortest_prompt", "shortest_response"):
            if getattr(self, name) < 1:
                raise UserError(f"Expected {name} >= 1, got {name}={getattr(self, name)}.")
        shortest = self.shortest_prompt + self.shortest_response
        if self.window < shortest:
            raise UserError(f"Expected window >= {shortest}, shortest prompt and response, got window={self.window}.")
        if self.init not in ("text", "random"):
            raise UserError(f"Expected init to be text or random, got init={self.init!r}.")
        if not self.initial_text:
            raise UserError("Expected initial_text to hold at least one word, got an empty text.")
        if self.validation_documents < 0:
            raise UserError(f"Expected validation_documents >= 0, got {self.validation_documents}.")
        if self.prompt_share is not None and not 0 < self.prompt_share[0] <= self.prompt_share[1] < 1:
            raise UserError(f"Expected prompt_share as 0 < least <= most < 1, got prompt_share={self.prompt_share}.")
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
            title="training the soft prompt",
        )


def train_soft_prompt(
    language: LanguageModel,
    mechanisms: Mechanism | Sequence[Mechanism],
    documents: Sequence[Sequence[int]],
    settings: PromptTraining,
    folder: Path,
    about: Mapping[str, Any],
    *,
    fresh: bool = False,
) -> History:
    """Trains a soft prompt, writes it to folder as a PEFT adapter with a JSON card, and returns the history.

    mechanisms: one, or several of which each step draws one: a soft prompt for a range of noise. documents: tokenized
    public text. about: what the card says of the data and the configuration. Goes on from folder.partial as `run` does.
    Raises UserError for empty or too few long documents, a window that does not fit the context behind the virtual
    tokens, and as `run` does.
    """
    require_tokens(documents)
    several = tuple(mechanisms) if isinstance(mechanisms, Sequence) else (mechanisms,)
    training, held_out = _split(documents, settings)
    examples = PromptExamples(language, several, settings)
    virtual = initial_vectors(language, settings).requires_grad_()

    def step(number: int) -> Tensor:
        generator = simulation_generator(settings.seed, "soft prompt batches", str(number))
        chosen = generator.choice(len(training), settings.batch, replace=False)
        losses = examples.losses(virtual, [(str(index), training[index]) for index in chosen.tolist()], number)
        return torch.cat(losses).mean()

    return run(
        step,
        {"prompt_embeddings": virtual},
        settings.plan,
        folder,
        {**prompt_card(language, several, settings, about), "documents_sha256": documents_sha256(documents)},
        validate=examples.validation(virtual, held_out) if held_out else None,
        write=lambda beside: save_soft_prompt(virtual, language, beside),
        fresh=fresh,
    )


def prompt_card(
    language: LanguageModel, mechanisms: Sequence[Mechanism], settings: PromptTraining, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what names a soft prompt: what it was trained for and how.

    Its keys are those of about, then `mechanisms`, `width`, `training` and, unless about has it, `base_model`.
    """
    made_for = [
        {"name": mechanism.name, "fingerprint": mechanism.spec.fingerprint.hex(), "spec": mechanism.spec.to_dict()}
        for mechanism in mechanisms
    ]
    trained = {name: value for name, value in asdict(settings).items() if name != "checkpoint_every"}
    width = language.model.get_input_embeddings().weight.shape[1]
    base = {"base_model": language.record.to_dict()}
    return {**base, **about, "mechanisms": made_for, "width": width, "training": trained}


def _split(
    documents: Sequence[Sequence[int]], settings: PromptTraining
) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Returns the documents to train on and those held out, all of them long enough."""
    shortest = settings.shortest_prompt + settings.shortest_response
    long_enough = [document for document in documents if len(document) >= shortest]
    needed = settings.batch + settings.validation_documents
    if len(long_enough) < needed:
        raise UserError(f"Expected {needed} documents of {shortest} tokens or more, got {len(long_enough)}.")
    return hold_out(long_enough, settings.validation_documents, settings.seed)
