"""From a masked model's pieces to a language model's words, through their text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.text_pieces import texts_inside


@dataclass(frozen=True, slots=True)
class WordPieces:
    """Each word's first piece, and its share of that piece: a piece's probability is divided over its words.

    A word's text is cut by the masked model's own tokenizer; the first piece stands for it. Words that share one (cases
    of an uncased model, longer words) share its probability by their prior, so that scores stay log probabilities. In
    WordPiece a word without a space in front is a continuation, `##x`, unless a word opens at its place. Words that
    leave no piece, such as line breaks, share the unknown piece's probability.
    first, log_share: where a word opens, and inside one: shape (2, words).
    """

    first: NDArray[np.int64]
    log_share: NDArray[np.float32]

    @classmethod
    def of(
        cls, masked: PreTrainedTokenizerBase, words: PreTrainedTokenizerBase, prior: NDArray[np.float64]
    ) -> "WordPieces":
        """Returns the map from a masked model's tokenizer to another model's; prior: of its words, shape (words,)."""
        known = min(len(prior), len(words))
        texts = texts_inside(words, ([word] for word in range(known))) + [""] * (len(prior) - known)
        for special in words.all_special_ids:
            texts[special] = ""
        cut = masked(texts, add_special_tokens=False, split_special_tokens=True).input_ids
        unknown = masked.unk_token_id if masked.unk_token_id is not None else masked.mask_token_id
        opening = np.array([pieces[0] if pieces else unknown for pieces in cut], dtype=np.int64)
        vocabulary = masked.get_vocab()
        names = {number: f"##{piece}" for piece, number in vocabulary.items()}
        inside = [
            first if text[:1].isspace() or not pieces else vocabulary.get(names[first], first)
            for text, pieces, first in zip(texts, cut, opening.tolist(), strict=True)
        ]
        first = np.stack([opening, np.array(inside, dtype=np.int64)])
        totals = np.stack([np.bincount(row, weights=prior, minlength=max(vocabulary.values()) + 1) for row in first])
        share = np.log(prior) - np.log(np.take_along_axis(totals, first, 1))
        return cls(first, share.astype(np.float32))

    @property
    def words(self) -> int:
        """Size of the vocabulary that is guessed from."""
        return int(self.first.shape[1])

    def scores(self, logs: NDArray[np.float32], opens: Sequence[bool]) -> NDArray[np.float32]:
        """Returns the log probability of each word, float32, shape (places, words).

        logs: of each piece at each place, shape (places, pieces). opens: whether a word opens at each place.
        """
        kind = np.where(opens, 0, 1)
        return np.take_along_axis(logs, self.first[kind], 1) + self.log_share[kind]
