"""What is known of each token alone, before its neighbours are read: the network's input, and its start.

Where the channel's law is known, a word's score starts at log P(observed | word) + log prior, so that a network that
has learned nothing ranks as MAP does. Where it is not, it starts at the log prior, and the likelihood is learned too.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.base import AttackerKnowledge
from mechanisms.channel import BLOCK_ROWS, Channel
from mechanisms.device_channel import CPU, Scores
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, ObservableMechanism, Observed
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedRandomness

MEASURED_TOKENS = 512
"""Public tokens whose simulated release sets the scale of the network's input."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One mechanism's evidence over one vocabulary.

    common: the commonest words, int64, shape (common,). places: of every word among them, -1 for
    the others, int64, shape (words,). device: where the language model is, and all is computed. law: the scores there
    of all words; None where they are not known. rows: every word's row in principal coordinates of the table,
    float32, shape (words, rank). centre, spread: of each released number, float32, shape (dim,); None where the
    release is a word's number. All three are on the device. sha256: of everything here, the mechanism as its simulated
    release shows it.
    """

    mechanism: ObservableMechanism
    log_prior: NDArray[np.float64]
    common: NDArray[np.int64]
    places: NDArray[np.int64]
    device: str
    law: Scores | None
    rows: Tensor
    centre: Tensor | None
    spread: Tensor | None
    sha256: str

    @classmethod
    def of(cls, public: AttackerKnowledge, common: int, rank: int, tokens: NDArray[np.int64]) -> "Evidence":
        """Returns the evidence; tokens: public text, whose simulated release is measured, shape (tokens,).

        Raises UserError for a release of a word's number outside the vocabulary.
        """
        commonest = np.argsort(-public.prior, kind="stable")[:common]
        message = public.mechanism.release(tokens[:MEASURED_TOKENS].tolist(), SimulatedRandomness(public.seed, "scale"))
        observed = public.mechanism.observed(message)
        centre = spread = None
        if observed.ndim == 2:
            deviation = observed.std(axis=0, dtype=np.float32)
            centre = torch.from_numpy(observed.mean(axis=0, dtype=np.float32)).to(public.device)
            spread = torch.from_numpy(np.where(deviation > 0, deviation, np.float32(1))).to(public.device)
        elif observed.min() < 0 or observed.max() >= public.words:
            raise UserError(f"Expected released words in 0..{public.words - 1}, got {int(observed.max())}.")
        rows = principal_rows(public, rank)
        digest = hashlib.sha256(public.mechanism.spec.fingerprint + message + public.prior.tobytes())
        digest.update(rows.numpy().tobytes())
        if isinstance(public.mechanism, Pipeline):
            digest.update(public.mechanism.encoder.sha256.encode())
        places = np.full(public.words, -1)
        places[commonest] = np.arange(len(commonest))
        law = public.placed_scores(public.log_prior) if isinstance(public.mechanism, KnownChannel) else None
        return cls(
            public.mechanism,
            public.log_prior,
            commonest,
            places,
            public.device,
            law,
            rows.to(public.device),
            centre,
            spread,
            digest.hexdigest(),
        )

    @property
    def known(self) -> bool:
        """Whether the channel's law is known."""
        return self.law is not None

    @property
    def rare(self) -> NDArray[np.int64]:
        """The words that are not common, int64."""
        return np.flatnonzero(self.places < 0)

    @property
    def repeats(self) -> bool:
        """Whether the release is a word's number, which a word may equal."""
        return self.centre is None

    @property
    def width(self) -> int:
        """Features a token."""
        rank = self.rows.shape[1]
        return (rank if self.centre is None else len(self.centre)) + (2 * rank + 1 if self.known else 0)

    def features(self, observed: Observed, common_scores: Tensor) -> Tensor:
        """Returns what the network reads of each token, float32, shape (tokens, width).

        The release itself; and of a known channel the posterior over the common words: mean row, best row, entropy.
        common_scores: `scores` of the common words.
        """
        if self.centre is None or self.spread is None:
            parts = [self.rows[self.released_words(observed)]]
        else:
            parts = [(self.placed(observed.astype(np.float32)) - self.centre) / self.spread]
        if self.known:
            log_posterior = torch.log_softmax(common_scores, 1)
            posterior, rows = log_posterior.exp(), self.rows[self.placed(self.common)]
            entropy = -(posterior * log_posterior).sum(1, keepdim=True)
            parts += [(posterior @ rows).float(), rows[log_posterior.argmax(1)], entropy]
        return torch.cat(parts, 1)

    def released_words(self, observed: Observed) -> Tensor:
        """Returns the word that stands for each token where the release is a word's number, int64, shape (tokens,)."""
        return self.placed(observed.astype(np.int64))

    def placed(self, values: NDArray[Any]) -> Tensor:
        """Returns values as a tensor on the device; on the CPU they are not copied."""
        return torch.from_numpy(values).to(self.device)

    def scores(self, observed: Observed, words: NDArray[np.int64]) -> Tensor:
        """Returns where the scores of these words start, float32, shape (tokens, words)."""
        if isinstance(self.mechanism, Pipeline) and self.device == CPU:  # the same law with fewer columns
            whole = self.mechanism.channel
            channel = Channel(whole.spec, np.ascontiguousarray(whole.weights[:, words]), whole.offsets[words])
            blocks = channel.scores(observed, self.log_prior[words])
            return torch.from_numpy(np.concatenate([block.copy() for _, block in blocks]))
        columns = self.placed(words)
        return torch.cat([block[:, columns] for _, block in self.blocks(observed)])

    def blocks(self, observed: Observed) -> Iterator[tuple[slice, Tensor]]:
        """Yields (rows, where the scores of all words start), float32, shape (rows, words), to overwrite."""
        if self.law is not None:
            for rows, block in self.law(observed):
                yield rows, torch.from_numpy(block) if isinstance(block, np.ndarray) else block
            return
        prior = self.placed(self.log_prior.astype(np.float32))
        for start in range(0, len(observed), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(observed)))
            yield rows, prior.repeat(rows.stop - rows.start, 1)


def principal_rows(public: AttackerKnowledge, rank: int) -> Tensor:
    """Returns the table in its principal coordinates under the prior, about its mean, float32, shape (words, <= rank).

    Scaled so that a word's coordinate has mean square 1 under the prior.
    """
    centred = public.table - (public.prior @ public.table).astype(np.float32)
    _, axes = np.linalg.eigh((centred * public.prior[:, None].astype(np.float32)).T @ centred)
    axes = axes[:, ::-1][:, :rank]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # no library decides the sign
    rows = centred @ axes.astype(np.float32)
    size = np.sqrt((public.prior @ rows**2).mean())
    return torch.from_numpy((rows / max(float(size), np.finfo(np.float32).tiny)).astype(np.float32))
