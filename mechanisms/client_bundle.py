"""A client's folder: all it takes to send prompts, without a language model and without torch.

encoder.safetensors: the table of codes (mechanisms/encoder_file.py). tokenizer.json: of the tokenizers package.
card.json: the spec, the longest prompt, and the hashes of the other two. certificate.json: what it may run under; a
client without one refuses to start, unless it is told to. All of it is public.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tokenizers import Tokenizer

from mechanisms.client import Client, CodeReleaser
from mechanisms.client_certificate import WHAT, Requirement, Uncertified, read_certificate, terms_of
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import LARGEST as LARGEST_ENCODER
from mechanisms.encoder_file import EncoderCard, encoder_bytes, read_encoder
from mechanisms.errors import UserError
from mechanisms.files import new_folder
from mechanisms.keyring import trusted_keys
from mechanisms.ledger import Account, Ledger
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.randomness import RandomSource, SystemRandomness
from mechanisms.signed_document import SignedDocument, open_signed
from mechanisms.small_file import read_small
from mechanisms.spec import QuantizerSpec
from mechanisms.terms import Deployment
from mechanisms.tokens import tokenizer_sha256
from mechanisms.validation import whole_at_least

FORMAT = "del-audit client 1"
CARD, ENCODER, TOKENIZER = "card.json", "encoder.safetensors", "tokenizer.json"
CERTIFICATE = "certificate.json"
LARGEST_FILES = {CARD: 1 << 16, ENCODER: LARGEST_ENCODER, TOKENIZER: 1 << 28}
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


def save_client_bundle(
    folder: Path,
    encoder: Encoder,
    card: EncoderCard,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    certificate: bytes | None = None,
    trusted: Collection[bytes] | None = None,
) -> None:
    """Writes a client's folder, whole or not at all.

    tokenizer: of the language model, from transformers (a fast one) or from the tokenizers package. max_tokens: the
    longest prompt. certificate: a certificate's file, put beside; trusted: as load_client takes it.
    Raises UserError for a folder that exists, a tokenizer that has no tokenizer.json or says something else than its
    own, one with tokens that the encoder has no row for, max_tokens < 1, and as load_client does for a certificate.
    """
    if folder.exists():
        raise UserError(f"Expected a folder that does not exist yet, got {str(folder)!r}.")
    whole_at_least("max_tokens", max_tokens, 1)
    described = _described(tokenizer)
    plain = PlainTokenizer.of(described)
    _require_rows(plain.words, encoder.words, card.model)
    files = {ENCODER: encoder_bytes(encoder, card), TOKENIZER: described.encode()}
    record = {
        "format": FORMAT,
        "model": card.model,
        "model_sha256": card.model_sha256,
        "spec": card.spec.to_dict(),
        "max_tokens": max_tokens,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    if certificate is not None:
        keys = trusted_keys() if trusted is None else trusted
        deployment = _deployment(encoder, card.spec, plain, card.model_sha256)
        terms_of(open_signed(certificate, WHAT), deployment, keys, accept_quick=True)  # whoever sends is asked
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
    encoder, spec, tokenizer, card = _read_bundle(folder)
    deployment = _deployment(encoder, spec, tokenizer, card["model_sha256"])
    terms = None
    if not isinstance(certificate, Uncertified):
        signed = certificate if isinstance(certificate, SignedDocument) else certificate_of(folder, certificate)
        keys = trusted_keys() if trusted is None else trusted
        terms = terms_of(signed, deployment, keys, at, accept_quick=accept_quick, require=require)
    account = None
    if source is None or isinstance(source, SystemRandomness):
        account = Account(ledger or Ledger.of_user(), deployment.fingerprint, deployment.tokenizer)
    return Client(tokenizer, CodeReleaser(encoder, spec), card["max_tokens"], source, terms, account)


def _read_bundle(folder: Path) -> tuple[Encoder, QuantizerSpec, PlainTokenizer, dict[str, Any]]:
    """Returns what a client's folder holds: table, spec, tokenizer and card; raises UserError as load_client does."""
    try:
        files = {name: read_small(folder / name, limit, "client's") for name, limit in LARGEST_FILES.items()}
    except UserError as error:
        raise UserError(
            f"Expected a client's folder, got {str(folder)!r}: {error} Make one with `del-audit bundle CONFIG --out "
            "FOLDER --certificate CERTIFICATE`."
        ) from None
    try:
        card = json.loads(files[CARD])
        spec, card["max_tokens"] = QuantizerSpec(**card["spec"]), int(card["max_tokens"])
        known, model_sha256 = card["format"] == FORMAT, card["model_sha256"]
        whole = all(card["sha256"][name] == hashlib.sha256(files[name]).hexdigest() for name in (ENCODER, TOKENIZER))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"Expected {CARD} in {str(folder)!r} to describe a client: {error}.") from None
    if not known or not whole:
        raise UserError(f"Expected {str(folder)!r} to hold the files that its {CARD} names: it is damaged.")
    encoder, made_for = read_encoder(files[ENCODER], str(folder / ENCODER), spec, model_sha256=model_sha256)
    tokenizer = PlainTokenizer.of(_text(files[TOKENIZER]))
    _require_rows(tokenizer.words, encoder.words, made_for.model)
    return encoder, spec, tokenizer, card


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


def _deployment(encoder: Encoder, spec: QuantizerSpec, tokenizer: PlainTokenizer, model_sha256: str) -> Deployment:
    return Deployment(spec, encoder.sha256, tokenizer_sha256(tokenizer.tokenizer), model_sha256)


def _described(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the tokenizer.json of a tokenizer, having asked both for the tokens of a text."""
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(inner, Tokenizer):
        raise UserError(f"Expected a tokenizer that has a tokenizer.json, got {type(tokenizer).__name__}.")
    described = str(inner.to_str())
    if inner is not tokenizer:
        plain, own = PlainTokenizer.of(described), tokenizer(PROBE, add_special_tokens=False).input_ids
        if plain(PROBE).input_ids != list(own):
            raise UserError(f"Expected {type(tokenizer).__name__} to give the tokens of its {TOKENIZER}: it does not.")
    return described


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"Expected {TOKENIZER} in UTF-8: {error}.") from None


def _require_rows(tokens: int, words: int, model: str) -> None:
    if tokens > words:
        raise UserError(
            f"Expected an encoder of at least {tokens} words, the tokenizer's, got {words}: "
            f"a projection trained for another model, {model!r}."
        )
