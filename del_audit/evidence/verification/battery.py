"""The whole battery: what is released, what is tested, what it comes to."""

from collections.abc import Sequence

from del_audit.evidence.verification.batch import batch_tests
from del_audit.evidence.verification.binomial import ClaimedLaw, ProductLaw
from del_audit.evidence.verification.clipping import clipping_tests, released_bad_values
from del_audit.evidence.verification.design import PROBE_BATCH, clipping_design, main_design
from del_audit.evidence.verification.driving import Answer, Charged, Driver, Release
from del_audit.evidence.verification.finding import Measurement, battery_p, check, findings
from del_audit.evidence.verification.guarantee import epsilon_evidence, guarantee_tests
from del_audit.evidence.verification.independence import independence_tests
from del_audit.evidence.verification.known_answers import Replay, known_answers
from del_audit.evidence.verification.law import law_tests
from del_audit.evidence.verification.message import Message, message_tests, send
from del_audit.evidence.verification.power import detects
from del_audit.evidence.verification.processes import process_tests
from del_audit.evidence.verification.resending import resending_tests
from del_audit.evidence.verification.sample import Sample
from del_audit.evidence.verification.timing import MEANING as TIMING
from del_audit.evidence.verification.timing import time_part
from del_audit.evidence.verification.verification import TRIALS, Verification, check_arguments, not_given, reject_at
from mechanisms.errors import UserError
from mechanisms.randomness import Generator, SystemRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec

_CONTRACT = (
    "The client does not answer as a release must: whole counts in 0..u, one for each value, in an array of its own. "
    "What is wrong here can hide anything else."
)


def verify_mechanism(
    release: Release,
    spec: QuantizerSpec,
    *,
    trials: int = TRIALS,
    alpha: float = 1e-3,
    rng: Generator | None = None,
    message: Message | None = None,
    charged: Charged | None = None,
    replay: Replay | None = None,
    processes: bool = True,
) -> Verification:
    """Returns whether a client does what its spec claims, tested from outside.

    release: from values, float64, shape (n, dim), to counts, a whole-number array of that shape; it must refuse bad
    values by an exception. trials: rows of the main design, LEAST_TRIALS at least. alpha: chance of any false alarm
    over the whole battery (Holm). rng: of the inputs; from the operating system where there is none.
    message: the wire message of the same client. charged: tokens charged so far. replay: the same client on given
    random words. processes: whether the client is also called in forked processes.
    What a client answers wrongly is a finding; an exception on good values as well.
    Raises UserError for arguments out of range.
    """
    if not isinstance(spec, QuantizerSpec):
        raise UserError(f"Expected spec to be a QuantizerSpec, got {type(spec).__name__}.")
    check_arguments(release, trials, alpha)
    rng = rng if rng is not None else simulation_generator(int(SystemRandomness().words(1)[0]), "verification")
    law, driver = ClaimedLaw.of(spec), Driver(release, spec, charged)
    product = ProductLaw.of(law)
    calls = main_design(spec, trials, rng)
    answers = driver.drive(calls[: len(calls) // 2])
    bad = released_bad_values(driver, rng)
    outside = driver.drive(clipping_design(spec, trials, rng))
    answers += driver.drive(calls[len(calls) // 2 :])
    forked, skipped = process_tests(driver, law, product, rng) if processes else ([], "processes: not asked for")
    sent = send(message, spec, trials, rng) if message is not None else None
    main = Sample.of(answers, law)
    given = {"message": message, "resending, charged": charged, "known answers": replay}
    charges = None if charged is None else driver.charges
    tested = [
        check("contract", "answers", driver.problems, f"{driver.answered} calls were answered as they must", _CONTRACT),
        *law_tests(main),
        *independence_tests(main, product),
        *forked,
        *guarantee_tests(main),
        *clipping_tests(outside, law, bad),
        *batch_tests(main),
        *resending_tests(main, product, charges, driver.calls),
        _time(answers, rng),
        *(message_tests(sent, law, product, rng) if sent is not None else []),
        *(known_answers(replay, spec, rng) if replay is not None else []),
    ]
    return Verification(
        spec,
        alpha,
        trials,
        driver.calls + (sent.calls if sent is not None else 0),
        driver.rows + (sent.rows if sent is not None else 0),
        findings(tested, alpha),
        battery_p(tested),
        epsilon_evidence(main) if len(main) else None,
        detects(main, reject_at(tested, "scale", alpha)),
        tuple(filter(None, [skipped, *not_given(given)])),
    )


def _time(answers: Sequence[Answer], rng: Generator) -> Measurement:
    """Returns the test of how long calls of a row among equal others took; their order was random."""
    whole = [answer for answer in answers if len(answer.counts) == PROBE_BATCH]
    high, low = ([a.seconds for a in whole if a.call.label == f"all {end}clip"] for end in "+-")
    what = "calls of rows among all +clip and among all -clip"
    return Measurement("message", "time of release", *time_part(high, low, rng, what), TIMING)
