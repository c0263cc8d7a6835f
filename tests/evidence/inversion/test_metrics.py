"""Metrics of reconstructions equal the libraries' own, and their intervals cover."""

import numpy as np
import pytest
import sacrebleu
from transformers import AutoTokenizer

from attacks.outcome import Outcome
from attacks.ranking import Guesses
from del_audit.evidence.inversion.metrics import (
    bleu,
    bleu_ends,
    bleu_metric,
    bleu_statistics,
    decoded,
    median_rank,
    rouge_l,
    text_metrics,
    token_metrics,
)
from del_audit.statistics.intervals import clopper_pearson, clustered_mean, clustered_rate, unseen_ends
from mechanisms.errors import UserError
from mechanisms.models import load_sentence_encoder
from mechanisms.randomness import simulation_generator

RUNS = 2_000
TRUE = [
    "The doctor told me to take one tablet a day, and the pain was gone within a week.",
    "I had no side effects at all, but my sister could not sleep while she was on it.",
    "It did not work for me: the headaches came back, and I felt tired all the time.",
    "Nothing happened.",
]
GUESSED = [
    "The nurse told me to take one pill a day, and the pain had gone in a week.",
    "I had no side effects at all, but my sister could not sleep while she was on it.",
    "Work it does for her: a cold went out, and you feel fine.",
    "Something else entirely was read here, and more of it.",
]


class Named:
    name, version = "attack", 1


def outcome_of(ranks, documents, depth=4, truths=None):
    """Returns the outcome of prompts whose true tokens have those ranks, 0 for none of the guesses."""
    truths = [list(range(10, 10 + len(row))) for row in ranks] if truths is None else truths
    guesses = []
    for row, truth in zip(ranks, truths, strict=True):
        words = np.tile(np.arange(1_000, 1_000 + depth, dtype=np.int32), (len(row), 1))
        for place, rank in enumerate(row):
            if rank:
                words[place, rank - 1] = truth[place]
        guesses.append(Guesses(words, -np.tile(np.arange(depth, dtype=np.float32), (len(row), 1))))
    return Outcome.of(Named, guesses, truths, documents)


RANKS = [[1, 1, 1], [1, 2, 0, 4], [3, 1], [1, 1, 1, 1]]
BASE = [[0, 1, 0], [0, 0, 0, 0], [1, 0], [2, 0, 0, 0]]
DOCUMENTS = ["a", "a", "b", "c"]


def by_name(metrics):
    return {metric.name: metric for metric in metrics}


def test_token_metrics_of_a_case_by_hand():
    outcome, baseline = outcome_of(RANKS, DOCUMENTS), outcome_of(BASE, DOCUMENTS)
    metrics = by_name(token_metrics(outcome, baseline, 0, ks=(1, 2, 4), longest=8))
    values = {name: (m.attack.value, m.baseline.value, m.difference.value) for name, m in metrics.items()}
    assert values["top-1"] == pytest.approx((9 / 13, 2 / 13, 7 / 13), rel=1e-12)
    assert values["hit@2"] == pytest.approx((10 / 13, 3 / 13, 7 / 13), rel=1e-12)
    assert values["hit@4"] == pytest.approx((12 / 13, 3 / 13, 9 / 13), rel=1e-12)
    mean = (9 + 1 / 2 + 1 / 3 + 1 / 4) / 13
    assert values["mean reciprocal rank"] == pytest.approx((mean, 2.5 / 13, mean - 2.5 / 13), rel=1e-12)
    assert values["median rank"] == (1, 5, -4)
    assert values["exact match"] == pytest.approx((1 / 3, 0, 1 / 3), rel=1e-12)


def test_token_metrics_have_intervals_over_documents():
    outcome, baseline = outcome_of(RANKS, DOCUMENTS), outcome_of(BASE, DOCUMENTS)
    metrics = by_name(token_metrics(outcome, baseline, 7, ks=(1,), longest=8))
    clusters = list("aaaaaaabbcccc")
    assert metrics["top-1"].attack == clustered_rate(outcome.hits, clusters, 8, "share of tokens read", "tokens", 7)
    gaps, unit = outcome.hits.astype(float) - baseline.hits, "share of tokens read, above the baseline"
    assert metrics["top-1"].difference == clustered_mean(gaps, clusters, 8, unit, "tokens", 7, within=(-1.0, 1.0))
    exact = metrics["exact match"].attack
    assert (exact.lower, exact.upper, exact.sample) == (*clopper_pearson(1, 3), 3)
    for metric in metrics.values():
        for figure in (metric.attack, metric.baseline, metric.difference):
            assert figure.lower <= figure.value <= figure.upper
            assert figure.lower < figure.upper
            assert figure.documents == 3


def test_ranks_are_compared_to_the_depth_that_both_kept():
    deep, shallow = (
        outcome_of(RANKS, DOCUMENTS),
        outcome_of([[r if r < 3 else 0 for r in row] for row in RANKS], DOCUMENTS, 2),
    )
    for metric in token_metrics(deep, shallow, 0, ks=(1, 2), longest=8):
        assert metric.attack == metric.baseline
        assert metric.difference.value == 0
        assert metric.difference.lower < 0 < metric.difference.upper or metric.name == "median rank"


@pytest.mark.parametrize(("ranks", "expected"), [([1, 1, 3, 3], 1), ([1, 3, 3, 0], 3), ([1, 0, 0, 0], 5), ([0, 0], 5)])
def test_the_median_rank_is_the_least_that_half_are_within(ranks, expected):
    assert median_rank(outcome_of([ranks, ranks], None), 0, longest=10).value == expected


def ranks_like(generator, documents, tokens):
    """Returns ranks of tokens, shape (documents, tokens), median 3; documents differ in how hard they are."""
    uniform = 0.5 * generator.random((documents, 1)) + 0.5 * generator.random((documents, tokens))
    return np.minimum(1 + np.floor(5 * uniform), 5).astype(int)  # 1..5, symmetric about 3


def median_coverage(runs, documents=15):
    generator, covered = simulation_generator(3, "median"), 0
    for seed in range(runs):
        ranks = ranks_like(generator, documents, 10)
        figure = median_rank(outcome_of(ranks, None, depth=5), seed, longest=10)
        covered += figure.lower <= 3 <= figure.upper
    return covered / runs


def test_the_median_ranks_interval_covers():
    figure = median_rank(outcome_of(ranks_like(simulation_generator(0, "one"), 60, 10), None, depth=5), 0, longest=10)
    assert 2 <= figure.lower <= 3 <= figure.upper <= 4  # and is short enough to say something
    assert median_coverage(60) >= 0.9


@pytest.mark.slow
def test_the_median_ranks_interval_covers_in_full():
    assert median_coverage(RUNS) >= 0.95


def test_bleu_is_sacrebleus():
    statistics = bleu_statistics(GUESSED, TRUE)
    expected = sacrebleu.corpus_bleu(GUESSED, [TRUE]).score
    assert 0 < expected < 100
    assert bleu(statistics.sum(axis=1)) == pytest.approx(expected, rel=1e-12)
    assert bleu_metric([statistics, statistics], DOCUMENTS, 40, 0).attack.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rows", [[0], [1], [2], [3], [2, 3], [0, 3]])
def test_bleu_of_part_of_the_texts_is_sacrebleus(rows):
    guessed, true = [GUESSED[row] for row in rows], [TRUE[row] for row in rows]
    together = bleu_statistics(GUESSED, TRUE)[:, rows].sum(axis=1)
    assert bleu(together) == pytest.approx(sacrebleu.corpus_bleu(guessed, [true]).score, rel=1e-12)


@pytest.mark.parametrize("guessed", ["", "tired", "the headaches came", "the headaches came back and", "xyz " * 40])
def test_bleu_of_odd_texts_is_sacrebleus(guessed):
    expected = sacrebleu.corpus_bleu([guessed], [[TRUE[2]]]).score
    assert bleu(bleu_statistics([guessed], [TRUE[2]])[:, 0]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_bleu_of_repeated_texts_is_that_of_repeated_statistics():
    times = np.array([3, 1, 2, 5])
    guessed, true = (
        [text for text, n in zip(texts, times, strict=True) for _ in range(n)] for texts in (GUESSED, TRUE)
    )
    expected = sacrebleu.corpus_bleu(guessed, [true]).score
    assert bleu(bleu_statistics(GUESSED, TRUE) @ times) == pytest.approx(expected, rel=1e-12)


def test_bleus_interval_weighs_whole_documents():
    """Against the definition, written out: exponential weights, one more document, order statistics of the scores."""
    statistics = bleu_statistics(GUESSED, TRUE)
    figure = bleu_metric([statistics, statistics], DOCUMENTS, 40, 0).attack
    sums = np.stack([statistics[:, :2].sum(axis=1), statistics[:, 2], statistics[:, 3]])
    full = [40] * 4
    weights = simulation_generator(0, "unseen document").standard_exponential((10_000, 4))
    ends = []
    for matches, lengths in (([0] * 4, [0, 40]), (full, [40, 0])):
        total = weights @ np.stack([*sums, [*matches, *full, *lengths]])
        precision = np.prod(total[:, :4] / total[:, 4:8], axis=1) ** 0.25
        ends.append(np.sort(100 * precision * np.exp(np.minimum(0, 1 - total[:, 9] / total[:, 8]))))
    beyond = int(250 - 3 * np.sqrt(250 * 0.975))
    assert (figure.lower, figure.upper) == pytest.approx((ends[0][beyond], ends[1][9_999 - beyond]), rel=1e-12)
    assert figure.documents == 3


def test_bleus_interval_does_not_shrink_to_nothing():
    perfect, none = bleu_statistics(TRUE, TRUE), bleu_statistics(["xyz"] * 4, TRUE)
    metric = bleu_metric([perfect, none], None, 20, 0)
    assert metric.attack.value == pytest.approx(100)
    assert metric.attack.lower < 90
    assert (metric.baseline.value, metric.baseline.lower) == (0, 0)
    assert metric.baseline.upper > 10
    assert metric.difference.value == pytest.approx(100)
    assert metric.difference.lower < 90


def bleu_sums(generator, documents, runs):
    """Returns statistics of documents, shape (10, documents, runs), alike within each: half of them read well."""
    shape = (documents, runs)
    words, quality = generator.integers(40, 65, shape), generator.choice([0.2, 0.8], shape)
    totals = np.stack([words - order for order in range(4)])
    matches = np.stack([generator.binomial(totals[order], quality ** (1 + order)) for order in range(4)])
    return np.concatenate([matches, totals, words[None], words[None]]).astype(float)


FULL = pytest.mark.slow


@pytest.mark.parametrize(
    ("documents", "runs"), [(10, 300), pytest.param(10, RUNS, marks=FULL), pytest.param(40, RUNS, marks=FULL)]
)
def test_bleus_interval_covers(documents, runs):
    generator = simulation_generator(6, "bleu", str(documents))
    truth = float(bleu(bleu_sums(generator, 200_000, 1).sum(axis=1))[0])
    covered = 0
    for start in range(0, runs, 50):
        sums = bleu_sums(generator, documents, 50)
        ends = np.repeat(np.stack(bleu_ends(64))[..., None], 50, axis=2)
        low, high = unseen_ends(sums, ends, bleu, start)
        covered += int(((low <= truth) & (truth <= high)).sum())
    assert covered / runs >= 0.95


def test_rouge_is_the_f_measure_of_the_longest_common_subsequence():
    scores = rouge_l(GUESSED, TRUE)
    for score, guessed, true in zip(scores, GUESSED, TRUE, strict=True):
        a, b = ("".join(c if c.isalnum() else " " for c in text.lower()).split() for text in (guessed, true))
        table = np.zeros((len(a) + 1, len(b) + 1), int)
        for i, word in enumerate(a):
            for j, other in enumerate(b):
                table[i + 1, j + 1] = table[i, j] + 1 if word == other else max(table[i, j + 1], table[i + 1, j])
        assert score == pytest.approx(2 * table[-1, -1] / (len(a) + len(b)), rel=1e-12)
    assert scores[1] == 1


@pytest.fixture(scope="module")
def tokenizer(tiny_lm_folder):
    return AutoTokenizer.from_pretrained(tiny_lm_folder)


def read(tokenizer, wrong):
    """Returns the outcome of TRUE, of which every token is read right but for every `wrong`-th."""
    truths = [tokenizer(text, add_special_tokens=False).input_ids for text in TRUE]
    rows = [np.array(truth, dtype=np.int32)[:, None].copy() for truth in truths]
    for row in rows:
        row[::wrong] = 60
    guesses = [Guesses(row, np.zeros(row.shape, np.float32)) for row in rows]
    return Outcome.of(Named, guesses, truths, DOCUMENTS)


def test_text_metrics_of_a_reconstruction(tokenizer):
    outcome, baseline = read(tokenizer, 4), read(tokenizer, 1)
    table = simulation_generator(0, "table").normal(size=(384, 8)).astype(np.float32)
    metrics = by_name(text_metrics(outcome, baseline, tokenizer, 0, table=table, prompt_tokens=20, prompts_each=2))
    guessed = decoded(outcome, tokenizer, outcome.guess)
    assert decoded(outcome, tokenizer, outcome.truth) == TRUE
    assert list(metrics) == ["ROUGE-L", "BLEU", "word cosine"]
    assert metrics["BLEU"].attack.value == pytest.approx(sacrebleu.corpus_bleu(guessed, [TRUE]).score, rel=1e-12)
    assert metrics["ROUGE-L"].attack.value == pytest.approx(rouge_l(guessed, TRUE).mean(), rel=1e-12)
    unit = table / np.linalg.norm(table.astype(float), axis=1, keepdims=True)
    cosines = (unit[outcome.guess] * unit[outcome.truth]).sum(axis=1)
    assert metrics["word cosine"].attack.value == pytest.approx(cosines.mean(), rel=1e-6)
    for metric in metrics.values():
        assert metric.attack.documents == 3
        assert metric.difference.value == pytest.approx(metric.attack.value - metric.baseline.value, rel=1e-9)
        assert metric.attack.value > metric.baseline.value


def test_sentence_cosines(tokenizer, tiny_bert_folder):
    encoder = load_sentence_encoder(str(tiny_bert_folder))
    outcome = read(tokenizer, 4)
    metrics = by_name(text_metrics(outcome, outcome, tokenizer, 0, sentences=encoder, prompt_tokens=8, prompts_each=2))
    vectors = [encoder.embed(texts) for texts in (decoded(outcome, tokenizer, outcome.guess), TRUE)]
    expected = np.mean([np.dot(a, b) for a, b in zip(*vectors, strict=True)])
    assert metrics["sentence cosine"].attack.value == pytest.approx(expected, abs=1e-6)
    assert metrics["sentence cosine"].difference.value == 0


def test_metrics_refuse(tokenizer):
    outcome, other = outcome_of(RANKS, DOCUMENTS), outcome_of(BASE, DOCUMENTS)
    for k in (0, 5):
        with pytest.raises(UserError, match=rf"k in 1\.\.4, the guesses kept, got k={k}"):
            token_metrics(outcome, other, 0, ks=(k,), longest=8)
    with pytest.raises(UserError, match="same prompts"):
        token_metrics(outcome, outcome_of(RANKS[::-1], DOCUMENTS), 0, longest=8)
    single = outcome_of(RANKS, "aaaa")
    for refused in (
        lambda: token_metrics(single, single, 0, ks=(1,), longest=8),
        lambda: median_rank(single, 0, longest=10),
    ):
        with pytest.raises(UserError, match="two documents or more"):
            refused()
    alone = read(tokenizer, 4).where(read(tokenizer, 4).position > 0)
    with pytest.raises(UserError, match="whole prompts"):
        text_metrics(alone, alone, tokenizer, 0, prompt_tokens=8, prompts_each=2)
    with pytest.raises(UserError, match="two documents or more"):
        bleu_metric([bleu_statistics(GUESSED, TRUE)] * 2, "aaaa", 40, 0)
    empty = outcome.where(np.zeros(len(outcome), bool))
    with pytest.raises(UserError, match="at least one value"):
        token_metrics(empty, empty, 0, ks=(1,), longest=8)


def test_figures_are_repeatable():
    outcome, baseline = outcome_of(RANKS, DOCUMENTS), outcome_of(BASE, DOCUMENTS)
    assert token_metrics(outcome, baseline, 3, ks=(1,), longest=8) == token_metrics(
        outcome, baseline, 3, ks=(1,), longest=8
    )
