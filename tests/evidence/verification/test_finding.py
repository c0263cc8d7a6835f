"""Holm's procedure with weights is the closed test of weighted Bonferroni."""

from itertools import combinations

import numpy as np

from del_audit.evidence.verification.finding import Measurement, Part, battery_p, check, findings, holm, smallest


def closed_test(p_values, weights, alpha):
    """Returns which hypotheses are rejected: those of which every intersection with others is."""
    number = len(p_values)
    subsets = [s for size in range(1, number + 1) for s in combinations(range(number), size)]
    rejected = {s: any(p_values[i] <= alpha * weights[i] / sum(weights[j] for j in s) for i in s) for s in subsets}
    return [all(rejected[s] for s in subsets if i in s) for i in range(number)]


def test_it_is_the_closed_test():
    rng = np.random.default_rng(1)
    several = 0
    for _ in range(300):
        p_values = (10 ** rng.uniform(-4, 0, 5)).tolist()
        weights = rng.uniform(0.5, 10, 5).tolist()
        wanted = closed_test(p_values, weights, 0.05)
        assert holm(p_values, weights, 0.05) == wanted
        several += sum(wanted) > 1
    assert several > 50


def test_checks_without_chance_take_no_share_of_alpha():
    tested = [Measurement("law", "a", 0.04, "", ""), check("contract", "b", [], "fine", "")]
    assert [f.rejected for f in findings(tested, 0.05)] == [True, False]
    tested[1] = check("contract", "b", ["wrong"], "fine", "")
    assert [f.rejected for f in findings(tested, 0.05)] == [True, True]
    assert findings(tested, 0.05)[1].evidence == "wrong"


def test_the_battery_s_p_value_is_the_least_alpha_that_rejects():
    rng = np.random.default_rng(2)
    for _ in range(100):
        tested = [
            Measurement("law", str(i), 10 ** rng.uniform(-4, 0), "", "", weight=w) for i, w in enumerate((30.0, 1, 1))
        ]
        p = battery_p(tested)
        assert not any(f.rejected for f in findings(tested, p * (1 - 1e-9)))
        assert p == 1.0 or any(f.rejected for f in findings(tested, p * (1 + 1e-9)))
    assert battery_p([check("law", "x", ["wrong"], "", "")]) == 0.0


def test_the_smallest_of_parts_pays_for_all():
    assert smallest([Part(0.01, "a"), Part(0.5, "b"), Part(0.9, "c")]) == Part(0.03, "a")
    assert smallest([]).p == 1.0
