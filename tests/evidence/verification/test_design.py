"""The design spends its rows as it says, most of them at corners."""

from collections import Counter

import numpy as np
import pytest

from del_audit.evidence.verification.binomial import TOP_LEVEL
from del_audit.evidence.verification.design import FACTORS, NEIGHBOURS, SHARES, clipping_design, main_design
from mechanisms.levels import ZERO_LEVEL
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec.from_mu(4, 5, 0.05, 8.0)


def design(trials=4000, seed=0):
    return main_design(SPEC, trials, simulation_generator(seed, "design"))


@pytest.mark.parametrize("trials", [200, 1234, 20_000])
def test_it_has_exactly_so_many_rows_in_the_stated_shares(trials):
    calls = design(trials)
    assert sum(len(call.levels) for call in calls) == trials
    rows = Counter()
    for call in calls:
        rows[call.kind] += len(call.levels)
    for kind, share in SHARES.items():
        assert rows[kind] == pytest.approx(share * trials, abs=len(SHARES))
    corner = sum(int(np.isin(call.levels, (0, TOP_LEVEL)).all(axis=1).sum()) for call in calls)
    assert corner >= 0.85 * trials
    assert any(len(call.levels) == 1 for call in calls)


def test_probes_have_the_neighbours_that_they_say():
    seen = Counter()
    for call in design():
        if call.kind != "probe":
            continue
        seen[call.label] += 1
        others = np.delete(call.levels, call.probe, axis=0)
        assert np.isin(call.levels[call.probe], (0, TOP_LEVEL)).all()
        match call.label:
            case "all +clip":
                assert (others == TOP_LEVEL).all()
            case "all -clip":
                assert (others == 0).all()
            case "zeros":
                assert (others == ZERO_LEVEL).all()
            case "none":
                assert not len(others)
            case "after it":
                assert call.probe == 0
            case "before it":
                assert call.probe == len(call.levels) - 1
            case "huge values":
                huge = np.abs(call.values(SPEC.clip)) > SPEC.clip
                assert huge.any(axis=1).sum() == len(others)
                assert not huge[call.probe].any()
    assert set(seen) == set(NEIGHBOURS)


def test_the_standing_block_comes_again_next_to_itself():
    calls = design()
    at = [i for i, call in enumerate(calls) if call.kind in ("resend", "reordered")]
    block = {}
    for i in at:
        for row, levels in zip(calls[i].rows, calls[i].levels, strict=True):
            assert block.setdefault(int(row), levels.tobytes()) == levels.tobytes()
    paired = sum(i + 1 in at for i in at)
    assert paired >= len(at) // 2 - 1


def test_inputs_are_drawn_by_the_generator_alone():
    one, same, other = design(seed=1), design(seed=1), design(seed=2)
    assert all((a.levels == b.levels).all() for a, b in zip(one, same, strict=True))
    assert any(
        a.levels.shape != b.levels.shape or (a.levels != b.levels).any() for a, b in zip(one, other, strict=True)
    )


def test_clipping_calls_push_half_of_the_values_out():
    calls = clipping_design(SPEC, 20_000, simulation_generator(0, "clipping"))
    labels = Counter()
    for call in calls:
        values = call.values(SPEC.clip)
        labels[call.label] += len(values)
        pushed = np.abs(values) > SPEC.clip
        assert 0.3 < pushed.mean() < 0.7
        assert (np.sign(values) == np.where(call.levels == TOP_LEVEL, 1, -1)).all()
    assert labels == {f"{factor:g} times the clip": 200 for factor in FACTORS}
