"""The clusters of coarse words, made once for a run: all epsilons, and all that is measured, share their file."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from del_audit.configuration.configuration import Configuration
from del_audit.configuration.mechanisms import CoarseWordsMechanism
from del_audit.configuration.named import Named
from mechanisms.errors import UserError
from mechanisms.hashes import json_sha256
from mechanisms.models import LanguageModel, load_embedding_table
from mechanisms.public_words import PublicWords
from mechanisms.rivals.clusters import load_symbols, save_symbols, spherical_clusters

NAME_DIGITS = 20


def with_clusters(
    configuration: Configuration,
    language: LanguageModel,
    documents: Sequence[Sequence[int]],
    folder: Path,
    progress: Callable[[str], None] = lambda said: None,
) -> Configuration:
    """Returns the configuration with the file of its clusters, made where it is missing, and as many symbols as it has.

    language: the configuration's. documents: tokenized public text. folder: keeps the files; it exists. Others than
    coarse words, and those with a map of their own, are returned as they are.
    """
    choice = configuration.mechanism
    if not isinstance(choice, CoarseWordsMechanism) or choice.map is not None:
        return configuration
    name = json_sha256({"symbols": choice.symbols, "power": choice.power, "seed": choice.seed})
    path = folder / f"{name[:NAME_DIGITS]}.safetensors"
    if not path.exists():
        progress(f"clusters: {choice.symbols}")
        words = PublicWords(load_embedding_table(configuration.model, language), documents)
        save_symbols(path, spherical_clusters(words.table, words.prior, choice.symbols, choice.power, choice.seed))
    used = int(load_symbols(path).max()) + 1
    placed = choice.model_copy(update={"map": str(path), "symbols": used})
    return configuration.model_copy(update={"mechanism": placed})


def require_symbols(words: int, named: Iterable[Named]) -> None:
    """Raises UserError for coarse words of more symbols than the vocabulary has words."""
    for each in named:
        if each.symbols is not None and each.symbols > words:
            raise UserError(
                f"Expected the symbols of coarse words in 2..{words}, the model's vocabulary, got {each.name!r}."
            )
