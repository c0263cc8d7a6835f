"""The clients that docs/verify-mechanism.md shows are right ones."""

import re
import shutil
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "verify-mechanism.md"


def _shown(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf8"), re.DOTALL)
    return code


def test_the_python_function(verify, tmp_path):
    path = tmp_path / "client.py"
    path.write_text(_shown("python"))
    assert verify("--python", f"{path}:release").code == 0


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_program_in_javascript(verify, tmp_path):
    path = tmp_path / "client.js"
    path.write_text(_shown("javascript"))
    assert verify("--command", f"node {path}").code == 0
