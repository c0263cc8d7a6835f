"""Corpora of documents, named by one string: a packaged corpus, a local file, or a hub dataset.

A local file is .parquet, .csv, .tsv, .jsonl or .json, and is read without leaving a copy of it on the disk.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechanisms.assets import AssetRecord, announce, cache_folder, content_sha256, package_asset
from mechanisms.errors import UserError
from mechanisms.model_sources import HUB_NAME
from mechanisms.package_corpora import PACKAGE_CORPORA
from mechanisms.package_sources import PREFIX, file_sha256
from mechanisms.private_folders import private_folder

BUILDERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json"}


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents and what is known of them.

    texts: the documents. columns: every column under its name, each as long as texts, with `split` and
    `document_id` always among them. record: where the corpus came from.
    """

    texts: list[str]
    columns: dict[str, list[Any]]
    record: AssetRecord

    def __len__(self) -> int:
        return len(self.texts)

    def column(self, name: str) -> list[Any]:
        """Returns a column; raises UserError, which lists the columns, where there is none of that name."""
        if name not in self.columns:
            raise UserError(f"Expected a column of {self.record.name!r} among {_listed(self.columns)}, got {name!r}.")
        return self.columns[name]

    def labels(self, name: str) -> list[str | None]:
        """Returns a column as class labels, None where a document has no label.

        Raises UserError for a missing column and for fewer than two classes.
        """
        labels = [None if value is None else str(value) for value in self.column(name)]
        classes = sorted({label for label in labels if label is not None})
        if len(classes) < 2:
            raise UserError(
                f"Expected column {name!r} of {self.record.name!r} to have two classes or more, got {_listed(classes)}."
            )
        return labels

    def take(self, indices: Iterable[int]) -> "Corpus":
        """Returns the documents at the indices, in that order, under the same record."""
        chosen = list(indices)
        columns = {name: [values[index] for index in chosen] for name, values in self.columns.items()}
        return Corpus([self.texts[index] for index in chosen], columns, self.record)

    def subset(self, split: str) -> "Corpus":
        """Returns the documents of one split; raises UserError, which lists the splits, where it has none."""
        return self.take(self.rows(split))

    def rows(self, split: str) -> list[int]:
        """Returns the row numbers of one split, counted from 0; raises UserError as subset does."""
        splits = self.columns["split"]
        if split not in splits:
            raise UserError(f"Expected a split of {self.record.name!r} among {_listed(set(splits))}, got {split!r}.")
        return [index for index, value in enumerate(splits) if value == split]

    def groups(self, column: str, rows: Sequence[int] | None = None) -> list[str]:
        """Returns whose each row is (author, patient, document): a column as text, without spaces at its ends.

        rows: the row numbers asked for, counted from 0; all where it is None. Raises UserError for a missing column,
        and for a row that has no value: nobody can tell whether it is of a group that has others.
        """
        values, found = self.column(column), []
        for row in range(len(self)) if rows is None else rows:
            value = values[row]
            name = "" if value is None or value != value else str(value).strip()  # NaN is how tables lack a number
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
    if name in PACKAGE_CORPORA:
        asset = package_asset(name)
        rows, default = PACKAGE_CORPORA[name]
        columns, record, text_column = rows(asset.folder), asset.record, text_column or default
    elif name.startswith(PREFIX):
        raise UserError(f"Expected a corpus name, got {name!r}. {_allowed()}")
    elif Path(name).suffix.lower() in BUILDERS or Path(name).expanduser().exists():
        columns, record = _local_file(name)
    elif HUB_NAME.fullmatch(name):
        columns, record = _hub_dataset(name, config)
    else:
        raise UserError(f"Expected a corpus name, got {name!r}: there is no such file. {_allowed()}")
    corpus = _checked(name, columns, record, text_column)
    return corpus if split is None else corpus.subset(split)


def _allowed() -> str:
    return f"Allowed are a {', '.join(BUILDERS)} file, a hub name such as 'org/name', and {', '.join(PACKAGE_CORPORA)}."


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(sorted(repr(name) for name in names)) or "none"


def _checked(name: str, columns: dict[str, list[Any]], record: AssetRecord, text_column: str | None) -> Corpus:
    column = _text_column(name, columns, text_column)
    texts = columns[column]
    if not texts:
        raise UserError(f"Expected documents in {name!r}, got none.")
    wrong = [index for index, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        raise UserError(
            f"Expected column {column!r} of {name!r} to hold strings, got {len(wrong)} other values, "
            f"the first {texts[wrong[0]]!r} in row {wrong[0]} (counted from 0)."
        )
    empty = [index for index, text in enumerate(texts) if not text.strip()]
    if empty:
        raise UserError(
            f"Expected every document of {name!r} to have text, got {len(empty)} empty ones, "
            f"the first in row {empty[0]} (counted from 0)."
        )
    known = {"split": ["train"] * len(texts), "document_id": [str(index) for index in range(len(texts))]}
    return Corpus(texts, {**known, **columns}, record)


def _text_column(name: str, columns: Mapping[str, Sequence[Any]], asked: str | None) -> str:
    if asked is None:
        strings = [key for key, values in columns.items() if key != "split" and isinstance(next(iter(values), 0), str)]
        asked = "text" if "text" in columns or len(strings) != 1 else strings[0]
    if asked not in columns:
        raise UserError(f"Expected text_column of {name!r} among {_listed(columns)}, got {asked!r}.")
    return asked


def _local_file(name: str) -> tuple[dict[str, list[Any]], AssetRecord]:
    """Returns the columns of a local file. What `datasets` writes on the way is in a folder that is deleted."""
    from datasets import load_dataset

    path = Path(name).expanduser()
    suffix = path.suffix.lower()
    if not path.is_file():
        raise UserError(f"Expected the corpus {name!r} to be a file, got no such file. {_allowed()}")
    if suffix not in BUILDERS:
        raise UserError(f"Expected the corpus {name!r} to end in {', '.join(BUILDERS)}, got {suffix!r}.")
    if not path.stat().st_size:
        raise UserError(f"Expected documents in {name!r}, got an empty file.")
    options = {"sep": "\t"} if suffix == ".tsv" else {}
    with tempfile.TemporaryDirectory() as scratch:
        table = _guarded(
            name,
            lambda: load_dataset(
                BUILDERS[suffix],
                data_files=str(path.resolve()),
                split="train",
                cache_dir=scratch,
                keep_in_memory=True,
                **options,
            ),
        )
        columns = table.to_dict()
    digest = content_sha256({path.name: file_sha256(path)})
    return columns, AssetRecord(name, "file", "", digest, "", "", str(path.resolve()))


def _hub_dataset(name: str, config: str | None) -> tuple[dict[str, list[Any]], AssetRecord]:
    """Returns the columns of every split of a hub dataset; its record's sha256 is of the rows as JSON."""
    from datasets import load_dataset

    repository, _, revision = name.partition("@")
    cache = private_folder(cache_folder() / "datasets", adopt=True)  # a copy of every split, the private one too
    known = (cache / repository.replace("/", "___")).exists()
    loaded = _guarded(name, lambda: load_dataset(repository, config, revision=revision or None, cache_dir=str(cache)))
    columns: dict[str, list[Any]] = {}
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


def _guarded(name: str, load: Callable[[], Any]) -> Any:
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
