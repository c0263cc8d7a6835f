"""What the model practises: to say the next word of public text after words that noise has made partly wrong.

The words left of a token are drawn from the posterior of a simulated release, or are the model's own guesses after
such words: a beam reads after words of that kind. The loss is that of the beam's score, with the true word's release
in it: what is learned is what tells apart the words that a release leaves open.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.base import AttackerKnowledge
from attacks.inversion.adapted.settings import Adaptation
from attacks.self_test import rank_of
from mechanisms.library_types import PreTrainedModel
from mechanisms.mechanism import ObservableMechanism
from mechanisms.own_forward import embed, logits_within
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import Generator, SimulatedRandomness, simulation_generator
from mechanisms.rivals import RandomizedResponse, RandomizedResponseSpec
from mechanisms.spec import QuantizerSpec

BITS, DIM = 2, 18
CODES = EncoderSettings(whitening=0.0, prior_power=0.5, fill=1.0)
GROUP_BYTES = 96 << 20
"""Scores of windows that are read together, at most, unless one takes more."""


def worlds(public: AttackerKnowledge, settings: Adaptation) -> list[AttackerKnowledge]:
    """Returns the public world under each mechanism to practise at, none of which depends on what is attacked.

    Quantizers over codes in closed form at each level, and randomised response over the words at each share of truth.
    """
    found: list[ObservableMechanism] = []
    dim, codes = min(DIM, rank_of(public)), None
    for level in settings.levels:
        spec = QuantizerSpec.from_mu(BITS, dim, 1.0, level)
        made = assemble(public.table, public.documents, spec, codes or CODES, "posterior-mean-plain")
        codes = made.encoder
        found.append(made)
    for share in settings.truth:
        kept = min(max(share, 2 / public.words), 0.5)
        epsilon = float(np.log(kept * (public.words - 1) / (1 - kept)))
        found.append(RandomizedResponse(RandomizedResponseSpec.from_epsilon(public.words, epsilon), public.table))
    return [replace(public, mechanism=mechanism) for mechanism in found]


@dataclass(frozen=True, slots=True)
class Lesson:
    """Windows of public text, and how they are read. opening: embeddings that the model reads first, (0 or 1, width).

    unigrams: log prior, float32, shape (words,).
    """

    opening: Tensor
    unigrams: Tensor
    settings: Adaptation

    def losses(
        self,
        model: PreTrainedModel,
        windows: Sequence[NDArray[np.int64]],
        world: AttackerKnowledge,
        *purpose: str,
        again: bool,
        clean: float = 0.0,
    ) -> Iterator[tuple[Tensor, int]]:
        """Yields (sum of the losses, tokens) of windows that are read together, nats, differentiable in the model.

        world: whose mechanism releases them. again: after the model's own guesses. clean: share of the windows that are
        read after their true words. All that is random follows from the settings' seed and the purpose.
        """
        source = SimulatedRandomness(self.settings.seed, "practice", *purpose)
        message = world.mechanism.release(np.concatenate(windows).tolist(), source)
        observed, starts = world.mechanism.observed(message), np.cumsum([0, *map(len, windows)])
        generator = simulation_generator(self.settings.seed, "words read wrongly", *purpose)
        shown = generator.random(len(windows)) < clean
        at_once = max(1, GROUP_BYTES // (4 * len(self.unigrams) * max(map(len, windows))))
        for start in range(0, len(windows), at_once):
            part = slice(start, start + at_once)
            truths = [torch.from_numpy(window) for window in windows[part]]
            lengths = [len(truth) for truth in truths]
            rows = observed[starts[start] : starts[start] + sum(lengths)]
            scores = torch.from_numpy(
                np.concatenate([block.copy() for _, block in world.channel.scores(rows, world.log_prior)])
            )
            words = torch.split(drawn(scores, self.settings.sharpness, generator), lengths)
            scores -= self.settings.say * self.unigrams
            if again:
                with torch.no_grad():
                    said, places = self._said(model, words)
                    guessed = torch.cat(words)
                    guessed[places] = (scores[places] + self.settings.say * said).argmax(1)
                words = torch.split(guessed, lengths)
            given = [truth if clear else word for truth, word, clear in zip(truths, words, shown[part], strict=True)]
            said, places = self._said(model, given)
            yield read_loss(said, scores[places], self.settings.say, torch.cat(truths)[places]), len(places)

    def _said(self, model: PreTrainedModel, words: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the logits at the places of which the model says something, and these places in the joined words.

        Without an opening it says nothing of a window's first word.
        """
        rows = [torch.cat([self.opening, embed(model, one[:-1].tolist())]) for one in words]
        said = logits_within(model, [row for row in rows if len(row)], [(0, len(row)) for row in rows if len(row)])
        skipped, start, places = 1 - len(self.opening), 0, []
        for one in words:
            places.append(torch.arange(start + skipped, start + len(one)))
            start += len(one)
        return torch.cat(said).cpu(), torch.cat(places)


def drawn(scores: Tensor, sharpness: float, generator: Generator) -> Tensor:
    """Returns a word for each token, drawn by exp(sharpness * score), int64, shape (tokens,)."""
    totals = torch.softmax(scores * sharpness, 1).cumsum_(1)
    draws = torch.from_numpy(generator.random(len(scores)).astype(np.float32))[:, None] * totals[:, -1:]
    return torch.searchsorted(totals, draws)[:, 0].clamp_(max=scores.shape[1] - 1)


def read_loss(said: Tensor, scores: Tensor, say: float, truth: Tensor) -> Tensor:
    """Returns the sum of -log softmax(scores + say * said) at the true words, nats, shape (), differentiable in said.

    scores is overwritten: over a large vocabulary each pass costs as much as a layer of the model.
    """
    loss: Tensor = _ReadLoss.apply(said, scores, say, truth)  # type: ignore[no-untyped-call]
    return loss


class _ReadLoss(torch.autograd.Function):
    """Cross-entropy whose gradient is made on the way, in place."""

    @staticmethod
    def forward(ctx: Any, said: Tensor, scores: Tensor, say: float, truth: Tensor) -> Tensor:
        scores.add_(said, alpha=say)
        rows = torch.arange(len(truth))
        totals = scores.logsumexp(1)
        loss = (totals - scores[rows, truth]).sum()
        if said.requires_grad:
            scores.sub_(totals[:, None]).exp_()
            scores[rows, truth] -= 1
            ctx.save_for_backward(scores.mul_(say).to(said.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * gradients[0].to(slope.dtype), None, None, None
