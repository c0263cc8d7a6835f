"""Tests of independence: of coordinates, tokens and calls, and that no noise comes a second time."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import binom

from del_audit.evidence.verification.binomial import TOP_LEVEL, Counts, ProductLaw, chernoff_p
from del_audit.evidence.verification.finding import Measurement, Part, smallest
from del_audit.evidence.verification.pairing import MOST_PAIRS, any_two, calls_of, correlation, equal_rows, joined
from del_audit.evidence.verification.sample import Sample

MOST_CALLS = 2048
_CENTRED = "The accountant adds up independent noise; an attacker who knows that it is shared can subtract it."


def independence_tests(main: Sample, product: ProductLaw) -> list[Measurement]:
    """Returns the tests of independence within and between calls, on rows at corners."""
    corners = main.corners
    fresh = corners.of_kind("corners", "pair")
    return [
        _tested(
            "coordinates", _coordinates(corners, product), "Coordinates share draws: look at how noise is broadcast."
        ),
        _tested("row sums", _row_sums(corners), "Noise of a row has a common part, or is balanced."),
        _tested(
            "tokens", _tokens(fresh, product), "Tokens of a call share draws: look at batches, workers and streams."
        ),
        _tested(
            "calls", _calls(fresh, product), "Calls that follow one another share draws: look at where seeds are set."
        ),
        _tested("any two calls", _any_two_calls(corners, product), "A stream came again: a seed, a counter or a pool."),
        _tested("equal rows", equal_rows(fresh), "The same noise came again for the same value."),
    ]


def _tested(name: str, part: Part, look: str) -> Measurement:
    return Measurement("independence", name, part.p, part.text, f"{_CENTRED} {look}")


def _coordinates(corners: Sample, product: ProductLaw) -> Part:
    """Returns the largest correlations of two coordinates, of all pairs (Bonferroni)."""
    dim, rows = corners.counts.shape[1], len(corners)
    if dim < 2 or not rows:
        return Part(1.0, "There is one coordinate only, or no row.")
    totals, signs = corners.residuals.T @ corners.residuals, corners.signs
    first, second = np.triu_indices(dim, 1)
    largest = np.argsort(-np.abs(totals[first, second]))[:MOST_PAIRS]
    parts = []
    for j, k in zip(first[largest], second[largest], strict=True):
        alike = int((signs[:, j] == signs[:, k]).sum())
        p = min(1.0, product.p_value(float(totals[j, k]), alike, rows - alike) * len(first))
        parts.append(Part(p, f"coordinates {j} and {k}: correlation {totals[j, k] / rows:+.4f} over {rows} rows"))
    return min(parts)


def _row_sums(corners: Sample) -> Part:
    """Returns whether sums of rows spread as sums of independent counts do; rows with all coordinates at one end.

    The sum of such a row is Bin(u dim, p): its spread is wrong where the row's noise has a common part.
    """
    pair = corners.of_kind("pair")
    if not len(pair):
        return Part(1.0, "Nothing to test: no rows at opposite corners were released.")
    law, number = pair.law, pair.counts.shape[1] * pair.law.spec.trials
    chance, support = float(law.chance[TOP_LEVEL]), np.arange(number + 1)
    log_masses = binom.logpmf(support, number, chance)
    square = (support - number * chance) ** 2 / (number * chance * (1 - chance)) - 1
    worth = float((np.exp(log_masses) * square**2).sum())
    total, rows = float(square[pair.aligned.sum(axis=1)].sum()), len(pair)
    p = chernoff_p(total, rows * worth, lambda s: rows * float(logsumexp(s * square + log_masses)))
    return Part(
        p, f"variance of a row's sum is {1 + total / rows:.3f} times that of independent noise, over {rows} rows"
    )


def _tokens(fresh: Sample, product: ProductLaw) -> Part:
    """Returns whether the noise of tokens at certain distances in a call goes together, place for place or shifted."""
    longest = int(fresh.size.max()) if len(fresh) else 0
    distances = sorted({lag for lag in (1, 2, 3, 4, longest // 4, longest // 2) if 0 < lag < longest})
    parts = []
    for lag in distances:
        first = np.flatnonzero(((fresh.place // lag) % 2 == 0) & (fresh.place + lag < fresh.size))
        for step in (0, 1, -1) if lag == 1 else (0,):
            parts.append(_shifted(fresh, first, lag, step, product))
    return smallest(parts)


def _shifted(fresh: Sample, first: Counts, lag: int, step: int, product: ProductLaw) -> Part:
    """Returns the correlation of coordinate j with coordinate j + step of the token that comes `lag` tokens later."""
    columns = np.arange(max(0, -step), fresh.counts.shape[1] - max(0, step))
    one, other = np.ix_(first, columns), np.ix_(first + lag, columns + step)
    number = fresh.residuals[one].size
    total = float((fresh.residuals[one] * fresh.residuals[other]).sum())
    alike = int((fresh.levels[one] == fresh.levels[other]).sum())
    where = f"tokens {lag} apart" + (f", {step:+d} coordinate" if step else "")
    text = f"{where}: correlation {total / max(number, 1):+.4f} over {number} pairs of counts"
    return Part(product.p_value(total, alike, number - alike), text)


def _calls(fresh: Sample, product: ProductLaw) -> Part:
    """Returns whether calls next to each other in the run go together, row for row; each call is in one pair."""
    calls = calls_of(fresh)
    parts = []
    for apart in (1, 2):
        pairs = [(calls[at], calls[at + apart]) for at in range(len(calls) - apart) if (at // apart) % 2 == 0]
        if pairs:
            lengths = [min(len(one), len(other)) for one, other in pairs]
            one, other = (
                joined(call.where(np.arange(n)) for call, n in zip(side, lengths, strict=True))
                for side in zip(*pairs, strict=True)
            )
            parts.append(correlation(one, other, product, f"calls {apart} apart"))
    return smallest(parts)


def _any_two_calls(corners: Sample, product: ProductLaw) -> Part:
    """Returns the largest correlations of any two calls of full length, row for row."""
    whole = corners.of_kind("corners", "pair", "resend")
    whole = whole.where(whole.size == whole.size.max(initial=0))
    return any_two(calls_of(whole)[:MOST_CALLS], product, "calls")
