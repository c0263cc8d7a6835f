"""Values and counts as JSON: the one protocol of clients that are programs or servers (docs/verify-mechanism.md)."""

import base64
import binascii
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

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
_KEYS = ("counts", "message", "error")
_SAID = 200


def request(values: Floats) -> bytes:
    """Returns {"values": [[...], ...]} on one line; what is no number is "NaN", "Infinity" or "-Infinity".

    >>> request(np.array([[0.5, -1e300, np.nan]])).replace(b" ", b"")
    b'{"values":[[0.5,-1e+300,"NaN"]]}'
    """
    rows = (",".join(f"{_number(value):>{_WIDTH}}" for value in row) for row in values.tolist())
    return f'{{"values": [[{"],[".join(rows)}]]}}'.encode()


def answer_limit(values: Floats) -> int:
    """Returns the most bytes that an answer for values may have: many times what a plain one takes."""
    return (1 << 20) + 64 * values.size


def read_answer(data: bytes) -> NDArray[np.generic] | bytes:
    """Returns the counts of an answer, an array, or its message, bytes.

    Raises Refused for an error, and NoAnswer for what is no answer.
    """
    try:
        answer = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NoAnswer(f"no JSON came back but {said(data)}: {error}") from None
    if not isinstance(answer, dict) or len(answer) != 1 or next(iter(answer)) not in _KEYS:
        raise NoAnswer(f"expected one of {', '.join(_KEYS)}, alone in an object, got {said(data)}")
    ((kind, content),) = answer.items()
    if kind == "error":
        raise Refused(said(str(content).encode(errors="replace")))
    return _counts(content) if kind == "counts" else _message(content)


def said(data: bytes) -> str:
    """Returns the start of bytes from outside, as a literal."""
    text = data[:_SAID].decode(errors="replace")
    return repr(text) + (f" and {len(data) - _SAID} bytes more" if len(data) > _SAID else "")


@dataclass(eq=False)
class JsonClient:
    """A client behind an exchange. messages: whether it answers with messages; counts are then read from them.

    answered: calls that were answered or refused. faults: what else came back, in words. broken: the first error that
    was no word of the client's: this side's own, which must not become a finding against it.
    """

    spec: QuantizerSpec
    exchange: Exchange
    messages: bool = False
    answered: int = 0
    faults: list[str] = field(default_factory=list)
    broken: Exception | None = None

    def greet(self, exchange: Exchange | None = None) -> None:
        """Asks for a release of one row of zeros, to learn whether the client answers, and with messages.

        exchange: another way to the client, for this call. Raises UserError where no answer comes.
        """
        try:
            answer = self._asked(np.zeros((1, self.spec.dim)), exchange or self.exchange)
        except (NoAnswer, Refused) as error:
            zeros = f"one row of {self.spec.dim} zeros"
            raise UserError(f"Expected the client to release {zeros} at first, got: {error}.") from None
        self.messages = isinstance(answer, bytes)

    def release(self, values: Floats) -> NDArray[np.generic] | bytes:
        """Returns the counts of an answer, or whatever else came back for values that are no numbers."""
        answer = self._answer(values)
        if not isinstance(answer, bytes):
            return answer
        try:
            return unpack(answer, self.spec)
        except UserError:
            if np.isfinite(values).all():
                raise
            return answer  # no refusal: something was sent

    def message(self, values: Floats) -> NDArray[np.generic] | bytes:
        """Returns the message of an answer."""
        return self._answer(values)

    def _answer(self, values: Floats) -> NDArray[np.generic] | bytes:
        if len(self.faults) >= MOST_FAULTS:
            raise NoAnswer(f"it is not called again after {MOST_FAULTS} calls without an answer")
        try:
            answer = self._asked(values, self.exchange)
        except Refused:
            self.answered += 1
            raise
        except NoAnswer as error:
            self.faults.append(f"{error} (for {_described(values)})")
            raise
        except Exception as error:
            self.broken = self.broken or error
            raise
        self.answered += 1
        return answer

    def _asked(self, values: Floats, exchange: Exchange) -> NDArray[np.generic] | bytes:
        return read_answer(exchange(request(values), answer_limit(values)))


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else _NO_NUMBER[repr(value)]


def _counts(content: Json) -> NDArray[np.generic]:
    if not isinstance(content, list) or not all(isinstance(row, list) for row in content):
        raise NoAnswer(f"expected counts to be a list of rows, got {said(str(content).encode())}")
    if any(isinstance(count, bool) for row in content for count in row):
        raise NoAnswer("expected counts to be whole numbers, got true or false")
    try:
        return np.array(content)
    except ValueError:
        raise NoAnswer("expected counts in rows of equal length, got rows of several lengths") from None


def _message(content: object) -> bytes:
    try:
        return base64.b64decode(content, validate=True)  # type: ignore[arg-type]  # raises TypeError
    except (binascii.Error, TypeError, ValueError) as error:
        raise NoAnswer(f"expected a message in base64: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _described(values: Floats) -> str:
    numbers = "" if np.isfinite(values).all() else ", not all of them numbers"
    return f"{values.shape[0]} rows of {values.shape[1]} values{numbers}"
