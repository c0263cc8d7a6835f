"""A certificate held against a configuration's file, and against the assets that it names on this machine."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from attacks.registry import current_name
from del_audit.certificate.model import Body
from del_audit.certificate.padding import padding_of
from del_audit.certificate.schema import FORMAT_2, FORMAT_3, FORMAT_4, FORMAT_5
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.process.quiet import silence_libraries
from del_audit.service.language import language_of
from del_audit.service.pipelines import pipeline_of, public_file_sha256
from del_audit.service.splits import read_splits
from mechanisms.canonical_json import canonical_sha256
from mechanisms.errors import UserError
from mechanisms.hashes import texts_sha256
from mechanisms.models import LanguageModel
from mechanisms.padding import SECTION
from mechanisms.soft_prompt import load_soft_prompt
from mechanisms.splits import Splits
from mechanisms.tokens import tokenized, tokenizer_sha256

Found = tuple[str, Literal["passed", "failed", "skipped"], str]


def compare(body: Body, config_file: ConfigurationFile) -> Iterator[Found]:
    """Yields name, status and reason of each input: the configuration first, then each asset that it names.

    An asset that cannot be loaded here is skipped, and the reason says so. Decoder and prior are not compared: they are
    computed from the others, and another machine may round otherwise.
    Raises UserError as load_configuration does.
    """
    configuration = load_configuration(config_file)
    found = _compared("configuration", body, lambda: canonical_sha256(_named_as_in(body, configuration)))
    yield found
    yield from _padding(body, configuration)
    if found[1] != "passed":
        return
    silence_libraries()
    assets = _Assets(configuration)
    for name in ("model", "tokenizer", "soft_prompt", "corpus", "public_texts", "private_texts", "encoder"):
        yield _compared(name, body, getattr(assets, name))


def _named_as_in(body: Body, configuration: Configuration) -> dict[str, Any]:
    """Returns the configuration as JSON values; an attack that got another name since has the certificate's."""
    described: dict[str, Any] = configuration.model_dump(mode="json")
    if body.format in (FORMAT_2, FORMAT_3, FORMAT_4, FORMAT_5):  # DEL was the only kind, and had no name
        described["mechanism"].pop("kind")
    theirs, evaluation = body.configuration.evaluation.attacks, described["evaluation"]
    if [current_name(name) for name in theirs] == evaluation["attacks"]:
        evaluation["attacks"] = list(theirs)
    return described


def _compared(name: str, body: Body, ask: Callable[[], str]) -> Found:
    title = name.replace("_", " ")
    try:
        here, certified = ask(), str(getattr(body.hashes, name))
    except UserError as error:
        return title, "skipped", f"Not compared: {error}"
    if here != certified:
        return title, "failed", f"Expected the {title} {certified[:12]} of the certificate, got {here[:12]}."
    return title, "passed", f"It is {here[:12]}, as certified."


def _padding(body: Body, configuration: Configuration) -> Iterator[Found]:
    """Yields whether prompts are filled up to the same lengths, where either side fills them up."""
    certified = padding_of(body.sections.get(SECTION))
    theirs, here = certified.lengths if certified is not None else None, configuration.pad_to
    if theirs == here:
        if here is not None:
            yield "pad_to", "passed", f"It is {', '.join(map(str, here))} tokens, as certified."
        return
    said = [", ".join(map(str, lengths)) if lengths else "none" for lengths in (theirs, here)]
    yield "pad_to", "failed", f"Expected the certificate's lengths ({said[0]}), got pad_to: {said[1]}."


class _Assets:
    """The hashes of what a configuration names, each loaded when it is first asked for."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._language: LanguageModel | None = None
        self._splits: Splits | None = None

    def model(self) -> str:
        return self._loaded_model().record.sha256

    def tokenizer(self) -> str:
        return tokenizer_sha256(self._loaded_model().tokenizer)

    def soft_prompt(self) -> str:
        name, language = self._configuration.soft_prompt, self._loaded_model()
        if name is None:
            return "none"
        return load_soft_prompt(name, language.width, language.record).sha256

    def corpus(self) -> str:
        return self._read_splits().corpus.record.sha256

    def public_texts(self) -> str:
        return texts_sha256(self._read_splits().public.texts)

    def private_texts(self) -> str:
        return texts_sha256(self._read_splits().private.texts)

    def encoder(self) -> str:
        configuration, language = self._configuration, self._loaded_model()
        texts = self._read_splits().public.texts
        documents = tokenized(language.tokenizer, texts, language.context_tokens)
        plain = configuration.model_copy(update={"decoder": "most-likely"})  # the cheapest that any mechanism has
        return public_file_sha256(pipeline_of(plain, language, documents))

    def _loaded_model(self) -> LanguageModel:
        if self._language is None:
            self._language = language_of(self._configuration)
        return self._language

    def _read_splits(self) -> Splits:
        if self._splits is None:
            self._splits = read_splits(self._configuration.data)
        return self._splits
