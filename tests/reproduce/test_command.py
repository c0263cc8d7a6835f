"""`del-audit reproduce` end to end on a tiny model."""

import json
import math

import pytest


def read(out):
    return json.loads((out / "table.json").read_text())


def test_smoke(command, tmp_path, capsys):
    assert command(1, tmp_path / "out", "--targets", "0.1,0.2") == 0
    print(capsys.readouterr().out)
