from typing import get_args

import pytest

from attacks.ladder import ladder
from attacks.names import ALWAYS, AttackName, checked_names
from mechanisms.errors import UserError


def test_every_name_stands_for_an_attack_of_its_own():
    found = ladder(get_args(AttackName))
    assert tuple(found) == get_args(AttackName)
    attacks = found.values()
    assert len({attack.name for attack in attacks}) == len(attacks) == len(get_args(AttackName))
    assert all(attack.version >= 1 for attack in attacks)
    free = [attack.name for attack in attacks if attack.context_free]
    assert len(free) == 5
    assert not [name for name in free if "language model" in name or "contextual" in name]


def test_the_order_is_the_ladders_whatever_is_asked_first():
    found = ladder(("beam", "map", "baseline"))
    assert {key: attack.name for key, attack in found.items()} == {
        "baseline": "commonest word (baseline)",
        "map": "MAP, unigram prior",
        "beam": "beam search, language model",
    }
    assert list(found) == ["baseline", "map", "beam"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("baseline", "map", "magic"), "attacks among baseline, cosine, .* got 'magic'"),
        (("map",), "baseline and map among them"),
        (("baseline", "beam"), "baseline and map among them"),
        ((*ALWAYS, "map"), "without repetition"),
    ],
)
def test_other_names_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        checked_names(names)
