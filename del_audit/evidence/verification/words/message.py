"""Tests of a word mechanism's message: one form, the outputs in the words' order, fresh noise, and nothing else."""

from dataclasses import dataclass, field

from del_audit.evidence.verification.binomial import Counts
from del_audit.evidence.verification.driving import HOPELESS, Release
from del_audit.evidence.verification.finding import Measurement, check, smallest
from del_audit.evidence.verification.message import MEANINGS, SHARE, SIZES, note
from del_audit.evidence.verification.words.design import Call
from del_audit.evidence.verification.words.driving import Answer
from del_audit.evidence.verification.words.independence import counted, fresh, neighbours
from del_audit.evidence.verification.words.law import WordLaw
from del_audit.evidence.verification.words.sample import WordSample
from del_audit.evidence.verification.words.uniform import uniform_part
from mechanisms.randomness import Generator

_FORM = (
    "The message is not one that a server of the claim reads: its length, its header, its spare bits or its numbers "
    "are others. Whatever else it carries leaks."
)
_OUTPUTS = "The outputs in the message do not have the claimed law: what is sent is not what is accounted."


@dataclass(eq=False)
class Messages:
    """What a client sent for a design. wrong: the first few faults of its form, in words."""

    answers: list[Answer] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    calls: int = 0
    rows: int = 0


def send(message: Release, law: WordLaw, trials: int, rng: Generator) -> Messages:
    """Returns what came of messages of all sizes: of random words, and of the same words twice."""
    found = Messages()
    rounds = max(1, round(SHARE * trials / (3 * sum(SIZES))))
    for size in [size for _ in range(rounds) for size in SIZES]:
        again = Call("again", rng.integers(0, law.words, size))
        for call in (Call("random", rng.integers(0, law.words, size)), again, again):
            if found.calls >= HOPELESS and not found.answers:
                return found
            found.calls, found.rows = found.calls + 1, found.rows + size
            outputs = _opened(message, call.tokens, law)
            if isinstance(outputs, str):
                note(found.wrong, f"{outputs} for {size} tokens")
            else:
                found.answers.append(Answer(call, outputs, 0.0))
    return found


def message_tests(found: Messages, law: WordLaw) -> list[Measurement]:
    """Returns the tests of form, contents, order and freshness."""
    sample = WordSample.of(found.answers, law)
    right = f"as it must be in {found.calls} messages of {min(SIZES)} to {max(SIZES)} tokens"
    inside = counted(int(sample.inside.sum()), len(sample), law.chance, "outputs in the support of the true word")
    contents = smallest([inside, uniform_part(sample, False), uniform_part(sample, True)])
    return [
        check("message", "form", found.wrong, right, _FORM),
        Measurement("message", "outputs", *contents, _OUTPUTS),
        Measurement("message", "order", *neighbours(sample), MEANINGS["order"]),
        Measurement("message", "fresh noise", *fresh(sample.of_kind("again")), MEANINGS["fresh noise"]),
    ]


def _opened(message: Release, tokens: Counts, law: WordLaw) -> Counts | str:
    """Returns the outputs of the message for tokens, or what is wrong with it in words."""
    try:
        sent = message(tokens.copy())
        if not isinstance(sent, bytes):
            return f"{type(sent).__name__} instead of bytes"
        outputs = law.opened(sent)
    except MemoryError:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:150]}"
    return outputs if len(outputs) == len(tokens) else f"{len(outputs)} outputs"
