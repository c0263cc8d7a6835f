"""No error advises to switch a check off: each names what makes the check pass."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SWITCHES = ("--uncertified", "uncertified", "--no-recompute", "--accept-quick", "accept_quick")
ABOUT_THE_SWITCH = "got both", "got certificate=UNCERTIFIED"
"""What a message says to whoever gave such a switch together with what it switches off."""


def texts():
    """Yields every text that a raised error may carry: file, line, and its words."""
    for folder in ("mechanisms", "attacks", "del_audit"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
                if isinstance(node, ast.Raise) and node.exc is not None:
                    parts = (one.value for one in ast.walk(node.exc) if isinstance(one, ast.Constant))
                    yield path.relative_to(ROOT), node.lineno, "".join(str(part) for part in parts)


def test_no_error_advises_to_switch_a_check_off():
    found = list(texts())
    assert len(found) > 300
    wrong = [
        each
        for each in found
        if any(switch in each[2].lower() for switch in SWITCHES)
        and not any(said in each[2] for said in ABOUT_THE_SWITCH)
    ]
    assert wrong == []
