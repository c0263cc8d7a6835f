"""Whatever a release answers is an answer or a problem, never a crash of the battery."""

import numpy as np
import pytest

from del_audit.evidence.verification.design import main_design
from del_audit.evidence.verification.driving import HOPELESS, Driver, usable
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec.from_mu(4, 3, 0.05, 8.0)
VALUES = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([[1, 2, 3]] * 2, "list"),
        (None, "NoneType"),
        (np.ones((2, 3)), "float64"),
        (np.ones((2, 3), dtype=bool), "bool"),
        (np.ones((3, 2), dtype=int), "shape"),
        (np.full((2, 3), 16), "outside 0..15"),
        (np.full((2, 3), -1), "outside 0..15"),
        (np.full((2, 3), 2**63, dtype=np.uint64), "outside 0..15"),
    ],
)
def test_what_is_no_answer_is_named(answer, says):
    assert says in usable(answer, (2, 3), 15)
    driver = Driver(lambda values: answer, SPEC)
    assert driver.ask(VALUES) is None
    assert says in driver.problems[0]


def test_any_kind_of_whole_number_is_an_answer():
    for kind in (np.uint8, np.int16, np.uint64, np.int64):
        answer = usable(np.full((2, 3), 15, dtype=kind), (2, 3), 15)
        assert answer.dtype == np.int64
        assert (answer == 15).all()


def test_an_exception_on_good_values_is_a_problem():
    driver = Driver(lambda values: 1 / 0, SPEC)
    assert driver.ask(VALUES) is None
    assert "ZeroDivisionError" in driver.problems[0]


def test_a_client_that_never_answers_is_given_up():
    driver = Driver(lambda values: None, SPEC)
    assert driver.drive(main_design(SPEC, 4000, simulation_generator(0, "d"))) == []
    assert driver.calls == HOPELESS


def test_an_answer_that_changes_later_is_a_problem():
    kept = np.zeros((2, 3), dtype=int)

    def release(values):
        kept[:] += 1
        return kept

    driver = Driver(release, SPEC)
    driver.ask(VALUES)
    assert not driver.problems
    driver.ask(VALUES)
    assert "later call wrote" in driver.problems[0]


def test_changed_values_are_a_problem_and_do_not_reach_the_battery():
    def release(values):
        values[:] = 1
        return np.zeros((2, 3), dtype=int)

    driver, values = Driver(release, SPEC), np.zeros((2, 3))
    assert driver.ask(values) is not None
    assert "changed the values" in driver.problems[0]
    assert not values.any()


def test_charges_are_compared_with_tokens():
    charged = [0]

    def release(values):
        charged[0] += len(values) - (charged[0] > 0)
        return np.zeros(values.shape, dtype=int)

    driver = Driver(release, SPEC, lambda: charged[0])
    driver.ask(VALUES)
    assert not driver.charges
    driver.ask(VALUES)
    assert driver.charges == ["1 charged for 2 tokens in call 2"]


def test_a_charge_that_fails_is_named():
    def charged():
        raise RuntimeError("no session")

    driver = Driver(lambda values: np.zeros(values.shape, dtype=int), SPEC, charged)
    assert driver.ask(VALUES) is not None
    assert "no session" in driver.charges[0]
