"""The server: messages in, text out. It is given nothing of a prompt but its message."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanisms.continuation import embed, generate, score
from mechanisms.errors import UserError
from mechanisms.mechanism import Receiver
from mechanisms.models import LanguageModel
from mechanisms.soft_prompt import SoftPrompt


class Server:
    """Decodes messages, puts the soft prompt in front, and runs the frozen language model through inputs_embeds.

    receiver: the server's half of the mechanism that the clients run.
    """

    def __init__(self, language: LanguageModel, receiver: Receiver, soft_prompt: SoftPrompt | None) -> None:
        self._model: Any = language.model
        self._tokenizer = language.tokenizer
        self._receiver = receiver
        self._virtual = soft_prompt.vectors if soft_prompt else embed(self._model, self._opening())

    def _opening(self) -> list[int]:
        """Returns the tokens that stand in front where there is no soft prompt."""
        begin = self._model.config.bos_token_id
        return [] if begin is None else [begin]

    def prefix(self, message: bytes | None) -> Tensor:
        """Returns what the model reads before it answers, float32, shape (virtual tokens + tokens, width).

        message: None is a request without a prompt, the control of theorem 12.
        Raises UserError for a message that the receiver refuses.
        """
        if message is None:
            if not len(self._virtual):
                raise UserError("Expected a prompt: this model has neither a soft prompt nor an opening token.")
            return self._virtual
        decoded = torch.from_numpy(self._receiver.embeddings(message))
        return torch.cat([self._virtual, decoded.to(self._virtual.device)])

    def answer(self, messages: Sequence[bytes | None], new_tokens: int, seed: int) -> list[str]:
        """Returns one sampled continuation a message, at most new_tokens tokens each."""
        written = generate(self._model, [self.prefix(message) for message in messages], new_tokens, seed)
        return [self._tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written]

    def losses(
        self, messages: Sequence[bytes | None], responses: Sequence[Sequence[int]], progress: Any = None
    ) -> NDArray[np.float64]:
        """Returns the mean next-token loss of each response after its message, nats a token, shape (messages,)."""
        return score(self._model, [self.prefix(message) for message in messages], responses, progress)
