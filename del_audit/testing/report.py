"""What the conformance suite found: one row a test."""

from dataclasses import dataclass


class ContractError(Exception):
    """Raised inside a test by what breaks the contract; its text becomes the row's reason."""


@dataclass(frozen=True, slots=True)
class Check:
    """One test. reason: what is wrong, or what was tested; why not, where the mechanism lacks an optional part."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """All tests of one mechanism. mechanism: its name. As a string, a line per test."""

    mechanism: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The tests that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def __str__(self) -> str:
        return "\n".join(
            f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.reason}" for check in self.checks
        )
