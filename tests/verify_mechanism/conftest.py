"""Small clients as files: one that is right, and what makes it wrong; batteries of so few rows that they take a second.

The clients draw from the operating system, so a false alarm is a matter of chance: alpha is one in a million.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from del_audit.cli import main

CLAIM = ("--bits", "4", "--dim", "6", "--clip", "0.05", "--scale", "0.1")
QUICK = ("--trials", "600", "--seed", "1", "--alpha", "1e-6")

FUNCTIONS = """
import numpy as np

CHARGED = [0]


def probabilities(values, clip=0.05, scale=0.1):
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    return 0.5 + np.clip(values, -clip, clip) / (2 * scale)


def release(values):
    probability = probabilities(values)
    CHARGED[0] += len(values)
    return np.random.default_rng().binomial(15, probability)


def charged():
    return CHARGED[0]
"""

PROGRAM = """
import json
import math
import sys
from random import Random

RNG = Random()


def count(value, clip=0.05, scale=0.1):
    chance = 0.5 + max(-clip, min(clip, value)) / (2 * scale)
    return sum(RNG.random() < chance for _ in range(15))


def counts_of(values):
    if not all(map(math.isfinite, sum(values, []))):
        return {"error": "not finite"}
    return {"counts": [[count(value) for value in row] for row in values]}


def answer(values, number):
    return counts_of(values)


def main(respond):
    for number, line in enumerate(sys.stdin):
        values = [[float(value) for value in row] for row in json.loads(line)["values"]]
        print(json.dumps(respond(values, number)), flush=True)
"""


@pytest.fixture
def functions(tmp_path) -> Callable[..., Path]:
    """Returns a writer of the client that is a Python file, with further source after the right one."""

    def write(more: str = "", name: str = "client.py") -> Path:
        path = tmp_path / name
        path.write_text(FUNCTIONS + more, encoding="utf8")
        return path

    return write


@pytest.fixture
def program(tmp_path) -> Callable[..., str]:
    """Returns a writer of the client that is a program, as its command line. more: source that may replace `answer`."""

    def write(more: str = "", name: str = "program.py") -> str:
        path = tmp_path / name
        path.write_text(f"{PROGRAM}\n{more}\nmain(answer)\n", encoding="utf8")
        return f"{sys.executable} {path}"

    return write


class Ran:
    """What a run came to. code: its exit code. document: the JSON that it printed, or None. error: standard error."""

    def __init__(self, code: int, printed: str, error: str) -> None:
        self.code, self.error = code, error
        self.document: dict[str, Any] = json.loads(printed) if printed else {}

    @property
    def rejected(self) -> set[str]:
        """The findings that reject, as `group: name`."""
        return {f"{f['group']}: {f['name']}" for f in self.document["findings"] if f["rejected"]}

    def finding(self, group: str, name: str) -> dict[str, Any]:
        """One finding."""
        (found,) = [f for f in self.document["findings"] if (f["group"], f["name"]) == (group, name)]
        return found

    @property
    def not_tested(self) -> dict[str, str]:
        """What was not tested, and why."""
        return {part["what"]: part["why"] for part in self.document["not_tested"]}


@pytest.fixture
def verify(capsys) -> Callable[..., Ran]:
    """Returns the command with a claim, few rows, and JSON. claim: in place of the usual one."""

    def run(*arguments: object, claim: tuple[str, ...] = CLAIM) -> Ran:
        code = main(["verify-mechanism", *claim, *QUICK, "--json", *map(str, arguments)])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
