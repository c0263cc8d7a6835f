"""The battery as a whole: what it refuses, what it survives, and how often it is wrong about a right client."""

import json

import numpy as np
import pytest
from scipy.stats import binom

from del_audit.evidence.verification import verify_mechanism
from mechanisms.errors import UserError
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness, SystemRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

SPECS = [
    QuantizerSpec.from_mu(4, 6, 0.05, 8.0),
    QuantizerSpec.from_mu(1, 1, 0.05, 1.0),
    QuantizerSpec.from_mu(2, 3, 1.0, 3.0),
    QuantizerSpec.from_mu(8, 2, 0.05, 12.0),
    QuantizerSpec.from_mu(3, 18, 0.05, 40.0),
]
GROUPS = {"contract", "law", "independence", "guarantee", "clipping", "batch", "message", "resending", "known answers"}


def battery(seed, spec, trials=400, alpha=1e-3, processes=False):
    quantizer, source = StochasticQuantizer(spec), SimulatedRandomness(seed, "battery")
    charged = [0]

    def release(values):
        counts = quantizer.quantize(values, source)
        charged[0] += len(values)
        return counts

    return verify_mechanism(
        release,
        spec,
        trials=trials,
        alpha=alpha,
        rng=simulation_generator(seed, "battery"),
        message=lambda values: pack(quantizer.quantize(values, source), spec),
        charged=lambda: charged[0],
        processes=processes,
    )


def alarms_stay_under_alpha(batteries, trials):
    p_values = [battery(seed, SPECS[seed % len(SPECS)], trials).p_value for seed in range(batteries)]
    for alpha in (1e-3, 0.05, 0.2):
        alarms = sum(p <= alpha for p in p_values)
        assert alarms <= binom.isf(1e-3, batteries, alpha), (alpha, alarms)
    return p_values


def test_a_right_client_raises_few_alarms():
    alarms_stay_under_alpha(40, 300)


@pytest.mark.slow
def test_a_thousand_batteries_of_a_right_client_raise_no_more_alarms_than_alpha_allows():
    p_values = alarms_stay_under_alpha(1000, 600)
    assert sum(p <= 0.05 for p in p_values) >= 10  # nor are they asleep


def test_every_group_is_tested_and_passes():
    quantizer = StochasticQuantizer(SPECS[0])
    verification = verify_mechanism(
        lambda values: quantizer.quantize(values, SystemRandomness()),
        SPECS[0],
        trials=400,
        rng=simulation_generator(3, "groups"),
        message=lambda values: pack(quantizer.quantize(values, SystemRandomness()), SPECS[0]),
        charged=None,
        replay=quantizer.quantize,
    )
    assert {finding.group for finding in verification.findings} == GROUPS
    assert any(finding.name == "processes" for finding in verification.findings)
    assert verification.skipped == ("resending, charged: nothing was given to test",)
    assert verification.rows > verification.trials == 400
    assert verification.p_value > 1e-6


def test_the_result_is_plain_data():
    data = json.loads(json.dumps(battery(0, SPECS[0]).to_dict()))
    assert data["passed"] is True
    assert data["spec"] == SPECS[0].to_dict()
    assert {"name", "group", "evidence", "p_value", "rejected", "meaning"} == set(data["findings"][0])
    assert data["epsilon"]["claimed"]["lower"] > 0
    assert 0 < data["detects"]["scale_error"] < 1


def test_the_same_seed_gives_the_same_verdict():
    names = ("time", "time of release")
    one, other = (battery(5, SPECS[2]) for _ in range(2))
    assert [f.evidence for f in one.findings if f.name not in names] == [
        f.evidence for f in other.findings if f.name not in names
    ]


@pytest.mark.parametrize("answer", [None, "abc", np.zeros((1, 1)), 1 / 3])
def test_a_client_that_never_answers_well_is_rejected_not_a_crash(answer):
    verification = verify_mechanism(lambda values: answer, SPECS[0], trials=200, processes=False)
    assert not verification.passed
    assert any(finding.group == "contract" for finding in verification.rejected)
    assert verification.epsilon is None
    json.dumps(verification.to_dict())


def test_a_client_that_refuses_everything_is_rejected():
    def release(values):
        raise RuntimeError("not connected")

    verification = verify_mechanism(release, SPECS[0], trials=200, processes=True)
    assert [finding.group for finding in verification.rejected] == ["contract"]
    assert "not connected" in verification.rejected[0].evidence
    assert any(text.startswith("processes") for text in verification.skipped)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"trials": 199}, "trials=199"),
        ({"trials": 1e4}, "trials=10000.0"),
        ({"trials": True}, "trials=True"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"alpha": 1}, "alpha=1"),
        ({"release": 3}, "release"),
        ({"spec": "x"}, "spec"),
    ],
)
def test_arguments_out_of_range_are_refused(change, names):
    arguments = {"release": lambda values: None, "spec": SPECS[0], "trials": 400, "alpha": 1e-3} | change
    with pytest.raises(UserError, match=names):
        verify_mechanism(arguments.pop("release"), arguments.pop("spec"), **arguments)
