"""Accounting, the command line and the spec start without the heavy libraries."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["del_audit.accounting", "del_audit.accounting.guarantee_text", "del_audit.cli", "mechanisms.spec"]
)
def test_imports_stay_light(module):
    heavy = ["torch", "transformers", "scipy.stats", "pydantic", "sklearn"]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
