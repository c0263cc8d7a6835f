"""Releases in processes that were forked from this one: a copied generator gives both the same noise."""

import multiprocessing
import signal
import sys
from multiprocessing.connection import Connection

import numpy as np

from del_audit.evidence.verification.binomial import ClaimedLaw, Counts, ProductLaw
from del_audit.evidence.verification.design import Call, corners
from del_audit.evidence.verification.driving import Answer, Caller, ClaimT, Driver, Given
from del_audit.evidence.verification.finding import Measurement, smallest
from del_audit.evidence.verification.pairing import correlation
from del_audit.evidence.verification.sample import Sample
from mechanisms.randomness import Generator

LEAST_COUNTS = 1024
"""Counts that each process releases: a shared draw shows in a few hundred."""
SECONDS = 60.0
PAIRS = {
    (0, 1): "the first child and the second child",
    (0, 2): "the first child and the parent",
    (1, 2): "the second child and the parent",
}
MEANING = (
    "A worker repeats the noise of another: whoever sees both messages can subtract it. Random state was copied by a "
    "fork; draw it anew in each process, or for each call."
)


def process_tests(
    driver: Driver, law: ClaimedLaw, product: ProductLaw, rng: Generator
) -> tuple[list[Measurement], str]:
    """Returns the test of two forked children and their parent, or none and why it could not be driven."""
    levels = corners(rng, -(-LEAST_COUNTS // driver.spec.dim), driver.spec.dim)
    call = Call("resend", levels)
    values = call.values(driver.spec.clip)
    answers = in_processes(driver, values)
    if isinstance(answers, str):
        return [], answers
    samples = [Sample.of([Answer(call, answer, 0.0)], law) for answer in answers]
    parts = [correlation(samples[j], samples[k], product, what) for (j, k), what in PAIRS.items()]
    return [Measurement("independence", "processes", *smallest(parts), MEANING)], ""


def in_processes(caller: Caller[ClaimT], given: Given) -> list[Counts] | str:
    """Returns what two forked children and this process release, or why it could not be driven."""
    if sys.platform == "win32" or "fork" not in multiprocessing.get_all_start_methods():
        return "processes: this system cannot fork"
    children = [_in_child(caller, given) for _ in range(2)]
    answers = [answer for answer in [*children, caller.ask(given)] if answer is not None]
    return answers if len(answers) == 3 else "processes: the release did not answer in a forked child"


def _in_child(caller: Caller[ClaimT], given: Given) -> Counts | None:
    """Returns what a forked child releases, or None where it gives nothing usable in time."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(there, caller, given), daemon=True)
    child.start()
    there.close()
    try:
        data = here.recv_bytes() if here.poll(SECONDS) else b""
    except EOFError:
        data = b""
    finally:
        here.close()
        child.join(1.0)
        if child.is_alive():
            child.kill()
            child.join()
    counts = np.frombuffer(data, dtype=np.int64)
    return counts.reshape(len(given), -1) if counts.size else None


def _answer(there: Connection, caller: Caller[ClaimT], given: Given) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told of it too, and ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        counts = caller.read(caller.release(given.copy()), given)
    except Exception:
        counts = "refused"
    there.send_bytes(b"" if isinstance(counts, str) else counts.tobytes())
    there.close()
