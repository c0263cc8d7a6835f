"""What the mechanism of a configuration claims: of a mechanism over words, over the model's own vocabulary."""

from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import load_configuration
from del_audit.configuration.mechanisms import KINDS, DelMechanism, OwnMechanism
from del_audit.evidence.verification.words import WordLaw
from del_audit.process.quiet import silence_libraries
from del_audit.service.language import language_of
from del_audit.service.mechanisms import mechanism_over
from del_audit.service.splits import read_splits
from mechanisms.errors import UserError
from mechanisms.models import load_embedding_table
from mechanisms.public_words import PublicWords
from mechanisms.rivals._supports import SupportSpec
from mechanisms.rivals.coarse_words import CoarseWords
from mechanisms.spec import QuantizerSpec
from mechanisms.tokens import tokenized


def configured_claim(file: ConfigurationFile) -> QuantizerSpec | WordLaw:
    """Returns the claim; the model is loaded for a mechanism over words, whose size its vocabulary decides.

    Raises UserError as load_configuration and mechanism_over do, and for a mechanism of one's own, which no battery
    tests.
    """
    configuration = load_configuration(file)
    choice = configuration.mechanism
    if isinstance(choice, DelMechanism):
        return choice.spec()
    if isinstance(choice, OwnMechanism):
        raise UserError(
            f"Expected mechanism.kind among {', '.join(KINDS)}, got {choice.kind!r}: no battery tests it. Test it with "
            "del_audit.testing.check_mechanism."
        )
    silence_libraries()
    language = language_of(configuration)
    texts = read_splits(configuration.data).public.texts
    documents = tokenized(language.tokenizer, texts, language.context_tokens)
    table = load_embedding_table(configuration.model, language)
    mechanism = mechanism_over(choice, PublicWords(table, documents))
    spec = mechanism.spec
    assert isinstance(spec, SupportSpec)
    return WordLaw.of(spec, mechanism.symbols if isinstance(mechanism, CoarseWords) else None)
