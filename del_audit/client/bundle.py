"""What `del-audit bundle` does: a configuration in, its client's folder out. The language model is not in it."""

from collections.abc import Sequence
from pathlib import Path

from del_audit.certificate.attack_versions import require_current_attacks
from del_audit.certificate.schema import require_schema
from del_audit.certificate.typed import typed_body
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.configuration.mechanisms import (
    KINDS,
    CoarseWordsMechanism,
    DelMechanism,
    OverWords,
    OwnMechanism,
    RivalMechanism,
)
from del_audit.process.quiet import silence_libraries
from del_audit.service.language import language_of
from del_audit.service.mechanisms import mechanism_over
from del_audit.service.pipelines import pipelines_of
from del_audit.service.splits import read_splits
from mechanisms.canonical_json import LARGEST
from mechanisms.client import CodeReleaser
from mechanisms.client_bundle import save_client_bundle
from mechanisms.client_certificate import WHAT
from mechanisms.errors import UserError
from mechanisms.keyring import trusted_keys
from mechanisms.mechanism import ClientHalf, ModelName
from mechanisms.models import LanguageModel, load_embedding_table
from mechanisms.public_words import PublicWords
from mechanisms.registry import client_half_of
from mechanisms.rivals import CoarseWords, ProjectiveGeometry, RandomizedResponse, SubsetSelection
from mechanisms.rivals.client_half import SymbolReleaser, WordReleaser
from mechanisms.signed_document import open_signed
from mechanisms.small_file import read_small
from mechanisms.soft_prompt import load_soft_prompt
from mechanisms.spec import QuantizerSpec
from mechanisms.tokens import tokenized

_LONGEST_PUBLIC = 1 << 16


def bundle(
    config_file: ConfigurationFile,
    out: Path,
    max_tokens: int | None = None,
    certificate: Path | None = None,
    trust: Sequence[str] = (),
    public_texts: Sequence[Path] = (),
) -> int:
    """Writes the client's folder of a configuration, whole or not at all; returns exit code 0.

    No private text is read, only whose it is, where data.group_column says so. max_tokens: the longest prompt; where it
    is None, the model's context less the soft prompt and the most new tokens that the evaluation asks for. certificate:
    put into the folder, where it holds for what is in it. trust: public keys that may have signed it, as
    mechanisms.keyring.public_key takes them. public_texts: files of texts that a proxy may send as they are.
    Raises UserError as load_configuration, pipelines_of and save_client_bundle do, for a max_tokens over the context
    less the soft prompt, and for a certificate that does not hold.
    """
    configuration = load_configuration(config_file)
    if out.exists():
        raise UserError(f"Expected a folder that does not exist yet, got {str(out)!r}.")
    vouched = _checked(certificate) if certificate is not None else None
    keys = trusted_keys(trust) if certificate is not None else frozenset()
    public = [_public_text(path) for path in public_texts]
    silence_libraries()
    language = language_of(configuration)
    prompt = configuration.soft_prompt
    width = language.width
    virtual = len(load_soft_prompt(prompt, width, language.record).vectors) if prompt else 1  # an opening token
    room, plan = language.context_tokens - virtual, configuration.evaluation
    longest = room - max(plan.response_tokens, plan.generated_tokens) if max_tokens is None else max_tokens
    if not 1 <= longest < room:
        raise UserError(f"Expected max_tokens in 1..{room - 1}, what the model's context holds, got {longest}.")
    texts = read_splits(configuration.data).public.texts
    half = _half(configuration, language, tokenized(language.tokenizer, texts, language.context_tokens))
    model = ModelName(language.record.name, language.record.sha256)
    save_client_bundle(out, half, model, language.tokenizer, longest, vouched, keys, public)
    print(f"Written: {out} (prompts of up to {longest} tokens, {_sent(half)})")
    return 0


def _public_text(path: Path) -> str:
    """Returns a public text, without the line end that editors put behind it."""
    try:
        return read_small(path, _LONGEST_PUBLIC, "public text").decode("utf8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"Expected --public-text {path} in UTF-8: {error}.") from None


def _half(configuration: Configuration, language: LanguageModel, documents: Sequence[Sequence[int]]) -> ClientHalf:
    """Returns the client's half of the configuration's mechanism, over tokenized public documents."""
    choice = configuration.mechanism
    if not isinstance(choice, DelMechanism):
        table = load_embedding_table(configuration.model, language)
        return _over_words(choice, PublicWords(table, documents))
    encoding = configuration.model_copy(update={"decoder": "linear"})  # the cheapest: the client has no decoder
    spec = choice.spec()
    encoder = pipelines_of(encoding, language, documents, [spec])[0].encoder
    details = {"configuration": configuration.name, **configuration.encoder.model_dump(exclude_none=True)}
    return CodeReleaser(encoder, spec, details)


def _over_words(choice: OverWords | CoarseWordsMechanism | OwnMechanism, words: PublicWords) -> ClientHalf:
    if isinstance(choice, OwnMechanism) and not isinstance(choice, RivalMechanism):
        raise UserError(
            f"Expected mechanism.kind among {', '.join(KINDS)} for a client's folder, got {choice.kind!r}: the folder "
            "holds no code. Ship the class with its own client."
        )
    mechanism = mechanism_over(choice, words)
    client_half_of(mechanism.spec)
    if isinstance(mechanism, CoarseWords):
        return SymbolReleaser(mechanism)
    assert isinstance(mechanism, RandomizedResponse | SubsetSelection | ProjectiveGeometry)
    return WordReleaser(mechanism)


def _sent(half: ClientHalf) -> str:
    """Returns what the client sends, in words."""
    if isinstance(half.spec, QuantizerSpec):
        return f"{half.spec.dim} coordinates a token"
    return f"{half.words} words"


def _checked(certificate: Path) -> bytes:
    """Returns a certificate's file; raises UserError before any model is loaded, as far as that is possible."""
    data = read_small(certificate, LARGEST, WHAT)
    signed = open_signed(data, WHAT)
    require_schema(signed.whole)
    require_current_attacks(typed_body(signed.body))
    return data
