"""The conformance suite: every test of a mechanism, in one call."""

from collections.abc import Callable
from functools import cache, partial

from del_audit.testing import contract, law, messages
from del_audit.testing.claim import claimed_epsilon
from del_audit.testing.report import Check, ContractError, Report
from del_audit.testing.sample import Sample, samples
from del_audit.testing.subject import Subject
from mechanisms.errors import UserError, first_line
from mechanisms.mechanism import KnownChannel, ObservableMechanism
from mechanisms.own_mechanisms import ClaimsEpsilon
from mechanisms.public_words import PublicWords

_CONTRACT: dict[str, Callable[[Subject], str]] = {
    "description": contract.description,
    "source only": contract.source_only,
    "fresh noise": contract.fresh_noise,
    "length": messages.length,
    "observed": messages.observed,
    "embeddings": messages.embeddings,
    "damaged messages": messages.damaged_messages,
    "foreign messages": messages.foreign_messages,
    "bad prompts": contract.bad_prompts,
    "copies": contract.copies,
}
_NOT_TESTED = "not tested: the mechanism states"
_SHARE = 3
"""Tests that can fail by chance: law, independence and claimed epsilon have a third of alpha each."""


def check_mechanism(
    mechanism: ObservableMechanism, public: PublicWords | None = None, *, seed: int = 0, alpha: float = 1e-6
) -> Report:
    """Returns whether a mechanism keeps the contract, and releases by the law that it states: one row a test.

    public: what it was made from; where it is left out, the attribute `table` of the mechanism is read. seed: of all
    releases and choices. alpha: the most that the chance can be that a mechanism which keeps the contract fails. A
    mechanism without `scores` has no law to test, and one without `token_epsilon` no claim: their rows say so.
    Raises UserError where there is no table, for a seed below 0, and for an alpha outside (0, 0.1].
    """
    subject = Subject.of(mechanism, public, seed, alpha)
    tests = {name: partial(test, subject) for name, test in _CONTRACT.items()} | _law_tests(subject)
    return Report(
        str(getattr(mechanism, "name", type(mechanism).__name__)),
        tuple(_check(name, test) for name, test in tests.items()),
    )


def require_conformance(
    mechanism: ObservableMechanism, public: PublicWords | None = None, *, seed: int = 0, alpha: float = 1e-6
) -> Report:
    """Returns the report of check_mechanism; raises UserError that names every test that failed, and why."""
    report = check_mechanism(mechanism, public, seed=seed, alpha=alpha)
    if not report.passed:
        failed = "; ".join(f"{check.name}: {check.reason}" for check in report.failed)
        raise UserError(
            f"Expected mechanism {report.mechanism!r} to pass all {len(report.checks)} tests of its contract, "
            f"got {len(report.failed)} that failed: {failed}."
        )
    return report


def _law_tests(subject: Subject) -> dict[str, Callable[[], str]]:
    """Returns the tests of what a mechanism states of itself: its law, and an epsilon."""
    mechanism, share = subject.mechanism, subject.alpha / _SHARE
    tests: dict[str, Callable[[], str]] = {
        name: lambda: f"{_NOT_TESTED} no law (no `scores`)" for name in ("scores", "law", "independence")
    }
    released: Callable[[], list[Sample]] = list
    if isinstance(mechanism, KnownChannel):
        released = cache(partial(samples, subject, mechanism))
        tests = {
            "scores": partial(law.scores, subject, mechanism),
            "law": lambda: law.law(released(), share),
            "independence": lambda: law.independence(released(), share),
        }
    tests["claimed epsilon"] = lambda: f"{_NOT_TESTED} no epsilon (no `token_epsilon`)"
    if isinstance(mechanism, ClaimsEpsilon):
        tests["claimed epsilon"] = lambda: claimed_epsilon(mechanism, released(), share)
    return tests


def _check(name: str, test: Callable[[], str]) -> Check:
    """Returns the row of a test: what breaks the contract fails it, and so does any other exception."""
    try:
        return Check(name, True, test())
    except ContractError as error:
        return Check(name, False, str(error))
    except (Exception, SystemExit) as error:
        return Check(name, False, f"raised {type(error).__name__}: {first_line(error)}")
