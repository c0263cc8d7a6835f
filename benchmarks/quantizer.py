"""Quantize and pack on the client, beside a loop of u uniform draws in torch as public DEL code does it."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import binom

from mechanisms.entropy_coding import restore, shorten
from mechanisms.levels import LEVELS, ZERO_LEVEL
from mechanisms.quantizer import StochasticQuantizer, level_thresholds
from mechanisms.randomness import SystemRandomness, simulation_generator
from mechanisms.sampler import BinomialTable
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack, unpack

DIM, TURNS, RUNS = 18, 15, 20


def median_seconds(*works: Callable[[], object]) -> list[float]:
    """Returns the median time of one call of each, in turns: other work on the machine slows all alike."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(TURNS + 1):
        for work, seconds in zip(works, taken, strict=True):
            for _ in range(RUNS):
                start = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds[RUNS:]) for seconds in taken]


def row(tokens: int, bits: int) -> str:
    """Returns one line of the table. A client's table of codes holds levels; floats are rounded to levels first."""
    spec = QuantizerSpec.from_mu(bits, DIM, 0.05, 8.0)
    values = simulation_generator(0, "benchmark").uniform(-0.05, 0.05, (tokens, DIM))
    quantizer, source = StochasticQuantizer(spec), SystemRandomness()
    levels = quantizer.levels(values)
    success = torch.from_numpy(0.5 + values / (2 * spec.scale)).float()
    message = pack(quantizer.sample(levels, source), spec)
    ours, from_values, unpacked, theirs = median_seconds(
        lambda: pack(quantizer.sample(levels, source), spec),
        lambda: pack(quantizer.quantize(values, source), spec),
        lambda: unpack(message, spec),
        lambda: sum(torch.rand(success.shape) <= success for _ in range(spec.trials)),
    )
    start = time.perf_counter()
    BinomialTable.of(level_thresholds(spec).tolist(), spec.trials)
    made = time.perf_counter() - start
    times = " ".join(f"{1e3 * seconds:9.3f}" for seconds in (ours, from_values, theirs))
    return f"{tokens:7d} {bits:5d} {times} {theirs / ours:8.1f}x {1e3 * unpacked:9.3f} {1e3 * made:9.1f}"


def sizes(bits: int, mu: float, tokens: int = 512) -> str:
    """Returns one line of the second table: bits a coordinate as sent, shortened, and the least for codes at zero."""
    spec = QuantizerSpec.from_mu(bits, DIM, 0.05, mu)
    quantizer, source = StochasticQuantizer(spec), SystemRandomness()
    spread = simulation_generator(0, "benchmark").integers(0, LEVELS, (tokens, DIM), dtype=np.uint8)
    found = []
    for levels in (spread, np.full_like(spread, ZERO_LEVEL)):
        message = pack(quantizer.sample(levels, source), spec)
        found.append(8 * len(shorten(message, spec)) / levels.size)
    short = shorten(message, spec)
    shortening, restoring = median_seconds(lambda: shorten(message, spec), lambda: restore(short, spec))
    law = binom.pmf(np.arange(spec.trials + 1), spec.trials, 0.5)
    entropy = -(law * np.log2(law)).sum()
    return (
        f"{bits:5d} {mu:4.0f} {8 * len(message) / spread.size:6.2f} {found[0]:9.2f} {found[1]:9.2f} {entropy:9.2f}"
        f" {1e3 * shortening:10.2f} {1e3 * restoring:10.2f}"
    )


if __name__ == "__main__":
    print(f"dim {DIM}, medians of {TURNS} turns of {RUNS} calls, ms; torch draws and compares only, it packs nothing")
    print(" tokens  bits      ours    floats     torch    ratio    unpack table once")
    for tokens in (512, 4096):
        for bits in (1, 2, 4, 8):
            print(row(tokens, bits))
    print(
        "\nbits a coordinate, 512 tokens with their headers; codes spread over the cube, and all at zero; times in ms"
    )
    print(" bits   mu   sent    spread   at zero   entropy    shorten    restore")
    for bits in (2, 4, 8):
        for mu in (8.0, 40.0):
            print(sizes(bits, mu))
