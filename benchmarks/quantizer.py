"""Quantize and pack on the client, beside a loop of u uniform draws in torch as public DEL code does it."""

import statistics
import time
from collections.abc import Callable

import torch

from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SystemWords, simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

TOKENS, RUNS = 512, 21


def median_seconds(work: Callable[[], object]) -> float:
    """Returns the median time of one call."""
    taken = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    print(f"{TOKENS} tokens, dim 18, median of {RUNS} runs")
    for bits in (1, 2, 4, 8):
        spec = QuantizerSpec.from_mu(bits, 18, 0.05, 8.0)
        values = simulation_generator(0, "benchmark").uniform(-0.05, 0.05, (TOKENS, 18))
        quantizer, source = StochasticQuantizer(spec), SystemWords()
        success = torch.from_numpy(0.5 + values / (2 * spec.scale))

        def looped(success: torch.Tensor = success, trials: int = spec.trials) -> torch.Tensor:
            return sum((torch.rand(success.shape) <= success).int() for _ in range(trials))  # type: ignore[return-value]

        ours = median_seconds(lambda q=quantizer, v=values, w=source, s=spec: pack(q.quantize(v, w), s))
        theirs = median_seconds(looped)
        print(f"{bits} bits: {ours * 1e3:8.3f} ms, torch loop {theirs * 1e3:8.3f} ms, ratio {theirs / ours:5.2f}x")
