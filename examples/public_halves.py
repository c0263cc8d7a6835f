"""Writes the public split of a packaged corpus as a corpus of two halves, so that settings are chosen on it.

Whoever chooses a setting on the text that it is certified on flatters it. The example's setting is chosen on the public
reviews alone: `fit` takes the place of the public split, `choose` stands for the users.

    python examples/public_halves.py package:drug-reviews train out/public-halves.parquet
"""

import hashlib
import sys
from pathlib import Path

import pyarrow
from pyarrow import parquet

from mechanisms.corpora import load_corpus


def main(name: str, split: str, out: str) -> None:
    """Writes the documents of one split to a parquet file; the hash of its text says which half a document is in."""
    corpus = load_corpus(name).subset(split)
    halves = ["fit" if hashlib.sha256(text.encode()).digest()[0] < 128 else "choose" for text in corpus.texts]
    columns = {key: values for key, values in corpus.columns.items() if key not in ("text", "split")}
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table({"text": corpus.texts, **columns, "split": halves}), out)
    print(f"{out}: {halves.count('fit')} to fit on, {halves.count('choose')} to choose on")


if __name__ == "__main__":
    main(*sys.argv[1:])
