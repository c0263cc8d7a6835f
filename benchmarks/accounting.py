"""Time, memory and error of del_audit.accounting, and of other privacy accountants on the same releases.

Peers are installed once into out/benchmark-peers, with the versions of peers-requirements.txt; opacus, which needs
torch, is asked in the running environment. Each answer comes from a process of its own with 8 GiB and 75 seconds.
"""

import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from del_audit.accounting import Accountant, Bound, Enclosure, TradeOff
from mechanisms.spec import QuantizerSpec

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent / "out" / "benchmark-peers"
REQUIREMENTS = HERE / "peers-requirements.txt"
LIMIT_SECONDS = 75
RUNS = 200
DELTA = 1e-5
FEW_TRIALS = 270
"""Trials of which SciPy's tails of every count are timed in the same process."""
ROUNDING = 1e-12
"""Relative error from which a figure below the truth is called too low."""

OWN = ("del-audit", "del-audit, proved", "mu-GDP without error term", "scipy binom.sf, binom.logsf")
PEERS = (
    "dp-accounting PLD, self_compose",
    "dp-accounting PLD, two binomials",
    "dp-accounting PLDAccountant, count",
    "dp-accounting RDP",
    "prv-accountant, pure DP",
    "prv-accountant, pure DP, eps_max",
    "prv-accountant, exact Renyi given",
    "autodp RDP",
    "autodp phi-function",
    "opendp, pure DP",
    "opendp, zCDP",
)
OPACUS = (
    "opacus GDP accountant",
    "opacus GDP, its inversion at mu",
    "opacus RDP accountant",
    "opacus PRV accountant",
)
NAMES_OF_PEERS = ("autodp", "dp-accounting", "opendp", "prv-accountant", "riskcal")


class Case(NamedTuple):
    """One release: `tokens` of a spec with clip 1."""

    spec: QuantizerSpec
    tokens: int

    @classmethod
    def of_mu(cls, mu: float, dim: int, bits: int, tokens: int) -> "Case":
        """Returns the case whose scale gives the paper's mu a token."""
        return cls(QuantizerSpec.from_mu(bits, dim, 1.0, mu), tokens)

    def __str__(self) -> str:
        """The case in words."""
        spec, many = self.spec, "s" if self.tokens > 1 else ""
        return f"mu {spec.mu:g}, dim {spec.dim}, bits {spec.bits}, {self.tokens} token{many}"

    @property
    def trials(self) -> int:
        """N of the whole release."""
        return self.tokens * self.spec.dim * self.spec.trials


CASES = (
    Case.of_mu(2, 18, 4, 1),
    Case.of_mu(10, 18, 4, 1),
    Case.of_mu(40, 18, 4, 1),
    Case.of_mu(10, 128, 4, 1),
    Case.of_mu(2, 18, 4, 128),
    Case.of_mu(0.5, 128, 8, 512),
)
HEADLINE = CASES[4]


class Bench:
    """Asks routes, each in a new process; `peers` is the interpreter that has them, or why there is none."""

    def __init__(self, peers: Path | str) -> None:
        self.peers = peers

    def ask(self, route: str, case: Case, alphas: Iterable[float] = ()) -> dict[str, Any]:
        """Returns the answer with its seconds and peak memory in bytes, or the refusal in the route's own words."""
        python = self.peers if route.startswith(NAMES_OF_PEERS) else Path(sys.executable)
        if isinstance(python, str):
            return {"refusal": python}
        spec = case.spec
        fields = {
            "bits": spec.bits,
            "dim": spec.dim,
            "tokens": case.tokens,
            "scale": spec.scale,
            "mu": spec.mu,
            "delta": DELTA,
            "trials": case.trials,
            "gain": spec.clip / spec.scale,
            "alphas": list(alphas),
        }
        command = [str(python), "-W", "ignore", str(HERE / "peers" / "routes.py"), route, json.dumps(fields)]
        print(f"{case}: {route} ...", end=" ", file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, env=environment)
        except subprocess.TimeoutExpired:
            return {"refusal": f"no answer in {LIMIT_SECONDS} s"}
        finally:
            print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        if run.returncode:
            words = next((line for line in run.stderr.splitlines() if line.strip()), "")
            ended = signal.Signals(-run.returncode).name if run.returncode < 0 else f"exit code {run.returncode}"
            return {"refusal": f"{words} ({ended})"}
        result: dict[str, Any] = json.loads(run.stdout)
        return result

    def value(self, route: str, case: Case, alphas: Iterable[float] = ()) -> Any:
        """Returns the answer alone, or the refusal."""
        result = self.ask(route, case, alphas)
        return result.get("answer", result.get("refusal"))


def peers_environment() -> Path | str:
    """Returns the interpreter of the peers' environment, built if needed, or the reason why it cannot be built."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed.txt"
    wanted = f"{sys.version}\n{REQUIREMENTS.read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"building {ENVIRONMENT}", file=sys.stderr, flush=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    for command in ([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], install):
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            lines = [line for line in (run.stderr + run.stdout).splitlines() if line.strip()]
            return f"no environment for the peers: {lines[-1] if lines else 'no reason given'}"
    stamp.write_text(wanted)
    return python


def median_seconds(calls: Sequence[Callable[[], object]]) -> float:
    """Returns the median time of a call, each made once, after the first as a warm-up."""
    calls[0]()
    taken = []
    for call in calls:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def print_ours() -> None:
    """Prints the times of del_audit.accounting in this process; each call is of another spec, so nothing is cached."""
    print(f"One epsilon query in a running process, delta {DELTA}, mu 8 a unit")
    print(f"  {'trials':>13}{'epsilon':>17}{'Accountant':>13}{'width':>9}{'TradeOff':>13}{'proved':>13}{'width':>9}")
    for dim, tokens in ((18, 15), (1000, 1), (1000, 10**3), (1000, 10**6)):
        specs = [QuantizerSpec.from_mu(1, dim, 1.0, (8 + i / 1000) / math.sqrt(tokens)) for i in range(RUNS)]
        floats, proofs = ([Accountant(spec, proved=proved) for spec in specs] for proved in (False, True))
        curves = [partial(enclose, dim * tokens, *accountant.offset) for accountant in floats]
        of_floats, of_proofs = (
            [partial(accountant.epsilon, DELTA, "session", tokens) for accountant in accountants]
            for accountants in (floats, proofs)
        )
        bound, proved = of_floats[0](), of_proofs[0]()
        of_whole, of_curve, of_proof = (in_words(median_seconds(calls)) for calls in (of_floats, curves, of_proofs))
        print(
            f"  {dim * tokens:>13,}{bound.estimate:>17.10f}{of_whole:>13}{width(bound):>9.1e}"
            f"{of_curve:>13}{of_proof:>13}{width(proved):>9.1e}"
        )
        if dim * tokens == FEW_TRIALS:
            scipy = [partial(scipy_epsilon, FEW_TRIALS, float(accountant.success)) for accountant in floats]
            of_scipy = median_seconds(scipy)
            ratio = median_seconds(of_floats) / of_scipy
    print(f"  medians of {RUNS} calls, mu 8 to 8.2; width is (upper - lower) / epsilon")
    print(
        f"  {FEW_TRIALS} trials: scipy.stats.binom's sf and logsf, without an error bound, {in_words(of_scipy)}; ",
        end="",
    )
    print(f"Accountant / SciPy {ratio:.2f}\n")
    draw = np.random.default_rng(0)
    mus, dims = 10 ** draw.uniform(-0.3, 1.6, 10_000), draw.choice([18, 32, 64, 128, 256], 10_000)
    counts, tokens_each = draw.choice([1, 3, 15, 255], 10_000), draw.integers(1, 513, 10_000)
    trials, offsets = tokens_each * dims * counts, 0.5 / np.hypot(1, 2 * np.sqrt(dims * counts) / mus)
    taken = median_seconds([partial(enclose, trials, offsets)] * 10)
    print(
        f"10,000 specs in one call, {trials.min():,} to {trials.max():,} trials, mu 0.5 to 40 a token, "
        f"median of 10 calls: {in_words(taken)}"
    )


def enclose(trials: ArrayLike, offset: ArrayLike, offset_low: ArrayLike = 0.0) -> Enclosure:
    """Returns epsilon without the accountant around it."""
    return TradeOff.of_vertices(trials, offset, offset_low).enclose_epsilon(DELTA)


def scipy_epsilon(trials: int, success: float) -> float:
    """Returns epsilon by SciPy's tails of every count, without an error bound."""
    counts = np.arange(-1, trials)
    left = stats.binom.sf(counts, trials, success) - DELTA
    return float(np.max(np.log(left[left > 0]) - stats.binom.logsf(counts[left > 0], trials, 1 - success)))


def width(bound: Bound) -> float:
    """Returns the relative width of a bound."""
    return (bound.upper - bound.lower) / bound.estimate


def print_case(bench: Bench, case: Case) -> dict[str, dict[str, Any]]:
    """Prints the table of one release, and returns what every route said."""
    reference = bench.ask("exact epsilon", case)
    exact = Decimal(reference["answer"])
    print(f"\n{case}: {case.trials:,} trials, exact epsilon {exact:.15f}")
    print(f"  {'route':<36}{'time':>10}{'peak memory':>13}{'epsilon':>20}{'error':>11}")
    results = {route: bench.ask(route, case) for route in OWN + PEERS + OPACUS}
    for route, result in results.items():
        if "refusal" in result:
            print(f"  {route:<36}  refused: {first_line(result['refusal'])}")
            continue
        epsilon = result["answer"]
        error = float((Decimal(epsilon) - exact) / exact) if math.isfinite(epsilon) else math.inf
        print(
            f"  {route:<36}{in_words(result['seconds']):>10}{result['peak'] / 2**20:>9.0f} MiB{epsilon:>20.12f}"
            f"{error:>+11.1e}{'  under-reports' if error < -ROUNDING else ''}"
        )
    return results


def print_findings(bench: Bench) -> None:
    """Prints what is wrong with a peer beyond its error in the tables, with the exact figure beside it."""
    print("\nFindings")
    many = Case(QuantizerSpec(1, 100, 1.0, 2.0), 1)
    count, loop, exact = (
        bench.value(route, many)
        for route in ("dp-accounting PLDAccountant, count", "dp-accounting PLDAccountant, loop", "exact epsilon")
    )
    print("  dp-accounting's PLDAccountant leaves out `count` for randomized response: 100 answers, true with 3/4")
    print(f"    compose(event, 100): {show(count)}; compose(event) 100 times: {show(loop)}; exact: {show(exact)}")

    print("  scipy's logsf is log(sf), so the naive formula says inf once a tail underflows: mu 40, dim 18, 4 bits")
    for tokens in range(1, 9):
        case = Case.of_mu(40, 18, 4, tokens)
        naive, exact = bench.value("scipy binom.sf, binom.logsf", case), bench.value("exact epsilon", case)
        print(f"    tokens {tokens}: scipy {show(naive)}; exact {show(exact)}")
        if not isinstance(naive, float) or math.isinf(naive):
            break

    alphas = (1e-12, 1e-6, 1e-3, 1e-2, 0.1)
    print(f"  riskcal's beta (type II error, too large is unsound): {CASES[1]}")
    betas = [bench.value(f"{route} beta", CASES[1], alphas) for route in ("riskcal", "del-audit", "exact")]
    if isinstance(betas[0], str):
        print(f"    riskcal: {first_line(betas[0])}")
    else:
        for alpha, riskcal, ours, exact in zip(alphas, *betas, strict=True):
            verdict = "  over-reports beta" if Decimal(riskcal) > Decimal(exact) else ""
            error = abs(float(Decimal(ours) / Decimal(exact) - 1))
            print(f"    alpha {alpha:.0e}: {riskcal:.6e}; exact {float(exact):.6e}; ours off by {error:.0e}{verdict}")

    single = Case.of_mu(1, 1, 1, 1)
    normal = statistics.NormalDist()
    total_variation = bench.value("del-audit total variation", single)
    implied = 2 * normal.inv_cdf((1 + total_variation) / 2)
    print("  mu-GDP is a limit: one trial at mu 1")
    print(
        f"    total variation of 1-GDP: {2 * normal.cdf(0.5) - 1:.6f}; exact: {total_variation:.6f}, that of "
        f"{implied:.3f}-GDP"
    )


def show(value: float | str) -> str:
    """Returns a figure with 6 digits after the point, or a refusal as it is."""
    try:
        return f"{float(value):.6f}"
    except ValueError:
        return first_line(str(value))


def first_line(words: str) -> str:
    """Returns the first line, at most 160 characters."""
    return words.strip().splitlines()[0][:160] if words.strip() else "no reason given"


def in_words(seconds: float) -> str:
    """Returns a time in the unit that suits it."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def installed(package: str, python: Path | str) -> str:
    """Returns `package version` in that interpreter's environment, or that it is not there."""
    if isinstance(python, str):
        return f"{package} (not installed)"
    if python == Path(sys.executable):
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} (not installed)"
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    run = subprocess.run([str(python), "-c", ask], capture_output=True, text=True)
    return f"{package} {run.stdout.strip()}" if not run.returncode else f"{package} (not installed)"


def main() -> None:
    start = time.perf_counter()
    peers = peers_environment()
    bench = Bench(peers)
    own = Path(sys.executable)
    packages = [installed(name, own) for name in ("numpy", "scipy", "python-flint", "mpmath", "opacus")]
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(", ".join(packages))
    print("peers: " + ", ".join(installed(name, peers) for name in (*NAMES_OF_PEERS, "numpy", "scipy")) + "\n")
    print_ours()
    print(
        "\nOne release, every route: time of an answer from scratch (median of the calls within 0.3 s, at most 50),"
        "\npeak memory of its process, relative error of epsilon (negative: below the truth). opacus and mu-GDP answer"
        "\nfor a Gaussian mechanism of the same mu. Of prv-accountant and del-audit it is the upper end."
    )
    results = {case: print_case(bench, case) for case in CASES}
    ours, theirs = (results[HEADLINE][route] for route in ("del-audit", "dp-accounting PLD, self_compose"))
    print(f"\nHeadline, {HEADLINE}")
    if "refusal" in theirs:
        print(f"  dp-accounting's PLD: {first_line(theirs['refusal'])}")
    else:
        print(
            f"  dp-accounting's PLD by default: {in_words(theirs['seconds'])}, {theirs['peak'] / 2**20:.0f} MiB; "
            f"del-audit: {in_words(ours['seconds'])}, {ours['peak'] / 2**20:.0f} MiB; "
            f"ratio of times {theirs['seconds'] / ours['seconds']:,.0f}x"
        )
    print_findings(bench)
    print(f"\n{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
