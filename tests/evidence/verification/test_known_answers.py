"""The scripted words reach every boundary, and show what no number of calls would."""

import numpy as np
import pytest

from del_audit.evidence.verification.known_answers import ScriptedWords, boundary_script, known_answers
from mechanisms.levels import from_levels
from mechanisms.quantizer import StochasticQuantizer, level_thresholds
from mechanisms.randomness import simulation_generator
from mechanisms.sampler import BinomialTable
from mechanisms.spec import QuantizerSpec

SPECS = [QuantizerSpec.from_mu(bits, dim, 0.05, 6.0) for bits, dim in ((1, 1), (2, 3), (4, 18))]


@pytest.mark.parametrize("spec", SPECS)
def test_both_sides_of_every_boundary_come_out(spec):
    levels, script = boundary_script(spec)
    counts = StochasticQuantizer(spec).sample(levels, ScriptedWords(script))
    pairs = set(zip(levels.ravel().tolist(), counts.ravel().tolist(), strict=True))
    expected = {(level, count) for level in range(255) for count in range(spec.trials + 1)}
    assert pairs == expected


def checks(replay, spec):
    return [t.p_value for t in known_answers(replay, spec, simulation_generator(0, "known"))]


@pytest.mark.parametrize("spec", [*SPECS, QuantizerSpec.from_mu(8, 2, 0.05, 6.0)])
def test_the_reference_and_nothing_else_passes(spec):
    quantizer, exact = StochasticQuantizer(spec), level_thresholds(spec).astype(np.int64)

    def with_thresholds(thresholds):
        table = BinomialTable.of(thresholds.tolist(), spec.trials)
        return lambda values, source: table.sample(quantizer.levels(values), source)

    assert checks(quantizer.quantize, spec) == [1.0, 1.0]
    assert checks(with_thresholds(exact), spec) == [1.0, 1.0]
    off = exact.copy()
    off[100] += 1
    assert checks(with_thresholds(off), spec)[1] == 0.0
    in_float32 = (exact / 2.0**32).astype(np.float32).astype(np.float64) * 2**32
    assert checks(with_thresholds(in_float32.astype(np.int64)), spec)[1] == 0.0


def test_a_replay_that_fails_or_ignores_the_words_is_named():
    spec = SPECS[1]
    rng = simulation_generator(1, "other")
    assert checks(lambda values, source: 1 / 0, spec) == [0.0, 0.0]
    assert checks(lambda values, source: None, spec) == [0.0, 0.0]
    assert checks(lambda values, source: rng.binomial(3, 0.5, values.shape), spec) == [0.0, 0.0]


def test_script_falls_back_to_a_stream():
    source = ScriptedWords([np.arange(3, dtype=np.uint32)])
    assert source.words(5)[:3].tolist() == [0, 1, 2]
    assert len(source.words(4)) == 4
    assert from_levels([0], 0.05)[0] == -0.05
