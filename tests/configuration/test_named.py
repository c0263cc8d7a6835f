"""Names of mechanisms, and epsilons, as the command line takes them."""

import pytest

from del_audit.commands import frontier as command
from del_audit.configuration.mechanisms import KINDS, DelMechanism
from del_audit.configuration.named import DEFAULTS, LARGEST, Named, checked_epsilons, parse_all, too_large
from mechanisms.errors import UserError


def test_the_default_of_the_command_is_every_known_mechanism():
    assert tuple(command.MECHANISMS.split(",")) == DEFAULTS
    assert [each.name for each in parse_all(DEFAULTS)] == list(DEFAULTS)
    assert len({each.title for each in parse_all(DEFAULTS)}) == len(DEFAULTS)
    assert len({each.label for each in parse_all(DEFAULTS)}) == len(DEFAULTS)
    assert checked_epsilons(command.EPSILONS) == command.EPSILONS


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("subset-selektion", "Did you mean 'subset-selection'?"),
        ("DEL", "Expected --mechanisms among del, "),
        ("coarse-word:64", "Did you mean 'coarse-words:64'?"),
        ("coarse-words", "coarse-words:SYMBOLS:INNER, such as coarse-words:128"),
        ("coarse-words:one", "such as coarse-words:128"),
        ("coarse-words:1", r"in 2\.\.16777216"),
        ("coarse-words:64:del", "inner mechanism of coarse-words among randomized-response"),
        ("coarse-words:64:subset-selection:3", "such as coarse-words:128"),
        ("del:3", "Expected --mechanisms among"),
    ],
)
def test_another_name_is_refused_with_what_to_type(given, said):
    with pytest.raises(UserError, match=said):
        Named.parse(given)


def test_no_name_and_one_given_twice_are_refused():
    with pytest.raises(UserError, match="got none"):
        parse_all([""])
    with pytest.raises(UserError, match="'coarse-words:64' twice"):
        parse_all(["coarse-words:64", "del", "coarse-words:64:randomized-response"])


@pytest.mark.parametrize("epsilons", [(), (0.0,), (4.0, -1.0), (LARGEST * 1.01,), (4.0, 4.0)])
def test_epsilons_out_of_range_are_refused(epsilons):
    with pytest.raises(UserError, match="epsilons"):
        checked_epsilons(epsilons)


def test_epsilons_rise():
    assert checked_epsilons((8.0, 2.0)) == (2.0, 8.0)


def test_pure_mechanisms_end_at_forty_nats_and_del_does_not():
    assert "40 nats at most" in too_large(Named("subset-selection"), 40.5)
    assert not too_large(Named("subset-selection"), 40.0)
    assert not too_large(Named("del"), 64.0)


@pytest.mark.parametrize("name", DEFAULTS[1:])
def test_the_name_of_a_configurations_mechanism_is_read_back(name):
    named = Named.parse(name)
    assert Named.of(KINDS[named.kind].model_validate(named.fields(3.0))) == named


def test_the_name_of_dels_quantizer_is_del():
    assert Named.of(DelMechanism(bits=4, dim=8, mu=1.0)).name == "del"


def test_epsilons_beyond_a_smaller_range_are_refused():
    assert checked_epsilons((40.0, 1.0), 40.0) == (1.0, 40.0)
    with pytest.raises(UserError, match=r"in \[0\.01, 40\], nats of one token, got 41"):
        checked_epsilons((41.0,), 40.0)
