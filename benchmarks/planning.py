"""The tables of docs/policy.md: documents that certify a limit, the price of stopping early, and how good hints are."""

import numpy as np

from del_audit.statistics.intervals import clustered_rate
from del_audit.statistics.planning import Asked, Assumed, certified, largest_rate, plan_documents
from del_audit.statistics.sample_size import samples_needed
from del_audit.statistics.sequential import sequential_rate

TOKENS = 40
QUESTIONS = ((0.2, 0.10), (0.2, 0.15), (0.2, 0.18), (0.1, 0.05))
LAWS = {
    "read whole or not at all": Assumed(0.15, TOKENS, 1.0),
    "correlation 0.05": Assumed(0.15, TOKENS, 0.05),
    "independent tokens": Assumed(0.15, TOKENS, 0.0),
}


def print_documents() -> None:
    print("documents for power 0.9 at confidence 0.95: unseen document / sequential (stops after, on average)")
    for limit, rate in QUESTIONS:
        row = []
        for between in (0.02, 0.05, 0.2):
            assumed, asked = Assumed(rate, TOKENS, between), Asked(limit)
            once, always = (plan_documents(name, assumed, asked) for name in ("unseen-document", "sequential"))
            row.append(f"{once.documents} / {always.documents} ({always.stops_after:.0f})")
        print(f"limit {limit:<5} share {rate:<5}", *(f"{cell:>22}" for cell in row))


def print_largest() -> None:
    print("largest share certified below 0.2, correlation 0.05")
    for documents in (64, 128, 256, 1_000):
        rates = [
            largest_rate(name, Assumed(0.0, TOKENS, 0.05), Asked(0.2), documents)
            for name in ("unseen-document", "sequential")
        ]
        print(f"{documents:>6} documents", *(f"{rate:.3f}" for rate in rates))


def figures(assumed: Assumed, documents: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    hits = assumed.hits(documents, 1, seed)[0]
    flags = np.concatenate([np.arange(assumed.tokens) < k for k in hits])
    return flags, np.repeat(np.arange(documents), assumed.tokens)


def print_widths() -> None:
    print("width of the sequential interval over the ordinary one's, mean of 8 samples")
    for name, assumed in LAWS.items():
        row = []
        for documents in (128, 1_000):
            ratios = []
            for seed in range(8):
                flags, clusters = figures(assumed, documents, seed)
                once = clustered_rate(flags, clusters, TOKENS, "share", "tokens", 0)
                always = sequential_rate(flags, clusters, "share", "tokens", documents, TOKENS)
                ratios.append((always.upper - always.lower) / (once.upper - once.lower))
            row.append(f"{np.mean(ratios):.2f}")
        print(f"{name:<26}", *row)


def print_hints() -> None:
    print("share of samples that certify 0.17 at the size that a hint names (0.5 is right): root law, hint")
    for name, assumed in LAWS.items():
        flags, clusters = figures(assumed, 128, 11)
        figure = clustered_rate(flags, clusters, TOKENS, "share", "tokens", 0)
        root = round(128 * ((figure.upper - figure.value) / (0.17 - 0.15)) ** 2)
        needed = samples_needed(figure, figure.value + 0.02) or 0
        powers = [
            certified(assumed.hits(count, 1_000, 12), TOKENS, Asked(0.17)).mean() for count in (root, needed // TOKENS)
        ]
        print(f"{name:<26}", f"{root} documents: {powers[0]:.2f}", f"{needed // TOKENS} documents: {powers[1]:.2f}")


if __name__ == "__main__":
    for table in (print_documents, print_largest, print_widths, print_hints):
        table()
        print()
