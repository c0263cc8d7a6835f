"""A client's folder: all it takes to send prompts, without a language model and without torch.

tokenizer.json: of the tokenizers package. card.json: the mechanism's description, the longest prompt, and the hashes of
the other files. What the mechanism's client needs beside these (mechanisms.mechanism.ClientHalf): the table of codes in
encoder.safetensors for DEL, the map of words in symbols.safetensors for coarse words, nothing for other mechanisms over
words. certificate.json: what it may run under; a client without one refuses to start, unless it is told to. All of it
is public.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from tokenizers import Tokenizer

from mechanisms.client import Client
from mechanisms.client_certificate import WHAT, Requirement, Uncertified, read_certificate, terms_of
from mechanisms.description import Description
from mechanisms.errors import UserError
from mechanisms.files import new_folder
from mechanisms.keyring import trusted_keys
from mechanisms.ledger import Account, Ledger
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.mechanism import ClientHalf, ModelName
from mechanisms.randomness import RandomSource, SystemRandomness
from mechanisms.registry import client_half_of, described
from mechanisms.signed_document import SignedDocument, open_signed
from mechanisms.small_file import read_small
from mechanisms.spec import QuantizerSpec
from mechanisms.terms import Deployment
from mechanisms.tokens import tokenizer_sha256
from mechanisms.validation import whole_at_least

FORMAT, WORD_FORMAT = "del-audit client 1", "del-audit client 2"
"""Of DEL's folders, and of those of mechanisms over words: whoever knows the first alone refuses the second."""
CARD, TOKENIZER, CERTIFICATE = "card.json", "tokenizer.json", "certificate.json"
LARGEST_CARD, LARGEST_TOKENIZER = 1 << 16, 1 << 28
"""Bytes."""
PROBE = "The pain  was gone, 90% of it;\n\tnaïve 東京 <|endoftext|>"


@dataclass(frozen=True, slots=True)
class PlainTokenizer:
    """A tokenizer of the tokenizers package, called as one of transformers is. It never cuts, pads or adds tokens."""

    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def of(cls, text: str) -> "PlainTokenizer":
        """Returns the tokenizer that a tokenizer.json describes; raises UserError where it describes none."""
        try:
            tokenizer = Tokenizer.from_str(text)
        except MemoryError:
            raise
        except Exception as error:  # the package raises bare exceptions
            raise UserError(f"Expected {TOKENIZER} to describe a tokenizer: {error}.") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer)

    @property
    def words(self) -> int:
        """One more than the largest token."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def __call__(self, text: str, add_special_tokens: bool = False) -> SimpleNamespace:
        """Returns an object whose input_ids are the tokens of text."""
        return SimpleNamespace(input_ids=self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)


@dataclass(frozen=True, slots=True)
class _Bundle:
    """What a client's folder holds; raises UserError for a tokenizer with more tokens than the half has words."""

    half: ClientHalf
    tokenizer: PlainTokenizer
    model: ModelName
    max_tokens: int

    def __post_init__(self) -> None:
        tokens, words = self.tokenizer.words, self.half.words
        if tokens > words and isinstance(self.half.spec, QuantizerSpec):
            raise UserError(
                f"Expected an encoder of at least {tokens} words, the tokenizer's, got {words}: "
                f"a projection trained for another model, {self.model.name!r}."
            )
        if tokens > words:
            raise UserError(
                f"Expected a mechanism over at least {tokens} words, the tokenizer's of {self.model.name!r}, got "
                f"{words}: it was described for another vocabulary. Describe it over that model's."
            )

    @property
    def deployment(self) -> Deployment:
        """What its releases are counted under, and what a certificate is to name."""
        tokenizer = tokenizer_sha256(self.tokenizer.tokenizer)
        return Deployment(self.half.spec, self.half.sha256, tokenizer, self.model.sha256)


def save_client_bundle(
    folder: Path,
    half: ClientHalf,
    model: ModelName,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    certificate: bytes | None = None,
    trusted: Collection[bytes] | None = None,
    public: Sequence[str] = (),
) -> None:
    """Writes a client's folder, whole or not at all.

    half: the client's half of the mechanism. model: the language model that it is for. tokenizer: of that model, from
    transformers (a fast one) or from the tokenizers package. max_tokens: the longest prompt. certificate: a
    certificate's file, put beside; trusted: as load_client takes it. public: texts that a proxy may send as they are,
    such as the operator's own system prompt: their hashes are in the folder, not they.
    Raises UserError for a folder that exists, a half that no folder can hold, a tokenizer that has no tokenizer.json or
    says something else than its own, one with more tokens than the half has words, max_tokens < 1, and as load_client
    does for a certificate.
    """
    if folder.exists():
        raise UserError(f"Expected a folder that does not exist yet, got {str(folder)!r}.")
    whole_at_least("max_tokens", max_tokens, 1)
    if not isinstance(half, kind := client_half_of(half.spec)):
        raise UserError(f"Expected half to be a {kind.__name__}, got {type(half).__name__}: make one of the mechanism.")
    content = _content(tokenizer)
    bundle = _Bundle(half, PlainTokenizer.of(content), model, max_tokens)
    files = {**half.files(model), TOKENIZER: content.encode()}
    record = {
        "format": _format(half.spec),
        "model": model.name,
        "model_sha256": model.sha256,
        "spec": half.spec.to_dict(),
        "max_tokens": max_tokens,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    if public:
        record["public_texts"] = [hashlib.sha256(text.encode()).hexdigest() for text in public]
    if certificate is not None:
        keys = trusted_keys() if trusted is None else trusted
        terms_of(open_signed(certificate, WHAT), bundle.deployment, keys, accept_quick=True)  # whoever sends is asked
        files[CERTIFICATE] = certificate
    files[CARD] = json.dumps(record, indent=2, sort_keys=True).encode()
    with new_folder(folder) as beside:
        for name, data in files.items():
            (beside / name).write_bytes(data)


def load_client(
    folder: Path,
    source: RandomSource | None = None,
    *,
    certificate: Path | SignedDocument | Uncertified | None = None,
    trusted: Collection[bytes] | None = None,
    at: datetime | None = None,
    accept_quick: bool = False,
    require: Requirement | None = None,
    ledger: Ledger | None = None,
) -> Client:
    """Returns the client of a folder that save_client_bundle wrote, under the terms of its certificate.

    source: leave it out, except to simulate releases of public text without a certificate. certificate: its file, or
    what open_signed made of it; None for the one in the folder, UNCERTIFIED to run without. trusted: public keys that
    may have signed it, 32 bytes each; None for those of the user's key folder (mechanisms.keyring). at: the time that
    it is to be valid at; None asks the clock. accept_quick, require: as client_certificate.terms_of takes them. That no
    attack became stronger since is not asked here: `del-audit send` and `verify` do.
    ledger: where releases are entered; None for the user's own. Without a certificate they are entered as well, though
    nothing is limited, so that a certified client knows of them; a simulation, which has a source, enters nothing.
    Raises UserError for a folder that is none, for one whose files are damaged or do not belong together, without a
    certificate, as client_certificate.terms_of does for one that does not hold, and for a source beside a certificate.
    """
    certified = not isinstance(certificate, Uncertified)
    if not certified and (accept_quick or require is not None):
        raise UserError("Expected accept_quick and require beside a certificate only, got certificate=UNCERTIFIED.")
    if certified and source is not None:
        raise UserError(
            "Expected no source beside a certificate, got one: a certified client draws from the operating system "
            "alone. Leave source out."
        )
    bundle = _read_bundle(folder)
    deployment = bundle.deployment
    terms = None
    if not isinstance(certificate, Uncertified):
        signed = certificate if isinstance(certificate, SignedDocument) else certificate_of(folder, certificate)
        keys = trusted_keys() if trusted is None else trusted
        terms = terms_of(signed, deployment, keys, at, accept_quick=accept_quick, require=require)
    account = None
    if source is None or isinstance(source, SystemRandomness):
        account = Account(ledger or Ledger.of_user(), deployment.fingerprint, deployment.tokenizer)
    return Client(bundle.tokenizer, bundle.half, bundle.max_tokens, source, terms, account)


def public_texts(folder: Path) -> frozenset[str]:
    """Returns the hashes of the texts that a client's folder calls public; raises UserError for a damaged folder."""
    try:
        listed = json.loads(_file(folder, CARD, LARGEST_CARD)).get("public_texts", [])
        if not all(isinstance(each, str) and len(each) == 64 for each in listed):
            raise ValueError("public_texts are not hashes")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"Expected {CARD} in {str(folder)!r} to describe a client: {error}.") from None
    return frozenset(listed)


def _read_bundle(folder: Path) -> _Bundle:
    """Returns what a client's folder holds; raises UserError as load_client does."""
    data = _file(folder, CARD, LARGEST_CARD)
    try:
        card = json.loads(data)
        written, spec, max_tokens = card["format"], described(card["spec"]), int(card["max_tokens"])
        model, hashes = ModelName(str(card["model"]), str(card["model_sha256"])), dict(card["sha256"])
        kind = client_half_of(spec)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"Expected {CARD} in {str(folder)!r} to describe a client: {error}.") from None
    if written != _format(spec):
        raise UserError(
            f"Expected {CARD} in {str(folder)!r} of the format {_format(spec)!r}, got {str(written)[:100]!r}: it is "
            "damaged, or a later version of del-audit wrote it."
        )
    files = {
        name: _file(folder, name, most) for name, most in {**kind.LARGEST_FILES, TOKENIZER: LARGEST_TOKENIZER}.items()
    }
    if any(hashes.get(name) != hashlib.sha256(content).hexdigest() for name, content in files.items()):
        raise UserError(f"Expected {str(folder)!r} to hold the files that its {CARD} names: it is damaged.")
    half = kind.read(spec, files, folder, model)
    return _Bundle(half, PlainTokenizer.of(_text(files[TOKENIZER])), model, max_tokens)


def _file(folder: Path, name: str, most: int) -> bytes:
    try:
        return read_small(folder / name, most, "client's")
    except UserError as error:
        raise UserError(
            f"Expected a client's folder, got {str(folder)!r}: {error} Make one with `del-audit bundle CONFIG --out "
            "FOLDER --certificate CERTIFICATE`."
        ) from None


def _format(spec: Description) -> str:
    return FORMAT if isinstance(spec, QuantizerSpec) else WORD_FORMAT


def certificate_of(folder: Path, given: Path | None) -> SignedDocument:
    """Returns the certificate in a file, the client's folder's own where none is given, its signature verified.

    Raises UserError as read_certificate does, and where there is none.
    """
    if not (folder / CARD).exists():
        _read_bundle(folder)  # says what is missing, and how to make it
    path = given if given is not None else folder / CERTIFICATE
    if given is None and not path.exists():
        raise UserError(
            f"Expected a certificate: {CERTIFICATE} in {str(folder)!r}, or one given (--certificate). "
            "Make one with `del-audit certify CONFIG`, and the folder with `del-audit bundle CONFIG --out FOLDER "
            "--certificate CERTIFICATE`."
        )
    return read_certificate(path)


def _content(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the tokenizer.json of a tokenizer, having asked both for the tokens of a text."""
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(inner, Tokenizer):
        raise UserError(f"Expected a tokenizer that has a tokenizer.json, got {type(tokenizer).__name__}.")
    content = str(inner.to_str())
    if inner is not tokenizer:
        plain, own = PlainTokenizer.of(content), tokenizer(PROBE, add_special_tokens=False).input_ids
        if plain(PROBE).input_ids != list(own):
            raise UserError(f"Expected {type(tokenizer).__name__} to give the tokens of its {TOKENIZER}: it does not.")
    return content


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"Expected {TOKENIZER} in UTF-8: {error}.") from None
