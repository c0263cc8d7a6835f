"""The whole battery of a word mechanism: what is released, what is tested, what it comes to."""

from collections.abc import Sequence

import numpy as np

from del_audit.evidence.verification.driving import Charged, Release
from del_audit.evidence.verification.finding import Measurement, Part, battery_p, check, findings, smallest
from del_audit.evidence.verification.timing import MEANING as TIMING
from del_audit.evidence.verification.timing import time_part
from del_audit.evidence.verification.verification import TRIALS, Verification, check_arguments, not_given, reject_at
from del_audit.evidence.verification.words.design import SAME_ROWS, SHARES, main_design
from del_audit.evidence.verification.words.driving import Answer, WordDriver
from del_audit.evidence.verification.words.game import epsilon_evidence, guarantee_test
from del_audit.evidence.verification.words.independence import (
    batch_test,
    counted,
    independence_tests,
    process_tests,
    resending_tests,
)
from del_audit.evidence.verification.words.law import WordLaw
from del_audit.evidence.verification.words.message import message_tests, send
from del_audit.evidence.verification.words.power import detects
from del_audit.evidence.verification.words.sample import WordSample
from del_audit.evidence.verification.words.sweep import sweep
from del_audit.evidence.verification.words.uniform import uniform_part
from mechanisms.randomness import Generator, SystemRandomness, simulation_generator

_CONTRACT = (
    "The client does not answer as a release must: one output a token, numbers in range, sets that rise, in an "
    "array of its own. What is wrong here can hide anything else."
)
_REFUSED = (
    "What is no word, or no prompt, was released as if it were one. What comes out then follows no claimed law, and "
    "tells that something went wrong. Refuse it before any noise is drawn."
)
_CHANCE = (
    "Outputs lie in the support of their word more or less often than claimed: epsilon is another, or not every word "
    "is released alike. Look at the threshold, and at what is done by place or over time."
)
_UNIFORM = (
    "Outputs are not all alike where the claim says so, so some tell more of their word than epsilon allows. Look for "
    "remainders of random words (modulo), off-by-one steps over the true word, and sets that are not drawn at random."
)


def verify_words(
    release: Release,
    law: WordLaw,
    *,
    trials: int = TRIALS,
    alpha: float = 1e-3,
    rng: Generator | None = None,
    message: Release | None = None,
    charged: Charged | None = None,
    processes: bool = True,
) -> Verification:
    """Returns whether a client of a word mechanism does what its spec claims, tested from outside.

    release: from tokens, int64, shape (n,), to what is released of each, a whole-number array: words or points, shape
    (n,), or rising sets, shape (n, size); it must refuse empty prompts and other words by an exception. trials: rows of
    the main design, LEAST_TRIALS at least; the words one by one take as many again as SWEEP_SHARE says. The rest, and
    errors, as of verify_mechanism.
    """
    check_arguments(release, trials, alpha)
    rng = rng if rng is not None else simulation_generator(int(SystemRandomness().words(1)[0]), "verification")
    driver = WordDriver(release, law, charged)
    calls = main_design(law.symbols, trials, rng)
    answers = driver.drive(calls[: len(calls) // 2])
    bad = driver.released_bad_tokens(rng)
    swept = sweep(driver, trials, rng)
    answers += driver.drive(calls[len(calls) // 2 :])
    forked, skipped = process_tests(driver, rng) if processes else ([], "processes: not asked for")
    sent = send(message, law, trials, rng) if message is not None else None
    main = WordSample.of(answers, law)
    right = "an empty prompt and words outside the vocabulary were refused, alone and beside good ones"
    tested = [
        check("contract", "answers", driver.problems, f"{driver.answered} calls were answered as they must", _CONTRACT),
        check("contract", "refused", bad, right, _REFUSED),
        Measurement("law", "chance", *_chance(main, "all outputs"), _CHANCE, weight=4.0),
        Measurement("law", "chance by part", *_by_part(main), _CHANCE),
        Measurement("law", "within the support", *uniform_part(main, True), _UNIFORM),
        Measurement("law", "outside the support", *uniform_part(main, False), _UNIFORM),
        swept.tested(),
        *independence_tests(main),
        *forked,
        guarantee_test(main),
        batch_test(main),
        *resending_tests(main, None if charged is None else driver.charges, driver.calls),
        Measurement("message", "time of release", *_time(answers, rng), TIMING),
        *(message_tests(sent, law) if sent is not None else []),
    ]
    return Verification(
        law.spec,
        alpha,
        trials,
        driver.calls + (sent.calls if sent is not None else 0),
        driver.rows + (sent.rows if sent is not None else 0),
        findings(tested, alpha),
        battery_p(tested),
        epsilon_evidence(main) if len(main) else None,
        detects(main, swept, reject_at(tested, "chance", alpha)),
        tuple(filter(None, [skipped, *not_given({"message": message, "resending, charged": charged})])),
    )


def _chance(rows: WordSample, what: str) -> Part:
    return counted(int(rows.inside.sum()), len(rows), rows.law.chance, f"{what} in their word's support")


def _by_part(main: WordSample) -> Part:
    """Returns the test of the chance by kind of prompt, first and last in it, and by quarter of the run."""
    parts = {f"outputs of prompts of kind '{kind}'": main.of_kind(kind) for kind in SHARES}
    parts |= {"first outputs": main.where(main.place == 0), "last outputs": main.where(main.place == main.size - 1)}
    quarters = np.arange(len(main)) * 4 // max(1, len(main))
    parts |= {f"outputs of quarter {quarter + 1} of the run": main.where(quarters == quarter) for quarter in range(4)}
    return smallest(_chance(rows, what) for what, rows in parts.items())


def _time(answers: Sequence[Answer], rng: Generator) -> Part:
    """Returns the test of how long prompts of one word took, and of another; their order was random."""
    same = [answer for answer in answers if answer.call.kind == "same word" and len(answer.outputs) == SAME_ROWS]
    seconds: dict[int, list[float]] = {}
    for answer in same:
        seconds.setdefault(int(answer.call.tokens[0]), []).append(answer.seconds)
    one, other = [*seconds.values(), [], []][:2]
    return time_part(one, other, rng, "prompts of one word and of another")
