"""What a limit costs: its row. Policy, configuration, certificate and tune read the rest from there."""

import json
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from del_audit.certificate.checks import CertificateFigures
from del_audit.certificate.model import Certificate
from del_audit.certificate.typed import typed
from del_audit.configuration.configuration import Configuration
from del_audit.configuration.limits import Limit
from del_audit.configuration.policy import Policy
from del_audit.configuration.verdict import check_figure
from del_audit.statistics.figure import Figure
from del_audit.tune.bench import with_limited_columns
from del_audit.tune.judge import TASK_OVER, Judge, Tuned
from mechanisms.spec import QuantizerSpec

CERTIFICATE = Path(__file__).parents[1] / "fixtures" / "certificates" / "certificate-5.json"


def lead(least, measured, sends):
    column, _, over = measured.task()
    yield check_figure(f"lead in {column}", over, least, "above")


ROW = Limit("utility", lead, "task")


class ToyPolicy(Policy):
    """The policy with one more limit, after the others."""

    task_lead_at_least: Annotated[float | None, Field(ge=0, lt=1), ROW] = None


class ToyConfiguration(Configuration):
    """A configuration with that policy."""

    policy: ToyPolicy


MINIMAL = {
    "name": "a",
    "model": "m",
    "mechanism": {"bits": 4, "dim": 8, "clip": 0.05, "mu": 5.0},
    "data": {"corpus": "c.csv"},
    "attribute": {"column": "condition"},
    "policy": {"task_lead_at_least": 0.1},
}


def figure(value):
    return Figure(value, value - 0.02, value + 0.02, "share of documents", 900, "documents", "planted")


def test_its_row_is_the_last_and_alone_makes_a_policy():
    assert ToyPolicy.limits() == {**Policy.limits(), "task_lead_at_least": ROW}
    assert list(ToyPolicy.limits())[-1] == "task_lead_at_least"
    assert ToyPolicy(task_lead_at_least=0.1).asked() == {"task_lead_at_least": ROW}
    with pytest.raises(ValidationError, match=r"at least one limit.*bytes_per_token_at_most, task_lead_at_least"):
        ToyPolicy()


def test_without_its_row_it_is_refused():
    with pytest.raises(ValidationError, match="task_lead_at_least"):
        Policy(task_lead_at_least=0.1)
    with pytest.raises(ValidationError, match="task_lead_at_least"):
        Configuration.model_validate(MINIMAL)


def test_a_configuration_must_name_what_it_needs_and_tune_measures_that_alone():
    with pytest.raises(ValidationError, match=r"policy\.task_lead_at_least needs a task to measure"):
        ToyConfiguration.model_validate(MINIMAL)
    configuration = with_limited_columns(ToyConfiguration.model_validate({**MINIMAL, "task": {"column": "rating"}}))
    assert configuration.policy.needs("task")
    assert configuration.task is not None
    assert configuration.attribute is None


def test_tune_judges_it():
    judge, spec = Judge(ToyPolicy(task_lead_at_least=0.1), {}, 0.8), QuantizerSpec.from_mu(4, 8, 0.05, 5.0)

    def judged(**others):
        return judge.rest(Tuned(spec, [], figure(0.0), others))

    assert judged(**{TASK_OVER: figure(0.2)}) is None
    assert judged(**{TASK_OVER: figure(0.05)}).why.startswith("lead in the task: 0.05 [0.03, 0.07]")
    assert "it was not measured" in judged().why


def test_a_certificates_figures_are_held_against_it():
    figures = CertificateFigures(typed(Certificate, json.loads(CERTIFICATE.read_text(encoding="utf8"))))
    column, _, over = figures.task()
    for limit, status in ((over.lower - 0.01, "passed"), (over.value, "inconclusive"), (over.upper, "failed")):
        policy = ToyPolicy.model_construct(task_lead_at_least=limit)
        assert [(check.limit, check.status) for check in policy.checks(figures)] == [(f"lead in {column}", status)]
