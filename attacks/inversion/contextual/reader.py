"""A network and its evidence together: the log posterior of every word at every token of a prompt, up to a constant."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.inversion.contextual.evidence import Evidence
from attacks.inversion.contextual.network import ContextNetwork
from mechanisms.mechanism import Observed


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads released prompts with a network. window: tokens that are read together."""

    evidence: Evidence
    network: ContextNetwork
    window: int

    @torch.no_grad()
    def blocks(self, observed: Observed) -> Iterator[tuple[slice, Tensor]]:
        """Yields (rows, scores of all words) of one prompt, float32, shape (rows, words)."""
        corrections, repeated = self._corrections(observed)
        rows, bias = self._table()
        for part, starts in self.evidence.blocks(observed):
            scores = starts + torch.addmm(bias, corrections[part], rows.T)
            if repeated is not None:
                scores.scatter_add_(1, self.evidence.released_words(observed[part])[:, None], repeated[part, None])
            yield part, scores

    def _table(self) -> tuple[Tensor, Tensor]:
        """Returns every word's row and bias, shape (words, rank) and (words,), the trained ones in their places."""
        places, rows = self.evidence.placed(self.evidence.common), self.evidence.rows.clone()
        bias = rows.new_zeros(len(rows))
        rows[places], bias[places] = self.network.rows, self.network.bias
        return rows, bias

    def _corrections(self, observed: Observed) -> tuple[Tensor, Tensor | None]:
        """Returns what the network says of one prompt; a long one is read in overlapping windows."""
        corrections, repeated = [], []
        for seen, kept in windows(len(observed), self.window):
            part = observed[seen]
            features = self.evidence.features(part, self.evidence.scores(part, self.evidence.common))
            whole = torch.ones((1, len(part)), dtype=torch.bool, device=features.device)
            said, again = self.network(features[None], whole)
            corrections.append(said[kept])
            if again is not None:
                repeated.append(again[kept])
        return torch.cat(corrections), torch.cat(repeated) if repeated else None


def windows(tokens: int, window: int) -> Iterator[tuple[slice, slice]]:
    """Yields (what is read, which of that is kept): each token once, in order, with text on both sides where there is.

    >>> [(seen.start, seen.stop, kept.start, kept.stop) for seen, kept in windows(10, 4)]
    [(0, 4, 0, 3), (2, 6, 1, 3), (4, 8, 1, 3), (6, 10, 1, 4)]
    """
    done, start, stride = 0, 0, max(1, window // 2)
    while done < tokens:
        end = min(start + window, tokens)
        keep_to = tokens if end == tokens else end - (window - stride) // 2
        yield slice(start, end), slice(done - start, keep_to - start)
        done = keep_to
        start = min(start + stride, max(tokens - window, 0))
