"""Paired differences: who is better on the same prompts, and with how many looks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from del_audit.evidence import bootstrap, comparison
from del_audit.statistics.comparison import compare, holm, sign_flip
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator


def test_a_small_difference_on_the_same_prompts_is_seen_though_prompts_differ_more():
    generator = simulation_generator(0, "paired")
    base = generator.normal(1, 1, 120)
    runs = {"plain": base, "better": base + 0.05 + generator.normal(0, 0.05, 120), "same": base.copy()}
    table = compare(runs, seed=0, clusters=np.arange(120) // 2)
    found = {(row.first, row.second): row for row in table.differences}
    assert set(found) == set(itertools.combinations(runs, 2))
    row = found["plain", "better"]
    assert row.larger == "better"
    assert row.mean.upper < 0
    assert row.simultaneous.lower < row.mean.lower < row.mean.upper < row.simultaneous.upper < 0
    assert table.means["better"].lower < table.means["plain"].upper  # unpaired intervals overlap
    same = found["plain", "same"]
    assert (same.p, same.holm, same.larger) == (1.0, 1.0, None)
    assert (table.unit, table.seed, table.prompts, table.documents) == ("nats a token", 0, 120, 60)
    assert table.kind == "estimated, with interval"
    assert table.to_dict()["differences"][0]["mean"]["documents"] == 60


def test_a_reference_is_compared_with_every_other_run():
    runs = {name: simulation_generator(1, name).normal(size=30) for name in "abc"}
    table = compare(runs, seed=0, reference="b")
    assert [(row.first, row.second) for row in table.differences] == [("a", "b"), ("c", "b")]
    assert table.differences[0].mean.value == pytest.approx(np.mean(runs["a"] - runs["b"]))


def test_sign_flips_equal_the_exact_test():
    sums = np.array([0.3, -0.1, 0.7, 0.4, 0.2])
    expected = stats.permutation_test((sums, np.zeros(5)), lambda a, b: np.mean(a - b), permutation_type="samples")
    assert sign_flip(sums, seed=0) == pytest.approx(expected.pvalue, abs=1e-12)
    assert sign_flip(np.ones(10), seed=0) == 2 / 2**10
    many = simulation_generator(2, "flips").normal(0.1, 1, 14)
    drawn = sign_flip(np.append(many, np.zeros(6)), seed=0)  # documents that agree change no total
    assert drawn == pytest.approx(sign_flip(many, seed=0), abs=5 * np.sqrt(0.25 / comparison.FLIPS))


def test_false_claims_are_as_rare_as_stated_and_counting_prompts_would_make_more(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 10)
    monkeypatch.setattr(comparison, "FLIPS", 400)
    generator, alarms = simulation_generator(3, "null"), {True: 0, False: 0}
    clusters = np.repeat(np.arange(15), 6)
    for seed in range(300):
        gap = generator.normal(size=15)[clusters] + generator.normal(size=90)
        for clustered in alarms:
            table = compare({"a": gap, "b": np.zeros(90)}, seed, clusters if clustered else None)
            alarms[clustered] += table.differences[0].larger is not None
    assert alarms[True] <= stats.binom.isf(1e-6, 300, 0.05)
    assert alarms[False] > stats.binom.isf(1e-6, 300, 0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_step_down_rule(tests):
    corrected = holm(tests)
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, index in enumerate(sorted(range(len(tests)), key=tests.__getitem__)):
            if tests[index] * (len(tests) - rank) > level:
                break
            rejected.add(index)
        assert rejected == {index for index, value in enumerate(corrected) if value <= level}


@pytest.mark.parametrize(
    ("runs", "reference", "named"),
    [
        ({"a": [1.0, 2.0]}, None, "two runs"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0]}, "c", "reference='c'"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}, None, "same prompts"),
        ({"a": [1.0, 2.0], "b": [1.0, float("nan")]}, None, "finite"),
    ],
)
def test_compare_refuses(runs, reference, named):
    with pytest.raises(UserError, match=named):
        compare(runs, 0, reference=reference)
