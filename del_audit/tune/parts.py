"""The private split in two parts that share no text and no author: one to choose on, one to report on."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from del_audit.service.assets import Assets
from mechanisms.canonical_json import Json
from mechanisms.corpora import Corpus
from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, write_file

FEWEST_DOCUMENTS = 4
"""Of a part: an interval needs two, and another user's prompt must come from another document."""
TUNING, HELD_OUT = "tuning", "held-out"
"""The two parts, by their names."""
_WHOLE = 1 << 64


@dataclass(frozen=True, slots=True)
class Parts:
    """Indices of the private documents, each in one part. public_texts: left out, since the public split has them."""

    tuning: tuple[int, ...]
    held_out: tuple[int, ...]
    public_texts: int

    def to_dict(self) -> dict[str, Json]:
        """Returns the sizes, in documents."""
        return {"tuning": len(self.tuning), "held_out": len(self.held_out), "left_out_as_public": self.public_texts}


def split_private(
    texts: Sequence[str], authors: Sequence[Hashable], public: Sequence[str], share: float, seed: int
) -> Parts:
    """Returns the two parts of the private texts; share: of groups that go to the part to choose on, about.

    A group is what the same author wrote, or what reads the same but for case and spaces, and what such groups share.
    It goes where the hash of the seed and its texts says: the same on every machine, whatever else the split holds.
    Raises UserError for a share outside (0, 1) and for parts of fewer than FEWEST_DOCUMENTS groups.
    """
    if not 0 < share < 1:
        raise UserError(f"Expected tuning-share in (0, 1), got tuning-share={share}.")
    plain, known = [_plain(text) for text in texts], {_plain(text) for text in public}
    groups: dict[int, list[int]] = {}
    for index, root in enumerate(_roots(plain, authors)):
        groups.setdefault(root, []).append(index)
    sides: tuple[list[list[int]], list[list[int]]] = ([], [])
    for members in groups.values():
        if all(plain[index] not in known for index in members):
            sides[_place(sorted({plain[index] for index in members}), seed) >= share].append(members)
    for name, side in zip(("tuning", "held-out"), sides, strict=True):
        if len(side) < FEWEST_DOCUMENTS:
            raise UserError(
                f"Expected a {name} part of {FEWEST_DOCUMENTS} documents or more, got {len(side)}: the private split "
                "is too small, or another tuning-share is needed."
            )
    tuning, held_out = (tuple(sorted(index for members in side for index in members)) for side in sides)
    return Parts(tuning, held_out, len(texts) - len(tuning) - len(held_out))


def part_of(assets: Assets, chosen: Sequence[int]) -> Assets:
    """Returns the assets with the chosen private documents alone."""
    return replace(
        assets,
        private=[assets.private[i] for i in chosen],
        private_corpus=assets.private_corpus.take(chosen),
        private_groups=[assets.private_groups[i] for i in chosen],
    )


def authors_of(corpus: Corpus, column: str | None) -> list[Hashable]:
    """Returns who wrote each document: a column, document_id where it is None; raises UserError as Corpus.groups."""
    return list(corpus.groups("document_id" if column is None else column))


def write_corpus(path: Path, public: Corpus, held_out: Corpus, public_split: str) -> None:
    """Writes public and held-out documents as a parquet corpus of two splits, whole or not at all.

    Only the owner can read it: it holds what the private split holds. Raises UserError where it cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    texts = {"text": pyarrow.array([*public.texts, *held_out.texts])}
    others = [name for name in public.columns if name not in {"text", "split"}]
    columns = {name: _in_arrow([*public.columns[name], *held_out.columns[name]]) for name in others}
    splits = {"split": [public_split] * len(public) + [HELD_OUT] * len(held_out)}
    try:
        table = pyarrow.table({**texts, **columns, **splits})
        write_file(path, lambda part: parquet.write_table(table, part, compression="zstd"), mode=PRIVATE)
    except pyarrow.ArrowException as error:
        raise UserError(f"Expected values that Parquet can hold in {str(path)!r}: {error}.") from None


def _in_arrow(values: list[object]) -> Any:
    """Returns values as an Arrow array; those of several types, which JSON can mix and Parquet cannot, as text."""
    import pyarrow

    try:
        return pyarrow.array(values)
    except pyarrow.ArrowException:
        return pyarrow.array([None if value is None else str(value) for value in values])


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _roots(plain: Sequence[str], authors: Sequence[Hashable]) -> list[int]:
    """Returns the group of each document, named by one of its members: joined by text and by author."""
    parent = list(range(len(plain)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, Hashable], int] = {}
    for index, (text, author) in enumerate(zip(plain, authors, strict=True)):
        for key in (("text", text), ("author", author)):
            parent[root(index)] = root(first.setdefault(key, index))
    return [root(index) for index in range(len(plain))]


def _place(texts: Sequence[str], seed: int) -> float:
    """Returns a number in [0, 1) that the seed and the texts of a group decide."""
    content = "\0".join([str(seed), *texts])
    return int.from_bytes(hashlib.sha256(content.encode("utf8", "surrogatepass")).digest()[:8], "big") / _WHOLE
