"""What a server makes of a known channel: the posterior mean, or the most likely word. Free of epsilon."""

from collections.abc import Iterator
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.mechanism import Observed

Decoding = Literal["posterior-mean", "most-likely", "plain"]
"""posterior-mean: E[row of the table | message]. most-likely: the row of the most likely word. plain: what was sent."""


class Scored(Protocol):
    """Whatever yields log P(observed | word) + log_prior[word] in blocks: (rows, float32, shape (rows, words))."""

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields blocks that are the caller's to overwrite."""
        ...


def decode(
    channel: Scored,
    observed: Observed,
    log_prior: NDArray[np.float64],
    table: NDArray[np.float32],
    decoding: Decoding,
) -> NDArray[np.float32]:
    """Returns embeddings from what was observed of each token, float32, shape (tokens, table's width)."""
    embeddings = np.empty((len(observed), table.shape[1]), dtype=np.float32)
    for rows, scores in channel.scores(observed, log_prior):
        if decoding == "most-likely":
            embeddings[rows] = table[scores.argmax(axis=1)]
            continue
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        embeddings[rows] = scores @ table / scores.sum(axis=1, keepdims=True)
    return embeddings


def checked_decoding(decoding: str) -> None:
    """Raises UserError for an unknown decoding."""
    if decoding not in get_args(Decoding):
        raise UserError(f"Expected decoding to be one of {', '.join(get_args(Decoding))}, got decoding={decoding!r}.")


def checked_prior(prior: NDArray[np.float64] | None, words: int) -> NDArray[np.float64]:
    """Returns the logarithm of a prior over the vocabulary, uniform where it is left out, float64, shape (words,).

    Raises UserError for another shape, and for values that are not above 0.
    """
    if prior is None:
        return np.full(words, -np.log(words))
    if prior.shape != (words,) or not (prior > 0).all():
        raise UserError(f"Expected a prior over {words} words, all above 0, got shape {prior.shape}.")
    return np.asarray(np.log(prior / prior.sum()))


def checked_server(
    words: int, table: NDArray[np.float32] | None, prior: NDArray[np.float64] | None, decoding: str
) -> NDArray[np.float64]:
    """Returns the logarithm of a server's prior; raises UserError as the checks of its three parts do."""
    checked_decoding(decoding)
    log_prior = checked_prior(prior, words)
    if table is not None:
        checked_table(table, words)
    return log_prior


def required_table(table: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Returns the server's embedding table; raises UserError where it has none."""
    if table is None:
        raise UserError("Expected an embedding table at the server, got table=None.")
    return table


def checked_table(table: NDArray[np.float32], words: int) -> None:
    """Raises UserError for an embedding table of another vocabulary."""
    if table.ndim != 2 or len(table) != words:
        raise UserError(f"Expected an embedding table of {words} words, got shape {table.shape}.")
