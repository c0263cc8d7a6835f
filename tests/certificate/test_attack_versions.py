"""A certificate whose attacks became stronger since, or lack one that is required now, has expired."""

from pathlib import Path

import pytest

from del_audit.certificate.verify_command import verify_file

FIXTURES = Path(__file__).parents[1] / "fixtures" / "certificates"


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        ("certificate-2", "adapted-beam was not run"),
        ("certificate-3", "adapted-beam was not run"),
        ("certificate-4", "known-context has become stronger since"),
        ("certificate-5-first", "adapted-beam has become stronger since (version 2, the certificate ran 1)"),
    ],
)
def test_a_kept_certificate_of_weaker_attacks_has_expired(kept, reason):
    found = verify_file(FIXTURES / f"{kept}.json", [str(FIXTURES / f"{kept}.pub")], "2026-12-31")
    steps = {step.name: step for step in found.steps}
    assert not found.valid
    assert steps["attacks"].status == "failed"
    assert reason in steps["attacks"].reason
    assert steps["signature"].status == "passed"
