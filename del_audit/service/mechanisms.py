"""The mechanism that a configuration names, made from what is public; DEL's is made in pipelines."""

from pathlib import Path

from del_audit.configuration.mechanisms import CoarseWordsMechanism, OverWords, OwnMechanism
from mechanisms.errors import UserError
from mechanisms.mechanism import ObservableMechanism
from mechanisms.own_mechanisms import own_mechanism
from mechanisms.public_words import PublicWords
from mechanisms.registry import MECHANISMS, imported
from mechanisms.rivals.clusters import load_symbols, spherical_clusters
from mechanisms.rivals.coarse_words import CoarseWords, CoarseWordsSpec


def mechanism_over(choice: OverWords | CoarseWordsMechanism | OwnMechanism, words: PublicWords) -> ObservableMechanism:
    """Returns both halves of a mechanism over public words.

    Raises UserError for one that so many words do not allow, for a map that cannot be read or is of other words, and as
    own_mechanism does.
    """
    if isinstance(choice, CoarseWordsMechanism):
        return _coarse(choice, words)
    if isinstance(choice, OwnMechanism):
        return own_mechanism(choice.kind, words, choice.options)
    made: ObservableMechanism = imported(MECHANISMS[choice.key].made_by)(choice.over(words.words))
    return made


def _coarse(choice: CoarseWordsMechanism, words: PublicWords) -> CoarseWords:
    if choice.map is not None:
        symbols = load_symbols(Path(choice.map))
        if len(symbols) != words.words or int(symbols.max()) + 1 != choice.symbols:
            raise UserError(
                f"Expected mechanism.map to give {words.words} words {choice.symbols} symbols (mechanism.symbols), got "
                f"a map of {len(symbols)} words to {int(symbols.max()) + 1} symbols in {choice.map!r}."
            )
    else:
        symbols = spherical_clusters(words.table, words.prior, choice.symbols, choice.power, choice.seed)
    return CoarseWords(CoarseWordsSpec.over(choice.inner.over(int(symbols.max()) + 1), symbols), symbols)
