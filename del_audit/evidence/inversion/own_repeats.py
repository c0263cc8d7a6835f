"""What is read of a word that occurs several times in one prompt, by who knows at which places it stands."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attacks.base import AttackerKnowledge, observe
from del_audit.evidence.inversion.leakage import COMMON_WORDS
from del_audit.evidence.inversion.repeated import TIMES
from del_audit.service.releases import Releases
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clustered_rates
from mechanisms.canonical_json import Json
from mechanisms.device_channel import CPU, evidence_on

UNIT = "share of repeated words recovered"
FEWEST_WORDS = 30
"""Fewer have no figure: its interval would say nothing."""


@dataclass(frozen=True, slots=True)
class OwnRepeats:
    """What is read of the words that occur `times` times or more in a prompt and are none of the commonest ones.

    pooled: share recovered from the first `times` occurrences together: their log-likelihoods add up, as those of as
    many releases of one token do. once: share of the same words recovered from the first occurrence alone. Both are
    None where there are fewer than FEWEST_WORDS such words. words: their number, each counted once in a prompt.
    """

    times: int
    words: int
    pooled: Figure | None
    once: Figure | None

    def to_dict(self) -> Mapping[str, Json]:
        """Returns the figures under their names."""
        figures = {"pooled": self.pooled, "once": self.once}
        found = {name: None if each is None else each.to_dict() for name, each in figures.items()}
        return {"times": self.times, "words": self.words, **found}


def measure_own_repeats(
    public: AttackerKnowledge, sent: Releases, *, longest: int, seed: int, times: Sequence[int] = TIMES
) -> tuple[OwnRepeats, ...]:
    """Returns what MAP with the unigram prior reads of the prompts' own repeats.

    The attacker knows that some places hold one word, as a name's or a product's do, and not which. sent: messages of
    public.mechanism, and the true tokens, which say where words are repeated and score the guesses. longest: the most
    tokens that one document can have, fixed before any is drawn. Raises UserError for a mechanism without a known law,
    prompts of a single document, and as observe does.
    """
    rare = np.ones(public.words, dtype=bool)
    rare[np.argsort(-public.prior, kind="stable")[:COMMON_WORDS]] = False
    hits: dict[int, list[tuple[bool, bool]]] = {number: [] for number in times}
    clusters: dict[int, list[Hashable]] = {number: [] for number in times}
    evidence = evidence_on(public.channel, public.device, None, public.words)
    kind = torch.float64 if public.device == CPU else torch.float32  # as the scores, which some devices have alone
    log_prior = torch.from_numpy(public.log_prior).to(kind)
    for row, seen in enumerate(observe(public.mechanism, sent.messages)):
        for word, places in _repeats(sent.truths[row], rare, min(times)).items():
            most = max(number for number in times if number <= len(places))
            each = evidence(seen[places[:most]])
            guesses = (each.cumsum(0, dtype=kind) + log_prior.to(each.device)).argmax(1).cpu().numpy()
            for number in times:
                if number <= len(places):
                    hits[number].append((guesses[number - 1] == word, guesses[0] == word))
                    clusters[number].append(sent.documents[row])
    found = []
    for number in times:
        pooled = once = None
        if len(hits[number]) >= FEWEST_WORDS:
            both = np.array(hits[number], dtype=bool).T
            pooled, once = clustered_rates(both, clusters[number], longest // number, UNIT, "words", seed)
        found.append(OwnRepeats(number, len(hits[number]), pooled, once))
    return tuple(found)


def _repeats(truth: Sequence[int], rare: NDArray[np.bool_], fewest: int) -> dict[int, list[int]]:
    """Returns the places of each rarer word of a prompt that occurs so often."""
    places: dict[int, list[int]] = {}
    for place, word in enumerate(truth):
        if rare[word]:
            places.setdefault(word, []).append(place)
    return {word: found for word, found in places.items() if len(found) >= fewest}
