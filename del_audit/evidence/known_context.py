"""What is recovered of a token by an attacker who knows words around it, beside what theorem 23 allows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attacks.base import AttackerKnowledge
from attacks.known_context import Hits, KnownContext, Places, Sides
from attacks.repeated import Repeated, join
from del_audit.accounting.any_mechanism import guess_bound, has_proof
from del_audit.evidence.inversion.leakage import SHARE_READ
from del_audit.service.releases import Releases
from del_audit.statistics.contradiction import contradicts, level_of
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clopper_pearson, clustered_mean, clustered_rates
from mechanisms.encoder import Encoder
from mechanisms.levels import ZERO_LEVEL
from mechanisms.mechanism import ObservableMechanism
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rival_pipeline import RivalPipeline
from mechanisms.rivals.silent import Silent, Supported
from mechanisms.validation import at_least

LIFT = f"{SHARE_READ}, above no release"
KNOWN_CONTEXTS: dict[Sides, int] = {"left": 200, "both sides": 100}
"""Private prompts, one per document, whose other words an attacker knows: with 64 the lift's interval is wide."""
ASKED_EACH: dict[Sides, int | None] = {"left": None, "both sides": 8}
"""Tokens asked of a prompt, all where None: on both sides the model reads what follows each candidate."""


@dataclass(frozen=True, slots=True)
class ContextFigures:
    """What one attacker recovers of tokens whose true context it knows. Intervals are over documents.

    context: of which sides of a token it knows all words. success, without: share of tokens recovered with the release,
    and by the same attacker without it. lift: the paired difference, the release's own part, and the figure to quote.
    centre: the same attacker on releases that do not depend on the text: of the centre of DEL's cube, or uniform ones.
    allowed: theorem 23's bound on success, from the upper end of centre: it holds with the confidence of that interval.
    broken_below, broken_above: the limits that del_audit.statistics.contradiction judges, of success on these very
    tokens and of what is allowed there, together wrong with probability at most FALSE_ALARMS. centre, allowed and
    broken_above are None for mechanisms without a centre. temper, unigram_share: of the prior, chosen on public text.
    """

    context: Sides
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
    each: int | None = None,
    fixed: Sequence[Places] | None = None,
    judged: int = 1,
) -> ContextFigures:
    """Returns the figures of an attack, KnownContext() where it is left out, on released prompts.

    public: all that the attack is fitted on. sent: messages of public.mechanism, and the true tokens, which are its
    context and score it. longest: the most tokens that are asked of one document, fixed before any is drawn. seed: of
    the centre's releases and of the intervals. sends: releases of each token in one message, as at_sends makes them.
    each: at most so many tokens of a prompt are asked, evenly spaced. fixed: the tokens of each prompt that a template
    fixes: the attacker knows them, and is asked for the others. judged: figures that are judged together.
    Raises UserError for prompts of a single document, a document of more tokens than longest, each < 1, and as
    KnownContext.fit and ContextReader.read do.
    """
    known = [np.zeros(len(row), dtype=bool) for row in sent.truths] if fixed is None else fixed
    asked = [spaced(~row, each) for row in known]
    reader = (attack or KnownContext()).fit(public)
    mechanism = public.mechanism
    centre = released_reference(mechanism, sent.truths, seed)
    hits = reader.read(sent.messages, sent.truths, centre, asked=asked, fixed=known)
    read = [hits.given, hits.without, *([] if hits.other is None else [hits.other])]
    clusters = [document for document, row in zip(sent.documents, asked, strict=True) for _ in range(row.sum())]
    success, without, *other = clustered_rates(
        np.stack(read), clusters, longest, SHARE_READ, "tokens", seed, confidence
    )
    gaps = hits.given.astype(np.float64) - hits.without
    lift = clustered_mean(gaps, clusters, longest, LIFT, "tokens", seed, confidence, (-1.0, 1.0))
    allowed = above = None
    if has_proof(mechanism.spec) and hits.other is not None:
        allowed, above = (
            guess_bound(mechanism.spec, share, sends).upper
            for share in (other[0].upper, _limits(hits.other, judged)[1])
        )
    return ContextFigures(
        reader.settings.sides,
        success,
        without,
        lift,
        other[0] if other else None,
        allowed,
        _limits(hits.given, judged)[0],
        above,
        reader.reader.temper,
        reader.reader.share,
    )


def known_context(
    sides: Sides, knowledge: AttackerKnowledge, sent: Releases, prompt_tokens: int, seed: int, sends: int
) -> ContextFigures:
    """Returns the figures of who knows these sides, as a certificate has them.

    sent: the first prompt of each document is read, as many as KNOWN_CONTEXTS says. prompt_tokens: of the longest.
    knowledge, seed, sends: as measure_known_context, which says what is raised.
    """
    return measure_known_context(
        knowledge,
        sent.one_a_document(KNOWN_CONTEXTS[sides]),
        KnownContext(sides),
        longest=min(prompt_tokens, ASKED_EACH[sides] or prompt_tokens),
        seed=seed,
        sends=sends,
        each=ASKED_EACH[sides],
        judged=len(KNOWN_CONTEXTS),
    )


def known_contexts(
    knowledge: AttackerKnowledge, sent: Releases, prompt_tokens: int, seed: int, sends: int
) -> tuple[ContextFigures, ContextFigures]:
    """Returns known_context of who knows the left side, and of who knows both."""
    about = (knowledge, sent, prompt_tokens, seed, sends)
    return known_context("left", *about), known_context("both sides", *about)


def released_reference(
    mechanism: ObservableMechanism, prompts: Sequence[Sequence[int]], seed: int
) -> list[bytes] | None:
    """Returns releases that tell nothing of the words, of as many tokens as each prompt; None where there are none.

    DEL's are of the centre of the cube (theorem 23); those of a mechanism with supports are uniform (theorem 24). No
    word of the prompts is looked at.
    """
    if isinstance(mechanism, Pipeline):
        return released_centre(mechanism, prompts, seed)
    released = mechanism.mechanism if isinstance(mechanism, RivalPipeline) else mechanism
    once = released.mechanism if isinstance(released, Repeated) else released
    if not isinstance(once, Supported):
        return None
    silent, source = Silent(once), SimulatedRandomness(seed, "releases that tell nothing")
    blank = [[0] * len(prompt) for prompt in prompts]
    if not isinstance(released, Repeated):
        return [silent.release(tokens, source) for tokens in blank]
    return [join([silent.release(tokens, source) for _ in range(released.times)]) for tokens in blank]


def released_centre(pipeline: Pipeline, prompts: Sequence[Sequence[int]], seed: int) -> list[bytes]:
    """Returns releases of the centre of the cube, of as many tokens as each prompt: every trial has probability 1/2.

    It is the pipeline's own release, by the true law, with every word's code at level 0, whose threshold is 2^31. No
    word of the prompts is looked at.
    """
    levels = np.full_like(pipeline.encoder.levels, ZERO_LEVEL)
    centre = replace(pipeline, encoder=Encoder(levels, pipeline.encoder.clip))
    source = SimulatedRandomness(seed, "releases of the centre")
    return [centre.release([0] * len(prompt), source) for prompt in prompts]


def spaced(asked: Places, each: int | None) -> Places:
    """Returns at most `each` of the places, evenly spaced whatever the words are; all of them where it is None.

    >>> spaced(np.array([False, True, True, True, True, True]), 2).nonzero()[0].tolist()
    [2, 4]
    """
    places = np.flatnonzero(asked)
    if each is None or len(places) <= at_least("each", each, 1):
        return asked
    chosen = np.zeros_like(asked)
    chosen[places[(2 * np.arange(each) + 1) * len(places) // (2 * each)]] = True
    return chosen


def _limits(hits: Hits, judged: int) -> tuple[float, float]:
    """Returns limits of the mean chance of a hit on these very tokens, each wrong with its part of the false alarms.

    Given the text each token is guessed from its own release alone, so that hits are independent, and Clopper-Pearson
    covers tokens of unequal chances too (Hoeffding, 1956).
    """
    return clopper_pearson(int(hits.sum()), len(hits), 1 - 2 * level_of(2 * judged))
