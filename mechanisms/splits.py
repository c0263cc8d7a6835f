"""The public and the private part of a corpus, with nobody in both."""

import hashlib
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from mechanisms.cell_text import chosen_name
from mechanisms.corpora import Corpus
from mechanisms.errors import UserError

FEWEST_GROUPS = 2
"""Groups that the public part must keep: what is fitted on one person's text is fitted on that person."""


@dataclass(frozen=True)
class Splits:
    """The two parts of a corpus. Rows of one group are one unit: a person, a patient, a document.

    corpus: all of it. public: rows of the public split whose group has no row in the private split. removed: how many
    others the public split had. public_groups: the group of each public row; without a group column, its row number in
    the corpus. group_column: None where every row is a unit of its own.
    """

    corpus: Corpus
    public: Corpus
    public_groups: list[str]
    removed: int
    private_split: str
    group_column: str | None

    @cached_property
    def private(self) -> Corpus:
        """The private part; raises UserError where the corpus has no such split."""
        return self.corpus.subset(self.private_split)

    @cached_property
    def private_groups(self) -> list[str]:
        """The group of each private row, as public_groups has them; no name is in both."""
        return _groups(self.corpus, self.corpus.rows(self.private_split), self.group_column)

    @property
    def notes(self) -> list[str]:
        """A line for each reason why rows of the corpus are in neither part; empty where all of them are in one."""
        found = []
        if self.removed:
            found.append(
                f"{self.removed} of {self.removed + len(self.public)} public rows removed: the private split has rows "
                f"of the same {self.group_column}."
            )
        if nowhere := sum(name is None for name in self.corpus.names("split")):
            found.append(f"{nowhere} of {len(self.corpus)} rows are in no split, and are not used.")
        return found


def split_corpus(corpus: Corpus, public: str, private: str, group_column: str | None = None) -> Splits:
    """Returns the parts of these two splits, without the public rows whose group is in the private one.

    Without a group column the private split is not read, and need not be there.
    Raises UserError for one split given twice, by one name or two spellings, a split or column that is not there, a
    row of the two splits without a group, and where fewer than FEWEST_GROUPS groups would be left.
    """
    known = {name for name in corpus.names("split") if name is not None}
    if public == private or (chosen_name(public, known) or public) == (chosen_name(private, known) or private):
        twice = f"{public!r} twice" if public == private else f"{public!r} and {private!r}, which name one split"
        raise UserError(
            f"Expected public_split and private_split to differ, got {twice}. Name two splits of the corpus."
        )
    rows = corpus.rows(public)
    groups = _groups(corpus, rows, group_column)
    if group_column is None:
        return Splits(corpus, corpus.take(rows), groups, 0, private, None)
    theirs = set(_groups(corpus, corpus.rows(private), group_column))
    kept = [place for place, group in enumerate(groups) if group not in theirs]
    left = [groups[place] for place in kept]
    if len(set(left)) < FEWEST_GROUPS:
        raise UserError(
            f"Expected {FEWEST_GROUPS} public values or more of group_column={group_column!r} that the private split "
            f"lacks, got {len(set(left))}: {len(rows) - len(kept)} of {len(rows)} rows of {public!r} are of a group "
            f"in {private!r}. Split the corpus by {group_column!r}."
        )
    return Splits(
        corpus, corpus.take(rows[place] for place in kept), left, len(rows) - len(kept), private, group_column
    )


def named_split(corpus: Corpus, column: str) -> Corpus:
    """Returns the corpus with another column's values as its splits; raises UserError as Corpus.column does."""
    return replace(corpus, columns={**corpus.columns, "split": corpus.column(column)})


def drawn_split(
    corpus: Corpus, public_share: float, public: str, private: str, group_column: str | None = None
) -> Corpus:
    """Returns the corpus with splits of these names, drawn by the hash of each row's group: a group is in one of them.

    public_share: of the groups, in (0, 1). Without a group column rows of the same text are one group. The draw depends
    on names alone, so the same file is always split alike, and whoever joins later changes nobody's side.
    Raises UserError for a share out of range, and as Corpus.groups does.
    """
    if not 0 < public_share < 1:
        raise UserError(f"Expected public_share in (0, 1), got {public_share}.")
    groups = corpus.texts if group_column is None else corpus.groups(group_column)
    names = [public if _place(group) < public_share else private for group in groups]
    return replace(corpus, columns={**corpus.columns, "split": names})


def _place(group: str) -> float:
    """Returns where a group's name falls in [0, 1), as if drawn."""
    digest = hashlib.sha256(b"del-audit split 1\0" + group.encode("utf8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def first_of_each(groups: Iterable[Hashable]) -> list[int]:
    """Returns the place of each group's first row, rising.

    >>> first_of_each(["a", "a", "b", "a"])
    [0, 2]
    """
    first: dict[Hashable, int] = {}
    for place, group in enumerate(groups):
        first.setdefault(group, place)
    return list(first.values())


def _groups(corpus: Corpus, rows: list[int], column: str | None) -> list[str]:
    return [str(row) for row in rows] if column is None else corpus.groups(column, rows)
