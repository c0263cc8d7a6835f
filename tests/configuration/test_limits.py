"""Every limit of the registry can be met, missed and left undecided; the pages name each; its order is the checks'."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from del_audit.configuration.policy import Policy
from del_audit.configuration.verdict import Contender
from del_audit.statistics.bound import Bound
from del_audit.statistics.figure import Figure

LIMITS = Policy.limits()
GIVEN = {"epsilon": {"at_most": 0.5}, "slice_success_at_most": {"names": 0.5, "numbers": 0.5}}
"""Values of limits that are no numbers; each other one is 0.5."""


@dataclass
class Alike:
    """Every figure is value, 0.1 to each side; None where nothing was measured."""

    value: float | None
    sample: int = 900
    asked: tuple = ()

    @property
    def figure(self):
        if self.value is None:
            return None
        ends = (self.value - 0.1, self.value + 0.1)
        return Figure(self.value, *ends, "share", self.sample, "tokens", "planted")

    def success(self):
        return [Contender(name, self.figure) for name in ("MAP", "beam")]

    def slice_success(self, name):
        return self.success()

    worst_prompt = lists = meaning = success

    def known_context(self):
        return self.figure

    def attribute(self):
        return "condition", self.figure

    def gain(self, control):
        return self.figure

    def share_of_gain(self):
        return self.figure

    def task(self):
        return "rating", self.figure, self.figure

    def epsilon(self, *asked):
        self.asked += (asked,)
        return None if self.value is None else Bound(self.value, self.value, self.value, "proved")

    def bytes_per_token(self):
        return self.value


def test_a_field_is_a_limit_or_a_term_that_limits_are_taken_at():
    assert set(Policy.model_fields) - set(LIMITS) == {"assurance", "sends", "prompt_tokens", "session_days"}


def statuses(name, measured):
    checks = list(Policy(**{name: GIVEN.get(name, 0.5)}).checks(measured))
    assert checks
    return {check.status for check in checks}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_met_on_one_side_missed_on_the_other_and_undecided_without_a_figure(name):
    low, high = statuses(name, Alike(-0.9)), statuses(name, Alike(0.9))
    upper = LIMITS[name].kind == "privacy" or name.endswith("at_most")
    assert (low, high) == (({"passed"}, {"failed"}) if upper else ({"failed"}, {"passed"}))
    assert statuses(name, Alike(None)) == {"inconclusive"}


@pytest.mark.parametrize("name", [name for name in LIMITS if name not in ("epsilon", "bytes_per_token_at_most")])
def test_an_interval_that_holds_an_estimated_limit_decides_nothing(name):
    assert "inconclusive" in statuses(name, Alike(0.5))


@pytest.mark.parametrize("name", [name for name, row in LIMITS.items() if row.needs == "gains"])
def test_a_gain_of_few_prompts_decides_nothing(name):
    assert statuses(name, Alike(0.9, sample=20)) == {"passed"}
    assert statuses(name, Alike(0.9, sample=19)) == {"inconclusive"}


def test_an_epsilon_is_asked_for_at_the_sends_of_the_policy_and_a_session_counts_its_own():
    limits = [{"at_most": 9.0}, {"unit": "prompt", "at_most": 9.0}, {"unit": "session", "tokens": 96, "at_most": 9.0}]
    measured = Alike(0.5)
    names = [each.limit for each in Policy(sends=3, prompt_tokens=16, epsilon=limits).checks(measured)]
    assert measured.asked == (("token", 1, 3, 1e-5), ("prompt", 16, 3, 1e-5), ("session", 96, 1, 1e-5))
    assert names == [
        "epsilon of a token (1 token, sent 3 times) at delta 1e-05",
        "epsilon of a prompt (16 tokens, sent 3 times) at delta 1e-05",
        "epsilon of a session (96 tokens) at delta 1e-05",
    ]


def test_checks_stand_in_the_order_in_which_certificates_store_them():
    policy = Policy(**{name: GIVEN.get(name, 0.5) for name in reversed(LIMITS)})
    assert [check.limit for check in policy.checks(Alike(None))] == [
        "epsilon of a token (1 token) at delta 1e-05",
        "strongest attack",
        "strongest attack up to meaning",
        "slice: names",
        "slice: numbers",
        "worst prompt",
        "tokens recovered by who knows the context",
        "texts picked out of a list",
        "attribute advantage (condition)",
        "utility: gain over another user's released prompt",
        "utility: gain over no prompt",
        "utility: gain over soft prompt alone",
        "utility: share of the clean gain",
        "utility: accuracy of rating",
        "utility: accuracy of rating over its commonest class",
        "bytes per token",
    ]


@pytest.mark.parametrize("page", ["policy.md", "configuration.md"])
def test_the_page_has_a_row_for_each_limit(page):
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf8")
    rows = {name for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert set(LIMITS) <= rows
