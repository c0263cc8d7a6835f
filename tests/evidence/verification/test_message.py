"""Every part of a message's form is looked at, and its contents are held to the law."""

import numpy as np
import pytest
from samples import super_uniform

from del_audit.evidence.verification.binomial import ClaimedLaw, ProductLaw
from del_audit.evidence.verification.message import SIZES, message_tests, send
from del_audit.evidence.verification.timing import time_part
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import HEADER_BYTES, pack

SPEC = QuantizerSpec.from_mu(3, 5, 0.05, 6.0)
LAW, SOURCE = ClaimedLaw.of(SPEC), SimulatedRandomness(0, "messages")
PRODUCT = ProductLaw.of(LAW)


def honest(values):
    return pack(StochasticQuantizer(SPEC).quantize(values, SOURCE), SPEC)


def judged(message, seed=0):
    rng = simulation_generator(seed, "message test")
    found = send(message, SPEC, 400, rng)
    return {tested.name: tested for tested in message_tests(found, LAW, PRODUCT, rng)}, found


def test_an_honest_message_has_nothing_against_it():
    tested, found = judged(honest)
    assert min(t.p_value for t in tested.values()) > 1e-4
    assert {len(a.counts) for a in found.answers} >= set(SIZES)
    assert found.rows == sum(len(a.counts) for a in found.answers)


def spare(values):
    sent = bytearray(honest(values))
    sent[-1] |= 1 if len(values) == 1 else 0  # 15 bits of 16
    return bytes(sent)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (lambda values: None, "answer"),
        (lambda values: 1 / 0, "answer"),
        (lambda values: honest(values) + b"x", "length"),
        (lambda values: honest(values)[:-1], "length"),
        (lambda values: b"", "length"),
        (lambda values: b"DEL2" + honest(values)[4:], "header"),
        (lambda values: honest(np.concatenate([values, values]))[: len(honest(values))], "header"),
        (spare, "spare bits"),
    ],
)
def test_faults_of_form_are_named(message, name):
    tested, _ = judged(message)
    assert tested[name].p_value == 0.0
    assert name == "answer" or tested["answer"].p_value == 1.0


def test_spare_bits_do_not_hide_the_counts():
    tested, found = judged(spare)
    assert len(found.answers) == found.calls
    assert tested["counts"].p_value > 1e-4


def test_contents_are_held_to_the_law_and_to_their_order():
    def backwards(values):
        return honest(values[::-1])

    def seeded(values):
        return pack(StochasticQuantizer(SPEC).quantize(values, SimulatedRandomness(1)), SPEC)

    assert judged(backwards)[0]["counts"].p_value < 1e-6
    assert judged(seeded)[0]["fresh noise"].p_value < 1e-6
    assert len(honest(np.zeros((1, 5)))) > HEADER_BYTES


def test_times_are_ranked_exactly():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    one, other = rng.random(30), rng.random(25) + 0.2
    wanted = mannwhitneyu(one, other, method="exact").pvalue
    assert time_part(one, other, simulation_generator(0, "t"), "").p == pytest.approx(float(wanted), rel=1e-12)
    assert time_part(one[:3], other, simulation_generator(0, "t"), "").p == 1.0


def test_ties_and_a_drifting_clock_raise_no_alarm():
    rng = np.random.default_rng(1)
    p_values = []
    for seed in range(400):
        seconds = np.round(np.linspace(1, 2, 40) + 0.05 * rng.random(40), 1)
        first = np.isin(np.arange(40), rng.permutation(40)[:20])
        p_values.append(time_part(seconds[first], seconds[~first], simulation_generator(seed, "t"), "").p)
    super_uniform(p_values)
    assert np.mean(np.array(p_values) < 0.5) > 0.35
