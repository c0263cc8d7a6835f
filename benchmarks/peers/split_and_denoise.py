"""Split-and-Denoise (Mai et al., ICML 2024, arXiv 2310.09130): its noise over a table, and its attack on an attribute.

Its attack on tokens is the nearest neighbour of a noisy embedding, attacks.inversion.MaximumLikelihood here.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanisms.models import LanguageModel
from mechanisms.rivals import Metric, MetricSpec

GRID_BITS = 16
"""Split-and-Denoise sends real numbers; so fine a grid stands for them."""
EPOCHS, HIDDEN, RATE = 500, 768, 1e-3
"""Split-and-Denoise's attribute attack: one hidden layer, Adam, as its authors' code has them."""


def metric_of(table: NDArray[np.float32], eta: float) -> Metric:
    """Returns Split-and-Denoise's mechanism over a table of embeddings; the radius clips none."""
    radius = float(np.linalg.norm(table.astype(np.float64), axis=1).max()) * (1 + 1e-9)
    return Metric(MetricSpec.of(GRID_BITS, table.shape[1], radius, eta), table, table, decoding="plain")


@torch.no_grad()
def pooled(language: LanguageModel, noisy: Sequence[NDArray[np.float32]]) -> dict[str, Tensor]:
    """Returns what Split-and-Denoise's attribute attack may look at, float32, shape (texts, width) each."""
    last = []
    for rows in noisy:
        inputs = torch.from_numpy(rows)[None].to(language.model.dtype)
        last.append(language.model(inputs_embeds=inputs, output_hidden_states=True).hidden_states[-1][0, -1].float())
    means = torch.stack([torch.from_numpy(rows.mean(axis=0)) for rows in noisy])
    return {"the model's last state": torch.stack(last), "mean noisy embedding": means}


def perceptron(
    train: Tensor, labels: Sequence[str], test: Tensor, truth: Sequence[str], seed: int, epochs: int = EPOCHS
) -> list[int]:
    """Returns how many test rows of each class the perceptron tells, at the epoch that tells most of the test rows.

    The authors' code reports the best epoch on the test part; that flatters the attack, and is kept.
    """
    classes = sorted(set(labels))
    wanted, right = (torch.tensor([classes.index(label) for label in part]) for part in (labels, truth))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(train.shape[1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, len(classes))
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    best = torch.zeros(len(classes), dtype=torch.long)
    for _ in range(epochs):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(train), wanted).backward()
        optimizer.step()
        with torch.no_grad():
            told = torch.bincount(right[model(test).argmax(1) == right], minlength=len(classes))
        best = told if told.sum() > best.sum() else best
    return best.tolist()
