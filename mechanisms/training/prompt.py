"""Prompt tuning of the soft prompt on public text, with the mechanism's noise on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from mechanisms.canonical_json import Json
from mechanisms.mechanism import Mechanism
from mechanisms.models import LanguageModel
from mechanisms.randomness import simulation_generator
from mechanisms.soft_prompt import SoftPrompt, save_soft_prompt
from mechanisms.training.documents import documents_sha256, require_tokens, split_long_enough
from mechanisms.training.loop import History, run
from mechanisms.training.prompt_examples import PromptExamples, initial_vectors
from mechanisms.training.prompt_settings import PromptTraining


def train_soft_prompt(
    language: LanguageModel,
    mechanisms: Mechanism | Sequence[Mechanism],
    documents: Sequence[Sequence[int]],
    settings: PromptTraining,
    folder: Path,
    about: Mapping[str, Json],
    *,
    start: SoftPrompt | None = None,
    fresh: bool = False,
) -> History:
    """Trains a soft prompt, writes it to folder as a PEFT adapter with a JSON card, and returns the history.

    mechanisms: one, or several of which each step draws one: a soft prompt for a range of noise. documents: tokenized
    public text. about: what the card says of the data and the configuration. start: the soft prompt that training
    starts from where init is "configured"; the card names its sha256. Goes on from folder.partial as `run` does.
    Raises UserError for empty or too few long documents, a window that does not fit the context behind the virtual
    tokens, and as `run` does.
    """
    require_tokens(documents)
    several = tuple(mechanisms) if isinstance(mechanisms, Sequence) else (mechanisms,)
    training, held_out = split_long_enough(
        documents,
        settings.shortest_prompt + settings.shortest_response,
        settings.batch,
        settings.validation_documents,
        settings.seed,
    )
    examples = PromptExamples(language, several, settings)
    virtual = initial_vectors(language, settings, start).requires_grad_()

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
        {**prompt_card(language, several, settings, about, start), "documents_sha256": documents_sha256(documents)},
        validate=examples.validation(virtual, held_out) if held_out else None,
        write=lambda beside: save_soft_prompt(virtual, language, beside),
        fresh=fresh,
    )


def prompt_card(
    language: LanguageModel,
    mechanisms: Sequence[Mechanism],
    settings: PromptTraining,
    about: Mapping[str, Json],
    start: SoftPrompt | None,
) -> dict[str, Json]:
    """Returns what names a soft prompt: what it was trained for and how.

    Its keys are those of about, then `mechanisms`, `width`, `training`, for init "configured" `start`, the sha256 of
    the soft prompt that it started from, and, unless about has it, `base_model`.
    """
    made_for = [
        {"name": mechanism.name, "fingerprint": mechanism.spec.fingerprint.hex(), "spec": mechanism.spec.to_dict()}
        for mechanism in mechanisms
    ]
    trained = {name: value for name, value in asdict(settings).items() if name != "checkpoint_every"}
    width = language.model.get_input_embeddings().weight.shape[1]
    base = {"base_model": language.record.to_dict()}
    started: dict[str, Json] = {"start": start.sha256} if start is not None and settings.init == "configured" else {}
    return {**base, **about, "mechanisms": made_for, "width": width, "training": trained, **started}
