"""What a message tells by its length, what is read out of it, and which messages are refused."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from del_audit.testing.report import ContractError
from del_audit.testing.subject import Subject
from mechanisms.errors import UserError
from mechanisms.mechanism import BatchReceiver
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

LENGTHS = (1, 2, 7, 64)
"""Tokens of the prompts whose messages are counted."""
_PROMPTS = 16
_CLOSE = 1e-4


def length(subject: Subject) -> str:
    """A message's length depends on the number of tokens only."""
    lengths = {}
    for tokens in LENGTHS:
        prompts = [[0] * tokens, [subject.words - 1] * tokens]
        prompts += [subject.prompt(tokens, "length", str(one)) for one in range(_PROMPTS)]
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
        if not close(subject.embeddings(message, tokens), found[tokens]):
            raise ContractError("the same message was read twice, with different embeddings")
    if isinstance(subject.mechanism, BatchReceiver):
        together = subject.mechanism.embeddings_of(list(messages.values()))
        if len(together) != len(messages):
            raise ContractError(f"embeddings_of returned {len(together)} for {len(messages)} messages")
        for (tokens, alone), read in zip(found.items(), together, strict=True):
            if not close(subject.checked_embeddings(read, tokens), alone):
                raise ContractError("embeddings_of reads a message otherwise than embeddings does")
    return f"shape {found[64].shape}"


def close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Returns whether embeddings agree up to the order in which sums are taken."""
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
        check_user_error(partial(read, message), f"{read.__name__} of {what}")


def check_user_error(call: Callable[[], object], what: str) -> None:
    """Raises ContractError unless the call raises UserError."""
    try:
        call()
    except UserError:
        return
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(f"{what} raised {type(error).__name__}, expected UserError") from error
    raise ContractError(f"{what} was not refused, expected UserError")
