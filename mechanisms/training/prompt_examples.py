"""Documents as the soft prompt meets them in training: a released, noisy prompt, and the response to predict."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mechanisms.client import Client
from mechanisms.continuation import embed, response_losses
from mechanisms.errors import UserError
from mechanisms.mechanism import Mechanism
from mechanisms.models import LanguageModel
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.soft_prompt import SoftPrompt
from mechanisms.training.prompt_settings import PromptTraining

VALIDATION_BATCH = 8


class PromptExamples:
    """Makes examples, and their losses behind virtual tokens. What is random is drawn from (seed, step, label).

    Raises UserError for a window that does not fit the model's context behind the virtual tokens.
    """

    def __init__(self, language: LanguageModel, mechanisms: Sequence[Mechanism], settings: PromptTraining) -> None:
        if not mechanisms:
            raise UserError("Expected at least one mechanism to train for, got none.")
        longest = language.context_tokens - settings.virtual_tokens
        if settings.window > longest:
            raise UserError(
                f"Expected window <= {longest}, the model's context of {language.context_tokens} less "
                f"{settings.virtual_tokens} virtual tokens, got window={settings.window}."
            )
        self._language, self._mechanisms, self._settings = language, mechanisms, settings

    def losses(self, virtual: Tensor, documents: Sequence[tuple[str, Sequence[int]]], step: int) -> list[Tensor]:
        """Returns the response's losses for each document, nats, differentiable in virtual.

        virtual: shape (virtual tokens, width), or (documents, virtual tokens, width) with a copy for each document.
        documents: each with the label that names its random draws.
        """
        return self.repeated(virtual, documents, step)()

    def repeated(
        self, virtual: Tensor, documents: Sequence[tuple[str, Sequence[int]]], step: int
    ) -> Callable[[], list[Tensor]]:
        """Returns a function of what `losses` returns, each call of which scores the same releases."""
        level = simulation_generator(self._settings.seed, "soft prompt level", str(step))
        mechanism = self._mechanisms[int(level.integers(len(self._mechanisms)))]
        copies = virtual if virtual.ndim == 3 else virtual.expand(len(documents), -1, -1)
        made = [self._example(mechanism, document, f"{step} {label}") for label, document in documents]
        return lambda: self._scored(copies, made)

    def validation(self, virtual: Tensor, documents: Sequence[Sequence[int]]) -> Callable[[], float]:
        """Returns a function of the mean loss a token on documents that are always released and cut the same way.

        The mechanisms take turns over the documents.
        """
        made = [
            self._example(self._mechanisms[index % len(self._mechanisms)], document, f"validation {index}")
            for index, document in enumerate(documents)
        ]

        def mean_loss() -> float:
            losses: list[Tensor] = []
            for start in range(0, len(made), VALIDATION_BATCH):
                part = made[start : start + VALIDATION_BATCH]
                losses += self._scored(virtual.detach().expand(len(part), -1, -1), part)
            return float(torch.cat(losses).double().mean())

        return mean_loss

    def _example(self, mechanism: Mechanism, document: Sequence[int], purpose: str) -> tuple[Tensor, list[int]]:
        """Returns the decoded prompt, shape (tokens, width), and the response of one document."""
        settings = self._settings
        window = list(document[: settings.window])
        longest = len(window) - settings.shortest_response
        generator = simulation_generator(settings.seed, "soft prompt cut", purpose)
        if settings.prompt_share is None:
            cut = int(generator.integers(settings.shortest_prompt, longest + 1))
        else:
            share = generator.uniform(*settings.prompt_share)
            cut = min(max(round(share * len(window)), settings.shortest_prompt), longest)
        words = SimulatedRandomness(settings.seed, "soft prompt noise", purpose)
        client = Client(self._language.tokenizer, mechanism, settings.window, words)
        decoded = torch.from_numpy(mechanism.embeddings(client.release_tokens(window[:cut])))
        return decoded, window[cut:]

    def _scored(self, copies: Tensor, made: Sequence[tuple[Tensor, list[int]]]) -> list[Tensor]:
        model = self._language.model
        prefixes = [
            torch.cat([virtual, decoded.to(virtual)]).to(model.dtype)
            for virtual, (decoded, _) in zip(copies, made, strict=True)
        ]
        return response_losses(model, prefixes, [response for _, response in made])


def initial_vectors(language: LanguageModel, settings: PromptTraining, start: SoftPrompt | None = None) -> Tensor:
    """Returns where the virtual tokens start, float32, shape (virtual tokens, width).

    start: the soft prompt of init "configured". Raises UserError where it is missing or has other virtual tokens.
    """
    count = settings.virtual_tokens
    if settings.init == "configured":
        if start is None:
            raise UserError("Expected a soft prompt to start from (init=configured), got none. Use init=text.")
        if len(start.vectors) != count:
            raise UserError(
                f"Expected virtual_tokens={len(start.vectors)}, those of {start.name}, got virtual_tokens={count}."
            )
        return start.vectors.detach().float().clone()
    if settings.init == "text":
        tokens = language.tokenizer(settings.initial_text, add_special_tokens=False).input_ids
        chosen = (tokens * count)[:count]
    else:
        words = language.model.get_input_embeddings().weight.shape[0]
        chosen = simulation_generator(settings.seed, "soft prompt start").integers(0, words, count).tolist()
    return embed(language.model, chosen).detach().float().clone()
