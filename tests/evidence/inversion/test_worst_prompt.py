"""The worst prompt's interval allows for its being the worst; released often, any attack's can decide a limit."""

import math

import numpy as np
import pytest
from scipy import stats

from attacks.outcome import Outcome
from del_audit.evidence.inversion.worst_prompt import worst_prompt
from del_audit.statistics.intervals import clopper_pearson, clustered_rate
from del_audit.statistics.sample_size import samples_needed
from del_audit.statistics.worst_of_releases import fewest_releases, worst_of_releases
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

RUNS = 2_000


def outcome_of(prompts, hits=None, documents=None, attack="attack"):
    """Returns the outcome of prompts of true tokens, of which the ones where hits are right."""
    truth = np.concatenate([np.asarray(prompt, dtype=np.int32) for prompt in prompts])
    right = np.zeros(len(truth), dtype=bool) if hits is None else np.asarray(hits)
    lengths = [len(prompt) for prompt in prompts]
    return Outcome(
        attack,
        1,
        3,
        tuple(map(str, range(len(prompts)) if documents is None else documents)),
        np.repeat(np.arange(len(prompts), dtype=np.int32), lengths),
        np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        truth,
        np.where(right, truth, truth + 1).astype(np.int32),
        right.astype(np.int32),
        np.zeros(len(truth), np.float32),
        np.where(right, 0.0, np.nan).astype(np.float32),
    )


def test_the_worst_prompt_is_named_with_limits_for_the_largest():
    lengths, right = [50, 20, 40], [10, 9, 3]
    hits = np.concatenate([np.arange(n) < k for k, n in zip(right, lengths, strict=True)])
    figure = worst_prompt(outcome_of([[1] * n for n in lengths], hits), context_free=True)
    assert figure.value == 9 / 20
    assert figure.lower == pytest.approx(clopper_pearson(9, 20, 1 - 0.05 / 3)[0], rel=1e-12)
    assert figure.upper == pytest.approx(clopper_pearson(9, 20)[1], rel=1e-12)
    assert (figure.sample, figure.documents) == (3, 3)
    assert (figure.sample_unit, figure.confidence) == ("prompts", 0.95)
    assert figure.method.startswith("Clopper-Pearson per prompt, the largest of 3")
    shared = worst_prompt(outcome_of([[1] * n for n in lengths], hits, documents=["a", "a", "b"]), True, 0.8)
    assert (shared.documents, shared.confidence) == (2, 0.8)
    assert shared.lower == pytest.approx(clopper_pearson(9, 20, 1 - 0.2 / 3)[0], rel=1e-12)


def test_the_worst_prompt_of_an_attack_on_whole_prompts_has_markovs_limits():
    hits = np.concatenate([np.arange(20) < right for right in (10, 18)])
    figure = worst_prompt(outcome_of([[1] * 20] * 2, hits), context_free=False)
    assert figure.value == 0.9
    assert figure.method.startswith("Markov per prompt, the largest of 2")
    assert figure.lower == pytest.approx(0.9 * 0.025 / 2, rel=1e-12)
    assert figure.upper == pytest.approx(1 - 0.1 * 0.025, rel=1e-12)


def worst_coverage(rates, lengths, runs, context_free=True):
    """Returns how often the interval holds the largest of the prompts' true rates; rates: of each token, by prompt."""
    generator, covered = simulation_generator(4, "worst"), 0
    truth, prompts = max(np.mean(row) for row in rates), [[1] * n for n in lengths]
    flat = np.concatenate(rates)
    for _ in range(runs):
        if context_free:
            hits = generator.random(len(flat)) < flat
        else:  # a prompt is read as a whole or not at all
            hits = np.concatenate(
                [np.full(n, generator.random() < row[0]) for row, n in zip(rates, lengths, strict=True)]
            )
        figure = worst_prompt(outcome_of(prompts, hits), context_free)
        covered += figure.lower <= truth <= figure.upper
    return covered / runs


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("rate", [0.01, 0.13, 0.5, 0.97])
def test_the_worst_prompts_interval_covers(rate, unequal):
    lengths = [8, 16, 64] * 4
    spread = min(rate, 1 - rate) if unequal else 0.0
    rates = [rate + spread * np.where(np.arange(n) % 2, 1, -1) for n in lengths]
    assert worst_coverage(rates, lengths, 400) >= 0.95


def test_the_worst_prompts_interval_covers_in_full():
    lengths = [16, 32] * 6
    assert worst_coverage([np.full(n, 0.3) for n in lengths], lengths, RUNS) >= 0.95


def test_prompts_read_as_a_whole_need_the_wider_interval():
    lengths = [40, 40, 40, 40]
    rates = [np.full(40, 0.3)] * 4
    assert worst_coverage(rates, lengths, RUNS, context_free=False) >= 0.95


def test_the_worst_prompt_as_if_picked_beforehand_would_not_cover():
    generator, covered = simulation_generator(4, "picked"), 0
    for _ in range(400):
        largest = generator.binomial(32, 0.3, 60).max()
        low, high = clopper_pearson(int(largest), 32)
        covered += low <= 0.3 <= high
    assert covered / 400 < 0.5


def test_unequal_rates_are_covered_at_the_edge():
    """One certain token and one near it: the limit of one success of two must not exceed the union bound."""
    outcome = outcome_of([[1, 1]], [True, False])
    assert worst_prompt(outcome, context_free=True).lower == pytest.approx(0.025 / 2, rel=1e-12)
    assert worst_prompt(outcome, context_free=True).upper == pytest.approx(1 - 0.025 / 2, rel=1e-12)
    assert clopper_pearson(1, 2)[0] > 0.025 / 2
    assert stats.binom.sf(0, 2, 0.025 / 2) < 0.025


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("context_free", [False, True])
def test_no_number_of_prompts_is_said_to_decide_the_worst_of_one_release(context_free, threshold):
    figure = worst_prompt(outcome_of([[1] * 20] * 4, np.arange(80) % 5 == 0), context_free)
    assert figure.lower < threshold < figure.upper or context_free
    assert samples_needed(figure, threshold) is None


def test_a_worst_prompt_refuses():
    outcome = outcome_of([[1, 2], [3]])
    with pytest.raises(UserError, match="at least one token"):
        worst_prompt(outcome.where(np.zeros(3, bool)), context_free=True)
    with pytest.raises(UserError, match="confidence"):
        worst_prompt(outcome, context_free=True, confidence=1.0)


def released(rates, releases, tokens, generator, alike):
    """Returns hits, prompts and releases of tokens; alike: a prompt's tokens are read together, by one draw."""
    shape = (len(rates), releases, tokens)
    draws = generator.random((*shape[:2], 1) if alike else shape)
    hits = np.broadcast_to(draws < np.asarray(rates)[:, None, None], shape)
    prompt, release, _ = np.indices(shape)
    return hits.ravel(), prompt.ravel(), release.ravel()


def released_coverage(rates, releases, alike, runs):
    """Returns how often each end holds: the lower below the largest true rate, the upper above it."""
    generator, held = simulation_generator(5, "releases", str(alike)), np.zeros(2)
    for seed in range(runs):
        figure = worst_of_releases(*released(rates, releases, 10, generator, alike), seed=seed)
        held += [figure.lower <= max(rates), max(rates) <= figure.upper]
    return held / runs


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("rates", [[0.3] * 8, [0.02] * 7 + [0.2], [0.9] * 4])
def test_the_worst_of_releases_covers(rates, alike):
    runs = 60
    misses = runs * (1 - released_coverage(rates, 12, alike, runs))
    assert (misses <= stats.binom.isf(1e-6, runs, 0.025)).all()


@pytest.mark.slow
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("rates", [[0.3] * 8, [0.02] * 7 + [0.2], [0.9] * 4])
def test_the_worst_of_releases_covers_in_full(rates, alike):
    assert (released_coverage(rates, 20, alike, 400) >= 0.975 - 3 * math.sqrt(0.025 * 0.975 / 400)).all()


@pytest.mark.parametrize("alike", [False, True])
def test_forty_releases_decide_a_limit_of_twice_the_truth(alike):
    generator = simulation_generator(6, "decide")
    figure = worst_of_releases(*released([0.2] * 8 if alike else [0.2] * 32, 40, 30, generator, alike))
    assert (figure.sample, figure.sample_unit) == (40, "releases per prompt")
    assert figure.upper < (0.55 if alike else 0.4)
    assert samples_needed(figure, 0.5) is not None  # more releases do narrow it


def test_prompts_read_whole_have_clopper_pearsons_ends():
    hits = np.array([True] * 3 + [False] * 7 + [True] * 6 + [False] * 4)
    figure = worst_of_releases(hits, np.repeat([4, 9], 10), np.tile(np.arange(10), 2))
    assert (figure.value, figure.upper) == (0.6, clopper_pearson(6, 10)[1])
    assert figure.lower == clopper_pearson(6, 10, 1 - 0.05 / 2)[0]


def test_one_prompt_read_in_part_has_the_interval_of_a_mean_over_its_releases():
    hits = simulation_generator(7, "one prompt").random(120) < 0.3
    release = np.repeat(np.arange(12), 10)
    figure = worst_of_releases(hits, np.zeros(120, dtype=int), release, 0.9, seed=3)
    mean = clustered_rate(hits, release, 10, "share", "tokens", 3, 0.9)
    assert (figure.lower, figure.value, figure.upper) == pytest.approx((mean.lower, mean.value, mean.upper), rel=1e-12)
    assert (figure.confidence, figure.seed) == (0.9, 3)
    assert figure.method.startswith("unseen-release bootstrap per prompt, the largest of 1")


def test_as_many_prompts_as_the_tail_allows_are_attacked():
    figure = worst_of_releases(np.ones(250, dtype=bool), np.arange(250), np.zeros(250, dtype=int))
    assert figure.lower == pytest.approx(1e-4, rel=1e-9)


@pytest.mark.parametrize("limit", [0.9, 0.4, 0.05])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_fewest_releases_pass_when_nothing_is_read_and_one_fewer_does_not(limit, confidence):
    fewest = fewest_releases(limit, confidence)
    for releases in {fewest, max(1, fewest - 1)}:
        row = np.zeros(releases * 2, dtype=bool), np.repeat([0, 1], releases), np.tile(np.arange(releases), 2)
        assert (worst_of_releases(*row, confidence).upper <= limit) == (releases == fewest)


@pytest.mark.parametrize(
    ("hits", "prompt", "release", "confidence", "said"),
    [
        ([], [], [], 0.95, "at least one token"),
        ([1.0], [0], [0], 0.95, "true or false"),
        ([True], [0, 1], [0], 0.95, "shapes"),
        ([True, False, True], [0, 0, 1], [0, 1, 0], 0.95, "every prompt whole in every release"),
        ([True], [0], [0], 1.0, "confidence"),
        ([True] * 300, range(300), [0] * 300, 0.95, "at most 250 prompts"),
    ],
)
def test_releases_that_do_not_fit_are_refused(hits, prompt, release, confidence, said):
    array = np.array(hits, dtype=bool) if all(isinstance(hit, bool) for hit in hits) else np.array(hits)
    with pytest.raises(UserError, match=said):
        worst_of_releases(array, np.array(prompt), np.array(release), confidence)


@pytest.mark.parametrize(
    ("limit", "confidence", "said"), [(0.0, 0.95, "limit=0.0"), (1.0, 0.95, "limit=1.0"), (0.5, 1.0, "confidence=1.0")]
)
def test_fewest_releases_refuses(limit, confidence, said):
    with pytest.raises(UserError, match=said):
        fewest_releases(limit, confidence)
