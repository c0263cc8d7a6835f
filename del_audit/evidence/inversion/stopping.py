"""An attack that stops once what it reads has decided a limit (del_audit.statistics.sequential)."""

import numpy as np

from attacks.outcome import Outcome
from del_audit.evidence.inversion.readers import AttackReader
from del_audit.service.releases import Releases
from del_audit.statistics.bootstrap import group
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import require_longest
from del_audit.statistics.sequential import decided, sequential_rate
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator
from mechanisms.validation import at_least


def read_until_decided(
    reader: AttackReader,
    sent: Releases,
    limit: float,
    longest: int,
    batch: int = 16,
    seed: int = 0,
    confidence: float = 0.95,
) -> Outcome:
    """Returns what an attack read after as few documents as decide the limit, or after all.

    Documents are attacked whole, `batch` of them at a time, in an order that the seed alone fixes. Prompts are those
    attacked, in that order. limit: in (0, 1), of `stopped_rate`. longest: the most tokens that one document can have,
    fixed before documents are drawn.
    Raises UserError for limit and batch out of range, for fewer than two documents, for one of more than `longest`
    tokens, and as invert does.
    """
    if not 0 < limit < 1:
        raise UserError(f"Expected limit in (0, 1), got limit={limit}.")
    at_least("batch", batch, 1)
    grouped = group(sent.documents, len(sent))
    if grouped.documents < 2:
        raise UserError(f"Expected prompts of two documents or more, got {len(sent.messages)} of one.")
    order = simulation_generator(seed, "order of documents").permutation(grouped.documents)
    prompts = [np.flatnonzero(grouped.numbers == document) for document in order]
    require_longest(grouped.sums(np.array([len(row) for row in sent.truths], dtype=np.float64)), longest)
    parts = []
    for start in range(0, len(prompts), batch):
        chosen = np.concatenate(prompts[start : start + batch])
        parts.append(reader.read(sent.chosen(chosen.tolist())))
        outcome = Outcome.joined(parts)
        if decided(stopped_rate(outcome, len(prompts), longest, confidence), limit) is not None:
            break
    return outcome


def stopped_rate(outcome: Outcome, documents: int, longest: int, confidence: float = 0.95) -> Figure:
    """Returns the share of tokens that such an attack read; its interval holds in spite of the stopping.

    documents: that there were to read. longest: as of read_until_decided.
    """
    return sequential_rate(
        outcome.hits, outcome.clusters, "share of tokens read", "tokens", documents, longest, confidence
    )
