"""BeamClean (Kale et al., 2025, arXiv 2505.13758), as its authors' code has it, and the mechanism that it attacks.

A peer to compare with, not an attack of ours: it knows neither the noise nor public text, and reads all messages at
once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, ndtri
from torch import Tensor

from attacks.base import AttackerKnowledge, observe
from attacks.inversion import LanguageBeam
from attacks.inversion.language_prior import BeamAttacker
from attacks.language_reader import Reader
from attacks.ranking import Guesses
from mechanisms.mechanism import Observed
from mechanisms.randomness import RandomSource, uniforms
from mechanisms.rivals import RivalSpec
from mechanisms.stepping import CachedReader

BLOCK = 256
"""Tokens whose scores over the vocabulary are held at once."""
SETTLED = 1e-5
"""Relative change of the estimate that ends its rounds."""


@dataclass(frozen=True, slots=True)
class NoiseSpec(RivalSpec):
    """N(0, sigma^2) on each of dim coordinates of an embedding."""

    kind: ClassVar[str] = "gaussian noise on embeddings"
    sigma: float
    dim: int


@dataclass(frozen=True, slots=True)
class NoisyEmbeddings:
    """What BeamClean attacks: noisy embeddings as they are, float32, neither clipped nor put on a grid.

    The rival `Gaussian` sends cells of a grid, whose exact law over 576 coordinates takes minutes a sentence.
    """

    spec: NoiseSpec
    table: NDArray[np.float32]
    name: str = "Gaussian noise on embeddings"

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the noisy embeddings of the tokens, 4 bytes a coordinate."""
        clean = self.table[np.asarray(tokens)]
        return (clean + self.spec.sigma * ndtri(uniforms(clean.shape, source))).astype("<f4").tobytes()

    def observed(self, message: bytes) -> NDArray[np.float32]:
        """Returns the noisy embeddings, float32, shape (tokens, dim)."""
        return np.frombuffer(message, "<f4").reshape(-1, self.spec.dim)

    embeddings = observed

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log density of the noise + log_prior[word], less a constant of the row)."""
        yield from gaussian_scores(self.table, np.asarray(observed, dtype=np.float32), self.spec.sigma, log_prior)


def gaussian_scores(
    table: NDArray[np.float32], seen: NDArray[np.float32], sigma: float, log_prior: NDArray[np.float64] | None
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yields (rows, -|seen - word|^2 / (2 sigma^2) + log_prior[word], less a constant of the row), (rows, words)."""
    offsets = -(table**2).sum(1) / (2 * sigma**2)
    offsets = offsets if log_prior is None else (offsets + log_prior).astype(np.float32)
    for start in range(0, len(seen), BLOCK):
        rows = slice(start, min(start + BLOCK, len(seen)))
        yield rows, (seen[rows] / sigma**2).astype(np.float32) @ table.T + offsets


@dataclass(frozen=True, slots=True)
class BeamClean:
    """BeamClean (Kale et al., 2025): the noise's scale is estimated from the releases, then a beam search decodes.

    sigma maximises the likelihood of the first tokens' releases under the language model's prior; it is found by
    expectation and maximisation, where the authors' code takes gradient steps. As there, it stays once it
    has settled. The search adds log density and log softmax of the model's logits, without temper, unigrams or weight.
    Unlike our attacks it estimates from all messages together, and knows neither the noise nor public text.
    """

    width: int = 20
    name: str = "BeamClean, noise estimated"
    version: int = 1
    context_free: ClassVar[bool] = False

    def fit(self, public: AttackerKnowledge) -> "BeamCleanAttacker":
        """Returns the attacker."""
        return BeamCleanAttacker(public, self)


@dataclass
class BeamCleanAttacker:
    """The attack on noisy embeddings. sigma: the estimate, once messages were read."""

    public: AttackerKnowledge
    settings: BeamClean
    sigma: float = field(default=math.nan, init=False)

    def guess(self, messages: Sequence[bytes]) -> list[Guesses]:
        """Returns the beam's words for each message."""
        table, log_prior = self.public.table, self.public.log_prior
        reader = Reader.of(self.public, temper=1.0, share=0.0)
        logits = CachedReader(reader.model).read(reader.opening[None])[0, : self.public.words]
        firsts = np.stack([seen[0] for seen in observe(self.public.mechanism, messages)]).astype(np.float32)
        self.sigma = sigma = estimated_sigma(table, firsts, log_softmax(logits.double().numpy()))

        def evidence(seen: Observed) -> Tensor:
            scores = gaussian_scores(table, np.asarray(seen, dtype=np.float32), sigma, log_prior)
            return torch.cat([torch.from_numpy(block) for _, block in scores])

        settings = LanguageBeam(self.settings.width, unigram_share=0.0, weight=1.0, depth=1, name=self.settings.name)
        return BeamAttacker(self.public, settings, reader, evidence, 1.0).guess(messages)


def estimated_sigma(
    table: NDArray[np.float32], seen: NDArray[np.float32], log_prior: NDArray[np.float64], rounds: int = 1000
) -> float:
    """Returns the sigma under which noisy embeddings of words of a prior are likeliest.

    seen: float32, shape (tokens, dim). Each round sets sigma^2 to the mean squared distance to the words, by their
    posterior at the last sigma. It starts at the releases' own spread and ends when sigma has SETTLED.
    """
    squares = (table**2).sum(1)
    distances = np.maximum((seen**2).sum(1)[:, None] - 2 * seen @ table.T + squares, 0).astype(np.float64)
    sigma = float(np.sqrt((seen**2).mean()))
    for _ in range(rounds):
        weights = log_prior - distances / (2 * sigma**2)
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        expected = (weights * distances).sum(1) / weights.sum(1)
        last, sigma = sigma, float(np.sqrt(expected.mean() / seen.shape[1]))
        if abs(sigma / last - 1) < SETTLED:
            break
    return sigma
