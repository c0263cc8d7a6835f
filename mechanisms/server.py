"""The server: messages in, text out. It is given nothing of a prompt but its message."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanisms.continuation import embed, score
from mechanisms.errors import UserError
from mechanisms.generation import GenerationSettings, stream_texts, write
from mechanisms.mechanism import Receiver, embeddings_of
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel
from mechanisms.progress import Progress
from mechanisms.soft_prompt import SoftPrompt
from mechanisms.text_pieces import text_of


class Server:
    """Decodes messages, puts the soft prompt in front, and runs the frozen language model through inputs_embeds.

    receiver: the server's half of the mechanism that the clients run.
    """

    def __init__(self, language: LanguageModel, receiver: Receiver, soft_prompt: SoftPrompt | None) -> None:
        self._model = language.model
        self._tokenizer = language.tokenizer
        self._receiver = receiver
        self._context = language.context_tokens
        opening = embed(self._model, opening_tokens(self._model))
        self._virtual = soft_prompt.vectors.to(opening) if soft_prompt else opening

    def prefix(self, message: bytes | None) -> Tensor:
        """Returns what the model reads before it answers, shape (virtual tokens + tokens, width), as the model has it.

        message: None is a request without a prompt, the control of theorem 12.
        Raises UserError for a message that the receiver refuses.
        """
        return self._prefixes([message])[0]

    def _prefixes(self, messages: Sequence[bytes | None]) -> list[Tensor]:
        """Returns the prefix of each message, one object for equal ones; the receiver is given all of them at once."""
        if not len(self._virtual) and any(message is None for message in messages):
            raise UserError("Expected a prompt: this model has neither a soft prompt nor an opening token.")
        different = [message for message in dict.fromkeys(messages) if message is not None]
        decoded = zip(different, embeddings_of(self._receiver, different), strict=True)
        prefixes = {message: torch.cat([self._virtual, self._like_model(rows)]) for message, rows in decoded}
        return [self._virtual if message is None else prefixes[message] for message in messages]

    def _like_model(self, decoded: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(decoded).to(self._virtual)

    def _prefixes_with_room(self, messages: Sequence[bytes | None], new_tokens: int) -> list[Tensor]:
        """Returns the prefixes; raises UserError where virtual, prompt and new tokens do not fit the context."""
        prefixes, limit, virtual = self._prefixes(messages), self._context, len(self._virtual)
        longest = max(map(len, prefixes), default=0)
        if longest + new_tokens > limit:
            raise UserError(
                f"Expected virtual, prompt and new tokens of at most {limit}, the model's context, got "
                f"{virtual} + {longest - virtual} + {new_tokens} = {longest + new_tokens}."
            )
        return prefixes

    def write(self, messages: Sequence[bytes | None], settings: GenerationSettings) -> list[str]:
        """Returns one text a message, written in batches; no text depends on the messages beside it.

        Raises UserError for a message that the receiver refuses, and where virtual, prompt and new tokens together do
        not fit the model's context.
        """
        written = write(self._model, self._prefixes_with_room(messages, settings.new_tokens), settings)
        return [text_of(self._tokenizer, tokens) for tokens in written]

    def answer(self, messages: Sequence[bytes | None], new_tokens: int, seed: int) -> list[str]:
        """Returns one continuation a message, at most new_tokens tokens each, sampled as in the paper."""
        return self.write(messages, GenerationSettings(new_tokens, seed=seed))

    def stream(self, message: bytes | None, settings: GenerationSettings) -> Iterator[str]:
        """Yields the text after a message piece by piece as it is written; the pieces add up to what `write` returns.

        A piece comes as soon as no later token can change it. A tokenizer that is written in Python, or whose decoder
        rewrites text across tokens, may change all of it: then the text is one piece, at the end.
        Raises UserError as `write` does, at once.
        """
        return (piece for _, piece in self.stream_all([message], settings))

    def stream_all(self, messages: Sequence[bytes | None], settings: GenerationSettings) -> Iterator[tuple[int, str]]:
        """Yields (index of the message, piece of its text) for texts that are written side by side; as `stream`."""
        prefixes = self._prefixes_with_room(messages, settings.new_tokens)
        return stream_texts(self._model, self._tokenizer, prefixes, settings)

    def losses(
        self, messages: Sequence[bytes | None], responses: Sequence[Sequence[int]], progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """Returns the mean next-token loss of each response after its message, nats a token, shape (messages,).

        A message that is given several times is decoded and read once.
        """
        return score(self._model, self._prefixes(messages), responses, progress)
