"""Corpora of documents, named by one string: a packaged corpus, a local file, or a hub dataset.

A local file is .parquet, .csv, .tsv, .jsonl or .json, as mechanisms.tables reads it: every value as it stands there.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from mechanisms.assets import AssetRecord, announce, cache_folder, content_sha256, package_asset
from mechanisms.cell_text import cell_text, chosen_name, listed
from mechanisms.errors import UserError
from mechanisms.model_sources import HUB_NAME
from mechanisms.package_corpora import PACKAGE_CORPORA
from mechanisms.package_sources import PREFIX
from mechanisms.private_folders import private_folder
from mechanisms.tables import ENDINGS, Column, read_table
from mechanisms.tables.column import numbered, repeated
from mechanisms.tables.rows import not_unicode
from mechanisms.user_path import user_path

if TYPE_CHECKING:
    from datasets import DatasetDict

Value = TypeVar("Value")
_KNOWN = ("split", "document_id")
"""Columns that every corpus has."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents and what is known of them.

    texts: the documents. columns: every column under its name, each as long as texts, with `split` and
    `document_id` always among them; values are as the file has them. record: where the corpus came from.
    """

    texts: Sequence[str]
    columns: Mapping[str, Sequence[object]]
    record: AssetRecord

    def __len__(self) -> int:
        return len(self.texts)

    def column(self, name: str) -> Sequence[object]:
        """Returns a column; raises UserError, which lists the columns, where there is none of that name."""
        if name not in self.columns:
            raise UserError(f"Expected a column of {self.record.name!r} among {listed(self.columns)}, got {name!r}.")
        return self.columns[name]

    def names(self, name: str) -> list[str | None]:
        """Returns a column as text, None where a value is missing: null, NaN, or a cell with nothing but spaces.

        Raises UserError for a missing column, for a value that names nothing (a list, an object, bytes), and for two
        values of different types that would be one text, such as 1 and "1".
        """
        kinds: dict[str, tuple[type, int]] = {}
        found: list[str | None] = []
        for row, value in enumerate(self.column(name)):
            text = cell_text(value, f"{name!r} of {self.record.name!r}", row)
            if text is not None:
                kind, first = kinds.setdefault(text, (type(value), row))
                if kind is not type(value):
                    raise UserError(
                        f"Expected values of column {name!r} of {self.record.name!r} that can be told apart, got "
                        f"{text!r} as {kind.__name__} in row {first} and as {type(value).__name__} in row {row} "
                        "(counted from 0). Write them alike."
                    )
            found.append(text)
        return found

    def labels(self, name: str) -> list[str | None]:
        """Returns a column as class labels, None where a document has no label.

        Raises UserError as names does, and for fewer than two classes.
        """
        labels = self.names(name)
        classes = {label for label in labels if label is not None}
        if len(classes) < 2:
            raise UserError(
                f"Expected column {name!r} of {self.record.name!r} to have two classes or more in each split that is "
                f"used, got {listed(classes)} in the {len(self)} rows of one."
            )
        return labels

    def take(self, indices: Iterable[int]) -> "Corpus":
        """Returns the documents at the indices, in that order, under the same record."""
        chosen = list(indices)
        columns = {name: _taken(values, chosen) for name, values in self.columns.items()}
        return Corpus(_taken(self.texts, chosen), columns, self.record)

    def subset(self, split: str) -> "Corpus":
        """Returns the documents of one split; raises UserError, which lists the splits, where it has none."""
        return self.take(self.rows(split))

    def rows(self, split: str) -> list[int]:
        """Returns the row numbers of one split, counted from 0; raises UserError as subset does.

        A split is named by its text: 1 by '1'; true by 'true', however it is capitalized where it has one spelling.
        """
        splits = self.names("split")
        known = {value for value in splits if value is not None}
        name = chosen_name(split, known)
        if name is None:
            raise UserError(f"Expected a split of {self.record.name!r} among {listed(known)}, got {split!r}.")
        return [index for index, value in enumerate(splits) if value == name]

    def groups(self, column: str, rows: Sequence[int] | None = None) -> list[str]:
        """Returns whose each row is (author, patient, document): a column as text, without spaces at its ends.

        rows: the row numbers asked for, counted from 0; all where it is None. Raises UserError for a missing column,
        and for a row that has no value: nobody can tell whether it is of a group that has others.
        """
        values, found = self.column(column), []
        for row in range(len(self)) if rows is None else rows:
            value = values[row]
            name = (cell_text(value, f"{column!r} of {self.record.name!r}", row) or "").strip()
            if not name:
                raise UserError(
                    f"Expected every row of {self.record.name!r} to have a {column!r}, got {value!r} in row {row} "
                    "(counted from 0). Give the row a value, or leave it out."
                )
            found.append(name)
        return found


def load_corpus(
    name: str, text_column: str | None = None, split: str | None = None, config: str | None = None
) -> Corpus:
    """Returns the corpus.

    name: a packaged corpus, a local file, or a hub dataset ('org/name', 'org/name@revision'). text_column: needed
    where no column is called `text` and more than one holds strings. split: one split only; otherwise all are
    loaded, with their names in the column `split` ('train' where the source has none). config: of a hub dataset.

    Raises UserError for a name that cannot be read, a missing column or split, and documents that are empty or no
    strings.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"Expected a corpus name, got {name!r}. {_allowed()}")
    columns: Mapping[str, Sequence[object]]
    if name in PACKAGE_CORPORA:
        asset = package_asset(name)
        rows, default = PACKAGE_CORPORA[name]
        columns, record, text_column = rows(asset.folder), asset.record, text_column or default
    elif name.startswith(PREFIX):
        raise UserError(f"Expected a corpus name, got {name!r}. {_allowed()}")
    elif (path := _local_path(name)) is not None:
        columns, record = _local_file(name, path)
    elif HUB_NAME.fullmatch(name):
        columns, record = _hub_dataset(name, config)
    else:
        raise UserError(f"Expected a corpus name, got {name!r}: there is no such file. {_allowed()}")
    corpus = _checked(name, columns, record, text_column)
    return corpus if split is None else corpus.subset(split)


def _allowed() -> str:
    return f"Allowed are a {', '.join(ENDINGS)} file, a hub name such as 'org/name', and {', '.join(PACKAGE_CORPORA)}."


def _taken(values: Sequence[Value], chosen: list[int]) -> Sequence[Value]:
    taken = values.take(chosen) if isinstance(values, Column) else [values[index] for index in chosen]
    return cast(Sequence[Value], taken)


def _checked(
    name: str, columns: Mapping[str, Sequence[object]], record: AssetRecord, text_column: str | None
) -> Corpus:
    column = _text_column(name, columns, text_column)
    texts = columns[column]
    if not len(texts):
        raise UserError(f"Expected documents in {name!r}, got none.")
    wrong, empty = [], []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            wrong.append(index)
        elif not text.strip():
            empty.append(index)
    if wrong:
        raise UserError(
            f"Expected column {column!r} of {name!r} to hold strings, got {len(wrong)} other values, "
            f"the first {repr(texts[wrong[0]])[:80]} in row {wrong[0]} (counted from 0)."
        )
    if empty:
        raise UserError(
            f"Expected every document of {name!r} to have text in column {column!r}, got {len(empty)} empty ones, "
            f"the first in row {empty[0]} (counted from 0). Leave those rows out, or give them text."
        )
    known: dict[str, Sequence[object]] = {}
    if "split" not in columns:
        known["split"] = repeated("train", len(texts))
    if "document_id" not in columns:
        known["document_id"] = numbered(len(texts))
    return Corpus(cast(Sequence[str], texts), {**known, **columns}, record)


def _text_column(name: str, columns: Mapping[str, Sequence[object]], asked: str | None) -> str:
    if asked is None:
        strings = [key for key, values in columns.items() if key not in _KNOWN and _is_text(values)]
        if "text" not in columns and len(strings) != 1:
            raise UserError(
                f"Expected text_column of {name!r} among {listed(columns)}, got none: several columns hold text, or "
                "none does. Say which holds the documents."
            )
        asked = "text" if "text" in columns else strings[0]
    if asked not in columns:
        raise UserError(f"Expected text_column of {name!r} among {listed(columns)}, got {asked!r}.")
    return asked


def _is_text(values: Sequence[object]) -> bool:
    return len(values) > 0 and all(isinstance(value, str) for value in values)


def _local_path(name: str) -> Path | None:
    """Returns the path of a local file's name, None for a name that is none; raises UserError as user_path does."""
    path = user_path(name, "a corpus name", home=True)
    return path if Path(name.lower().removesuffix(".gz")).suffix in ENDINGS or path.exists() else None


def _local_file(name: str, path: Path) -> tuple[Mapping[str, Sequence[object]], AssetRecord]:
    """Returns the columns of a local file; says on stderr what of it was skipped."""
    if not path.exists():
        raise UserError(f"Expected the corpus {name!r} to be a file, got no such file. {_allowed()}")
    if wrong := not_unicode(str(path.resolve())):
        raise UserError(
            f"Expected a path in UTF-8 for the corpus {name!r}, since certificates name it, got {wrong} in "
            f"{str(path.resolve())!r}. Rename the file or folder."
        )
    table = read_table(path)
    if table.blank_lines:
        print(f"del-audit: {name}: {table.blank_lines} blank lines skipped.", file=sys.stderr)
    digest = content_sha256({path.name: table.sha256})
    return table.columns, AssetRecord(name, "file", "", digest, "", "", str(path.resolve()))


def _hub_dataset(name: str, config: str | None) -> tuple[dict[str, list[object]], AssetRecord]:
    """Returns the columns of every split of a hub dataset; its record's sha256 is of the rows as JSON."""
    from datasets import load_dataset

    repository, _, revision = name.partition("@")
    cache = private_folder(cache_folder() / "datasets", adopt=True)  # a copy of every split, the private one too
    known = (cache / repository.replace("/", "___")).exists()
    loaded = _guarded(name, lambda: load_dataset(repository, config, revision=revision or None, cache_dir=str(cache)))
    columns: dict[str, list[object]] = {}
    for key in next(iter(loaded.values())).column_names:
        columns[key] = [value for part in loaded.values() for value in part[key]]
    columns["split"] = [split for split, part in loaded.items() for _ in range(len(part))]
    info = next(iter(loaded.values())).info
    sources = " ".join(info.download_checksums or {})
    commit = sources.split("@", 1)[1].split("/", 1)[0] if "@" in sources else revision
    rows = hashlib.sha256(json.dumps(columns, sort_keys=True, default=str).encode()).hexdigest()
    record = AssetRecord(name, "hub", commit, rows, info.license or "", "", f"hub dataset {repository}")
    if not known:
        announce(record)
    return columns, record


def _guarded(name: str, load: Callable[[], "DatasetDict"]) -> "DatasetDict":
    """Returns load(); what a broken or unreachable source raises becomes a UserError."""
    from datasets.exceptions import DatasetsError
    from pyarrow import ArrowException

    try:
        return load()
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        StopIteration,
        DatasetsError,
        ArrowException,
    ) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()[:40]) or type(cause).__name__
        raise UserError(f"Cannot read the corpus {name!r}: {reason} {_allowed()}") from error
