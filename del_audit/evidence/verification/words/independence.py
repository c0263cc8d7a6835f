"""Whether the noise of tokens, calls and processes has anything in common, and whether outputs follow other words."""

from collections.abc import Sequence

import numpy as np

from del_audit.evidence.verification.binomial import at_least, binomial_p
from del_audit.evidence.verification.finding import Group, Measurement, Part, check, smallest
from del_audit.evidence.verification.processes import MEANING as PROCESSES
from del_audit.evidence.verification.processes import PAIRS, in_processes
from del_audit.evidence.verification.resending import CHARGED, FRESH
from del_audit.evidence.verification.words.design import Call
from del_audit.evidence.verification.words.driving import Answer, WordDriver
from del_audit.evidence.verification.words.sample import WordSample, joined
from del_audit.evidence.verification.words.uniform import BUCKETS, overlap_p, same_bucket_chance
from mechanisms.randomness import Generator

MOST_CALLS = 1024
FORKED_ROWS = 64
_SHARED = "The accountant adds up independent noise; an attacker who knows that it is shared can undo it. "
_NEIGHBOURS = (
    "A token's output depends on other tokens of its prompt, or was moved to another place. The accountant takes "
    "tokens one by one, so its figures do not hold. Look for sorting, batches and caches."
)


def independence_tests(main: WordSample) -> list[Measurement]:
    """Returns the tests of tokens of a prompt, prompts that follow one another, and any two."""
    calls = main.calls
    return [
        _of("tokens", _tokens(main), _SHARED + "Look at batches, workers and caches by word."),
        _of("calls", _next(calls, "prompts that follow one another"), _SHARED + "Look at where seeds are set."),
        _of("any two calls", _any_two(calls), _SHARED + "A stream came again: a seed, a counter or a pool."),
    ]


def batch_test(main: WordSample) -> Measurement:
    """Returns the test of outputs and the words beside their own."""
    return _of("neighbours", neighbours(main), _NEIGHBOURS, "batch")


def resending_tests(main: WordSample, charges: list[str] | None, calls: int) -> list[Measurement]:
    """Returns the tests of the prompt that is sent again and again.

    charges: calls that were not charged as many tokens as they released; None where charges are not known.
    """
    tested = [_of("fresh noise", fresh(main.of_kind("again")), FRESH, "resending")]
    if charges is not None:
        right = f"each of {calls} calls was charged its number of tokens, resent ones as well"
        tested.append(check("resending", "charged", charges, right, CHARGED))
    return tested


def process_tests(driver: WordDriver, rng: Generator) -> tuple[list[Measurement], str]:
    """Returns the test of two forked children and their parent, or none and why it could not be driven."""
    call = Call("random", rng.integers(0, driver.spec.words, FORKED_ROWS))
    answers = in_processes(driver, call.tokens)
    if isinstance(answers, str):
        return [], answers
    samples = [WordSample.of([Answer(call, answer, 0.0)], driver.spec) for answer in answers]
    part = smallest(_shared(samples[j], samples[k], what) for (j, k), what in PAIRS.items())
    return [_of("processes", part, PROCESSES)], ""


def fresh(again: WordSample) -> Part:
    """Returns whether prompts that were sent twice, one on another, share noise; each is in one pair."""
    return _next(again.calls, "the same prompt again")


def neighbours(sample: WordSample) -> Part:
    """Returns whether outputs lie in the supports of the words beside theirs more or less often than of any other."""
    parts = []
    for column, what in enumerate(("word before theirs", "word after theirs")):
        known = sample.beside[sample.beside[:, column] >= 0, column]
        parts.append(counted(int(known.sum()), len(known), sample.law.off, f"outputs in the support of the {what}"))
    return smallest(parts)


def counted(times: int, number: int, chance: float, what: str) -> Part:
    """Returns the exact two-sided test of how often something came, of a number of times that it might have."""
    text = f"{what}: {times} of {number}, where {number * chance:.1f} are expected"
    return Part(float(binomial_p(times, number, chance)), text)


def _of(name: str, part: Part, meaning: str, group: Group = "independence") -> Measurement:
    return Measurement(group, name, *part, meaning)


def _shared(one: WordSample, other: WordSample, what: str) -> Part:
    """Returns the tests of paired rows, no row in two pairs: their noise, as it is and as distances, and its sets."""
    law, rows = one.law, len(one)
    alike, p = one.inside == other.inside, law.chance
    parts = [counted(int(alike.sum()), rows, p * p + (1 - p) ** 2, f"{what}: both or neither in their support")]
    for name, drawn in (("noise", "drawn"), ("distances", "from_word")):
        first, second = getattr(one, drawn), getattr(other, drawn)
        same = int((alike & (first == second).all(axis=1)).sum())
        parts.append(counted(same, rows, law.repeated, f"{what}: equal {name}"))
    outside = alike & ~one.inside
    limit, size, text = law.limits[0], law.sizes[0], f"{what}, outside their supports"
    first, second = one.drawn[outside], other.drawn[outside]
    if size == 1:
        near = (first.astype(np.int64) * BUCKETS // limit == second.astype(np.int64) * BUCKETS // limit).sum()
        parts.append(counted(int(near), len(first), same_bucket_chance(limit), f"{text}: numbers in one range"))
    else:
        both = np.sort(np.concatenate([first, second], axis=1), axis=1)
        common = (both[:, 1:] == both[:, :-1]).sum(axis=1)
        parts.append(
            Part(
                overlap_p(common, limit, size),
                f"{text}: {common.sum()} numbers in common, where {len(first) * size * size / limit:.1f} are expected",
            )
        )
    return smallest(parts)


def _tokens(main: WordSample) -> Part:
    """Returns whether tokens at certain distances in a prompt share noise."""
    longest = int(main.size.max(initial=0))
    parts = []
    for lag in sorted({lag for lag in (1, 2, 3, longest // 2) if 0 < lag < longest}):
        first = np.flatnonzero(((main.place // lag) % 2 == 0) & (main.place + lag < main.size))
        parts.append(_shared(main.where(first), main.where(first + lag), f"tokens {lag} apart"))
    return smallest(parts)


def _next(calls: Sequence[WordSample], what: str) -> Part:
    """Returns whether prompts that follow one another share noise, token for token; each is in one pair."""
    pairs = list(zip(calls[::2], calls[1::2], strict=False))
    if not pairs:
        return Part(1.0, f"Nothing to test: there are no two calls ({what}).")
    lengths = [min(len(one), len(other)) for one, other in pairs]
    one, other = (
        joined([call.where(slice(length)) for call, length in zip(side, lengths, strict=True)])
        for side in zip(*pairs, strict=True)
    )
    return smallest([_shared(one, other, what)])


def _any_two(calls: Sequence[WordSample]) -> Part:
    """Returns the test of the two prompts of full length that have most noise in common, of all pairs (Bonferroni)."""
    longest = max(map(len, calls), default=0)
    whole = [call for call in calls if len(call) == longest][:MOST_CALLS]
    if len(whole) < 2:
        return Part(1.0, "Nothing to test: there are fewer than two prompts of full length.")
    every = joined(whole)
    noise = np.unique(np.column_stack([every.inside, every.drawn]), axis=0, return_inverse=True)[1]
    noise = noise.reshape(len(whole), longest)
    most = max(int((noise[at + 1 :] == row).sum(axis=1).max()) for at, row in enumerate(noise[:-1]))
    pairs = len(whole) * (len(whole) - 1) // 2
    text = f"equal noise of at most {most} of {longest} tokens in any of {pairs} pairs of prompts"
    return Part(min(1.0, pairs * float(at_least(most, longest, every.law.repeated))), text)
