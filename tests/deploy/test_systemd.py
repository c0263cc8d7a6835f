"""The systemd units: systemd finds no fault in them, they are hardened, and their commands are del-audit's."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")
EXPOSURE = 2.0
"""Of 10, by systemd's own weights; a unit without hardening has 9.6."""


def settings(path):
    """Returns each setting's values, in order."""
    found = {}
    for line in path.read_text(encoding="utf8").replace("\\\n", " ").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", "[")):
            found.setdefault(name, []).append(value)
    return found


def test_there_are_two():
    assert [path.name for path in UNITS] == ["del-audit-proxy.service", "del-audit-serve.service"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
class TestUnit:
    def test_it_is_hardened_and_keeps_its_state(self, path):
        found = settings(path)
        assert found["NoNewPrivileges"] == ["yes"]
        assert found["ProtectSystem"] == ["strict"]
        assert found["CapabilityBoundingSet"] == [""]
        assert found["LimitCORE"] == ["0"]
        assert found["StateDirectoryMode"] == ["0700"]
        assert found["User"] not in (["root"], [])
        (environment,) = found["Environment"]
        assert f"DEL_AUDIT_STATE=%S/{found['StateDirectory'][0]}" in environment

    def test_a_certificate_that_does_not_hold_is_not_tried_again(self, path):
        found = settings(path)
        assert (found["Restart"], found["RestartPreventExitStatus"]) == (["on-failure"], ["2"])
        assert found["SuccessExitStatus"] == ["143"]

    def test_its_command_is_one_of_del_audit(self, path, parsed):
        (command,) = settings(path)["ExecStart"]
        program, *words = command.split()
        assert program.endswith("/del-audit")
        assert parsed(words)

    @pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not here")
    def test_systemd_finds_no_fault(self, path, tmp_path):
        unit = tmp_path / path.name
        unit.write_text(re.sub(r"(?<=ExecStart=)\S+", "/bin/true", path.read_text(encoding="utf8")))
        done = subprocess.run([ANALYZE, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not here")
    def test_little_of_the_machine_is_exposed_to_it(self, path):
        done = subprocess.run(
            [ANALYZE, "security", "--offline=true", "--no-pager", path], capture_output=True, text=True, check=False
        )
        (exposure,) = re.findall(r"Overall exposure level for .*: ([\d.]+)", done.stdout)
        assert float(exposure) <= EXPOSURE
