"""What the files in deploy/ say, and whether del-audit takes the commands in them."""

from pathlib import Path

import pytest

from del_audit.cli import _parser

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="session")
def parsed():
    """Returns what a command line of del-audit, as a list of words without the program, is read as."""
    return _parser().parse_args
