"""The far end of an interval decides; a broken implementation fails whatever the policy says."""

import pytest

from del_audit.accounting import Bound
from del_audit.certificate.verdict import Check, check_bound, check_figure, verdict_of
from del_audit.evidence.intervals import clopper_pearson, rate
from del_audit.evidence.sample_size import samples_needed


@pytest.mark.parametrize(
    ("successes", "side", "status"),
    [
        (10, "at most", "passed"),
        (145, "at most", "inconclusive"),
        (155, "at most", "inconclusive"),
        (250, "at most", "failed"),
        (10, "at least", "failed"),
        (145, "at least", "inconclusive"),
        (250, "at least", "passed"),
    ],
)
def test_the_far_end_decides(successes, side, status):
    check = check_figure("limit", rate(successes, 1_000, "share", "tokens"), 0.15, side)
    assert check.status == status
    assert ("more tokens would decide" in check.reason) == (status == "inconclusive")


def test_an_interval_that_ends_at_the_limit_passes():
    figure = rate(10, 100, "share", "tokens")
    assert check_figure("limit", figure, figure.upper, "at most").status == "passed"
    assert check_figure("limit", figure, figure.lower, "at least").status == "passed"
    assert check_figure("limit", figure, figure.upper * (1 - 1e-9), "at most").status == "inconclusive"


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
    assert "no sample size would decide" in check_figure("limit", figure, 0.15, "at most").reason


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
    ],
)
def test_one_failed_limit_refuses(statuses, verdict):
    assert verdict_of([Check("limit", "asked", "found", status, "reason") for status in statuses]) == verdict
