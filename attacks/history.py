"""Chats that re-send earlier turns: each exchange sends all turns so far again, so early ones are sent oftenest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.repeated import decode_evidence, join, reads_evidence, refitted, sends_once, split
from mechanisms.channel import BLOCK_ROWS
from mechanisms.description import Description
from mechanisms.device_channel import Law, law_of
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, ObservableMechanism, Observed
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import RandomSource
from mechanisms.validation import whole_at_least

NOT_SENT = -1
"""What stands in the place of a release that a token is not in."""


@dataclass(frozen=True, slots=True)
class History:
    """A chat as one message: all its exchanges, each a release of every turn so far. Attacks read the chat as a whole.

    How often each token was sent is seen from the exchanges' lengths. exchanges: the most of one chat.
    spec is that of ONE release. observed: shape (tokens, exchanges, ...), NOT_SENT where a token was not in.
    """

    mechanism: ObservableMechanism
    exchanges: int

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.mechanism.name}, chats of up to {self.exchanges} exchanges"

    @property
    def spec(self) -> Description:
        """What one release is accounted by."""
        return self.mechanism.spec

    def release_turns(self, turns: Sequence[Sequence[int]], source: RandomSource) -> bytes:
        """Returns all exchanges of a chat; raises UserError for no turns, an empty one, or more than `exchanges`."""
        if not 1 <= len(turns) <= self.exchanges or not all(len(turn) for turn in turns):
            raise UserError(f"Expected 1..{self.exchanges} turns, none empty, got lengths {[len(t) for t in turns]}.")
        so_far: list[int] = []
        sent = []
        for turn in turns:
            so_far = [*so_far, *turn]
            sent.append(self.mechanism.release(so_far, source))
        return join(sent)

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns a chat of one turn; raises UserError as the mechanism's release does."""
        return join([self.mechanism.release(tokens, source)])

    def observed(self, message: bytes) -> Observed:
        """Returns what each release shows of each token; raises UserError for what is no chat, and as the mechanism."""
        parts = self._parts(message)
        seen = np.full((len(parts[-1]), self.exchanges, *parts[-1].shape[1:]), NOT_SENT, dtype=np.int64)
        for exchange, part in enumerate(parts):
            seen[: len(part), exchange] = part
        return seen

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns each token's mean embedding over the releases that it is in, float32, shape (tokens, width)."""
        parts = [self.mechanism.embeddings(part) for part in split(message)]
        total = np.zeros(parts[-1].shape)
        for part in parts:
            total[: len(part)] += part
        return np.asarray(total / times_sent([len(part) for part in parts])[:, None], dtype=np.float32)

    def _parts(self, message: bytes) -> list[Observed]:
        parts = [self.mechanism.observed(part) for part in split(message)]
        lengths = [len(part) for part in parts]
        if len(parts) > self.exchanges or (np.diff(lengths) <= 0).any():
            most = self.exchanges
            raise UserError(f"Expected up to {most} exchanges, each longer than the last, got {lengths} tokens.")
        return parts


@dataclass(frozen=True, slots=True)
class HistoryChannel(History):
    """The same for a mechanism whose law is known: log-likelihoods of the releases that a token is in add up."""

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log P(all releases | word) + log_prior[word]), float32, shape (rows, words)."""
        assert isinstance(self.mechanism, KnownChannel)
        for start in range(0, len(observed), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(observed)))
            total = np.zeros((0, 0), np.float32)
            for places, seen in _exchanges(observed[rows]):
                for part, block in self.mechanism.scores(seen):
                    if not total.size:
                        total = np.zeros((rows.stop - rows.start, block.shape[1]), np.float32)
                    total[places[part]] += block
            if log_prior is not None:
                total += log_prior.astype(np.float32)
            yield rows, total

    def law_on(self, device: str) -> Law:
        """Returns the law in torch (mechanisms.device_channel): the sum of those of the releases that a token is in."""
        assert isinstance(self.mechanism, KnownChannel)
        one = law_of(self.mechanism, device)

        def law(observed: Observed) -> Tensor:
            total: Tensor | None = None
            for places, seen in _exchanges(observed):
                block = one(seen)
                total = block.new_zeros((len(observed), block.shape[1])) if total is None else total
                total.index_add_(0, torch.from_numpy(places).to(block.device), block)
            if total is None:
                raise UserError("Expected tokens that were sent at least once, got none.")
            return total

        return law

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns what the server's decoder makes of the pooled evidence, or the mean where it reads releases alone."""
        if not reads_evidence(self.mechanism):
            return History.embeddings(self, message)
        return decode_evidence(self.mechanism, self, self.observed(message))


@dataclass(frozen=True, slots=True)
class HistoryOfCodes(History):
    """The same for DEL, in one matrix product. observed: summed counts and times sent, float64, (tokens, dim + 1)."""

    mechanism: Pipeline

    def observed(self, message: bytes) -> Observed:
        """Returns the sums, and how often each token was sent in the last column; raises UserError as History does."""
        parts = self._parts(message)
        seen = np.zeros((len(parts[-1]), self.mechanism.spec.dim + 1))
        for part in parts:
            seen[: len(part), :-1] += part
            seen[: len(part), -1] += 1
        return seen

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log P(all counts | word) + log_prior[word]) less a constant of the counts, (rows, words).

        The offset of a word counts once for each time that a token was sent, as one more count would.
        """
        weights = self._weights()
        for start in range(0, len(observed), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(observed)))
            block = observed[rows].astype(np.float32) @ weights
            if log_prior is not None:
                block += log_prior.astype(np.float32)
            yield rows, block

    def law_on(self, device: str) -> Law:
        """Returns the law in torch (mechanisms.device_channel)."""
        weights = torch.from_numpy(self._weights()).to(device)
        return lambda observed: torch.from_numpy(observed.astype(np.float32)).to(device) @ weights

    def _weights(self) -> NDArray[np.float32]:
        """Returns what a count of each coordinate adds to a word's score, and each sending, shape (dim + 1, words)."""
        channel = self.mechanism.channel
        return np.concatenate([channel.weights, channel.offsets[None]])

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns what the linear decoder, fitted to as many releases, makes of the mean counts, (tokens, width)."""
        observed = self.observed(message)
        decoded = np.empty((len(observed), self.mechanism.table.shape[1]), np.float32)
        for times in np.unique(observed[:, -1]):
            rows = observed[:, -1] == times
            decoded[rows] = refitted(self.mechanism, int(times)).decode(observed[rows, :-1] / times)
        return decoded


def history(mechanism: ObservableMechanism, exchanges: int) -> History:
    """Returns the mechanism that sends chats of up to so many exchanges; its law is known where one release's is.

    Raises UserError unless exchanges is a whole number >= 1, and for a mechanism that repeats already.
    """
    whole_at_least("exchanges", exchanges, 1)
    if not sends_once(mechanism):
        raise UserError(f"Expected a mechanism that sends a prompt once, got {mechanism.name!r}.")
    if isinstance(mechanism, Pipeline):
        return HistoryOfCodes(mechanism, exchanges)
    return (HistoryChannel if isinstance(mechanism, KnownChannel) else History)(mechanism, exchanges)


def _exchanges(observed: Observed) -> Iterator[tuple[NDArray[np.intp], Observed]]:
    """Yields the tokens that each exchange sent and what it showed of them, the last exchange first; none of nobody."""
    for exchange in reversed(range(observed.shape[1])):
        seen = observed[:, exchange]
        places = np.flatnonzero((seen.reshape(len(seen), -1) != NOT_SENT).all(axis=1))
        if len(places):
            yield places, seen[places]


def times_sent(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Returns how often each token of a chat was sent, given the tokens of each exchange, int64, shape (tokens,).

    >>> times_sent([2, 3, 5]).tolist()
    [3, 3, 2, 1, 1]
    """
    ends = np.sort(np.asarray(lengths, dtype=np.int64))
    return np.asarray(len(ends) - np.searchsorted(ends, np.arange(ends[-1]), side="right"), dtype=np.int64)
