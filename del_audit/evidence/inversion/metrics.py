"""How well an inversion attack read prompts: of tokens, of documents and of their text, beside guessing the prior."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.outcome import Outcome
from del_audit.evidence.inversion.slices import require_same_prompts, whole_prompts
from del_audit.statistics.bootstrap import Clusters, group
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import UNSEEN, clustered_mean, require_longest, unseen_ends
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.models import SentenceEncoder
from mechanisms.text_pieces import text_of

KS = (1, 5, 10)
ORDERS = 4
"""Lengths of BLEU's n-grams, 1 to ORDERS."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """What an attack reached, what the baseline did on the same prompts, and by how much the attack is above it."""

    name: str
    attack: Figure
    baseline: Figure
    difference: Figure


def token_metrics(
    outcome: Outcome, baseline: Outcome, seed: int, ks: Sequence[int] = KS, confidence: float = 0.95, *, longest: int
) -> list[Metric]:
    """Returns top-1 and hit@k for each k, mean reciprocal rank, median rank, and documents read exactly.

    baseline: of the same prompts, as CommonestWord's. longest: the most tokens that one document can have, fixed before
    any is drawn. Intervals are over documents, of clustered_mean; paired differences too. A rank beyond the lesser
    depth kept counts 0 to the mean reciprocal rank, which is so a little low.
    Raises UserError for a k outside the depth of either, outcomes of different prompts, fewer than two documents, and a
    document of more than `longest` tokens.
    """
    require_same_prompts([outcome, baseline])
    pair, clusters = (outcome, baseline), outcome.clusters
    metrics = [
        _metric(
            "top-1" if k == 1 else f"hit@{k}",
            "share of tokens read" if k == 1 else f"share of tokens among the first {k} guesses",
            "tokens",
            [o.within(k) for o in pair],
            clusters,
            longest,
            seed,
            confidence,
        )
        for k in ks
    ]
    alike = [_within_depth(o, min(outcome.depth, baseline.depth)) for o in pair]
    reciprocal = [np.where(o.rank > 0, 1 / np.maximum(o.rank, 1), 0.0) for o in alike]
    unit = f"mean of 1 / rank, 0 beyond rank {alike[0].depth}"
    metrics.append(_metric("mean reciprocal rank", unit, "tokens", reciprocal, clusters, longest, seed, confidence))
    metrics.append(_median_metric(alike[0], alike[1], longest, seed, confidence))
    exact = [_documents_read(o) for o in pair]
    metrics.append(
        _metric("exact match", "share of documents read exactly", "documents", exact, None, 1, seed, confidence)
    )
    return metrics


def text_metrics(
    outcome: Outcome,
    baseline: Outcome,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    sentences: SentenceEncoder | None = None,
    table: NDArray[np.float32] | None = None,
    confidence: float = 0.95,
    *,
    prompt_tokens: int,
    prompts_each: int = 1,
) -> list[Metric]:
    """Returns ROUGE-L, BLEU, and the cosines for which there is a model, of first guesses against the true text.

    ROUGE-L: F measure of each prompt's longest common subsequence, without stemming (rouge-score), mean over prompts.
    BLEU: of the corpus, 0 to 100 (sacrebleu's defaults). sentences: cosine of sentence embeddings, mean over prompts.
    table: word embeddings, shape (words, width); cosine of each guess and truth, mean over tokens.
    prompt_tokens, prompts_each: the most tokens of a prompt and prompts of a document, fixed before any is drawn. BLEU
    looks at the first prompt_tokens words of a text, so that no text weighs more than was known beforehand.
    Raises UserError as token_metrics does, and for outcomes that lack tokens of their prompts.
    """
    require_same_prompts([outcome, baseline])
    true = decoded(outcome, tokenizer, outcome.truth)
    guessed = [decoded(o, tokenizer, o.guess) for o in (outcome, baseline)]
    documents, longest = np.array(outcome.documents), prompt_tokens * prompts_each
    rouge = [rouge_l(texts, true) for texts in guessed]
    metrics = [
        _metric("ROUGE-L", "F measure, mean over prompts", "prompts", rouge, documents, prompts_each, seed, confidence),
        bleu_metric([bleu_statistics(t, true, prompt_tokens) for t in guessed], documents, longest, seed, confidence),
    ]
    if sentences is not None:
        truth = sentences.embed(true)
        cosines = [_cosines(sentences.embed(texts), truth) for texts in guessed]
        name, unit = "sentence cosine", f"cosine of {sentences.record.name} embeddings"
        within = (-1.0, 1.0)
        metrics.append(_metric(name, unit, "prompts", cosines, documents, prompts_each, seed, confidence, within))
    if table is not None:
        cosines = [_cosines(table[o.guess], table[o.truth]) for o in (outcome, baseline)]
        name, unit = "word cosine", "cosine of word embeddings"
        within = (-1.0, 1.0)
        metrics.append(_metric(name, unit, "tokens", cosines, outcome.clusters, longest, seed, confidence, within))
    return metrics


def median_rank(outcome: Outcome, seed: int, confidence: float = 0.95, *, longest: int) -> Figure:
    """Returns the median rank of the truth; depth + 1 stands for any rank beyond the depth kept.

    The median is the least rank that half of the tokens are within. Its interval inverts those of the shares within
    each rank (Woodruff, 1952). longest: the most tokens that one document can have, fixed before any is drawn.
    Raises UserError for fewer than two documents, and for one of more than `longest` tokens.
    """
    within = np.arange(1, outcome.depth + 1)
    inside = (outcome.rank[:, None] > 0) & (outcome.rank[:, None] <= within)
    grouped = group(outcome.clusters, len(outcome))
    if grouped.documents < 2:
        raise UserError(f"Expected two documents or more for an interval, got {len(outcome)} tokens of one or none.")
    sizes = grouped.sums(np.ones(len(outcome)))
    require_longest(sizes, longest)
    counts = np.zeros((grouped.documents, outcome.depth))
    np.add.at(counts, grouped.numbers, inside)
    sums = np.stack([counts, np.repeat(sizes[:, None], outcome.depth, 1)])
    ends = np.empty((2, 2, outcome.depth))
    ends[0, 0], ends[1, 0], ends[:, 1] = 0, longest, longest
    lower, upper = unseen_ends(sums, ends, lambda s: np.asarray(s[0] / s[1]), seed, confidence)
    value, low, high = (_first_half(shares) for shares in (inside.mean(axis=0), upper, lower))
    unit, method = f"median rank, {outcome.depth + 1} where beyond the {outcome.depth} kept", f"Woodruff, {UNSEEN}"
    documents, low, high = grouped.documents, min(low, value), max(high, value)
    return Figure(value, low, high, unit, len(outcome), "tokens", method, confidence, documents=documents, seed=seed)


def decoded(outcome: Outcome, tokenizer: PreTrainedTokenizerBase, column: NDArray[np.int32]) -> list[str]:
    """Returns each prompt's text of a column of words; raises UserError for an outcome that lacks tokens of them."""
    return [text_of(tokenizer, words.tolist()) for _, words in whole_prompts(outcome, column)]


def rouge_l(guessed: Sequence[str], true: Sequence[str]) -> Floats:
    """Returns the ROUGE-L F measure of each guessed text, shape (texts,) (Lin, 2004)."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return np.array([scorer.score(t, g)["rougeL"].fmeasure for t, g in zip(true, guessed, strict=True)])


def bleu_statistics(guessed: Sequence[str], true: Sequence[str], words: int | None = None) -> Floats:
    """Returns what BLEU sums over texts: n-grams that match, n-grams, length, true length; shape (10, texts).

    words: only the first so many of each text; None takes all.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    split: Any = Tokenizer13a  # untyped
    split, score = split(), BLEU(max_ngram_order=ORDERS, tokenize="none", force=True)
    texts = [[" ".join(split(text).split()[:words]) for text in part] for part in (guessed, true)]
    scores = [score.corpus_score([g], [[t]]) for g, t in zip(*texts, strict=True)]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], dtype=np.float64).T


def bleu(sums: Floats) -> Floats:
    """Returns corpus BLEU, 0 to 100, of summed statistics of shape (10, ...), as sacrebleu computes it by default.

    An order without a match counts as 1/2, 1/4, ... of one match (exponential smoothing); without any match it is 0.
    """
    matches, totals, length, true_length = sums[:ORDERS], sums[ORDERS : 2 * ORDERS], sums[-2], sums[-1]
    none = matches == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(none, 0.5 ** np.cumsum(none, axis=0), matches)) - np.log(totals)
        brevity = np.minimum(0.0, 1 - true_length / length)
        score = 100 * np.exp(brevity + logs.mean(axis=0))
    return np.asarray(np.where(none.all(axis=0) | (totals == 0).any(axis=0), 0.0, score))


def bleu_metric(
    pair: Sequence[Floats], clusters: Clusters, longest: int, seed: int, confidence: float = 0.95
) -> Metric:
    """Returns corpus BLEU of two sets of texts with the same truths, each of shape (10, texts), and the difference.

    longest: the most words that the texts of one document can have, true or guessed, fixed before any is drawn.
    Intervals re-weigh whole documents' statistics beside one unseen document of `longest` words, none of which match
    or all of which do (`bleu_ends`). Raises UserError for fewer than two documents, and a longer one.
    """
    grouped = group(clusters, pair[0].shape[1])
    if grouped.documents < 2:
        raise UserError(f"Expected two documents or more for an interval, got {pair[0].shape[1]} texts of one.")
    sums = [np.stack([grouped.sums(row) for row in statistics]) for statistics in pair]
    require_longest(np.concatenate([part[-2:].ravel() for part in sums]), longest)
    worst, best = bleu_ends(longest)

    def figure(value: Floats, statistics: Floats, ends: list[Floats], statistic: Callable[[Floats], Floats]) -> Figure:
        lower, upper = unseen_ends(statistics, np.array(ends), statistic, seed, confidence)
        seen, about = float(value), ("BLEU, 0 to 100", len(grouped.numbers), "prompts", UNSEEN, confidence)
        low, high = min(float(lower), seen), max(float(upper), seen)
        return Figure(seen, low, high, *about, documents=grouped.documents, seed=seed)

    ours, theirs = (figure(bleu(part.sum(axis=1)), part, [worst, best], bleu) for part in sums)
    both, half = np.concatenate(sums), len(sums[0])
    ends = [np.concatenate([worst, best]), np.concatenate([best, worst])]
    gap = np.asarray(ours.value - theirs.value)
    difference = figure(gap, both, ends, lambda s: np.asarray(bleu(s[:half]) - bleu(s[half:])))
    return Metric("BLEU", ours, theirs, difference)


def bleu_ends(longest: int) -> tuple[Floats, Floats]:
    """Returns statistics no better, and no worse, than those of any document of so many words, shape (10,) each.

    The worst has every n-gram wrong and counts for nothing but the true length, which BLEU's brevity penalty fears; the
    best has every n-gram right and nothing to the true length. No document is both, so the ends are on the safe side.
    """
    full, none = np.full(ORDERS, float(longest)), np.zeros(ORDERS)
    return np.array([*none, *full, 0.0, longest]), np.array([*full, *full, longest, 0.0])


def _metric(
    name: str,
    unit: str,
    sample_unit: str,
    pair: Sequence[NDArray[np.float64] | NDArray[np.bool_]],
    clusters: Clusters,
    longest: int,
    seed: int,
    confidence: float,
    within: tuple[float, float] = (0.0, 1.0),
) -> Metric:
    ours, theirs = (clustered_mean(v, clusters, longest, unit, sample_unit, seed, confidence, within) for v in pair)
    gaps, width = pair[0].astype(np.float64) - pair[1].astype(np.float64), within[1] - within[0]
    unit = f"{unit}, above the baseline"
    difference = clustered_mean(gaps, clusters, longest, unit, sample_unit, seed, confidence, (-width, width))
    return Metric(name, ours, theirs, difference)


def _median_metric(outcome: Outcome, baseline: Outcome, longest: int, seed: int, confidence: float) -> Metric:
    """Returns both medians; the interval of their difference is that of two intervals that hold together."""
    ours, theirs = (median_rank(o, seed, confidence, longest=longest) for o in (outcome, baseline))
    first, second = (median_rank(o, seed, (1 + confidence) / 2, longest=longest) for o in (outcome, baseline))
    difference = Figure(
        ours.value - theirs.value,
        first.lower - second.upper,
        first.upper - second.lower,
        f"{ours.unit}, less the baseline's",
        ours.sample,
        ours.sample_unit,
        f"{ours.method}, Bonferroni of two",
        confidence,
        documents=ours.documents,
        seed=seed,
    )
    return Metric("median rank", ours, theirs, difference)


def _within_depth(outcome: Outcome, depth: int) -> Outcome:
    """Returns the outcome as if so many guesses had been kept, so that ranks of two attacks compare."""
    return replace(outcome, depth=depth, rank=np.where(outcome.rank <= depth, outcome.rank, 0).astype(np.int32))


def _documents_read(outcome: Outcome) -> NDArray[np.bool_]:
    """Returns whether all tokens of each document are read, bool, shape (documents,)."""
    grouped = group(outcome.clusters, len(outcome))
    return np.asarray(grouped.sums((~outcome.hits).astype(np.float64)) == 0)


def _first_half(shares: Floats) -> float:
    """Returns the least rank with a share of 1/2 or more within it; one more than all ranks where there is none."""
    reached = np.flatnonzero(shares >= 0.5)
    return float(reached[0] + 1) if reached.size else float(len(shares) + 1)


def _cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> Floats:
    """Returns the cosine of each pair of rows, 0 where one of them has no length, shape (rows,)."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = (a * b).sum(axis=1)
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return np.asarray(np.clip(cosines, -1.0, 1.0))
