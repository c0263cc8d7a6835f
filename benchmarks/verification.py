"""The museum of faults: in how few rows each is caught, and the power against a wrong scale beside Stein's need."""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))
from museum import FAULTS, Client, inspect
from museum.client import SPEC
from museum.near_misses import Reference

from del_audit.evidence.verification import Verification, stein_need, verify_mechanism
from del_audit.statistics.intervals import rate
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec

LADDER = (200, 500, 1000, 2000, 4000, 8000, 15_000, 30_000)
SEEDS, ENOUGH = 10, 9


def smallest_trials(kind: type[Client]) -> tuple[int | None, int, str, Verification]:
    """Returns the first rung at which 9 of 10 seeds are caught, how many were, by which finding, and one battery."""
    for trials in LADDER:
        found, hits = Counter(), 0
        for seed in range(SEEDS):
            verification = inspect(kind, seed, trials)
            names = [finding for finding in verification.rejected if finding.group == kind.group]
            hits += bool(names)
            if names:
                found[min(names, key=lambda finding: finding.p_value).name] += 1
            if seed + 1 - hits > SEEDS - ENOUGH:
                break
        if hits >= ENOUGH:
            return trials, hits, found.most_common(1)[0][0], verification
    return None, hits, "", verification


def table(only: list[str]) -> None:
    print("| fault | what real code did | caught by | rows | calls | seeds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in (kind for kind in FAULTS if not only or kind.__name__ in only):
        trials, hits, name, verification = smallest_trials(kind)
        rows = "not caught" if trials is None else f"{trials:,}"
        print(
            f"| {kind.name} | {kind.did} | {kind.group}: {name} | {rows} | {verification.calls} | {hits} |", flush=True
        )


def scale(spec: QuantizerSpec, error: float, trials: int, runs: int) -> None:
    """Prints how often a scale that is off is caught at a number of rows, beside the rows that any test needs."""
    wrong = QuantizerSpec(spec.bits, spec.dim, spec.clip, spec.scale * (1 + error))
    hits, calls, rows = 0, 0, 0
    for seed in range(runs):
        verification = battery(wrong, spec, trials, seed)
        hits += any(finding.name == "scale" for finding in verification.rejected)
        calls, rows = verification.calls, verification.rows
    need, power = stein_need(spec, error), rate(hits, runs, "share of batteries that reject", "batteries")
    print(
        f"| {spec.bits}, {spec.dim}, {spec.mu:g} | {100 * error:+g}% | {trials:,} | {rows:,} | {calls} | "
        f"{power.value:.2f} [{power.lower:.2f}, {power.upper:.2f}] | {need.plain:,.0f} | {rows / need.plain:.2f} | "
        f"{need.at_power:,.0f} | {rows / need.at_power:.2f} |",
        flush=True,
    )


def battery(actual: QuantizerSpec, claimed: QuantizerSpec, trials: int, seed: int) -> Verification:
    quantizer, source = StochasticQuantizer(actual), SimulatedRandomness(seed, "scale")
    return verify_mechanism(
        lambda values: quantizer.quantize(values, source),
        claimed,
        trials=trials,
        rng=simulation_generator(seed, "scale"),
        processes=False,
    )


def scales(runs: int) -> None:
    print("| bits, dim, mu | scale off by | rows | of all kinds | calls | power | log(1/alpha)/KL |", end="")
    print(" times | at power .9 | times |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for spec, error in ((SPEC, -0.01), (SPEC, 0.01)):
        scale(spec, error, trials_for(spec, abs(error)), runs)


def trials_for(spec: QuantizerSpec, error: float) -> int:
    """Returns the rows at which a battery says that it would catch that error."""
    low, high = 200, 200_000
    while high - low > 10:
        middle = (low + high) // 2
        detects = battery(spec, spec, middle, seed=0).detects
        low, high = (low, middle) if detects.scale_error <= error else (middle, high)
    return high


def speed() -> None:
    start = time.perf_counter()
    verification = inspect(Reference, 0, 20_000)
    seconds = time.perf_counter() - start
    print(f"20,000 rows, {SPEC}: {seconds:.2f} s, {verification.calls} calls, {verification.rows} rows of all kinds")
    print(verification.detects)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("faults", "scale", "speed"), nargs="*", default=["faults", "scale", "speed"])
    parser.add_argument("--runs", type=int, default=200, help="batteries for each error of the scale")
    parser.add_argument("--only", nargs="*", default=[], help="classes of the museum")
    options = parser.parse_args()
    for what in options.what:
        {"faults": lambda: table(options.only), "scale": lambda: scales(options.runs), "speed": speed}[what]()
