"""The one reader of a configuration's `data`: everything that is fitted on public text takes it from here."""

import sys

from del_audit.configuration.configuration import Configuration, DataChoice
from mechanisms.corpora import load_corpus
from mechanisms.splits import Splits, drawn_split, named_split, split_corpus


def read_splits(data: DataChoice) -> Splits:
    """Returns the public and the private part that a configuration names, and says on stderr what was removed.

    Public rows whose group is in the private split are not in the public part. Raises UserError as load_corpus and
    split_corpus do.
    """
    corpus = load_corpus(data.corpus, data.text_column)
    if data.split_column is not None:
        corpus = named_split(corpus, data.split_column)
    if data.public_share is not None:
        corpus = drawn_split(corpus, data.public_share, data.public_split, data.private_split, data.group_column)
    splits = split_corpus(corpus, data.public_split, data.private_split, data.group_column)
    for note in splits.notes:
        print(f"del-audit: {note}", file=sys.stderr)
    return splits


def grouped_by(configuration: Configuration, column: str | None) -> Configuration:
    """Returns the configuration with this group column, a command's option; its own where that is None."""
    if column is None:
        return configuration
    return configuration.model_copy(update={"data": configuration.data.model_copy(update={"group_column": column})})
