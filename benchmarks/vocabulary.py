"""The worst of 2.4 billion pairs of words, proved, beside evaluating each of them."""

import resource
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from del_audit.accounting import Accountant, Composition
from del_audit.accounting._pairs import pair_parts
from del_audit.accounting.vocabulary import Vocabulary
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec

WORDS, DELTA, SINGLE = 49_152, 1e-5, 12
SETTINGS = [(4, 2.0), (4, 8.0), (4, 40.0), (8, 8.0)]


def codes_of(kind: str, dim: int) -> NDArray[np.float64]:
    """Returns codes in units of the clip, as encoders make them, shape (words, dim)."""
    draw = simulation_generator(0, "benchmark", kind, str(dim))
    codes = draw.standard_normal((WORDS, dim))
    if kind == "principal":  # falling spread, words of different lengths
        return 0.25 * codes * np.arange(1, dim + 1) ** -0.5 * draw.gamma(4, 0.25, (WORDS, 1))
    return np.tanh(3 * codes) if kind == "corners" else codes


def timed(work: Callable[[], object]) -> tuple[object, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


if __name__ == "__main__":
    print(f"{WORDS:,} words, one token, epsilon at delta {DELTA:g}; times in seconds")
    print("all: each pair evaluated, extrapolated from", SINGLE)
    heads = ("codes", "dim", "bits", "mu", "cube", "box", "pairs", "median", "curves", "box s", "pairs s", "profile s")
    print("{:<10}{:>4}{:>5}{:>4}{:>9}{:>9}{:>9}{:>9}{:>7}{:>7}{:>8}{:>10}{:>12}".format(*heads, "all, years"))
    for kind in ("whitened", "principal", "corners"):
        for dim in (18, 72):
            for bits, mu in SETTINGS:
                spec = QuantizerSpec.from_mu(bits=bits, dim=dim, clip=1.0, mu=mu)
                book = Vocabulary.of(codes_of(kind, dim), spec)
                box, box_time = timed(lambda b=book: b.box(DELTA))
                pairs, pairs_time = timed(lambda b=book: b.pairs(DELTA))
                profile, profile_time = timed(lambda b=book: b.profile(DELTA))
                rows = book.thresholds[: SINGLE + 1]
                _, single = timed(
                    lambda r=rows, u=spec.trials: [
                        Composition(pair_parts(r[i], r[i + 1], u)).epsilon(DELTA) for i in range(SINGLE)
                    ]
                )
                years = single / SINGLE * WORDS * (WORDS - 1) / (365.25 * 86400)
                figures = (Accountant(spec).epsilon(DELTA), box, pairs.epsilon, profile.quantiles[0.5])
                print(
                    f"{kind:<10}{dim:>4}{bits:>5}{mu:>4g}"
                    + "".join(f"{bound.upper:>9.4g}" for bound in figures[:3])
                    + f"{figures[3].estimate:>9.4g}{pairs.evaluated:>7}"
                    + f"{box_time:>7.1f}{pairs_time:>8.1f}{profile_time:>10.1f}{years:>12.1f}",
                    flush=True,
                )
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
