"""What a client is given and answers as JSON: the protocol of programs and servers (docs/verify-mechanism.md)."""

import base64
import binascii
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.driving import ClaimT, Given
from del_audit.verify_mechanism.target import Floats, NoAnswer, Refused
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import unpack

Exchange = Callable[[bytes, int], bytes]
"""Sends a request and returns the answer, of at most so many bytes; raises Refused and NoAnswer."""

MOST_FAULTS = 3
"""Calls without an answer after which a client is not called again."""
_WIDTH = 25
"""Characters of any float64: requests of equal shapes are equally long, and none takes longer by its length."""
_NO_NUMBER = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
Released = Literal["counts", "observed"]
"""The key of what was released: of values, and of tokens."""
_SAID = 200


def request(values: Floats) -> bytes:
    """Returns {"values": [[...], ...]} on one line; what is no number is "NaN", "Infinity" or "-Infinity".

    >>> request(np.array([[0.5, -1e300, np.nan]])).replace(b" ", b"")
    b'{"values":[[0.5,-1e+300,"NaN"]]}'
    """
    rows = (",".join(f"{_number(value):>{_WIDTH}}" for value in row) for row in values.tolist())
    return f'{{"values": [[{"],[".join(rows)}]]}}'.encode()


def answer_limit(values: Given) -> int:
    """Returns the most bytes that an answer for values may have: many times what a plain one takes."""
    return (1 << 20) + 64 * values.size


def read_answer(data: bytes, released: Released = "counts") -> NDArray[np.generic] | bytes:
    """Returns what an answer says was released, an array, or its message, bytes.

    Raises Refused for an error, and NoAnswer for what is no answer.
    """
    try:
        answer = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NoAnswer(f"no JSON came back but {said(data)}: {error}") from None
    if not isinstance(answer, dict) or len(answer) != 1 or next(iter(answer)) not in (released, "message", "error"):
        raise NoAnswer(f"expected one of {released}, message, error, alone in an object, got {said(data)}")
    ((kind, content),) = answer.items()
    if kind == "error":
        raise Refused(said(str(content).encode(errors="replace")))
    return _message(content) if kind == "message" else _numbers(content, released)


def said(data: bytes) -> str:
    """Returns the start of bytes from outside, as a literal."""
    text = data[:_SAID].decode(errors="replace")
    return repr(text) + (f" and {len(data) - _SAID} bytes more" if len(data) > _SAID else "")


@dataclass(eq=False)
class JsonCaller(Generic[ClaimT]):
    """Base of a client behind an exchange. spec: the claim, by which a subclass writes requests and reads messages.

    messages: whether it answers with messages; what was released is then read from them. answered: calls that were
    answered or refused. faults: what else came back, in words. broken: the first error that was no word of the
    client's: this side's own, which must not become a finding against it.
    """

    released: ClassVar[Released] = "counts"
    spec: ClaimT
    exchange: Exchange
    messages: bool = False
    answered: int = 0
    faults: list[str] = field(default_factory=list)
    broken: Exception | None = None

    def first(self) -> tuple[Given, str]:
        """Returns what every right client releases, and what it is called."""
        raise NotImplementedError

    def read(self, exchange: Exchange, given: Given) -> NDArray[np.generic] | bytes:
        """Returns what an exchange answers; raises as it and read_answer do."""
        raise NotImplementedError

    def unpacked(self, message: bytes) -> NDArray[np.generic]:
        """Returns what a message carries; raises UserError for one that is not the claim's."""
        raise NotImplementedError

    def good(self, given: Given) -> bool:
        """Returns whether a right client releases what is given."""
        raise NotImplementedError

    def described(self, given: Given) -> str:
        """Returns what is given, in words."""
        raise NotImplementedError

    def greet(self, exchange: Exchange | None = None) -> None:
        """Asks for a first release, to learn whether the client answers, and with messages.

        exchange: another way to the client, for this call. Raises UserError where no answer comes.
        """
        given, what = self.first()
        try:
            answer = self.read(exchange or self.exchange, given)
        except (NoAnswer, Refused) as error:
            raise UserError(f"Expected the client to release {what} at first, got: {error}.") from None
        self.messages = isinstance(answer, bytes)

    def release(self, given: Given) -> NDArray[np.generic] | bytes:
        """Returns what an answer says was released, or whatever else came back for what may not be."""
        answer = self.message(given)
        if not isinstance(answer, bytes):
            return answer
        try:
            return self.unpacked(answer)
        except UserError:
            if self.good(given):
                raise
            return answer  # no refusal: something was sent

    def message(self, given: Given) -> NDArray[np.generic] | bytes:
        """Returns an answer as it is: its message, if it has one."""
        if len(self.faults) >= MOST_FAULTS:
            raise NoAnswer(f"it is not called again after {MOST_FAULTS} calls without an answer")
        try:
            answer = self.read(self.exchange, given)
        except Refused:
            self.answered += 1
            raise
        except NoAnswer as error:
            self.faults.append(f"{error} (for {self.described(given)})")
            raise
        except Exception as error:
            self.broken = self.broken or error
            raise
        self.answered += 1
        return answer


class JsonClient(JsonCaller[QuantizerSpec]):
    """A client of the quantizer: values in, counts or a message out."""

    def first(self) -> tuple[Given, str]:
        """Returns one row of zeros."""
        return np.zeros((1, self.spec.dim)), f"one row of {self.spec.dim} zeros"

    def read(self, exchange: Exchange, given: Given) -> NDArray[np.generic] | bytes:
        """Returns counts or a message."""
        return read_answer(exchange(request(np.asarray(given, dtype=np.float64)), answer_limit(given)))

    def unpacked(self, message: bytes) -> NDArray[np.generic]:
        """Returns the counts of a message."""
        return unpack(message, self.spec)

    def good(self, given: Given) -> bool:
        """Returns whether all values are numbers."""
        return bool(np.isfinite(given).all())

    def described(self, given: Given) -> str:
        """Returns how many values there are, and whether all are numbers."""
        numbers = "" if self.good(given) else ", not all of them numbers"
        return f"{given.shape[0]} rows of {given.shape[1]} values{numbers}"


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else _NO_NUMBER[repr(value)]


def _numbers(content: Json, what: Released) -> NDArray[np.generic]:
    rows = [isinstance(row, list) for row in content] if isinstance(content, list) else [False]
    if not isinstance(content, list) or not (all(rows) or (what == "observed" and not any(rows))):
        raise NoAnswer(f"expected {what} to be a list of rows, got {said(str(content).encode())}")
    if any(isinstance(number, bool) for row in content for number in (row if isinstance(row, list) else [row])):
        raise NoAnswer(f"expected {what} to be whole numbers, got true or false")
    try:
        return np.array(content)
    except ValueError:
        raise NoAnswer(f"expected {what} in rows of equal length, got rows of several lengths") from None


def _message(content: object) -> bytes:
    try:
        return base64.b64decode(content, validate=True)  # type: ignore[arg-type]  # raises TypeError
    except (binascii.Error, TypeError, ValueError) as error:
        raise NoAnswer(f"expected a message in base64: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
