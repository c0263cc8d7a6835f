"""What is recovered of a token by an attacker who knows the words before it, beside what theorem 23 allows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from attacks.base import AttackerKnowledge
from attacks.known_context import Hits, KnownContext
from del_audit.accounting import inversion_bound
from del_audit.evidence.inversion.leakage import SHARE_READ
from del_audit.service.releases import Releases
from del_audit.statistics.contradiction import contradicts, level_of
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clopper_pearson, clustered_mean, clustered_rates
from mechanisms.encoder import Encoder
from mechanisms.levels import ZERO_LEVEL
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedRandomness

LIFT = f"{SHARE_READ}, above no release"


@dataclass(frozen=True, slots=True)
class ContextFigures:
    """What one attacker recovers of tokens whose true context it knows. Intervals are over documents.

    context: the words that it knows of each prompt. success, without: share of tokens recovered with the release, and
    by the same attacker without it. lift: the paired difference, the release's own part, and the figure to quote.
    centre: the same attacker on releases of the centre of the cube, which do not depend on the text. allowed:
    theorem 23's bound on success, from the upper end of centre: it holds with the confidence of that interval.
    broken_below, broken_above: the limits that del_audit.statistics.contradiction judges, of success on these very
    tokens and of what is allowed there, together wrong with probability at most FALSE_ALARMS. centre, allowed and
    broken_above are None for mechanisms without a centre. temper, unigram_share: of the prior, chosen on public text.
    """

    context: Literal["left"]
    success: Figure
    without: Figure
    lift: Figure
    centre: Figure | None
    allowed: float | None
    broken_below: float
    broken_above: float | None
    temper: float
    unigram_share: float

    @property
    def broken(self) -> bool:
        """Whether success beats what is allowed: then the implementation is not the mechanism that it claims to be."""
        return contradicts(self.broken_below, self.broken_above)


def measure_known_context(
    public: AttackerKnowledge,
    sent: Releases,
    attack: KnownContext | None = None,
    *,
    longest: int,
    seed: int,
    sends: int = 1,
    confidence: float = 0.95,
) -> ContextFigures:
    """Returns the figures of an attack, KnownContext() where it is left out, on released prompts.

    public: all that the attack is fitted on. sent: messages of public.mechanism, and the true tokens, which are its
    context and score it. longest: the most tokens that one document can have, fixed before any is drawn. seed: of the
    centre's releases and of the intervals. sends: releases of each token in one message, as at_sends makes them.
    Raises UserError for prompts of a single document, a document of more tokens than longest, and as KnownContext.fit
    and ContextReader.read do.
    """
    reader = (attack or KnownContext()).fit(public)
    mechanism = public.mechanism
    centre = released_centre(mechanism, sent.truths, seed) if isinstance(mechanism, Pipeline) else None
    hits = reader.read(sent.messages, sent.truths, centre)
    read = [hits.given, hits.without, *([] if hits.other is None else [hits.other])]
    clusters = [document for document, truth in zip(sent.documents, sent.truths, strict=True) for _ in truth]
    success, without, *other = clustered_rates(
        np.stack(read), clusters, longest, SHARE_READ, "tokens", seed, confidence
    )
    gaps = hits.given.astype(np.float64) - hits.without
    lift = clustered_mean(gaps, clusters, longest, LIFT, "tokens", seed, confidence, (-1.0, 1.0))
    allowed = above = None
    if isinstance(mechanism, Pipeline) and hits.other is not None:
        allowed, above = (
            inversion_bound(mechanism.spec, share, sends, proved=True).upper
            for share in (other[0].upper, _limits(hits.other)[1])
        )
    return ContextFigures(
        "left",
        success,
        without,
        lift,
        other[0] if other else None,
        allowed,
        _limits(hits.given)[0],
        above,
        reader.reader.temper,
        reader.reader.share,
    )


def released_centre(pipeline: Pipeline, prompts: Sequence[Sequence[int]], seed: int) -> list[bytes]:
    """Returns releases of the centre of the cube, of as many tokens as each prompt: every trial has probability 1/2.

    It is the pipeline's own release, by the true law, with every word's code at level 0, whose threshold is 2^31. No
    word of the prompts is looked at.
    """
    levels = np.full_like(pipeline.encoder.levels, ZERO_LEVEL)
    centre = replace(pipeline, encoder=Encoder(levels, pipeline.encoder.clip))
    source = SimulatedRandomness(seed, "releases of the centre")
    return [centre.release([0] * len(prompt), source) for prompt in prompts]


def _limits(hits: Hits) -> tuple[float, float]:
    """Returns limits of the mean chance of a hit on these very tokens, each wrong with half of the false alarms.

    Given the text each token is guessed from its own release alone, so that hits are independent, and Clopper-Pearson
    covers tokens of unequal chances too (Hoeffding, 1956).
    """
    return clopper_pearson(int(hits.sum()), len(hits), 1 - 2 * level_of(2))
