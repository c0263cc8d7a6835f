"""A small attention probe over sequences of token features: learned queries decide which tokens matter."""

import math
from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.attribute.splits import split_by_group
from mechanisms.errors import UserError
from mechanisms.randomness import Generator, simulation_generator

HIDDEN, HEADS = 48, 4
EPOCHS, PATIENCE, BATCH = 24, 4, 32
LEARNING_RATE, DECAY = 3e-3, 0.05
VALIDATION = 0.15
"""Share of the training documents that decides when to stop."""
DROPPED = 0.3
"""Share of tokens hidden from each training step, so that the probe does not learn documents by heart."""


class AttentionPool(nn.Module):
    """Each head's query pools the tokens' states; the classes are read off the pooled states and their plain mean."""

    def __init__(self, width: int, classes: int, generator: Generator) -> None:
        super().__init__()
        self.states = nn.Linear(width, HIDDEN)
        self.queries = nn.Linear(HIDDEN, HEADS, bias=False)
        self.classes = nn.Linear(HIDDEN * (HEADS + 1), classes)
        with torch.no_grad():
            for layer in (self.states, self.queries, self.classes):
                drawn = generator.standard_normal(layer.weight.shape) / math.sqrt(layer.in_features)
                layer.weight.copy_(torch.from_numpy(drawn))
                if layer.bias is not None:
                    layer.bias.zero_()

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Returns logits, shape (prompts, classes). tokens: (prompts, length, width). present: bool, without width."""
        states = nn.functional.gelu(self.states(tokens))
        scores = self.queries(states).masked_fill(~present[..., None], -math.inf)
        pooled = torch.einsum("blh,bls->bhs", scores.softmax(dim=1), states).flatten(1)
        mean = (states * present[..., None]).sum(1) / present.sum(1, keepdim=True)
        return self.classes(torch.cat([pooled, mean], dim=1))  # type: ignore[no-any-return]


class AttentionProbe:
    """A classifier of sequences, by the conventions of scikit-learn; its fit also takes each row's document.

    rows: object array of float arrays, shape (tokens, width), one width. Same rows and seed, same probe.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, rows: NDArray[np.object_], labels: NDArray[np.str_], documents: NDArray[np.int64]) -> Self:
        """Learns from a part of the documents, and stops where the loss on the rest of them is least.

        Raises UserError for too few documents to set some aside.
        """
        self.classes_, truth = np.unique(np.asarray(labels), return_inverse=True)
        every = np.concatenate(list(rows))
        self.centre_, self.scale_ = every.mean(axis=0), every.std(axis=0) + 1e-6
        fitted, validation = split_by_group(list(documents), VALIDATION, self.seed, list(labels))
        generator = simulation_generator(self.seed, "attention probe")
        self.module_ = AttentionPool(every.shape[1], len(self.classes_), generator)
        weights = torch.tensor(len(truth) / np.maximum(np.bincount(truth), 1) / len(self.classes_), dtype=torch.float32)
        loss = nn.CrossEntropyLoss(weights)
        optimiser = torch.optim.AdamW(self.module_.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
        best, since, kept = math.inf, 0, self._copied()
        for _ in range(EPOCHS):
            for batch in _batches(fitted, generator):
                optimiser.zero_grad()
                loss(self._logits(rows, batch, generator), torch.from_numpy(truth[batch])).backward()
                optimiser.step()
            with torch.no_grad():
                now = float(loss(self._all_logits(rows, validation), torch.from_numpy(truth[validation])))
            best, since, kept = (now, 0, self._copied()) if now < best else (best, since + 1, kept)
            if since == PATIENCE:
                break
        self.module_.load_state_dict(kept)
        return self

    def predict_proba(self, rows: NDArray[np.object_]) -> NDArray[np.float64]:
        """Returns probabilities for classes of equal size, shape (rows, classes)."""
        with torch.no_grad():
            return self._all_logits(rows, np.arange(len(rows))).double().softmax(dim=1).numpy()

    def _copied(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.module_.state_dict().items()}

    def _all_logits(self, rows: NDArray[np.object_], chosen: NDArray[np.int64]) -> Tensor:
        parts = [chosen[start : start + 4 * BATCH] for start in range(0, len(chosen), 4 * BATCH)]
        return torch.cat([self._logits(rows, part) for part in parts])

    def _logits(self, rows: NDArray[np.object_], chosen: NDArray[np.int64], hide: Generator | None = None) -> Tensor:
        for index in chosen:
            if rows[index].shape[1:] != self.centre_.shape:
                raise UserError(f"Expected token features of width {len(self.centre_)}, got shape {rows[index].shape}.")
        parts = [(rows[index] - self.centre_) / self.scale_ for index in chosen]
        tokens = np.zeros((len(parts), max(map(len, parts)), len(self.centre_)), dtype=np.float32)
        present = np.zeros(tokens.shape[:2], dtype=bool)
        for index, part in enumerate(parts):
            seen = np.ones(len(part), bool) if hide is None else hide.random(len(part)) >= DROPPED
            seen[0] |= not seen.any()
            tokens[index, : len(part)], present[index, : len(part)] = part, seen
        logits: Tensor = self.module_(torch.from_numpy(tokens), torch.from_numpy(present))
        return logits


def _batches(rows: NDArray[np.int64], generator: Generator) -> Iterator[NDArray[np.int64]]:
    order = generator.permutation(rows)
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]
