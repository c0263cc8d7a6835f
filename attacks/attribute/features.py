"""Two views in one pass, of DEL alone: what a certificate's probes look at."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import most_likely
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.wire import unpack

Features = dict[str, NDArray[np.float64]]
FEATURES = ("released codes", "MAP-decoded words")


def pooled_features(public: Pipeline, messages: Iterable[bytes]) -> Features:
    """Returns each kind of FEATURES as float64, shape (messages, width of that kind): means over the tokens."""
    pooled: dict[str, list[NDArray[np.float32]]] = {name: [] for name in FEATURES}
    quantizer, log_prior = StochasticQuantizer(public.spec), np.log(public.prior)
    for message in messages:
        counts = unpack(message, public.spec)
        pooled["released codes"].append(quantizer.dequantize(counts).mean(axis=0))
        pooled["MAP-decoded words"].append(public.table[most_likely(public.channel, counts, log_prior)].mean(axis=0))
    return {name: np.array(rows, dtype=np.float64) for name, rows in pooled.items()}


def clean_features(public: Pipeline, documents: Sequence[Sequence[int]]) -> Features:
    """Returns mean clean embeddings, shape (documents, width): the ceiling, which no attacker sees."""
    rows = [public.table[np.asarray(tokens)].mean(axis=0) for tokens in documents]
    return {"clean embeddings": np.array(rows, dtype=np.float64)}
