import math

import pytest
import torch
from torch import nn

from mechanisms.errors import UserError
from mechanisms.nlu.fitting import Problem, fit


class Point(nn.Module):
    """One trained number and one that is only set in the beginning."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([4.0]))
        self.register_buffer("origin", torch.zeros(1))


def problem(point, validations=None, stop_at=None, identity="it", rate=0.1, calls=None, keep="best"):
    """Descends x^2 in three batches an epoch; stop_at = (epoch, batch) interrupts there."""
    calls = calls if calls is not None else []

    def losses(epoch):
        for batch in range(3):
            if (epoch, batch) == stop_at:
                raise KeyboardInterrupt
            calls.append((epoch, batch))
            yield (point.x**2 * (1 + 0.1 * batch + 0.01 * epoch)).sum()

    def validate():
        return next(validations) if validations is not None else float(point.x.detach() ** 2)

    def prepare():
        calls.append("prepare")
        point.origin.fill_(7.0)

    return Problem(point, [{"params": [point.x], "lr": rate}], losses, validate, identity, "test", prepare, keep)


def test_every_epoch_is_recorded_and_the_last_is_the_best_here(tmp_path):
    point = Point()
    history = fit(problem(point), 4, 2, tmp_path / "file")
    assert len(history) == 5
    assert math.isnan(history[0]["loss"])
    assert history[0]["validation"] == 16.0
    values = [record["validation"] for record in history]
    assert values == sorted(values, reverse=True)
    assert float(point.x.detach() ** 2) == values[-1]
    assert float(point.origin) == 7.0


def test_it_stops_after_patience_and_puts_the_best_back(tmp_path):
    point = Point()
    calls = []
    history = fit(problem(point, iter([5.0, 3.0, 4.0, 3.0, 1.0]), calls=calls), 10, 2, tmp_path / "file")
    assert [record["validation"] for record in history] == [5.0, 3.0, 4.0, 3.0]
    assert max(epoch for epoch, _ in calls[1:]) == 3
    once = Point()
    fit(problem(once), 1, 2, tmp_path / "other")
    assert torch.equal(point.x, once.x)


def test_a_start_that_nothing_beats_is_kept(tmp_path):
    point = Point()
    fit(problem(point, iter([1.0, 2.0, 3.0])), 10, 2, tmp_path / "file")
    assert point.x.tolist() == [4.0]


def test_the_last_epoch_is_kept_where_it_is_asked_for(tmp_path):
    point, thrice = Point(), Point()
    history = fit(problem(point, iter([1.0, 2.0, 3.0, 4.0]), keep="last"), 3, 1, tmp_path / "file")
    fit(problem(thrice), 3, 3, tmp_path / "thrice")
    assert [record["validation"] for record in history] == [1.0, 2.0, 3.0, 4.0]
    assert torch.equal(point.x, thrice.x)


@pytest.mark.parametrize("stop_at", [(1, 0), (1, 2), (2, 1), (4, 0)])
def test_an_interrupted_fit_goes_on_to_the_same_result(tmp_path, stop_at):
    whole, first, second = Point(), Point(), Point()
    expected = fit(problem(whole), 4, 2, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(problem(first, stop_at=stop_at), 4, 2, tmp_path / "file")
    calls = []
    history = fit(problem(second, calls=calls), 4, 2, tmp_path / "file")
    assert calls[0] == (stop_at[0], 0)
    assert "prepare" not in calls
    assert [r["validation"] for r in history] == [r["validation"] for r in expected]
    assert torch.equal(second.x, whole.x)
    assert float(second.origin) == 7.0


def test_a_finished_fit_runs_nothing_again(tmp_path):
    first, second, calls = Point(), Point(), []
    expected = fit(problem(first), 4, 2, tmp_path / "file")
    history = fit(problem(second, calls=calls), 4, 2, tmp_path / "file")
    assert calls == []
    assert [r["validation"] for r in history] == [r["validation"] for r in expected]
    assert torch.equal(first.x, second.x)


def test_the_progress_of_another_run_is_refused(tmp_path):
    fit(problem(Point()), 1, 1, tmp_path / "file")
    with pytest.raises(UserError, match="same data and settings"):
        fit(problem(Point(), identity="other"), 1, 1, tmp_path / "file")


def test_a_loss_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(UserError, match="finite loss in test, got nan"):
        fit(problem(Point(), iter([1.0, math.nan])), 4, 2, tmp_path / "file")
    with pytest.raises(UserError, match="finite loss in test"):
        fit(problem(Point(), rate=1e30), 4, 2, tmp_path / "other")
