"""Made-up text for every test that needs some, and tables of it."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from numpy.random import Generator

WORDS = ("doctor", "tablet", "pain", "week", "sleep", "sister", "tired", "time", "work", "head")
ABOUT = {"sleep": "I could not sleep and felt tired.", "pain": "The pain in the head was gone."}


def some_words(generator: Generator, count: int = 30) -> str:
    """Returns that many words, drawn anew."""
    return " ".join(generator.choice(WORDS, count))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Returns the path, at which a CSV file of those rows now lies."""
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path
