"""Which points are attacked in full, and what is said of two of them."""

import numpy as np
import pytest

from del_audit.configuration.configuration import load_configuration
from del_audit.frontier.choose import choose
from del_audit.frontier.dominance import dominating, first_relations, second_relations
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator
from tests.frontier.made import first, row, second

NAMES = ("randomized-response", "subset-selection", "projective-geometry", "coarse-words:64", "coarse-words:128")


@pytest.fixture(scope="module")
def base(configured):
    return load_configuration(configured)


def rows_of(base, figures):
    return [row(name, base, first=first(*each)) for name, each in zip(NAMES, figures, strict=False)]


def test_what_is_dominated_read_by_nobody_or_read_whole_is_not_attacked_in_full(base):
    rows = rows_of(base, [(0.3, 1.0), (0.2, 1.1), (0.055, 0.2), (0.97, 5.0), (0.5, 2.0)])
    assert [each.point.named.name for each in choose(rows, 12, [])] == ["subset-selection", "coarse-words:128"]
    assert rows[0].why == "no second stage: subset-selection@4 tells no less, and MAP recovers no more of it"
    assert rows[2].why == "no second stage: MAP is not above the interval of the commonest word"
    assert rows[3].why == "no second stage: MAP recovers more than 95% of the tokens"
    assert not rows[1].why


def test_equal_points_do_not_dominate_each_other(base):
    assert len(choose(rows_of(base, [(0.3, 1.0), (0.3, 1.0)]), 12, [])) == 2


def test_too_many_are_spread_over_what_map_recovers(base):
    rows = rows_of(base, [(0.1 * place, 1.0 * place) for place in range(1, 6)])
    assert [each.first.map.value for each in choose(rows, 3, [])] == pytest.approx([0.1, 0.3, 0.5])
    assert [each.point.named.name for each in choose(rows, 1, [])] == ["projective-geometry"]
    assert rows[1].why == "no second stage: not among the 1 points of --points"


def test_a_named_point_is_attacked_in_full_whatever_it_is(base):
    rows = rows_of(base, [(0.3, 1.0), (0.2, 1.1), (0.055, 0.2)])
    chosen = choose(rows, 2, ["projective-geometry@4"])
    assert [each.point.named.name for each in chosen] == ["subset-selection", "projective-geometry"]


def test_unknown_and_too_many_named_points_are_refused(base):
    rows = rows_of(base, [(0.3, 1.0), (0.2, 1.1)])
    with pytest.raises(UserError, match="among randomized-response@4, subset-selection@4, got 'del@4'"):
        choose(rows, 2, ["del@4"])
    with pytest.raises(UserError, match="--points >= 2"):
        choose(rows, 1, ["randomized-response@4", "subset-selection@4"])


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ((0.2, 1.5), (0.3, 1.0), "first dominates"),
        ((0.3, 1.0), (0.2, 1.5), "second dominates"),
        ((0.2, 1.0), (0.3, 1.5), "trade-off"),
        ((0.295, 1.5), (0.3, 1.0), "not told apart"),
        ((0.2, 1.01), (0.3, 1.0), "not told apart"),
    ],
)
def test_the_first_stage_says_only_what_intervals_allow(base, one, other, said):
    (found,) = first_relations(rows_of(base, [one, other]))
    assert found.says == said
    assert dominating("subset-selection@4", [found]) == (["randomized-response@4"] if said == "first dominates" else [])
    assert dominating("randomized-response@4", [found]) == (
        ["subset-selection@4"] if said == "second dominates" else []
    )


def test_gains_are_told_apart_prompt_by_prompt(base):
    """A small gain on every prompt is seen beside losses that scatter far more; the same gain at random is not."""
    generator = simulation_generator(0, "paired gains")
    shared = generator.normal(0.0, 0.5, 60)
    rows = [
        row("subset-selection", base, first=first(0.2, 1.0), second=second(0.2, shared + 0.1)),
        row("coarse-words:64", base, first=first(0.4, 1.0), second=second(0.4, shared)),
        row("coarse-words:128", base, first=first(0.4, 1.0), second=second(0.4, generator.normal(0.0, 0.5, 60))),
    ]
    found = {(each.first, each.second): each.says for each in second_relations(rows, 0)}
    assert found["subset-selection@4", "coarse-words:64@4"] == "first dominates"
    assert found["coarse-words:64@4", "coarse-words:128@4"] == "not told apart"
    rows[1].second = second(0.205, shared)
    assert {each.says for each in second_relations(rows[:2], 0)} == {"not told apart"}
    assert second_relations(rows[:1], 0) == []


@pytest.mark.parametrize(
    ("meaning", "said"), [(0.3, "first dominates"), (0.44, "not told apart"), (0.6, "not told apart")]
)
def test_a_point_whose_meaning_is_read_does_not_dominate(base, meaning, said):
    """Clusters hide which word it was, and not what it means."""
    gains = simulation_generator(0, "paired gains").normal(0.0, 0.5, 60)
    rows = [
        row("coarse-words:64", base, first=first(0.2, 1.0), second=second(0.2, gains + 0.1, meaning=meaning)),
        row("subset-selection", base, first=first(0.4, 1.0), second=second(0.4, gains, meaning=0.45)),
    ]
    assert [each.says for each in second_relations(rows, 0)] == [said]


def test_the_lower_limit_of_the_best_attack_is_corrected_and_its_upper_end_the_largest():
    found = second(0.3, np.zeros(4))
    assert found.above == pytest.approx(0.29)
    assert found.strongest.key == "map"
    assert found.meaning.value == pytest.approx(0.35)
