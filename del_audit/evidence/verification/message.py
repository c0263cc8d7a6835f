"""Tests of the message: nothing in it but the counts, in the rows' order, and nothing about the input in its form."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from del_audit.evidence.verification.batch import neighbours
from del_audit.evidence.verification.binomial import TOP_LEVEL, ClaimedLaw, Counts, Floats, ProductLaw
from del_audit.evidence.verification.design import Call, corners
from del_audit.evidence.verification.driving import HOPELESS, MOST_NOTED, Answer
from del_audit.evidence.verification.finding import Measurement, Part, check, smallest
from del_audit.evidence.verification.fitting import fit
from del_audit.evidence.verification.pairing import calls_of, correlation, equal_counts, joined
from del_audit.evidence.verification.sample import Sample
from del_audit.evidence.verification.timing import MEANING as TIMING
from del_audit.evidence.verification.timing import time_part
from mechanisms.levels import LEVELS, ZERO_LEVEL
from mechanisms.randomness import Generator
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import HEADER_BYTES, message_bytes, pack, unpack

Message = Callable[[Floats], object]

SIZES = (1, 2, 3, 5, 8, 13)
SHARE = 0.04
"""Rows of messages, as a share of those of the main design; each size and kind of content comes once at least."""
TIMED, TIMED_ROWS = 40, 4
FORM = ("length", "header", "spare bits")
MEANINGS = {
    "answer": "The client gives no message that a server could read.",
    "length": "The message's length depends on more than the number of tokens, or it carries more than the counts.",
    "header": "The header is not that of the spec and the number of tokens: whatever else it says leaks.",
    "spare bits": "Bits that should be zero are not: they carry memory, or something about the text.",
    "counts": "The counts in the message do not have the claimed law in the rows' order: what is sent is not what is "
    "accounted.",
    "order": "Counts follow the values of other rows: rows were moved, sorted or mixed, so their order tells of them.",
    "fresh noise": "Two messages of the same text share noise: they tell that their texts are equal.",
}


@dataclass(eq=False)
class Messages:
    """What a client sent for a design. wrong: of each part of the form, the first few faults in words."""

    answers: list[Answer] = field(default_factory=list)
    wrong: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in ("answer", *FORM)})
    calls: int = 0
    rows: int = 0


def send(message: Message, spec: QuantizerSpec, trials: int, rng: Generator) -> Messages:
    """Returns what came of messages of all sizes and kinds of content, and of the calls that are timed."""
    found = Messages()
    for call in _design(spec, trials, rng):
        if found.calls >= HOPELESS and not found.answers:
            break
        values = call.values(spec.clip)
        found.calls, found.rows = found.calls + 1, found.rows + len(values)
        start = time.perf_counter()
        try:
            sent = message(values)
        except MemoryError:
            raise
        except Exception as error:
            note(found.wrong["answer"], f"{type(error).__name__} for {len(values)} rows: {str(error)[:100]}")
            continue
        seconds = time.perf_counter() - start
        counts = _opened(sent, len(values), spec, found.wrong)
        if counts is not None:
            found.answers.append(Answer(call, counts, seconds))
    return found


def message_tests(found: Messages, law: ClaimedLaw, product: ProductLaw, rng: Generator) -> list[Measurement]:
    """Returns the tests of form, contents, order, freshness and time."""
    sample = Sample.of(found.answers, law)
    high, low = ([a.seconds for a in found.answers if a.call.label == f"all {end}clip"] for end in "+-")
    right = f"as it must be in {found.calls} messages of {min(SIZES)} to {max(SIZES)} tokens"
    return [
        *(check("message", name, found.wrong[name], right, MEANINGS[name]) for name in ("answer", *FORM)),
        Measurement("message", "counts", *_counts(sample), MEANINGS["counts"]),
        Measurement("message", "order", *neighbours(sample), MEANINGS["order"]),
        Measurement("message", "fresh noise", *_fresh(sample, product), MEANINGS["fresh noise"]),
        Measurement("message", "time", *time_part(high, low, rng, "messages of all +clip and of all -clip"), TIMING),
    ]


def _design(spec: QuantizerSpec, trials: int, rng: Generator) -> list[Call]:
    standing = corners(rng, max(SIZES), spec.dim)
    rounds = max(1, round(SHARE * trials / (5 * sum(SIZES))))
    groups = [calls for _ in range(rounds) for size in SIZES for calls in _contents(size, standing, rng, spec.dim)]
    for label, level in (("all +clip", TOP_LEVEL), ("all -clip", 0)):
        levels = np.full((TIMED_ROWS, spec.dim), level, dtype=np.uint8)
        groups += [[Call("pair", levels, label=label)] for _ in range(TIMED)]
    return [call for at in rng.permutation(len(groups)) for call in groups[at]]


def _contents(size: int, standing: np.ndarray, rng: Generator, dim: int) -> Iterator[list[Call]]:
    """Yields calls of that many rows: random corners, the same rows twice, values between the ends, and zeros."""
    yield [Call("corners", corners(rng, size, dim))]
    yield [Call("resend", standing[:size], rows=np.arange(size)) for _ in range(2)]
    yield [Call("levels", rng.integers(0, LEVELS, (size, dim)).astype(np.uint8))]
    yield [Call("zero", np.full((size, dim), ZERO_LEVEL, dtype=np.uint8))]


def _opened(sent: object, rows: int, spec: QuantizerSpec, wrong: dict[str, list[str]]) -> Counts | None:
    """Returns the counts of a message, as far as it carries them, and notes what is wrong with its form."""
    if not isinstance(sent, bytes):
        note(wrong["answer"], f"{type(sent).__name__} instead of bytes")
        return None
    expected = message_bytes(spec, rows)
    if len(sent) != expected:
        note(wrong["length"], f"{len(sent)} bytes where {rows} tokens take {expected}")
    header = pack(np.zeros((rows, spec.dim), dtype=np.uint8), spec)[:HEADER_BYTES]
    if sent[:HEADER_BYTES] != header:
        note(wrong["header"], f"header {sent[:HEADER_BYTES].hex()} where {rows} tokens have {header.hex()}")
    payload = bytearray(sent[HEADER_BYTES:expected])
    if len(payload) < expected - HEADER_BYTES:
        return None
    spare = (1 << (8 * len(payload) - spec.token_bits * rows)) - 1
    if payload[-1] & spare:
        note(wrong["spare bits"], f"spare bits {payload[-1] & spare:b} after {rows} tokens")
        payload[-1] &= ~spare & 0xFF
    return unpack(header + bytes(payload), spec).astype(np.int64)


def _counts(sample: Sample) -> Part:
    kinds = {"corners": ("corners", "resend", "pair"), "values between the ends": ("levels",), "zeros": ("zero",)}
    return smallest(fit(sample.of_kind(*names), f"messages of {what}") for what, names in kinds.items())


def _fresh(sample: Sample, product: ProductLaw) -> Part:
    """Returns whether messages of the same rows, one after the other, share noise."""
    calls = calls_of(sample.of_kind("resend"))
    pairs = [(a, b) for a, b in zip(calls[::2], calls[1::2], strict=False) if len(a) == len(b)]
    if not pairs:
        return Part(1.0, "Nothing to test: no message was sent twice.")
    one, other = (joined(side) for side in zip(*pairs, strict=True))
    what = "two messages of the same values"
    return smallest([correlation(one, other, product, what), equal_counts(one, other, what)])


def note(where: list[str], text: str) -> None:
    """Keeps the first few faults, each once."""
    if len(where) < MOST_NOTED and text not in where:
        where.append(text)
