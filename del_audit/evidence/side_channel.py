"""What sizes of messages tell of an attribute: mutual information in bits, with what chance alone would give."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chndtr, chndtrinc
from scipy.stats import norm

from del_audit.statistics.bootstrap import Clusters, group
from del_audit.statistics.figure import Figure
from mechanisms.errors import UserError
from mechanisms.finite import shape_and_values
from mechanisms.randomness import simulation_generator

BINS = 8
"""Values are put in so many bins of about equal size where more of them are distinct: fewer bits, never more."""
PERMUTATIONS = 999
UNIT = "bits about the attribute"

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MutualInformation:
    """bits: corrected for bias, with its interval. plug_in: of the sample's own frequencies, too large by about `bias`.

    null: how far above their mean 5% of shuffles reach, labels being shuffled between documents.
    p_value: of the hypothesis that the size tells nothing, exact by permutation. entropy: of the labels, bits, the most
    that anything can tell.
    """

    bits: Figure
    plug_in: float
    bias: float
    null: float
    p_value: float
    entropy: float

    @property
    def found(self) -> bool:
        """Whether chance explains it in at most 5% of shuffles; where not, the interval reaches down to 0."""
        return self.p_value <= 0.05


def measure_sizes(
    sizes: Mapping[str, ArrayLike], labels: Sequence[Hashable], seed: int, documents: Clusters = None
) -> dict[str, MutualInformation]:
    """Returns what each size tells of the labels.

    Several sizes are tested: hold each p-value against 0.05 / their number.
    Raises UserError as mutual_information does.
    """
    return {name: mutual_information(values, labels, seed, documents) for name, values in sizes.items()}


def mutual_information(
    values: ArrayLike, labels: Sequence[Hashable], seed: int, documents: Clusters = None, confidence: float = 0.95
) -> MutualInformation:
    """Returns the mutual information of a number, in at most BINS bins, and a label.

    values: shape (rows,). documents: of each row, or its author; labels are shuffled between documents, which must
    therefore have one label each. The bias is Miller's and Madow's for independent rows; where documents have several
    rows it is the mean over shuffles. The interval joins that of a noncentral chi-square law, which holds near 0,
    with a normal one, which holds far from it, and reaches 0 where shuffles explain the value.
    Raises UserError for another length, one label only, fewer than two rows a label, and a document of several labels.
    """
    place, truth = _checked(values, labels)
    grouped = group(documents, len(truth))
    of_document = _label_of_documents(truth, grouped.numbers, grouped.documents)
    table = _table(place, truth)
    plug_in = plug_in_bits(table)
    generator = simulation_generator(seed, "mutual information")
    shuffled = np.array(
        [plug_in_bits(_table(place, generator.permutation(of_document)[grouped.numbers])) for _ in range(PERMUTATIONS)]
    )
    alone = grouped.documents == len(truth)
    bias = miller_madow(table) if alone else float(shuffled.mean())
    p_value = float((1 + (shuffled >= plug_in - 1e-12).sum()) / (1 + PERMUTATIONS))
    null = float(np.quantile(shuffled, 0.95)) - float(shuffled.mean())
    entropy = _entropy(table.sum(axis=0))
    rows = len(truth) if alone else grouped.documents
    lower, upper = _interval(table, plug_in, bias, rows, confidence)
    lower = lower if p_value <= (1 - confidence) else 0.0
    value = min(max(plug_in - bias, 0.0), entropy)
    figure = Figure(
        value,
        min(lower, value),
        min(max(upper, value), entropy),
        UNIT,
        len(truth),
        "rows",
        "noncentral chi-square joined with normal" + ("" if alone else ", one row a document"),
        confidence,
        documents=None if alone else grouped.documents,
        seed=seed,
    )
    return MutualInformation(figure, plug_in, bias, null, p_value, entropy)


def plug_in_bits(table: ArrayLike) -> float:
    """Returns the mutual information of a joint table of counts or probabilities, bits.

    >>> plug_in_bits([[1, 0], [0, 1]]), plug_in_bits([[1, 1], [1, 1]])
    (1.0, 0.0)
    """
    law = np.asarray(table, dtype=np.float64)
    law = law / law.sum()
    both = law > 0
    product = law.sum(axis=1, keepdims=True) * law.sum(axis=0, keepdims=True)
    return max(0.0, float((law[both] * np.log2(law[both] / product[both])).sum()))


def miller_madow(table: Ints) -> float:
    """Returns the first-order bias of plug_in_bits: (cells - rows - columns + 1) / (2 n ln 2), empty ones left out."""
    cells, rows, columns = (int((part > 0).sum()) for part in (table, table.sum(axis=1), table.sum(axis=0)))
    return (cells - rows - columns + 1) / (2 * float(table.sum()) * math.log(2))


def binned(values: ArrayLike) -> Ints:
    """Returns the bin of each value, 0 to BINS - 1, int64, shape (values,).

    A distinct value is a bin where there are at most BINS; otherwise quantiles part them.
    Bins look at the values alone, never at labels.
    """
    array = np.asarray(values, dtype=np.float64)
    distinct, place = np.unique(array, return_inverse=True)
    if len(distinct) > BINS:
        edges = np.unique(np.quantile(array, np.arange(1, BINS) / BINS))
        place = np.searchsorted(edges, array, side="right")
    return place.astype(np.int64)


def _checked(values: ArrayLike, labels: Sequence[Hashable]) -> tuple[Ints, Ints]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(labels),) or not np.isfinite(array).all():
        raise UserError(f"Expected a finite size for each of {len(labels)} labels, got {shape_and_values(array)}.")
    names = {name: index for index, name in enumerate(sorted(set(labels), key=repr))}
    if len(names) < 2:
        raise UserError(f"Expected an attribute of two classes or more, got {list(names)}.")
    truth = np.array([names[label] for label in labels], dtype=np.int64)
    sizes = np.bincount(truth)
    if sizes.min() < 2:
        raise UserError(f"Expected two rows or more of every class, got one of {list(names)[int(sizes.argmin())]!r}.")
    return binned(array), truth


def _label_of_documents(truth: Ints, numbers: Ints, documents: int) -> Ints:
    of_document = np.empty(documents, dtype=np.int64)
    of_document[numbers] = truth
    if (of_document[numbers] != truth).any():
        raise UserError("Expected one label a document or author, got one with several: shuffles would split it.")
    return of_document


def _table(place: Ints, truth: Ints) -> Ints:
    width = int(truth.max()) + 1
    flat = np.bincount(place * width + truth, minlength=(int(place.max()) + 1) * width)
    return flat.reshape(-1, width).astype(np.int64)


def _entropy(counts: Ints) -> float:
    law = counts[counts > 0] / counts.sum()
    return float(-(law * np.log2(law)).sum())


def _interval(table: Ints, plug_in: float, bias: float, rows: int, confidence: float) -> tuple[float, float]:
    """Returns both ends in bits: the wider of two asymptotic laws of the plug-in estimate at each end."""
    tail, scale = (1 - confidence) / 2, 2 * rows * math.log(2)
    freedom = max(1, (int((table.sum(axis=1) > 0).sum()) - 1) * (int((table.sum(axis=0) > 0).sum()) - 1))
    statistic = scale * plug_in
    low, high = (
        float(chndtrinc(statistic, freedom, level)) if chndtr(statistic, freedom, 0.0) > level else 0.0
        for level in (1 - tail, tail)
    )
    law = table / table.sum()
    both = law > 0
    ratios = np.log2(law[both] / (law.sum(1, keepdims=True) * law.sum(0, keepdims=True))[both])
    spread = math.sqrt(max(0.0, float((law[both] * ratios**2).sum()) - plug_in**2) / rows) * float(norm.ppf(1 - tail))
    centre = plug_in - bias
    return max(0.0, min(low / scale, centre - spread)), max(high / scale, centre + spread)
