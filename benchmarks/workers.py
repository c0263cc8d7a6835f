"""How much faster two workers are than one, one thread each, and what Ray costs beside processes.

    python benchmarks/workers.py [CONFIG] [--mechanisms NAME,...] [--epsilons NATS,...] [--ray]

Runs `del-audit frontier --quick` on CONFIG (default: the example), each time into a folder of its own, and prints the
ratios of the times by the clock. Nothing else should run on the machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "smollm2-reviews.yaml"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def seconds(arguments: argparse.Namespace, out: Path, *options: str) -> float:
    """Returns the seconds of one run; raises CalledProcessError where it fails."""
    asked = ["--mechanisms", arguments.mechanisms, "--epsilons", arguments.epsilons, "--quick", *options]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "del_audit", "frontier", str(arguments.config), "--out", str(out), *asked],
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


def main() -> None:
    """Prints the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--mechanisms", default="del,randomized-response,projective-geometry,coarse-words:128")
    parser.add_argument("--epsilons", default="4,6,8,16")
    parser.add_argument("--ray", action="store_true", help="two actors of a Ray cluster of this machine too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        one = seconds(arguments, out / "one")
        two = seconds(arguments, out / "two", "--workers", "2")
        print(f"One process {one:.0f} s, two workers {two:.0f} s: {one / two:.2f}x (target 1.8x)")
        if arguments.ray:
            subprocess.run(["ray", "start", "--head", "--num-cpus", "2", "--port", "6390"], check=True)
            try:
                actors = seconds(arguments, out / "ray", "--ray", "127.0.0.1:6390", "--workers", "2")
            finally:
                subprocess.run(["ray", "stop"], check=True)
            print(f"Two actors of Ray {actors:.0f} s: {actors / two:.2f}x the two workers (target at most 1.10x)")


if __name__ == "__main__":
    main()
