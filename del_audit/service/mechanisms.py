"""The mechanism that a configuration names, made from what is public; DEL's is made in pipelines."""

from pathlib import Path

from del_audit.configuration.mechanisms import CoarseWordsMechanism, OverWords, OwnMechanism, RivalMechanism
from del_audit.service.rivals import rival_over
from mechanisms.errors import UserError
from mechanisms.mechanism import ObservableMechanism
from mechanisms.own_mechanisms import own_mechanism
from mechanisms.public_words import PublicWords
from mechanisms.registry import MECHANISMS, imported
from mechanisms.rivals._supports import SupportSpec
from mechanisms.rivals.clusters import load_symbols, spherical_clusters
from mechanisms.rivals.coarse_words import CoarseWords, CoarseWordsSpec
from mechanisms.spec import QuantizerSpec


def mechanism_over(choice: OverWords | CoarseWordsMechanism | OwnMechanism, words: PublicWords) -> ObservableMechanism:
    """Returns both halves of a mechanism over public words.

    Raises UserError for one that so many words do not allow, for a map that cannot be read or is of other words, and as
    rival_over and own_mechanism do.
    """
    if isinstance(choice, CoarseWordsMechanism):
        return _coarse(choice, words)
    if isinstance(choice, RivalMechanism):
        return rival_over(choice.fields, words)
    if isinstance(choice, OwnMechanism):
        return _of_its_own(choice.kind, own_mechanism(choice.kind, words, choice.options))
    made: ObservableMechanism = imported(MECHANISMS[choice.key].made_by)(choice.over(words.words))
    return made


def _of_its_own(kind: str, mechanism: ObservableMechanism) -> ObservableMechanism:
    """Returns the mechanism; raises UserError for one that bears the description of a built-in mechanism.

    What is proved of a built-in description says nothing of somebody else's code.
    """
    spec = mechanism.spec
    stated, record = f"Expected mechanism {kind!r} to have a description of its own", spec.to_dict()
    if isinstance(spec, QuantizerSpec | SupportSpec) or record.get("kind", "del") in MECHANISMS:
        raise UserError(
            f"{stated}, got {type(spec).__name__} of kind {str(record.get('kind'))[:100]!r}, which is of a built-in "
            "mechanism: its guarantee is proved of that code alone. Derive one from mechanisms.rivals.RivalSpec with a "
            "kind of your own."
        )
    simple = all(isinstance(value, str | int | float | bool | None) for value in record.values())
    if not isinstance(record["kind"], str) or not simple:
        raise UserError(
            f"{stated}: a kind in text, and fields of text, numbers, true, false and null, got {str(record)[:200]}."
        )
    return mechanism


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
