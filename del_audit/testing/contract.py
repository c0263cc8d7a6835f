"""What every mechanism must keep: its description, its randomness, its messages and what the server reads of them."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from del_audit.testing.report import ContractError
from del_audit.testing.subject import Subject
from mechanisms.errors import UserError
from mechanisms.hashes import json_sha256
from mechanisms.mechanism import BatchReceiver
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

LENGTHS = (1, 2, 7, 64)
"""Tokens of the prompts whose messages are counted."""
_REPEATS = 16
_CLOSE = 1e-4


class NoWords:
    """A source that nothing may be drawn from."""

    def words(self, count: int) -> NoReturn:
        """Raises ContractError."""
        raise ContractError(f"{count} random words were drawn before the prompt was refused")


def description(subject: Subject) -> str:
    """The description can be written down, is frozen, and its fingerprint names it and no other."""
    spec = subject.mechanism.spec
    name: object = getattr(subject.mechanism, "name", None)
    if not isinstance(name, str) or not name:
        raise ContractError(f"name is {name!r}, expected text")
    fields = spec.to_dict()
    mark = spec.fingerprint
    if mark.hex() != json_sha256(fields):
        raise ContractError("fingerprint is not mechanisms.hashes.json_sha256 of to_dict(), as 32 bytes")
    if copy.deepcopy(spec).fingerprint != mark:
        raise ContractError("a copy of the description has another fingerprint")
    for field in fields:
        if hasattr(spec, field):
            _check_frozen(copy.deepcopy(spec), field)
    _check_sensitive(spec, mark)
    return f"{len(fields)} fields"


def _check_frozen(spec: object, field: str) -> None:
    try:
        setattr(spec, field, getattr(spec, field))
    except (AttributeError, TypeError, ValueError):
        return
    raise ContractError(f"the description is not frozen: {field} can be set")


def _check_sensitive(spec: object, mark: bytes) -> None:
    """Raises ContractError where a dataclass with another value in a field has the same fingerprint."""
    if not dataclasses.is_dataclass(spec) or isinstance(spec, type):
        return
    for field in dataclasses.fields(spec):
        for other in _others(getattr(spec, field.name)) if field.init else ():
            try:
                changed: object = dataclasses.replace(spec, **{field.name: other})
            except Exception:  # refused, in whatever way the description refuses
                continue
            if changed != spec and getattr(changed, "fingerprint", None) == mark:
                raise ContractError(f"the fingerprint does not depend on {field.name}")


def _others(value: object) -> tuple[object, ...]:
    """Returns values that a field of this one may also have."""
    if isinstance(value, str):
        return (f"{value}0", f"{'1' if value[:1] == '0' else '0'}{value[1:]}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (value + 1, value - 1, value * 2 + 1, value * 0.75 - 1e-3)
    return ()


def source_only(subject: Subject) -> str:
    """A release is a function of its prompt and of the words that it drew."""
    prompt = subject.prompt(64, "source")
    first = subject.released(prompt, "source")
    subject.message(64, "in between")
    if subject.released(prompt, "source") != first:
        raise ContractError("the same prompt and the same random words gave two messages: randomness from elsewhere")
    return "64 tokens, released twice from one seed"


def fresh_noise(subject: Subject) -> str:
    """Each release, and each token of a release, has noise of its own."""
    word = subject.prompt(1, "noise")[0]
    source = subject.source("noise")
    messages = [subject.mechanism.release([word] * 64, source) for _ in range(_REPEATS)]
    if len(set(messages)) == 1:
        raise ContractError(f"{_REPEATS} releases of one prompt of 64 tokens are all the same")
    rows = [subject.observed(message, 64) for message in messages]
    if all((found == found[:1]).all() for found in rows):
        raise ContractError("the 64 equal tokens of a prompt are all released alike: they share their noise")
    return f"{_REPEATS} releases of 64 equal tokens"


def length(subject: Subject) -> str:
    """A message's length depends on the number of tokens only."""
    lengths = {}
    for tokens in LENGTHS:
        prompts = [[0] * tokens, [subject.words - 1] * tokens]
        prompts += [subject.prompt(tokens, "length", str(one)) for one in range(_REPEATS)]
        found = {len(subject.released(prompt, "length", str(at))) for at, prompt in enumerate(prompts)}
        if len(found) > 1:
            raise ContractError(f"messages of {tokens} tokens have {min(found)} to {max(found)} bytes")
        lengths[tokens] = found.pop()
    bits: object = getattr(subject.mechanism, "token_bits", None)
    if bits is None:
        return f"{lengths[64]} bytes for 64 tokens"
    if isinstance(bits, bool) or not isinstance(bits, int) or bits < 1:
        raise ContractError(f"token_bits is {bits!r}, expected a whole number >= 1")
    if len({size + -bits * tokens // 8 for tokens, size in lengths.items()}) > 1:
        raise ContractError(f"token_bits={bits}, but {lengths[1]} bytes for 1 token and {lengths[64]} for 64")
    return f"{lengths[64]} bytes for 64 tokens, {bits} bits per token"


def observed(subject: Subject) -> str:
    """What was released is one row per token, and a function of the message."""
    for tokens in LENGTHS:
        message = subject.message(tokens, "observed")
        found = subject.observed(message, tokens)
        if not np.array_equal(found, subject.observed(message, tokens)):
            raise ContractError("the same message was observed twice, with different results")
    return f"shape {found.shape}, {found.dtype}"


def embeddings(subject: Subject) -> str:
    """What the model reads is finite float32, one row per token of the table's width, and a function of the message."""
    messages = {tokens: subject.message(tokens, "embeddings") for tokens in LENGTHS}
    found = {tokens: subject.embeddings(message, tokens) for tokens, message in messages.items()}
    for tokens, message in messages.items():
        if not _close(subject.embeddings(message, tokens), found[tokens]):
            raise ContractError("the same message was read twice, with different embeddings")
    if isinstance(subject.mechanism, BatchReceiver):
        together = subject.mechanism.embeddings_of(list(messages.values()))
        if len(together) != len(messages):
            raise ContractError(f"embeddings_of returned {len(together)} for {len(messages)} messages")
        for (tokens, alone), read in zip(found.items(), together, strict=True):
            if not _close(subject.checked_embeddings(read, tokens), alone):
                raise ContractError("embeddings_of reads a message otherwise than embeddings does")
    return f"shape {found[64].shape}"


def _close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return bool(np.allclose(one, other, rtol=_CLOSE, atol=_CLOSE * float(np.abs(other).max())))


def damaged_messages(subject: Subject) -> str:
    """What is truncated or padded is refused; a changed byte is refused, or read as another message of that length."""
    message = subject.message(8, "damaged")
    wrong = {
        "empty": b"",
        "of one byte": message[:1],
        "cut in half": message[: len(message) // 2],
        "without its last byte": message[:-1],
        "with a byte appended": message + b"\0",
        "sent twice in one": message + message,
    }
    for what, altered in wrong.items():
        _check_refused(subject, altered, f"a message {what}")
    generator = subject.generator("damaged")
    for place in generator.permutation(len(message))[:64]:
        flipped = message[place] ^ int(generator.integers(1, 256))
        altered = message[:place] + bytes([flipped]) + message[place + 1 :]
        for read in (subject.observed, subject.embeddings):
            try:
                read(altered, 8)
            except UserError:
                continue
            except ContractError:
                raise
            except Exception as error:
                raise ContractError(
                    f"with byte {place} changed, {read.__name__} raised {type(error).__name__}"
                ) from error
    return f"{len(wrong)} wrong lengths, {min(64, len(message))} changed bytes"


def foreign_messages(subject: Subject) -> str:
    """Messages that another mechanism made are refused, also those of the right length."""
    message = subject.message(8, "foreign")
    spec = QuantizerSpec(bits=1, dim=1, clip=0.0625, scale=0.5)
    foreign = {
        "a message of DEL": pack(np.zeros((8, 1), dtype=np.uint8), spec),
        "a message with every bit inverted": bytes(byte ^ 0xFF for byte in message),
        "random bytes of a message's length": subject.generator("foreign").bytes(len(message)),
    }
    for what, altered in foreign.items():
        _check_refused(subject, altered, what)
    return f"{len(foreign)} messages"


def _check_refused(subject: Subject, message: bytes, what: str) -> None:
    reads: tuple[Callable[[bytes], object], ...] = (subject.mechanism.observed, subject.mechanism.embeddings)
    for read in reads:
        _check_user_error(partial(read, message), f"{read.__name__} of {what}")


def _check_user_error(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except UserError:
        return
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(f"{what} raised {type(error).__name__}, expected UserError") from error
    raise ContractError(f"{what} was not refused, expected UserError")


def bad_prompts(subject: Subject) -> str:
    """Prompts that cannot be released are refused before anything is drawn."""
    prompts: tuple[Sequence[float], ...] = ([], [subject.words], [0, subject.words], [-1], [0, -1], [0.5])
    for prompt in prompts:
        release = partial(subject.mechanism.release, prompt, NoWords())  # type: ignore[arg-type]  # what it must refuse
        _check_user_error(release, f"release of {list(prompt)!r}")
    return f"{len(prompts)} prompts"


def copies(subject: Subject) -> str:
    """A deep copy releases and reads the same."""
    other = dataclasses.replace(subject, mechanism=copy.deepcopy(subject.mechanism))
    message = subject.message(8, "copies")
    if other.message(8, "copies") != message:
        raise ContractError("a deep copy releases another message from the same random words")
    if not np.array_equal(other.observed(message, 8), subject.observed(message, 8)):
        raise ContractError("a deep copy observes something else in the same message")
    if not _close(other.embeddings(message, 8), subject.embeddings(message, 8)):
        raise ContractError("a deep copy reads other embeddings in the same message")
    return "8 tokens"
