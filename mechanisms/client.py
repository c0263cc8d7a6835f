"""The client: text in, message out. It needs a tokenizer and its half of a mechanism, no language model."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from mechanisms.canonical_json import Json
from mechanisms.description import Description
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import LARGEST, EncoderCard, encoder_bytes, read_encoder
from mechanisms.errors import UserError
from mechanisms.ledger import Account, Ledger
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.mechanism import ClientHalf, ModelName, Releaser
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import RandomSource, SystemRandomness
from mechanisms.spec import QuantizerSpec
from mechanisms.terms import Deployment, Terms
from mechanisms.tokens import checked_tokens, tokenizer_sha256
from mechanisms.wire import pack

ENCODER = "encoder.safetensors"
_ANY_WORD = 1 << 62


@dataclass(frozen=True, slots=True)
class CodeReleaser:
    """DEL's half of the client: the code of each token, quantized and packed. Its public file is the table of codes.

    details: how the codes were made, as JSON values, which that file states.
    Raises UserError for an encoder of another dim or clip than the spec's: it was made for another quantizer.
    """

    LARGEST_FILES: ClassVar[Mapping[str, int]] = {ENCODER: LARGEST}
    encoder: Encoder
    spec: QuantizerSpec
    details: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("dim", "clip"):
            wanted, got = getattr(self.spec, name), getattr(self.encoder, name)
            if wanted != got:
                raise UserError(f"Expected an encoder of {name}={wanted}, got {name}={got}: trained for another spec.")

    @classmethod
    def read(cls, spec: Description, files: Mapping[str, bytes], folder: Path, model: ModelName) -> Self:
        """Returns the half of a spec and its table; raises UserError as read_encoder does."""
        quantizer = cast(QuantizerSpec, spec)
        encoder, card = read_encoder(files[ENCODER], str(folder / ENCODER), quantizer, model_sha256=model.sha256)
        return cls(encoder, quantizer, card.details)

    @property
    def words(self) -> int:
        """Words that the table has a code for."""
        return self.encoder.words

    @property
    def sha256(self) -> str:
        """Hash of the table."""
        return self.encoder.sha256

    def files(self, model: ModelName) -> dict[str, bytes]:
        """Returns the table's file, whose card says which model it is for."""
        card = EncoderCard(model.name, model.sha256, self.spec, self.details)
        return {ENCODER: encoder_bytes(self.encoder, card)}

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt, with fresh noise.

        Raises UserError as checked_tokens does; then nothing is drawn or sent.
        """
        levels = self.encoder.levels_of(checked_tokens(tokens, self.encoder.words))
        return pack(StochasticQuantizer(self.spec).sample(levels, source), self.spec)


class Client:
    """Releases prompts. Every release draws fresh noise; there is no switch that turns it off.

    releaser: the client's half of a mechanism; where it says its vocabulary, a token outside is refused before it is
    charged. max_tokens: the longest prompt that is released; the server's context less its virtual and new tokens.
    source: where random words come from. Leave it out, except to simulate a release of public text. terms: of the
    certificate that the client runs under. account: where its releases are entered before anything is drawn; a client
    with terms always has one, in the user's own ledger where none is given.
    What the terms allow is counted there, so copies of this object, threads, forks and restarts share one allowance.
    Raises UserError for terms with a source, since a certificate is of fresh noise; for a max_tokens that is no whole
    number; and for terms without an account where releaser and tokenizer have no hashes to count under.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        releaser: Releaser,
        max_tokens: int,
        source: RandomSource | None = None,
        terms: Terms | None = None,
        account: Account | None = None,
    ) -> None:
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int):
            raise UserError(f"Expected max_tokens to be a whole number, got max_tokens={max_tokens!r}.")
        if terms is not None and source is not None:
            raise UserError(
                "Expected no source beside the terms of a certificate, got one: a certified client draws from the "
                "operating system alone. Leave source out."
            )
        self._tokenizer = tokenizer
        self._releaser = releaser
        self._words = releaser.words if isinstance(releaser, ClientHalf) else _ANY_WORD
        self._max_tokens = max_tokens
        self._source = source if source is not None else SystemRandomness()
        self._terms = terms if terms is not None else Terms()
        self._account = own_account(tokenizer, releaser) if terms is not None and account is None else account
        self._charged = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    @property
    def spec(self) -> Description:
        """The mechanism that this client runs."""
        return self._releaser.spec

    @property
    def terms(self) -> Terms:
        """What its certificate allows; all of it without one."""
        return self._terms

    @property
    def account(self) -> Account | None:
        """Where its releases are entered; None for a simulation."""
        return self._account

    @property
    def charged(self) -> int:
        """Tokens charged by this object; the same prompt again is charged again, as its guarantees add up.

        What the terms allow is not counted here: the ledger knows of other clients too.
        """
        return self._charged

    def release(self, text: str) -> bytes:
        """Returns the message for a prompt.

        Raises UserError for an empty prompt, for one over max_tokens, for one with half a surrogate pair in it, and for
        one that the terms do not allow; then nothing is charged, drawn or sent. What was charged stays charged,
        whatever happens after.
        """
        _require_encodable(text)
        return self.release_tokens(self._tokenizer(text, add_special_tokens=False).input_ids)

    def release_all(self, texts: Sequence[str]) -> tuple[list[bytes], int]:
        """Returns the message of each prompt, and the tokens of all: they are charged together, all of them or none.

        Raises UserError as release does.
        """
        for text in texts:
            _require_encodable(text)
        rows = [self._tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        return self._released(rows)

    def release_tokens(self, tokens: Iterable[int]) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as release does."""
        (message,), _ = self._released([tokens])
        return message

    def charging(self, account: Account) -> "Client":
        """Returns a client of the same half and terms, whose releases are entered in another account.

        Raises UserError where this one draws from another source than the operating system.
        """
        if not isinstance(self._source, SystemRandomness):
            raise UserError("Expected a client that draws from the operating system, got one of a simulation.")
        return Client(self._tokenizer, self._releaser, self._max_tokens, None, self._terms, account)

    def _released(self, texts: Sequence[Iterable[int]]) -> tuple[list[bytes], int]:
        # read once: what is counted, checked and sent are these copies
        rows = [checked_tokens(tokens, self._words) for tokens in texts]
        filled = [self._filled(row) for row in rows]
        lengths = [len(row) for row in filled]
        for length in lengths:
            if length > self._max_tokens:
                raise UserError(f"Expected a prompt of at most {self._max_tokens} tokens, got {length}.")
            self._require_allowed(length)
        if self._account is not None:
            self._account.charge(rows, self._terms, lengths)
        with self._lock:
            self._charged += sum(lengths)
        return [self._releaser.release(row.tolist(), self._source) for row in filled], sum(lengths)

    def _filled(self, row: NDArray[np.int64]) -> NDArray[np.int64]:
        padding = self._terms.padding
        return row if padding is None else checked_tokens(padding.filled(row), self._words)

    def _require_allowed(self, tokens: int) -> None:
        prompt, until = self._terms.prompt_tokens, self._terms.until
        if until is not None and datetime.now(UTC) >= until:
            raise UserError(
                f"Expected a certificate that has not expired, got one that expired on {until}: certify again."
            )
        if prompt is not None and tokens > prompt:
            raise UserError(f"Expected a prompt of at most {prompt} tokens, the certificate's limit, got {tokens}.")


def _require_encodable(text: str) -> None:
    """Raises UserError for half a surrogate pair, which no text file holds and tokenizers take each in another way."""
    try:
        text.encode("utf8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"Expected a prompt that UTF-8 can hold, got {text[error.start]!r} at character {error.start} (counted "
            "from 0), half a surrogate pair. Decode the prompt with the encoding that it was written in."
        ) from None


def own_account(tokenizer: PreTrainedTokenizerBase, releaser: Releaser) -> Account:
    """Returns an account in the user's ledger for a client that is put together by hand.

    Raises UserError for a tokenizer that has no hash, and as Ledger.of_user does.
    """
    public = releaser.sha256 if isinstance(releaser, ClientHalf) else ""
    try:
        name = "" if tokenizer is None else tokenizer_sha256(tokenizer)
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"Expected account beside terms for a tokenizer that has no hash, got {type(tokenizer).__name__} and none."
        ) from None
    return Account(Ledger.of_user(), Deployment(releaser.spec, public, name, "").fingerprint, name)
