"""How varied the words of a set of texts are."""

import re
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from del_audit.statistics.bootstrap import Clusters, group
from del_audit.statistics.figure import Figure
from del_audit.statistics.jackknife import jackknife
from mechanisms.validation import at_least

WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Returns words in lower case and punctuation marks: a measure of text, whichever tokenizer wrote it.

    >>> words("It's here.")
    ['it', "'", 's', 'here', '.']
    """
    return WORD.findall(text.lower())


def distinct(texts: Sequence[str], n: int, clusters: Clusters = None) -> Figure:
    """Returns distinct-n: different n-grams in all texts together over words in all texts (Li et al., 2016).

    No n-gram runs from one text into the next. It falls as text grows: compare it at the same number and length of
    texts only. 0 where nothing is written. clusters: the document of each text.
    Raises UserError for n < 1 and for texts of fewer than two documents.
    """
    at_least("n", n, 1)
    grouped = group(clusters, len(texts))
    written, only = np.zeros(grouped.documents), np.zeros(grouped.documents)
    owner: dict[Hashable, int] = {}
    for text, document in zip(texts, grouped.numbers.tolist(), strict=True):
        row = words(text)
        written[document] += len(row)
        for gram in _grams(row, n):
            if owner.setdefault(gram, document) != document:
                owner[gram] = -1
    for document in owner.values():
        if document >= 0:
            only[document] += 1
    total = written.sum()
    value = len(owner) / total if total else 0.0
    left = total - written
    without = np.divide(len(owner) - only, left, out=np.zeros(grouped.documents), where=left > 0)
    return jackknife(float(value), without, f"distinct {n}-grams a word", len(texts), "texts")


def _grams(row: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return (tuple(row[start : start + n]) for start in range(len(row) - n + 1))
