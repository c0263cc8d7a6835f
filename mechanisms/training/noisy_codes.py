"""Codes as parameters, and the posterior decoder that gradients pass through: the noisy channel made differentiable."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanisms.encoder import Encoder
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import Generator, SimulatedRandomness
from mechanisms.spec import QuantizerSpec

INSIDE = 0.98
"""Codes start within this share of the clip, where tanh still has a slope."""


class Candidates:
    """The words that one step's posterior runs over: the commonest, some of the others by lot, and those released.

    The drawn ones stand for all of the others, so their log prior is raised by ln(others / drawn).
    """

    def __init__(self, prior: NDArray[np.float64], common: int, drawn: int) -> None:
        order = np.argsort(-prior, kind="stable")
        self._log_prior = np.log(prior)
        self._common, self._others = order[:common], order[common:]
        self._drawn = min(drawn, len(self._others))

    def choose(self, tokens: NDArray[np.int64], generator: Generator) -> tuple[Tensor, Tensor]:
        """Returns the words, int64, sorted, and their log prior, float32, both of shape (candidates,)."""
        some = generator.choice(self._others, self._drawn, replace=False) if self._drawn else self._others
        words = np.unique(np.concatenate([self._common, some, tokens]))
        log_prior = self._log_prior[words].copy()
        if self._drawn:
            log_prior[~np.isin(words, self._common)] += math.log(len(self._others) / self._drawn)
        return torch.from_numpy(words), torch.from_numpy(log_prior.astype(np.float32))


class NoisyCodes:
    """One code a word, clip * tanh(parameter), released by the real quantizer and decoded by the exact posterior.

    parameters: float32, shape (words, dim), a leaf that is trained.
    """

    def __init__(self, codes: NDArray[np.float64], clip: float) -> None:
        """Starts from codes, shape (words, dim), within [-clip, clip]."""
        shares = torch.from_numpy(np.asarray(codes, dtype=np.float64) / clip).clamp(-INSIDE, INSIDE)
        self.parameters = torch.atanh(shares).float().requires_grad_()
        self._clip = clip

    def encoder(self) -> Encoder:
        """Returns the codes as they are, rounded to levels."""
        shares = torch.tanh(self.parameters.detach()).double().cpu().numpy()
        return Encoder.of(shares * self._clip, self._clip)

    def log_posterior(
        self,
        spec: QuantizerSpec,
        tokens: NDArray[np.int64],
        words: Tensor,
        log_prior: Tensor,
        source: SimulatedRandomness,
    ) -> Tensor:
        """Returns ln P(word | release) for a fresh release of each token, shape (tokens, candidates), differentiable.

        The counts K are the quantizer's own. Gradients see K = u p + sqrt(u p (1 - p)) xi with the drawn xi held fixed:
        both the mean and the spread of a count move with the code. words, log_prior: of Candidates.choose.
        """
        trials, steepness = spec.trials, spec.clip / (2 * spec.scale)
        success = 0.5 + steepness * torch.tanh(self.parameters[words])
        sent = success[torch.searchsorted(words, torch.from_numpy(tokens))]
        values = (sent.detach().double() - 0.5) / steepness * spec.clip
        counts = torch.from_numpy(StochasticQuantizer(spec).quantize(values.numpy(), source)).float()
        mean, spread = trials * sent, torch.sqrt(trials * sent * (1 - sent))
        moving = mean + spread * ((counts - mean) / spread).detach()
        failure = torch.log1p(-success)
        scores = moving @ (torch.log(success) - failure).T + (trials * failure.sum(dim=1) + log_prior)
        return torch.log_softmax(scores, dim=1)
