"""PromptDPSGD: a soft prompt trained on private text, each document of which is protected.

Duan, Dziedzic, Papernot and Boenisch, "Flocks of Stochastic Parrots", NeurIPS 2023. A step takes each document with
probability q, clips each document's gradient of the virtual tokens to norm C, and adds Gaussian noise of standard
deviation z C to the sum: DP-SGD, by Opacus's optimiser and accountant.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.mechanism import Mechanism
from mechanisms.models import LanguageModel
from mechanisms.randomness import RandomSource, SimulatedRandomness, SystemRandomness
from mechanisms.soft_prompt import SoftPrompt, save_soft_prompt
from mechanisms.training.documents import documents_sha256, require_tokens
from mechanisms.training.layer_selection import (
    Epochs,
    LowPrecision,
    ScheduledLayers,
    loss_differences,
    released_mean,
)
from mechanisms.training.loop import History, run
from mechanisms.training.low_precision import LayerPrecision
from mechanisms.training.private_draws import normals, poisson_sample
from mechanisms.training.prompt import prompt_card
from mechanisms.training.prompt_examples import PromptExamples, initial_vectors
from mechanisms.training.prompt_settings import PromptTraining

TARGET_SHARE = 0.995
"""Of the epsilon asked for, what Opacus is asked for."""
DOCUMENTS_AT_ONCE = 8
"""Documents in one pass of the model; their gradients are gathered before the sum."""


@dataclass(frozen=True, slots=True)
class DpSgdSettings:
    """noise_multiplier: z, noise over the clipping norm. clip_norm: C. Raises UserError for values that are not > 0.

    simulate: draw noise and batches from the seed, which repeats them: for tests. Such a prompt is not private.
    """

    noise_multiplier: float
    clip_norm: float = 1.0
    simulate: bool = False

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "clip_norm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"Expected a finite {name} > 0, got {name}={value}.")


def sample_rate(settings: PromptTraining, documents: Sequence[Sequence[int]]) -> float:
    """Returns q, the chance of a private document to be in a batch: the mean batch over the number of documents.

    Raises UserError for fewer documents than a batch.
    """
    if len(documents) < settings.batch:
        raise UserError(f"Expected {settings.batch} private documents or more, a batch, got {len(documents)}.")
    return settings.batch / len(documents)


def calibrated_noise(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Returns a noise multiplier whose epsilon is at most epsilon and within 2% of it, by Opacus's PRV accountant.

    The target given to Opacus is half a percent lower: its answer moves by a fifth of a percent with its grid.

    Raises UserError for a target that no noise meets, and where Opacus is not installed.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise UserError(f"Expected a finite private epsilon > 0, got {epsilon}.")
    if not 0 < delta < 1:
        raise UserError(f"Expected a private delta in (0, 1), got {delta}.")
    try:
        from opacus.accountants.utils import get_noise_multiplier
    except ImportError:
        raise _missing() from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the choice of Renyi orders, by which the accountant sizes its grid only
            return float(
                get_noise_multiplier(
                    target_epsilon=TARGET_SHARE * epsilon,
                    target_delta=delta,
                    sample_rate=rate,
                    steps=steps,
                    accountant="prv",
                    epsilon_tolerance=0.005 * epsilon,
                    eps_error=min(0.01, epsilon / 100),
                    delta_error=delta / 1000,
                )
            )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"Expected a private epsilon that some noise meets, got {epsilon} at {delta}: {error}"
        ) from None


def train_private_prompt(
    language: LanguageModel,
    mechanisms: Sequence[Mechanism],
    private: Sequence[Sequence[int]],
    public: Sequence[Sequence[int]],
    settings: PromptTraining,
    privacy: DpSgdSettings,
    folder: Path,
    about: Mapping[str, Json],
    *,
    start: SoftPrompt | None = None,
    fresh: bool = False,
    low: LowPrecision | None = None,
) -> History:
    """Trains a soft prompt on private documents, writes it to folder as train_soft_prompt does, returns the history.

    private: tokenized documents of settings.shortest_prompt + shortest_response tokens or more; their number is public.
    public: those to validate on, none for no validation. about, start: as of train_soft_prompt; they must hold nothing
    of the private text. low: which layers of the model run in low precision while it trains; validation is in full
    precision, and what its selection costs is the caller's to account for (del_audit.accounting.layer_selection).
    Neither the card nor the history has a training loss, which would be outside the guarantee.

    Noise and batches come from the system's cipher stream, so that a run that was cut off draws new ones when it goes
    on: its guarantee is the same, its bits are not.
    Raises UserError as train_soft_prompt does, for short documents too.
    """
    require_tokens(private)
    shortest = settings.shortest_prompt + settings.shortest_response
    if short := sum(len(document) < shortest for document in (*private, *public)):
        raise UserError(f"Expected documents of {shortest} tokens or more, got {short} shorter ones.")
    rate = sample_rate(settings, private)
    examples = PromptExamples(language, tuple(mechanisms), settings)
    virtual = initial_vectors(language, settings, start).requires_grad_()
    gradient = PrivateGradient(virtual, privacy, settings.batch)

    def source(purpose: str, number: int) -> RandomSource:
        return SimulatedRandomness(settings.seed, purpose, str(number)) if privacy.simulate else SystemRandomness()

    def step(number: int) -> Tensor:
        drawn = source("private training", number)
        chosen = poisson_sample(len(private), rate, drawn)
        documents = [private[index] for index in chosen.tolist()]
        at_once = DOCUMENTS_AT_ONCE if low is None else 1
        gradient.fill(document_gradients(examples, virtual, documents, number, at_once), drawn)
        return torch.zeros(())

    def measure(number: int, drawn: RandomSource) -> NDArray[np.float64]:
        assert low is not None
        assert low.selection is not None
        assert layers is not None
        chosen = poisson_sample(len(private), low.selection.batch / len(private), drawn)
        documents = [private[index] for index in chosen.tolist()]
        return released_mean(loss_differences(examples, virtual, documents, number, layers), low.selection, drawn)

    dp_sgd: dict[str, Json] = {
        "noise_multiplier": privacy.noise_multiplier,
        "clip_norm": privacy.clip_norm,
        "sample_rate": rate,
        "steps": settings.steps,
        "unit": "training document",
        "noise_from": "a seed: NOT private" if privacy.simulate else "the system's cipher stream",
    }
    with LayerPrecision(language.model, low.kernel) if low is not None else nullcontext() as layers:
        carried = None
        if low is not None and layers is not None:
            draws = partial(source, "private layers")
            carried = ScheduledLayers(layers, low, Epochs.of(settings.steps, rate), settings.seed, draws, measure)
        score = examples.validation(virtual, public) if public else None

        def validate() -> float:
            assert score is not None
            with layers.only([]) if layers is not None else nullcontext():
                return score()

        return run(
            step,
            {"prompt_embeddings": virtual},
            replace(settings.plan, validate_every=settings.validate_every if public else 0),
            folder,
            {
                **prompt_card(language, mechanisms, settings, about, start),
                "dp_sgd": dp_sgd,
                **({"quantization": low.to_dict()} if low is not None else {}),
            },
            unpublished={"private": documents_sha256(private), "public": documents_sha256(public)},
            validate=validate if public else None,
            write=lambda beside: save_soft_prompt(virtual, language, beside),
            fresh=fresh,
            keep_losses=False,
            carried=carried,
        )


def document_gradients(
    examples: PromptExamples,
    virtual: Tensor,
    documents: Sequence[Sequence[int]],
    step: int,
    at_once: int = DOCUMENTS_AT_ONCE,
) -> Tensor:
    """Returns the gradient of each document's mean response loss, shape (documents, virtual tokens, width).

    Each document reads a copy of the virtual tokens of its own, so the gradient of that copy is the document's alone.
    Its cut and its noise are named by its own text, not by its place: one document more or less moves no other's.
    at_once: documents in one pass. In low precision it is 1: side by side, another's document moves the last bits of a
    number, and where those decide a rounding they move it by a whole level.
    """
    found = [torch.zeros((0, *virtual.shape), device=virtual.device)]
    for start in range(0, len(documents), at_once):
        part = [(documents_sha256([one]), one) for one in documents[start : start + at_once]]
        copies = virtual.detach().expand(len(part), -1, -1).clone().requires_grad_()
        losses = examples.losses(copies, part, step)
        (gradients,) = torch.autograd.grad(torch.stack([loss.mean() for loss in losses]).sum(), copies)
        found.append(gradients)
    return torch.cat(found)


class PrivateGradient:
    """Clips, sums, noises and averages documents' gradients, by Opacus's optimiser with this project's noise.

    virtual: the leaf whose `.grad` is filled. mean_batch: q times the number of documents, what the sum is divided by.
    Raises UserError where Opacus is not installed.
    """

    def __init__(self, virtual: Tensor, privacy: DpSgdSettings, mean_batch: int) -> None:
        try:
            from opacus.optimizers import DPOptimizer
        except ImportError:
            raise _missing() from None

        class SourcedNoise(DPOptimizer):  # type: ignore[misc]
            """DPOptimizer whose noise is made of a RandomSource's words."""

            source: RandomSource

            def add_noise(self) -> None:
                """Sets `.grad` to the sum of clipped gradients and its noise, added in float64."""
                for parameter in self.params:
                    noise = normals(tuple(parameter.shape), self.source) * (self.noise_multiplier * self.max_grad_norm)
                    summed = parameter.summed_grad.double()
                    parameter.grad = (summed + noise.to(summed.device)).to(parameter.dtype)

        self._virtual = virtual
        self._optimiser = SourcedNoise(
            torch.optim.SGD([virtual], lr=1.0),
            noise_multiplier=privacy.noise_multiplier,
            max_grad_norm=privacy.clip_norm,
            expected_batch_size=mean_batch,
        )

    def fill(self, gradients: Tensor, source: RandomSource) -> None:
        """Sets the leaf's `.grad`. gradients: shape (documents >= 0, virtual tokens, width).

        A document whose gradient is not finite adds nothing.
        """
        finite = torch.isfinite(gradients).all(dim=-1).all(dim=-1)
        self._optimiser.zero_grad(set_to_none=True)
        self._optimiser.source = source
        self._virtual.grad_sample = torch.where(finite[:, None, None], gradients, 0.0)  # type: ignore[attr-defined]
        self._optimiser.pre_step()


def _missing() -> UserError:
    return UserError("Expected opacus to be installed for private training, got none: pip install 'del-audit[dp]'.")
