"""The far end of an interval decides; a broken implementation fails whatever the policy says."""

from statistics import NormalDist

import pytest

from del_audit.accounting import Bound
from del_audit.configuration.verdict import Check, Contender, check_bound, check_contenders, check_figure, verdict_of
from del_audit.statistics.intervals import clopper_pearson, rate
from del_audit.statistics.sample_size import samples_needed


@pytest.mark.parametrize(
    ("successes", "side", "status"),
    [
        (10, "at most", "passed"),
        (145, "at most", "inconclusive"),
        (155, "at most", "inconclusive"),
        (250, "at most", "failed"),
        (10, "above", "failed"),
        (145, "above", "inconclusive"),
        (250, "above", "passed"),
    ],
)
def test_the_far_end_decides(successes, side, status):
    figure = rate(successes, 1_000, "share", "tokens")
    check = check_figure("limit", figure, 0.15, side)
    assert check.status == status
    assert (check.limit, check.asked) == ("limit", f"{side} 0.15 (share)")
    assert check.found == f"{figure.value:.4g} [{figure.lower:.4g}, {figure.upper:.4g}], 1,000 tokens"
    assert ("more tokens would decide" in check.reason) == (status == "inconclusive")


def test_an_interval_that_ends_at_the_limit_passes():
    figure = rate(10, 100, "share", "tokens")
    assert check_figure("limit", figure, figure.upper, "at most").status == "passed"
    assert check_figure("limit", figure, figure.lower, "above").status == "inconclusive"
    assert check_figure("limit", figure, figure.lower - 1e-9, "above").status == "passed"
    assert check_figure("limit", figure, figure.upper * (1 - 1e-9), "at most").status == "inconclusive"


def test_an_interval_that_begins_at_the_limit_is_not_beyond_it():
    figure = rate(10, 100, "share", "tokens")
    assert check_figure("limit", figure, figure.lower, "at most").status == "inconclusive"
    assert check_figure("limit", figure, figure.lower * (1 - 1e-9), "at most").status == "failed"
    assert check_figure("limit", figure, figure.upper, "above").status == "failed"
    assert check_figure("limit", figure, figure.upper * (1 - 1e-9), "above").status == "inconclusive"


@pytest.mark.parametrize(("hits", "trials", "limit"), [(140, 1_000, 0.15), (10, 100, 0.15), (20, 100, 0.15)])
def test_the_stated_sample_would_decide(hits, trials, limit):
    figure = rate(hits, trials, "share", "tokens")
    needed = samples_needed(figure, limit)
    assert needed > trials
    lower, upper = clopper_pearson(round(hits / trials * needed * 1.05), round(needed * 1.05))
    assert upper <= limit or lower >= limit
    fewer = round((trials + needed) / 2)
    lower, upper = clopper_pearson(round(hits / trials * fewer), fewer)
    assert lower < limit < upper


def test_a_figure_at_the_limit_is_never_decided():
    figure = rate(15, 100, "share", "tokens")
    assert samples_needed(figure, 0.15) is None
    assert "no number of further samples" in check_figure("limit", figure, 0.15, "at most").reason


def test_a_bound_is_held_against_its_upper_end():
    bound = Bound(9.0, 9.5, 10.0)
    assert check_bound("epsilon", bound, 10.0, "nats").status == "passed"
    assert check_bound("epsilon", bound, 9.99, "nats").status == "failed"


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (["passed", "passed"], "certified"),
        (["passed", "inconclusive"], "inconclusive"),
        (["failed", "inconclusive", "passed"], "refused"),
        ([], "inconclusive"),
    ],
)
def test_one_failed_limit_refuses(statuses, verdict):
    assert verdict_of([Check("limit", "asked", "found", status, "reason") for status in statuses]) == verdict


def contenders(*rates):
    return [
        Contender(str(place), rate(hits, 1_000, "share", "tokens"), above) for place, (hits, above) in enumerate(rates)
    ]


@pytest.mark.parametrize(
    ("rates", "status"),
    [
        (((10, 0.0), (100, 0.07)), "passed"),
        (((10, 0.0), (140, 0.11)), "inconclusive"),
        (((10, 0.0), (140, 0.15)), "inconclusive"),  # equal is not over
        (((10, 0.0), (140, 0.1500001)), "failed"),
        (((200, 0.16), (145, 0.10)), "failed"),
        ((), "inconclusive"),
    ],
)
def test_one_attack_over_the_limit_fails_and_the_largest_upper_end_passes(rates, status):
    assert check_contenders("limit", contenders(*rates), 0.15).status == status


def test_a_refusal_names_the_attack_and_its_limit_over_all_attacks():
    check = check_contenders("limit", contenders((200, 0.161), (145, 0.10), (300, 0.27)), 0.15)
    assert check.found.startswith("2: 0.3 [")
    assert "2 recovers more than 0.27" in check.reason
    assert "95% confidence over all 3 attacks" in check.reason


def test_an_attack_without_a_figure_is_not_passed_over():
    lacking = [*contenders((10, 0.0)), Contender("other", None, why="it failed")]
    check = check_contenders("limit", lacking, 0.15)
    assert (check.status, "it failed" in check.reason) == ("inconclusive", True)


def test_the_correction_without_a_measured_limit_grows_with_the_number_of_attacks():
    one = Contender("one", rate(530, 1_000, "share", "tokens"))
    assert one.certain(1) == pytest.approx(one.figure.lower)
    assert one.certain(10) < one.certain(6) < one.certain(1)
    wider = NormalDist().inv_cdf(0.025 / 6) / NormalDist().inv_cdf(0.025)
    assert one.certain(6) == pytest.approx(0.53 - (0.53 - one.figure.lower) * wider, rel=1e-12)
    assert Contender("measured", one.figure, 0.4).certain(6) == 0.4
    assert Contender("none", None).certain(6) == 0.0
