"""Every fault is caught by the finding that it should be caught by, within its stated rows; right clients pass."""

from collections import Counter
from pathlib import Path

import pytest
from museum import FAULTS, NEAR_MISSES, caught, inspect

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
LONG = 20_000


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow if kind.trials > LONG else ()) for kind in FAULTS],
    ids=lambda kind: kind.__name__,
)
def test_each_fault_is_caught_by_the_right_finding(kind):
    verification = inspect(kind, seed=100)
    assert not verification.passed
    rejected = [finding for finding in verification.rejected if finding.group == kind.group]
    assert rejected, [f"{finding.group}: {finding.evidence}" for finding in verification.rejected]
    assert all(finding.evidence and finding.meaning for finding in rejected)
    assert verification.trials == kind.trials


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_each_fault_is_caught_nine_times_in_ten(kind):
    assert sum(caught(kind, seed) for seed in range(200, 210)) >= 9


@pytest.mark.parametrize("kind", NEAR_MISSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_unusual_clients_that_are_right_pass(kind, seed):
    verification = inspect(kind, seed, trials=1500)
    assert verification.passed, [finding.evidence for finding in verification.rejected]


@pytest.mark.slow
def test_every_finding_rejects_some_fault():
    """A finding that no fault makes reject may be one that cannot."""
    seen, able = set(), set()
    for kind in FAULTS:
        for finding in inspect(kind, seed=300).findings:
            seen.add((finding.group, finding.name))
            if finding.rejected:
                able.add((finding.group, finding.name))
    assert seen == able


def test_every_kind_of_finding_has_faults():
    groups = Counter(kind.group for kind in FAULTS)
    assert len(FAULTS) >= 32
    assert len({kind.name for kind in FAULTS}) == len(FAULTS)
    wanted = {
        "contract",
        "law",
        "independence",
        "guarantee",
        "clipping",
        "batch",
        "message",
        "resending",
        "known answers",
    }
    assert set(groups) == wanted
    assert min(groups.values()) >= 2


def test_the_document_names_every_fault_and_its_finding():
    rows = [line for line in DOCUMENT.read_text(encoding="utf8").splitlines() if line.startswith("| ")]
    for kind in FAULTS:
        named = [row for row in rows if row.startswith(f"| {kind.name} |")]
        assert len(named) == 1, kind.name
        assert f"| {kind.group}:" in named[0], kind.name
        assert kind.did in named[0], kind.name
