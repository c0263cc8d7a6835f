"""Time to answer of the commands that need no model, beside two bare imports as whole processes."""

import statistics
import subprocess
import sys
import time

RUNS = 7
ACCOUNT = ["account", "--bits", "4", "--dim", "18", "--clip", "0.05", "--mu", "8", "--unit", "token", "--delta", "1e-5"]
COMMANDS = {
    "python -c 'import numpy, scipy.special' (the least)": ["-c", "import numpy, scipy.special"],
    "python -c 'import torch' (what is avoided)": ["-c", "import torch"],
    "del-audit --version": ["-m", "del_audit", "--version"],
    "del-audit --help": ["-m", "del_audit", "--help"],
    "del-audit account": ["-m", "del_audit", *ACCOUNT],
    "del-audit account --json": ["-m", "del_audit", *ACCOUNT, "--json"],
}


def measure() -> dict[str, float]:
    """Returns the median wall time of each command, in seconds; the commands take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS + 1):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}


if __name__ == "__main__":
    medians = measure()
    least = next(iter(medians.values()))
    print(f"median of {RUNS} runs after one warm-up; ratio to the first row")
    for name, median in medians.items():
        print(f"{name:<52} {median:7.3f} s {median / least:6.2f}x")
