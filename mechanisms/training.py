"""Prompt tuning of the soft prompt on public text, with the mechanism's noise on."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from tqdm import tqdm

from mechanisms.client import Client
from mechanisms.continuation import embed, response_losses
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedWords, simulation_generator
from mechanisms.soft_prompt import CARD_FILE


@dataclass(frozen=True, slots=True)
class PromptTraining:
    """How a soft prompt is trained. Documents are cut to window tokens; a random share of them is the noisy prompt."""

    steps: int = 150
    batch: int = 4
    learning_rate: float = 1e-2
    warm_up: int = 10
    virtual_tokens: int = 20
    window: int = 112
    shortest_prompt: int = 16
    shortest_response: int = 16
    seed: int = 0
    initial_text: str = (
        "The following is a noisy and scrambled drug review; continue it as its writer would, on the same topic."
    )

    def __post_init__(self) -> None:
        whole = ("steps", "batch", "warm_up", "virtual_tokens", "shortest_prompt", "shortest_response")
        for name in whole:
            if getattr(self, name) < 1:
                raise UserError(f"Expected {name} >= 1, got {name}={getattr(self, name)}.")
        shortest = self.shortest_prompt + self.shortest_response
        if self.window < shortest:
            raise UserError(f"Expected window >= {shortest}, shortest prompt and response, got window={self.window}.")
        if not self.initial_text:
            raise UserError("Expected initial_text to hold at least one word, got an empty text.")


def train_soft_prompt(
    language: LanguageModel,
    pipeline: Pipeline,
    documents: Sequence[Sequence[int]],
    settings: PromptTraining,
    folder: Path,
    about: dict[str, Any],
) -> list[float]:
    """Trains a soft prompt, writes it to folder as a PEFT adapter with a JSON card, returns the loss of each step.

    documents: tokenized public text. about: what the card says of the data and the configuration.
    The folder appears whole or not at all. Raises UserError for too few long documents and a folder that exists.
    """
    if folder.exists():
        raise UserError(f"Expected a folder that does not exist yet, got {folder}.")
    shortest = settings.shortest_prompt + settings.shortest_response
    long_enough = [document for document in documents if len(document) >= shortest]
    if len(long_enough) < settings.batch:
        raise UserError(f"Expected {settings.batch} documents of {shortest} tokens or more, got {len(long_enough)}.")
    tuned = get_peft_model(
        language.model,
        PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=settings.virtual_tokens,
            prompt_tuning_init=PromptTuningInit.RANDOM,
        ),
    )
    virtual = tuned.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        virtual.copy_(_initial_vectors(language, settings))
    losses = _optimise(language, pipeline, long_enough, settings, virtual)
    card = {**about, "training": asdict(settings), "loss_first_10": losses[:10], "loss_last_10": losses[-10:]}
    tuned.peft_config["default"].base_model_name_or_path = language.record.name
    _write(tuned, card, folder)
    return losses


def _initial_vectors(language: LanguageModel, settings: PromptTraining) -> torch.Tensor:
    """Returns the embeddings of the initial text, repeated to the number of virtual tokens."""
    tokens = language.tokenizer(settings.initial_text, add_special_tokens=False).input_ids
    repeated = (tokens * settings.virtual_tokens)[: settings.virtual_tokens]
    return embed(language.model, repeated).detach().clone()


def _optimise(
    language: LanguageModel,
    pipeline: Pipeline,
    documents: Sequence[Sequence[int]],
    settings: PromptTraining,
    virtual: torch.nn.Parameter,
) -> list[float]:
    """Runs AdamW with linear warm-up and decay; every step releases its prompts anew."""
    choice = simulation_generator(settings.seed, "soft prompt batches")
    words = SimulatedWords(settings.seed, "soft prompt noise")
    client = Client(language.tokenizer, pipeline, language.context_tokens, words)
    optimiser = torch.optim.AdamW([virtual], lr=settings.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / settings.warm_up, 1.0) * (1 - step / settings.steps)
    )
    losses: list[float] = []
    for _ in tqdm(range(settings.steps), desc="training the soft prompt", unit="step"):
        prefixes, responses = [], []
        for index in choice.choice(len(documents), settings.batch, replace=False):
            window = documents[index][: settings.window]
            cut = int(choice.integers(settings.shortest_prompt, len(window) - settings.shortest_response + 1))
            message = client.release_tokens(window[:cut])
            decoded = torch.from_numpy(pipeline.embeddings(message))
            prefixes.append(torch.cat([virtual, decoded]))
            responses.append(window[cut:])
        loss = torch.cat(response_losses(language.model, prefixes, responses)).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses


def _write(tuned: Any, card: dict[str, Any], folder: Path) -> None:
    """Writes adapter and card beside the folder, then renames."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        tuned.save_pretrained(beside, safe_serialization=True)
        (beside / "README.md").unlink(missing_ok=True)
        (beside / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf8")
        for path in (beside, *beside.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
