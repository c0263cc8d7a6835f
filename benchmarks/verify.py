"""Seconds that verifying a certificate takes, whole processes; may be given a certificate and its public key."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures" / "certificates"
CERTIFICATE, KEY = sys.argv[1:] or (FIXTURES / "certificate-5.json", FIXTURES / "certificate-5.pub")
VERIFY = ["-m", "del_audit", "verify", str(CERTIFICATE), "--trust", str(KEY), "--at", "2026-12-31"]
RUNS = 9


def seconds(arguments):
    times = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return times[1:]  # the first one warms the disk's cache


for name, arguments in (
    ("python -c pass", ["-c", "pass"]),
    ("del-audit --version", ["-m", "del_audit", "--version"]),
    ("del-audit verify --no-recompute", [*VERIFY, "--no-recompute"]),
    ("del-audit verify", VERIFY),
):
    times = seconds(arguments)
    print(f"{name:32} median {statistics.median(times):.2f} s, slowest {max(times):.2f} s of {RUNS}")
