"""The one script of the report and of the curves: a plot's figures under the pointer and on a slider."""

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path


@cache
def script() -> str:
    """Returns the script.

    It wants: json in #data, a list of panels (plot, place, along, grid, unit; stops, thick and columns where there are
    such); for each a .readout with an input and an output; and an SVG within [data-plot].
    """
    return Path(__file__).with_name("readout.js").read_text(encoding="utf8")


def source(content: str) -> str:
    """Returns what a Content-Security-Policy calls a script: its hash, in quotes."""
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
