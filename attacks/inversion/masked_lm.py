"""Input inference, the paper's second attack: mask each token of a reconstruction, ask a language model for it.

It is an attack on what the context gives away: of the masked token itself nothing that was released is used.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from attacks.base import Attacker, AttackerKnowledge, AttackOptions, InversionAttack
from attacks.inversion.causal_stand_in import CausalStandIn
from attacks.inversion.nearest import CosineNeighbour
from attacks.inversion.word_pieces import WordPieces
from attacks.ranking import DEPTH, Guesses, best_words
from attacks.registry import version_of
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.masked_models import MaskedLanguageModel, load_masked_lm
from mechanisms.models import LanguageModel
from mechanisms.text_pieces import texts_inside


class Filler(Protocol):
    """Whatever says which word stands at a place, from the words around it."""

    def fill(self, tokens: NDArray[np.int64]) -> Guesses:
        """Returns the guesses for each token of a prompt, none of which looks at that token."""
        ...


@dataclass(frozen=True, slots=True)
class InputInference:
    """A masked language model reads a reconstructed prompt with one token left out at a time.

    masked_lm: a hub name or a local folder; None lets the public causal language model stand in, and the name says so.
    reading: the attack that reconstructs the prompt; the paper's is the cosine neighbour. reach: tokens that are read
    on either side. candidates, right: of the stand-in, as CausalStandIn. batch: masked places that are read at once.
    Raises UserError for values out of range.
    """

    masked_lm: str | None = None
    reading: InversionAttack = field(default_factory=CosineNeighbour)
    version: int = version_of("inference")
    context_free: ClassVar[bool] = False
    depth: int = DEPTH
    reach: int = 64
    candidates: int = 16
    right: int = 8
    batch: int = 8

    def __post_init__(self) -> None:
        for name in ("depth", "reach", "candidates", "right", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"Expected {name} >= 1, got {name}={getattr(self, name)}.")

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' masked language model."""
        return cls(options.masked_lm)

    @property
    def name(self) -> str:
        """What reports call it; it says which reconstruction was read, and whether a causal model stood in."""
        reader = "causal LM stands in" if self.masked_lm is None else "masked LM"
        return f"input inference ({reader}, over {self.reading.name})"

    @property
    def note(self) -> str:
        """What a report adds to the name."""
        if self.masked_lm is not None:
            return f"Masked language model: {self.masked_lm}."
        return (
            "No masked language model was given: the causal one stands in, its candidates after the left context "
            f"rescored by the {self.right} tokens to the right."
        )

    def ceiling(self, public: AttackerKnowledge, prompts: Sequence[Sequence[int]]) -> float:
        """Returns the share of the prompts' tokens that are inferred from the prompts themselves: no release does more.

        Raises UserError as fit does.
        """
        filler = self.fit(public).filler
        found = [filler.fill(np.asarray(prompt, dtype=np.int64)).best == np.asarray(prompt) for prompt in prompts]
        return float(np.concatenate(found).mean())

    def require(self, language: LanguageModel | None, documents: Sequence[Sequence[int]], longest: int) -> None:
        """Raises UserError as fit does."""
        if language is None:
            raise UserError("Expected a public language model, whose tokenizer tells words from tokens, got none.")
        if self.masked_lm is None:
            CausalStandIn(language, self.candidates, self.right, self.reach)
        else:
            _loaded(self.masked_lm, language.device)

    def fit(self, public: AttackerKnowledge) -> "InferringAttacker":
        """Returns the attacker; raises UserError without a public language model, and as load_masked_lm does."""
        if public.language is None:
            raise UserError("Expected a public language model, whose tokenizer tells words from tokens, got none.")
        filler: Filler
        if self.masked_lm is None:
            filler = CausalStandIn(public.language, min(self.candidates, public.words), self.right, self.reach)
        else:
            model = _loaded(self.masked_lm, public.language.device)
            pieces = WordPieces.of(model.tokenizer, public.language.tokenizer, public.prior)
            filler = MaskedFiller(model, public.language.tokenizer, pieces, self.depth, self.reach, self.batch)
        return InferringAttacker(self.reading.fit(public), filler)


@functools.lru_cache(maxsize=1)
def _loaded(name: str, device: str) -> MaskedLanguageModel:
    """Returns load_masked_lm of the name on a device; of one run's self-tests and attacks the first alone loads it."""
    return load_masked_lm(name, device)


@dataclass(frozen=True, slots=True)
class InferringAttacker:
    """Reconstructs each prompt, then infers each of its tokens from the others."""

    reader: Attacker
    filler: Filler

    def guess(self, messages: Sequence[bytes]) -> list[Guesses]:
        """Returns the guesses for each message."""
        return [self.filler.fill(read.best) for read in self.reader.guess(messages)]


@dataclass(frozen=True, slots=True)
class MaskedFiller:
    """A masked language model over the text of a prompt.

    tokenizer: of the prompt's tokens. pieces: from the model's pieces to those tokens.
    """

    model: MaskedLanguageModel
    tokenizer: PreTrainedTokenizerBase
    pieces: WordPieces
    depth: int
    reach: int
    batch: int

    def fill(self, tokens: NDArray[np.int64]) -> Guesses:
        """Returns the guesses for each token; their scores are log probabilities over the prompt's vocabulary."""
        asked = [self._ask(tokens, place) for place in range(len(tokens))]
        depth = min(self.depth, self.pieces.words)
        words, scores = np.empty((len(tokens), depth), np.int32), np.empty((len(tokens), depth), np.float32)
        for start in range(0, len(asked), self.batch):
            part = asked[start : start + self.batch]
            logs = self._answer([inputs for inputs, _, _ in part], [place for _, place, _ in part])
            rows = slice(start, start + len(part))
            words[rows], scores[rows] = best_words(self.pieces.scores(logs, [opens for *_, opens in part]), depth)
        return Guesses(words, scores)

    def _ask(self, tokens: NDArray[np.int64], place: int) -> tuple[list[int], int, bool]:
        """Returns the model's input with a mask at one place, where the mask stands, and whether a word opens there."""
        parts = (tokens[max(0, place - self.reach) : place], tokens[place + 1 : place + 1 + self.reach])
        left = self.tokenizer.decode(parts[0].tolist(), clean_up_tokenization_spaces=False)
        right = texts_inside(self.tokenizer, [parts[1].tolist()])[0]
        tokenizer, mask = self.model.tokenizer, self.model.mask
        frame = tokenizer(tokenizer.mask_token).input_ids
        before, after = frame[: frame.index(mask)], frame[frame.index(mask) + 1 :]
        side = (self.model.context_tokens - len(frame)) // 2
        pieces = [
            tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids for text in (left, right)
        ]
        head = before + pieces[0][max(0, len(pieces[0]) - side) :]
        return [*head, mask, *pieces[1][:side], *after], len(head), not left[-1:].isalnum()

    @torch.no_grad()
    def _answer(self, inputs: list[list[int]], places: list[int]) -> NDArray[np.float32]:
        """Returns the log probability of each piece at each mask, float32, shape (inputs, pieces)."""
        longest = max(map(len, inputs))
        filled = self.model.tokenizer.pad_token_id or 0
        padded = torch.tensor([row + [filled] * (longest - len(row)) for row in inputs])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in inputs])
        device = self.model.model.device
        logits = self.model.model(input_ids=padded.to(device), attention_mask=mask.to(device)).logits
        logs: NDArray[np.float32] = torch.log_softmax(logits[range(len(inputs)), places].float(), 1).cpu().numpy()
        return logs
