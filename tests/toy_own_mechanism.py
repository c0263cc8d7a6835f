"""A mechanism of a user's own that keeps the contract; tests plant one fault at a time."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mechanisms.errors import UserError
from mechanisms.rivals import MessageFormat, RivalSpec
from mechanisms.tokens import checked_tokens

GRID = 1 << 32


@dataclass(frozen=True, slots=True)
class BinsSpec(RivalSpec):
    kind: ClassVar[str] = "toy bins"
    bins: int
    decay: float
    words: int


class Bins:
    """Sends one of a few bins, the more probably the nearer it is to the word's: e^(-decay distance)."""

    name = "toy bins"

    def __init__(self, spec, table):
        self.spec, self.table = spec, table
        self.bin_of = np.arange(spec.words) * spec.bins // spec.words
        self.law = self.law_of(spec.decay)
        self.ends = np.cumsum(np.rint(self.law * GRID), axis=1)
        self.ends[:, -1] = GRID

    @classmethod
    def of(cls, public, bins=5, *, decay=0.5):
        if not decay > 0:
            raise UserError(f"Expected decay > 0, got decay={decay}.")
        return cls(BinsSpec(bins, decay, public.words), public.table)

    def law_of(self, decay):
        places = np.arange(self.spec.bins)
        weights = np.exp(-decay * np.abs(places[:, None] - places))
        return weights / weights.sum(axis=1, keepdims=True)

    @property
    def format(self):
        return MessageFormat(b"BINS", self.spec.fingerprint, 1, self.spec.bins)

    @property
    def token_bits(self):
        return self.format.token_bits

    def noisy(self, bins, drawn):
        return (self.ends[bins] <= drawn[:, None]).sum(axis=1)

    def release(self, tokens, source):
        bins = self.bin_of[checked_tokens(tokens, self.spec.words)]
        return self.format.pack(self.noisy(bins, source.words(len(bins)))[:, None])

    def observed(self, message):
        return self.format.unpack(message)[:, 0]

    def embeddings(self, message):
        return self.table[self.observed(message) * self.spec.words // self.spec.bins]

    def scores(self, observed, log_prior=None):
        block = np.log(self.law.T[observed][:, self.bin_of])
        yield slice(0, len(observed)), (block if log_prior is None else block + log_prior).astype(np.float32)

    def token_epsilon(self, delta):
        return float(np.ptp(np.log(self.law), axis=0).max())


class NoClassmethod(Bins):
    def of(self, public):
        return self


class Half:
    """Lacks `observed`."""

    of = classmethod(lambda cls, public: cls())

    def release(self, tokens, source):
        return b""

    def embeddings(self, message):
        return None


class Other(Bins):
    """Makes something else than a mechanism, or fails, as it is told."""

    @classmethod
    def of(cls, public, made="number", **others):
        if made == "number":
            return 3
        made_mechanism = super().of(public)
        if made == "error":
            raise KeyError("no such thing\nand more")
        if made == "exit":
            raise SystemExit(0)
        if made == "nameless":
            made_mechanism.name = ""
        if made == "undescribed":
            made_mechanism.spec = others
        return made_mechanism


NOT_A_CLASS = 3
