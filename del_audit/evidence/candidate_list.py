"""How often a private text is picked out of a list, from its first tokens: by the length read and the list's size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from attacks.base import AttackerKnowledge
from attacks.candidate_list import CandidateList, ListReader, picked, public_windows
from del_audit.service.assets import Assets
from del_audit.service.private_text import one_of_each_group
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import unequal_rates
from mechanisms.client import Client
from mechanisms.mechanism import Observed
from mechanisms.randomness import Generator, simulation_generator
from mechanisms.validation import at_least

LENGTHS = (8, 16, 32)
"""Tokens of each text that are read, beside the longest prompt's."""
LISTED_TEXTS, LISTED_DECOYS = 100, 10_000
"""Private texts that are picked from, and texts in a list of public windows, at most: a certificate's."""
LEAST_TEXTS = 20
LEAST_CANDIDATES = 100
"""Texts in a list of public windows, below which there is no figure: too few to hide among."""
UNIT = "share of texts picked out"
LISTED = "texts of a list"
"""Names the draws of the client that releases them."""
TOO_FEW = "too few private texts are long enough"
METHOD = "Clopper-Pearson for unequal rates, over the noise, for these texts and lists"

Decoys = Literal["the other private texts", "windows of public text"]
Lengths = Literal["equal", "true"]


@dataclass(frozen=True, slots=True)
class ListFigure:
    """How often the attacker who holds a list of texts names the one that was sent, by exact likelihood."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    tokens: int
    """Tokens of each text that are read, from its start: all of it where lengths are true and it is shorter."""
    candidates: int
    """Texts in the list, the one that was sent among them."""
    decoys: Decoys
    """What the others are."""
    lengths: Lengths
    """equal: all texts are cut to the same length. true: texts of another length than the message's are excluded."""
    success: Figure
    """Share of texts picked out first; among texts that are equally likely the attacker draws."""
    chance: float
    """Share that is picked out without a release, 1 / candidates."""


def measure_lists(
    public: AttackerKnowledge,
    texts: Sequence[Sequence[int]],
    release: Callable[[Sequence[int]], bytes],
    public_documents: Sequence[Sequence[int]],
    longest: int,
    seed: int,
    texts_at_most: int = LISTED_TEXTS,
    decoys: int = LISTED_DECOYS,
) -> tuple[ListFigure, ...]:
    """Returns the figures from the first 8, 16, 32 and `longest` tokens, and one with the texts' true lengths.

    public: what the attacker knows; its mechanism is the one that releases. texts: tokens of private documents, one of
    each author. release: the client of that mechanism. longest: tokens at which a prompt is cut. texts_at_most: texts
    that are picked from, the first that are long enough. decoys: texts in a list of public windows, the one that was
    sent among them; fewer where public text has no more. seed: of the draws among equals and of the order of windows.

    Each text is released once, cut at `longest`; its first tokens are read from that release, as rows are independent.
    At each length it is picked from the other private texts and from public windows, all of that length. A figure needs
    LEAST_TEXTS texts, one of public windows also LEAST_CANDIDATES in the list. Given the texts and the lists, whether
    one is picked depends on its own noise alone, so the picks are independent and the interval is exact; it is over the
    noise, and says nothing of other texts. Nothing is fitted. Raises UserError for longest < 1, texts_at_most < 1 or
    decoys < 1, where the law is not known, and as release does.
    """
    for name, value in (("longest", longest), ("texts_at_most", texts_at_most), ("decoys", decoys)):
        at_least(name, value, 1)
    sent = _Sent(CandidateList().fit(public), release, [list(text[:longest]) for text in texts if len(text)])
    ties = simulation_generator(seed, "ties in lists")
    figures: list[ListFigure] = []
    for tokens in sorted({length for length in (*LENGTHS, longest) if length <= longest}):
        chosen = sent.of_length(tokens)[:texts_at_most]
        if len(chosen) < LEAST_TEXTS:
            continue
        own = np.array([sent.texts[text][:tokens] for text in chosen])
        windows = public_windows(public_documents, tokens, decoys - 1, own, seed)
        among, hidden, listed = [], [], np.concatenate([own, windows])
        for place, text in enumerate(chosen):
            found = sent.log_likelihood(text, listed)
            among.append(picked(found[: len(own)], place))
            hidden.append(picked(np.concatenate([found[[place]], found[len(own) :]]), 0))
        figures.append(_figure(among, ties, tokens, len(own), "the other private texts", "equal"))
        if len(windows) + 1 >= LEAST_CANDIDATES:
            figures.append(_figure(hidden, ties, tokens, len(windows) + 1, "windows of public text", "equal"))
    chosen = sent.of_length(1)[:texts_at_most]
    if len(chosen) >= LEAST_TEXTS:
        whole = [_picked_whole(sent, chosen, text) for text in chosen]
        figures.append(_figure(whole, ties, longest, len(chosen), "the other private texts", "true"))
    return tuple(figures)


def private_lists(
    assets: Assets,
    client: Client,
    public: AttackerKnowledge,
    longest: int,
    texts_at_most: int = LISTED_TEXTS,
    decoys: int = LISTED_DECOYS,
) -> tuple[ListFigure, ...]:
    """Returns measure_lists of the private part, one text of each group; client: of public.mechanism."""
    texts, seed = one_of_each_group(assets, 1), assets.seed
    return measure_lists(public, texts, client.release_tokens, assets.public, longest, seed, texts_at_most, decoys)


@dataclass(slots=True)
class _Sent:
    """Texts, none empty, and what was observed of each that was asked for: one release of each."""

    reader: ListReader
    release: Callable[[Sequence[int]], bytes]
    texts: list[list[int]]
    observed: dict[int, Observed] = field(default_factory=dict)

    def of_length(self, tokens: int) -> list[int]:
        """Returns the numbers of the texts of so many tokens or more."""
        return [number for number, text in enumerate(self.texts) if len(text) >= tokens]

    def log_likelihood(self, text: int, listed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns that of each listed text, shape (listed,), from as many of the text's first tokens as those have."""
        if text not in self.observed:
            self.observed[text] = self.reader.observed(self.release(self.texts[text]))
        return self.reader.of_observed(self.observed[text][: listed.shape[1]], listed)


def _picked_whole(sent: _Sent, chosen: Sequence[int], text: int) -> float:
    """Returns the chance that a text is picked from those of the chosen that have its length."""
    left = [other for other in chosen if len(sent.texts[other]) == len(sent.texts[text])]
    return picked(sent.log_likelihood(text, np.array([sent.texts[other] for other in left])), left.index(text))


def _figure(
    chances: Sequence[float], ties: Generator, tokens: int, candidates: int, decoys: Decoys, lengths: Lengths
) -> ListFigure:
    """Returns the figure; chances: that each text is picked, of which what is not certain is drawn."""
    hits: NDArray[np.bool_] = ties.random(len(chances)) < np.array(chances)
    right, count = int(hits.sum()), len(hits)
    lower, upper = unequal_rates(right, count)
    success = Figure(right / count, lower, upper, UNIT, count, "texts", METHOD)
    return ListFigure(tokens, candidates, decoys, lengths, success, 1 / candidates)
