"""Decoders beside the bare matrix products that the posterior needs, in the same run; the ratio is what counts."""

import statistics
import time
from collections.abc import Callable

import numpy as np

from mechanisms.channel import Channel, most_likely, posterior, posterior_mean
from mechanisms.prior import PSEUDO_COUNT
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec

TOKENS, WORDS, DIM, WIDTH, RUNS = 512, 49_152, 18, 576, 7


def interleaved(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Returns the median time of each work, seconds; the works take turns, so that a busy machine slows all of them."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(RUNS + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


if __name__ == "__main__":
    generator = simulation_generator(0, "benchmark")
    spec = QuantizerSpec.from_mu(4, DIM, 0.05, 20.0)
    channel = Channel.of(spec, generator.uniform(-0.05, 0.05, (WORDS, DIM)).astype(np.float32))
    counts = generator.integers(0, spec.trials + 1, (TOKENS, DIM), dtype=np.uint8)
    prior = generator.zipf(1.5, WORDS).astype(np.float64) + PSEUDO_COUNT
    log_prior = np.log(prior / prior.sum())
    table = generator.standard_normal((WORDS, WIDTH), dtype=np.float32)
    factors, block = counts.astype(np.float32), np.empty((TOKENS, WORDS), dtype=np.float32)

    def products() -> None:
        np.matmul(factors, channel.weights, out=block)
        block @ table

    medians = interleaved(
        {
            "the two matrix products alone": products,
            "the first alone": lambda: np.matmul(factors, channel.weights, out=block),
            "posterior mean": lambda: posterior_mean(channel, counts, log_prior, table),
            "posterior mean, 8 MiB at once": lambda: posterior_mean(channel, counts, log_prior, table, 8 << 20),
            "posterior mean and entropy": lambda: posterior(channel, counts, log_prior, table),
            "most likely word": lambda: most_likely(channel, counts, log_prior),
        }
    )
    bare = next(iter(medians.values()))
    print(f"{TOKENS} tokens, {WORDS} words, dim {DIM}, width {WIDTH}; median of {RUNS} runs, taking turns")
    for name, median in medians.items():
        print(f"{name:<32} {median * 1e3:8.1f} ms {median / bare:6.2f}x")
