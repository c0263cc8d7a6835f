"""A verdict claims what its evidence supports, and never more."""

import pytest
from json_certificate import checks_of, print_summary, read, render
from rich.console import Console

from attacks.registry import INFORMED_VERSIONS
from del_audit.certificate.attack_versions import stronger_attacks
from del_audit.certificate.claim import claim_of


def claim(certificate):
    return claim_of(read(certificate), checks_of(certificate)).kind


@pytest.fixture
def plain(certificate):
    """Returns a certificate that certifies by its attacks alone."""
    policy = certificate["configuration"]["policy"]
    policy.update(epsilon=[], slice_success_at_most={}, attack_success_at_most=0.2, paired_gain_at_least=None)
    return certificate


def prompt(certificate, **changes):
    """Adds a guarantee of a whole prompt that is small enough for a formal claim, but for the changes."""
    row = {**certificate["guarantees"][0], "unit": "prompt", "tokens": 48, "delta": 1e-6}
    row["epsilon"] = dict.fromkeys(("lower", "estimate", "upper"), 9.9)
    certificate["guarantees"].append({**row, **changes})
    return certificate


def test_limits_on_blind_attackers_make_a_blind_claim(plain):
    assert claim(plain) == "blind"
    policy = plain["configuration"]["policy"]
    policy.update(attack_success_at_most=None)
    assert claim(plain) == "none"
    policy.update(slice_success_at_most={"names": 0.9})
    assert claim(plain) == "blind"
    policy.update(slice_success_at_most={}, meaning_success_at_most=0.9)
    assert claim(plain) == "blind"


def test_limits_on_who_knows_more_make_a_context_aware_claim_only_together(plain):
    policy = plain["configuration"]["policy"]
    for one, other in (("context_success_at_most", "list_success_at_most"),) * 2:
        policy.update({one: 0.5, other: None})
        assert claim(plain) == "blind"
    for listed in plain["knowing"]["lists"]:
        listed["success"].update(value=0.1, lower=0.05, upper=0.2)
    policy.update(context_success_at_most=0.5, list_success_at_most=0.3)
    assert claim(plain) == "context-aware"
    plain["knowing"]["lists"][1]["success"].update(value=0.9, lower=0.8, upper=0.95)
    assert claim(plain) == "none"  # refused


def test_a_list_or_a_context_that_was_not_measured_decides_nothing(plain):
    policy = plain["configuration"]["policy"]
    policy.update(context_success_at_most=0.99, list_success_at_most=0.99)
    plain["knowing"].update(context=None, context_both=None, lists=[])
    assert {check.status for check in checks_of(plain)[-3:-1]} == {"inconclusive"}
    assert claim(plain) == "none"


def test_a_small_epsilon_of_the_prompt_makes_a_formal_claim(plain):
    assert claim(prompt(plain)) == "formal"


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": 47},
        {"unit": "session"},
        {"sends": 2},
        {"delta": 1.1e-6},
        {"kind": "float with error bound"},
        {"epsilon": dict.fromkeys(("lower", "estimate", "upper"), 10.01)},
    ],
)
def test_another_guarantee_makes_no_formal_claim(plain, changes):
    assert claim(prompt(plain, **changes)) == "blind"


def test_the_claim_stands_first_in_table_and_page(certificate):
    console = Console(record=True, width=160)
    print_summary(certificate, console)
    text = console.export_text()
    assert text.splitlines()[1].startswith("Blind: the limits hold against attackers who know how common words are")
    page = render(certificate)
    assert page.index("Blind: the limits") < page.index("Checks of the policy")
    table = " ".join(text.split())
    assert "knows every other word 42.1%" in table
    assert "knows the words before each token 36.1% [34.4%, 37.9%] 26.5% [24.9%, 28.1%]" in table
    assert "picks the text out of 10,000 by 32 tokens 99.0% [94.0%, 100.0%] 0.01% windows of public text" in table


@pytest.mark.parametrize("known", ["context", "context_both"])
def test_who_knows_the_context_and_beats_what_is_allowed_proves_the_implementation_broken(plain, known):
    plain["knowing"][known].update(broken_below=0.41, broken_above=0.4)
    check = checks_of(plain)[0]
    assert (check.status, "who knows the context reads more" in check.reason) == ("failed", True)
    plain["knowing"][known].update(broken_above=None)
    assert checks_of(plain)[0].status == "passed"


def test_the_limit_is_on_the_larger_upper_end_of_who_knows_the_context(plain):
    left, both = plain["knowing"]["context"]["success"], plain["knowing"]["context_both"]["success"]
    plain["configuration"]["policy"].update(context_success_at_most=0.5)
    for low, high in ((left, both), (both, left)):
        low.update(value=0.3, lower=0.2, upper=0.45)
        high.update(value=0.25, lower=0.2, upper=0.51)
        assert "inconclusive" in {check.status for check in checks_of(plain) if "knows the context" in check.limit}
        high.update(upper=0.49)
        assert {check.status for check in checks_of(plain) if "knows the context" in check.limit} == {"passed"}
    plain["knowing"].update(context_both=None)  # of a certificate of format 4
    assert {check.status for check in checks_of(plain) if "knows the context" in check.limit} == {"passed"}


@pytest.mark.parametrize(("key", "ran"), list(INFORMED_VERSIONS.items()))
def test_a_stronger_attack_of_who_knows_more_ends_a_certificate(certificate, key, ran, monkeypatch):
    assert stronger_attacks(read(certificate)) == []
    monkeypatch.setitem(INFORMED_VERSIONS, key, ran + 1)
    (reason,) = stronger_attacks(read(certificate))
    assert reason == f"attack {key} has become stronger since (version {ran + 1}, the certificate ran {ran})"
