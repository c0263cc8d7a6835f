"""The exact channel law on a model's device: only what is read of its scores goes to the host.

On the CPU the NumPy blocks of `KnownChannel.scores` stay what is computed; here the same law is float32 in torch. Who
reads `Scores` need not ask which of the two it has: `looked_up`, `log_sums` and attacks.ranking read blocks of both.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanisms.channel import BLOCK_ROWS, MEMORY_LIMIT, exponentiate
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, Observed

CPU = "cpu"
"""The device whose scores NumPy computes; `cpu:0` is the same one, read by torch."""
Law: TypeAlias = Callable[[Observed], Tensor]
"""From what was observed of tokens to log P(observed | word) less a constant of it, float32, shape (tokens, words)."""
Block: TypeAlias = NDArray[np.float32] | Tensor
"""Scores of some tokens, float32, shape (tokens, words): NumPy's on the CPU, elsewhere a tensor on the device."""
Scores: TypeAlias = Callable[[Observed], Iterator[tuple[slice, Block]]]
"""From what was observed of tokens to blocks of (rows, scores), as `KnownChannel.scores` yields them."""


@runtime_checkable
class LawOnDevice(Protocol):
    """A known channel that says itself how its scores are computed in torch."""

    def law_on(self, device: str) -> Law:
        """Returns the law with its public parts on a device; it raises UserError as `scores` does."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceChannel:
    """A law and a log prior over its words, float32, shape (words,), both on one device. memory_limit: of a block."""

    law: Law
    log_prior: Tensor
    memory_limit: int = MEMORY_LIMIT

    @classmethod
    def of(cls, channel: KnownChannel, log_prior: NDArray[np.float64], device: str) -> "DeviceChannel":
        """Returns the channel on a device; one that has no law in torch is computed by NumPy and moved there."""
        return cls(law_of(channel, device), torch.from_numpy(log_prior.astype(np.float32)).to(device))

    def scores(self, observed: Observed) -> Iterator[tuple[slice, Tensor]]:
        """Yields (rows, scores): blocks of log P(observed | word) + log_prior[word], float32, shape (rows, words).

        A block is the caller's to overwrite. Raises UserError as the law does, for a law over another vocabulary, and
        for a memory limit below one token's scores.
        """
        words = len(self.log_prior)
        if self.memory_limit < 4 * words:
            raise UserError(
                f"Expected memory_limit >= {4 * words} bytes, one token's scores over {words} words, got "
                f"memory_limit={self.memory_limit}."
            )
        height = min(BLOCK_ROWS, self.memory_limit // (4 * words))
        for start in range(0, len(observed), height):
            rows = slice(start, min(start + height, len(observed)))
            block = self.law(observed[rows])
            if block.shape[1] != words:
                raise UserError(f"Expected a prior over {block.shape[1]} words, got shape ({words},).")
            yield rows, block.add_(self.log_prior)

    def evidence(self, observed: Observed) -> Tensor:
        """Returns all scores, float32, shape (tokens, words), on the device."""
        blocks = [block for _, block in self.scores(observed)]
        return torch.cat(blocks) if blocks else self.log_prior.new_empty((0, len(self.log_prior)))

    def most_likely(self, observed: Observed) -> NDArray[np.int64]:
        """Returns the word of largest score for each token, int64, shape (tokens,)."""
        best = [block.argmax(1) for _, block in self.scores(observed)]
        found: NDArray[np.int64] = (torch.cat(best).cpu() if best else torch.empty(0, dtype=torch.long)).numpy()
        return found

    def posterior(self, observed: Observed, table: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns E[row of table | observed], shape (tokens, width), and the posterior's entropy, nats, (tokens,).

        table: float32, shape (words, width), on the device.
        """
        means, entropies = [table.new_empty((0, table.shape[1]))], [table.new_empty(0)]
        for _, block in self.scores(observed):
            logs = torch.log_softmax(block, 1)
            weights = logs.exp()
            means.append(weights @ table)
            entropies.append((-(weights * logs).sum(1)).clamp_(min=0))
        return torch.cat(means).cpu().numpy(), torch.cat(entropies).cpu().numpy()


@dataclass(frozen=True, slots=True)
class DeviceReader:
    """A server's reading of releases on its model's device. table: the embeddings there, shape (words, width)."""

    channel: DeviceChannel
    table: Tensor

    @classmethod
    def of(
        cls, channel: KnownChannel, log_prior: NDArray[np.float64], table: NDArray[np.float32], device: str
    ) -> "DeviceReader":
        """Returns the reader under a log prior, all of it on a device."""
        return cls(DeviceChannel.of(channel, log_prior, device), torch.from_numpy(table).to(device))

    def over(self, channel: KnownChannel) -> "DeviceReader":
        """Returns it for another channel over the same words."""
        law = DeviceChannel.of(channel, self.channel.log_prior.double().cpu().numpy(), str(self.table.device)).law
        return DeviceReader(replace(self.channel, law=law), self.table)

    def most_likely(self, observed: Observed) -> NDArray[np.int64]:
        """Returns the likeliest word of each token, int64, shape (tokens,)."""
        return self.channel.most_likely(observed)

    def posterior(self, observed: Observed) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns the posterior means of the table's rows, shape (tokens, width), and the entropies, nats."""
        return self.channel.posterior(observed, self.table)


def law_of(channel: KnownChannel, device: str) -> Law:
    """Returns a channel's law on a device; one that has none in torch is computed by NumPy and moved there."""
    inner = getattr(channel, "channel", channel)  # a pipeline's is its mechanism's
    return inner.law_on(device) if isinstance(inner, LawOnDevice) else _moved(channel, device)


def scores_on(channel: KnownChannel, device: str, log_prior: NDArray[np.float64] | None, words: int) -> Scores:
    """Returns what gives blocks of scores on a device: NumPy's own on the CPU. log_prior, words: as evidence_on."""
    if device == CPU:
        return lambda observed: channel.scores(observed, log_prior)
    return DeviceChannel.of(channel, np.zeros(words) if log_prior is None else log_prior, device).scores


def as_block(scores: Tensor, device: str) -> Block:
    """Returns a model's scores as those of a channel on the device are held; on the CPU they are not copied."""
    return scores.cpu().numpy() if device == CPU else scores.to(device)


def with_prior(block: Block, log_prior: Tensor) -> Block:
    """Returns a block plus a log prior of each of its tokens, float32, shape (tokens, words); may overwrite block."""
    if isinstance(block, np.ndarray):
        return np.asarray(block + log_prior.cpu().numpy())
    return block.add_(log_prior.to(block.device))


def looked_up(block: Block, words: NDArray[np.int64]) -> NDArray[np.float32]:
    """Returns the scores of some words of each token, shape (tokens, some). words: the same shape; no more is moved."""
    if isinstance(block, np.ndarray):
        return np.array([row[chosen] for row, chosen in zip(block, words, strict=True)])  # faster than whole blocks
    found: NDArray[np.float32] = block.gather(1, torch.from_numpy(words).to(block.device)).cpu().numpy()
    return found


def log_sums(block: Block) -> NDArray[np.float64]:
    """Returns the logarithm of the sum over all words of exp(score), float64, shape (tokens,); may overwrite block."""
    if isinstance(block, np.ndarray):
        peaks = block.max(axis=1).astype(np.float64)
        totals, _ = exponentiate(block)
        return np.asarray(peaks + np.log(totals))
    found: NDArray[np.float64] = block.logsumexp(1).cpu().double().numpy()
    return found


def evidence_on(channel: KnownChannel, device: str, log_prior: NDArray[np.float64] | None, words: int) -> Law:
    """Returns what gives the scores of all tokens, float32, shape (tokens, words), on a device.

    log_prior: added to every token's scores; None adds nothing. words: of the vocabulary.
    """
    if device == CPU:
        return lambda observed: _scores(channel, observed, log_prior)
    return DeviceChannel.of(channel, np.zeros(words) if log_prior is None else log_prior, device).evidence


def _moved(channel: KnownChannel, device: str) -> Law:
    return lambda observed: _scores(channel, observed).to(device)


def _scores(channel: KnownChannel, observed: Observed, log_prior: NDArray[np.float64] | None = None) -> Tensor:
    return torch.cat([torch.from_numpy(block.copy()) for _, block in channel.scores(observed, log_prior)])
