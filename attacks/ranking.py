"""Ranked guesses, and the fast way to them: the best words of every row of scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError

if TYPE_CHECKING:  # which needs torch
    from mechanisms.device_channel import Block

DEPTH = 50
"""Guesses a token that are kept unless told otherwise."""
STRIDE = 64
"""Words whose largest score is looked at first: only the best strides are sorted."""


@dataclass(frozen=True, slots=True)
class Guesses:
    """The best words of each token, best first. words: int32; scores: float32; both of shape (tokens, depth).

    scores: what the attack ranks by; higher is likelier; they compare within one attack only.
    """

    words: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.words.shape != self.scores.shape or self.words.ndim != 2 or not self.words.shape[1]:
            shapes = f"{self.words.shape} and {self.scores.shape}"
            raise UserError(f"Expected words and scores of one shape (tokens, depth >= 1), got {shapes}.")

    def __len__(self) -> int:
        return len(self.words)

    @property
    def best(self) -> NDArray[np.int64]:
        """The first guess of each token, int64, shape (tokens,)."""
        return self.words[:, 0].astype(np.int64)

    def split(self, lengths: Sequence[int]) -> list["Guesses"]:
        """Returns them in parts of so many tokens."""
        ends = np.cumsum(lengths)[:-1]
        parts = zip(np.split(self.words, ends), np.split(self.scores, ends), strict=True)
        return [Guesses(words, scores) for words, scores in parts]


def rank(blocks: "Iterable[tuple[slice, Block]]", tokens: int, depth: int = DEPTH) -> Guesses:
    """Returns the best `depth` words of each token, or all words where there are fewer.

    blocks: (rows, scores) as KnownChannel.scores, or a DeviceChannel's, yields them; each is done with before the next
    is asked for, and of scores on a device only the best words are moved.
    """
    words: NDArray[np.int32] | None = None
    scores = np.empty((0, 0), np.float32)
    for rows, block in blocks:
        if words is None:
            width = min(depth, block.shape[1])
            words, scores = np.empty((tokens, width), np.int32), np.empty((tokens, width), np.float32)
        words[rows], scores[rows] = best_words(block, words.shape[1])
    if words is None:
        raise UserError("Expected tokens to rank words for, got none.")
    return Guesses(words, scores)


def best_words(scores: "Block", depth: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Returns the best `depth` words of each row and their scores, best first, both of shape (rows, depth).

    scores: shape (rows, words). Exact, and far from sorting: the best `depth` words lie within the `depth` strides of
    STRIDE words whose largest scores are largest.
    """
    if not isinstance(scores, np.ndarray):
        top = scores.topk(depth)
        return top.indices.int().cpu().numpy(), top.values.cpu().numpy()
    rows, words = scores.shape
    if depth == 1:
        best = scores.argmax(axis=1)[:, None]
        return best.astype(np.int32), np.take_along_axis(scores, best, 1)
    whole = words // STRIDE * STRIDE
    if whole // STRIDE <= 2 * depth:
        chosen = np.broadcast_to(np.arange(words), scores.shape)
    else:
        tops = scores[:, :whole].reshape(rows, -1, STRIDE).max(axis=2)
        strides = np.argpartition(-tops, depth - 1, axis=1)[:, :depth]
        chosen = (strides[:, :, None] * STRIDE + np.arange(STRIDE)).reshape(rows, -1)
        rest = np.broadcast_to(np.arange(whole, words), (rows, words - whole))
        chosen = np.concatenate([chosen, rest], axis=1)
    values = np.take_along_axis(scores, chosen, 1)
    if depth < values.shape[1]:
        part = np.argpartition(-values, depth - 1, axis=1)[:, :depth]
        chosen, values = np.take_along_axis(chosen, part, 1), np.take_along_axis(values, part, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(chosen, order, 1).astype(np.int32), np.take_along_axis(values, order, 1)
