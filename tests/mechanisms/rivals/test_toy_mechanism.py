"""What a mechanism costs: its file and row, its figure and its row. The toy has both in tests/toy_mechanism.py."""

import numpy as np
import pytest
from toy_mechanism import Toy, ToySpec

from attacks.base import AttackerKnowledge
from attacks.inversion import CosineNeighbour, MaximumAPosteriori
from del_audit.accounting.registry import ACCOUNTANTS, AccountantRow
from del_audit.accounting.rivals import calibrate_rival, rival_guarantee
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import MECHANISMS, MechanismRow, imported

WORDS = 50
ROW = MechanismRow("toy", "a word, or any word", "toy_mechanism:Toy", "toy_mechanism:ToySpec", "word number")
ACCOUNTANT = AccountantRow("toy", "toy_mechanism:figures", 1, "toy_mechanism:calibrated")


@pytest.fixture
def rows(monkeypatch):
    """Adds both rows."""
    monkeypatch.setitem(MECHANISMS, "toy", ROW)
    monkeypatch.setitem(ACCOUNTANTS, "toy", ACCOUNTANT)


@pytest.mark.usefixtures("rows")
def test_it_is_calibrated_bounded_and_attacked():
    generator = np.random.default_rng(0)
    table = generator.standard_normal((WORDS, 6)).astype(np.float32)
    spec = calibrate_rival("toy", 3.0, words=WORDS)
    mechanism = imported(ROW.made_by)(spec, table)
    found = rival_guarantee(mechanism, 1e-5, "prompt", 4)
    assert (found.mechanism, found.adjacency) == ("toy", "any two prompts of 4 tokens, sent once")
    assert 2.9 < rival_guarantee(spec).epsilon.upper <= 3.0
    assert found.epsilon.upper <= found.pure_epsilon.upper <= 12.0
    tokens = generator.integers(0, WORDS, 5_000)
    message = mechanism.release(tokens.tolist(), SimulatedRandomness(0, "toy"))
    kept = 1 - spec.uniform / 2**16 * (1 - 1 / WORDS)
    public = AttackerKnowledge(mechanism, table, np.full(WORDS, 1 / WORDS))
    for attack in (CosineNeighbour(), MaximumAPosteriori()):
        success = (attack.fit(public).guess([message])[0].best == tokens).mean()
        assert abs(success - kept) < 5 * (kept * (1 - kept) / len(tokens)) ** 0.5


def test_without_its_rows_it_is_unknown(monkeypatch):
    spec = ToySpec(WORDS, 9)
    with pytest.raises(UserError, match=r"kind to be one of randomized response, .*, dp mlm, got kind='toy'"):
        calibrate_rival("toy", 3.0, words=WORDS)
    with pytest.raises(UserError, match="mechanism or its spec, got a Toy"):
        rival_guarantee(Toy(spec, np.zeros((WORDS, 2), np.float32)))
    monkeypatch.setitem(MECHANISMS, "toy", ROW)
    with pytest.raises(UserError, match="mechanism or its spec, got a ToySpec"):
        rival_guarantee(spec)
