"""Every interval over documents holds where a few long documents, read whole, make most of what is read.

Documents have one token that is not read; one in twenty-five has LONGEST tokens, all read. A sample of forty often has
none of those: an interval that knows only what it saw is then far below the truth. Those that have no bound to use say
what they assume.
"""

import numpy as np
import pytest
from scipy import stats

from attacks.outcome import Outcome
from attacks.ranking import Guesses
from del_audit.evidence.classification import classification_figures
from del_audit.evidence.diversity import distinct
from del_audit.evidence.inversion.leakage import measure_leakage
from del_audit.evidence.inversion.metrics import bleu, bleu_metric, bleu_statistics, median_rank, token_metrics
from del_audit.evidence.inversion.selection import strongest
from del_audit.evidence.inversion.slices import Slice, measure_slice
from del_audit.statistics.bootstrap import ASSUMED, bootstrap_mean, bootstrap_ratio
from del_audit.statistics.intervals import clustered_mean, clustered_rate
from del_audit.statistics.sequential import sequential_rate
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec

DOCUMENTS, LONGEST, SHARE = 40, 24, 0.04
TRUTH = SHARE * LONGEST / (1 - SHARE + SHARE * LONGEST)
"""Share of all tokens that are read: about one half."""
RUNS = 40
SPEC = QuantizerSpec.from_mu(4, 18, 0.05, 5.0)


class Named:
    name, version, context_free = "attack", 1, True


def sampled(seed):
    """Returns whether each token is read, and the document of each."""
    long = simulation_generator(seed, "rare documents").random(DOCUMENTS) < SHARE
    owner = np.repeat(np.arange(DOCUMENTS), np.where(long, LONGEST, 1))
    return long[owner], owner


def outcome_of(hits, owner):
    """Returns an outcome of one prompt from each document, of word 1, with those hits; the second guess is 9."""
    lengths = np.bincount(owner)
    words = np.stack([np.where(hits, 1, 2), np.full(len(hits), 9)], axis=1).astype(np.int32)
    guesses = Guesses(words, np.tile(np.float32([0, -1]), (len(hits), 1))).split(lengths.tolist())
    return Outcome.of(Named, guesses, np.split(np.ones(len(hits), int), np.cumsum(lengths)[:-1]), np.unique(owner))


def a_rate(hits, owner, seed):
    return clustered_rate(hits, owner, LONGEST, "u", "tokens", seed), TRUTH


def a_mean(hits, owner, seed):
    return clustered_mean(np.where(hits, 0.75, -0.5), owner, LONGEST, "u", "tokens", seed, within=(-1.0, 1.0)), (
        1.25 * TRUTH - 0.5
    )


def a_sequential_rate(hits, owner, seed):
    return sequential_rate(hits, owner, "u", "tokens", DOCUMENTS, LONGEST), TRUTH


def a_ladders_rate(hits, owner, seed):
    found = measure_leakage(
        {"map": (Named, outcome_of(hits, owner))}, SPEC, np.full(400, 1 / 400), seed, longest=LONGEST
    )
    return found.attacks[0].success, TRUTH


def a_slices_rate(hits, owner, seed):
    outcome = outcome_of(hits, owner)
    part = Slice("all", "all", np.ones(len(hits), bool))
    return measure_slice(part, outcome, outcome, seed, longest=LONGEST).success, TRUTH


def the_strongest_on_a_holdout(hits, owner, seed):
    return strongest([outcome_of(hits, owner)] * 2, seed, longest=LONGEST).figure, TRUTH


def the_strongest_of_all(hits, owner, seed):
    return strongest([outcome_of(hits, owner)] * 2, seed, "simultaneous", longest=LONGEST).figure, TRUTH


def a_paired_difference(hits, owner, seed):
    nothing = outcome_of(np.zeros_like(hits), owner)
    metric = token_metrics(outcome_of(hits, owner), nothing, seed, (1,), longest=LONGEST)[0]
    return metric.difference, TRUTH


def a_median_rank(hits, owner, seed):
    long = simulation_generator(seed, "more long documents").random(DOCUMENTS) < 2 * SHARE  # so that the median is 1
    owner = np.repeat(np.arange(DOCUMENTS), np.where(long, LONGEST, 1))
    return median_rank(outcome_of(long[owner], owner), seed, longest=LONGEST), 1


def a_bleu(hits, owner, seed):
    lengths = np.bincount(owner)
    texts = [" ".join("abcdefghijklmnopqrstuvwxyz"[:length]) for length in np.where(lengths > 1, LONGEST, 6)]
    statistics = bleu_statistics([t if n > 1 else "x y z x y z" for t, n in zip(texts, lengths, strict=True)], texts)
    means = [bleu_statistics([" ".join("abcdefghijklmnopqrstuvwx")], [" ".join("abcdefghijklmnopqrstuvwx")])]
    means.append(bleu_statistics(["x y z x y z"], ["a b c d e f"]))
    truth = float(bleu(SHARE * means[0][:, 0] + (1 - SHARE) * means[1][:, 0]))
    return bleu_metric([statistics, statistics], np.arange(DOCUMENTS), LONGEST, seed).attack, truth


def an_accuracy(hits, owner, seed):
    labels = np.concatenate([[0, 1], simulation_generator(seed, "labels").integers(0, 2, len(hits) - 2)])
    scores = np.where(labels == hits, 0.9, 0.1)  # above one half: class 1, which is right where the token is a hit
    return classification_figures(labels.tolist(), scores, seed, owner, longest=LONGEST).accuracy, TRUTH


BOUNDED = [
    a_rate,
    a_mean,
    a_sequential_rate,
    a_ladders_rate,
    a_slices_rate,
    the_strongest_on_a_holdout,
    the_strongest_of_all,
    a_paired_difference,
    a_median_rank,
    a_bleu,
    an_accuracy,
]


@pytest.mark.parametrize("interval", BOUNDED, ids=lambda interval: interval.__name__)
def test_rare_long_documents_are_covered(interval):
    missed = np.zeros(2)
    for seed in range(RUNS):
        figure, truth = interval(*sampled(seed), seed)
        missed += [figure.lower > truth, figure.upper < truth]
    assert (missed <= stats.binom.isf(1e-6, RUNS, 0.025)).all()


@pytest.mark.parametrize("ratio", [False, True])
def test_a_resampled_interval_of_losses_misses_them_and_says_what_it_assumes(ratio):
    missed = 0
    for seed in range(RUNS):
        hits, owner = sampled(seed)
        values = hits.astype(float)
        if ratio:
            figure = bootstrap_ratio(values, np.ones(len(values)), "u", "tokens", seed, clusters=owner)
        else:
            figure = bootstrap_mean(values, "u", "tokens", seed, clusters=owner)
        missed += figure.upper < TRUTH
        assert ASSUMED in figure.method
    assert missed > 0.15 * RUNS


def test_a_figure_of_a_whole_set_of_texts_says_what_it_assumes():
    assert ASSUMED in distinct(["a b c", "d e f", "a b"], 1).method
