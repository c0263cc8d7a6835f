"""Rows that the table and the page share: their order, and which numbers of bits stand on the frontier."""

from typing import Any

from json_certificate import by_bits

from del_audit.certificate.rows import CONDITIONS, by_condition
from del_audit.evidence import utility


def test_conditions_are_those_that_are_measured() -> None:
    named = (utility.RELEASED, utility.OTHER, utility.ALONE, utility.NOBODY, utility.CLEAN, utility.OTHER_CLEAN)
    assert (*named, utility.COPY, utility.UNRELATED) == CONDITIONS
    assert by_condition({"new": 1, "clean prompt": 1}, {"released prompt": 1}) == [
        "released prompt",
        "clean prompt",
        "new",
    ]


def test_the_frontier_is_what_nothing_else_betters(certificate: dict[str, Any]) -> None:
    def rows() -> list[int]:
        return [point.bits for point in by_bits(certificate) if point.frontier]

    assert rows() == [1, 2, 4, 8]
    certificate["utility"]["other_bits"][1]["paired_gain"].update(
        value=0.12
    )  # no more than 1 bit gives, and reads more
    assert rows() == [1, 4, 8]
    certificate["utility"]["other_bits"][2]["strongest_attack"].update(value=0.08)  # 8 bits: most gain, least read
    assert rows() == [1, 4, 8]
    certificate["utility"]["other_bits"][0]["paired_gain"].update(value=0.19)
    assert rows() == [1, 8]
