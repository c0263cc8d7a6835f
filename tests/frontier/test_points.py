"""Points: the same exact epsilon for every mechanism, in configurations that a certificate could be made of."""

import pytest

from del_audit.accounting.any_mechanism import proved_guarantee
from del_audit.configuration.configuration import load_configuration
from del_audit.configuration.mechanisms import CoarseWordsMechanism, DelMechanism
from del_audit.configuration.named import DEFAULTS, parse_all
from del_audit.frontier.points import points_of
from mechanisms.errors import UserError

WORDS, DELTA = 1_100, 1e-6


@pytest.fixture(scope="module")
def base(configured):
    return load_configuration(configured)


def spec_of(point):
    mechanism = point.measured.mechanism
    if isinstance(mechanism, DelMechanism):
        return mechanism.spec()
    if isinstance(mechanism, CoarseWordsMechanism):
        return mechanism.inner.over(mechanism.symbols)
    return mechanism.over(WORDS)


@pytest.mark.parametrize("epsilon", [3.0, 12.0])
def test_every_mechanism_has_the_same_epsilon(base, epsilon):
    points = points_of(base, parse_all(DEFAULTS), [epsilon], DELTA)
    assert [point.name for point in points] == [f"{name}@{epsilon:g}" for name in DEFAULTS]
    for point in points:
        found = proved_guarantee(spec_of(point), "token", delta=DELTA)
        shared = found.epsilon if point.named.kind == "del" else found.pure_epsilon
        assert epsilon - 1e-6 < shared.lower <= shared.upper <= epsilon + 1e-12, point.name
        assert found.epsilon.upper <= epsilon + 1e-12


def test_a_mechanism_without_codes_leaves_out_what_reads_them(base):
    own, response = points_of(base, parse_all(["del", "randomized-response"]), [4.0], DELTA)
    assert own.measured.encoder == base.encoder
    assert (own.measured.mechanism.bits, own.measured.mechanism.dim) == (4, 12)
    assert own.measured.decoder == "linear"
    assert response.measured.decoder == "posterior-mean"
    assert response.measured.evaluation.attacks == ("baseline", "cosine", "map")
    assert response.measured.evaluation.other_bits == ()
    assert response.measured.policy == base.policy


def test_what_an_epsilon_does_not_allow_is_left_out_with_the_reason(base):
    mechanism = base.mechanism.model_copy(update={"bits": 1, "dim": 3})
    three_trials = base.model_copy(update={"mechanism": mechanism})
    points = points_of(three_trials, parse_all(["del", "subset-selection"]), [16.0, 80.0], DELTA)
    found = {point.name: (point.configuration is None, point.why) for point in points}
    assert found["subset-selection@80"] == (True, "left out: mechanisms of pure epsilon are taken at 40 nats at most")
    assert found["subset-selection@16"] == (False, "")
    missed, why = found["del@80"]
    assert missed
    assert why.startswith("left out: no scale of this quantizer has more than ")


def test_del_needs_a_quantizer(base):
    other = base.model_copy(
        update={"mechanism": points_of(base, parse_all(["subset-selection"]), [4.0], 0.01)[0].measured.mechanism}
    )
    with pytest.raises(UserError, match="Leave del out of --mechanisms"):
        points_of(other, parse_all(DEFAULTS), [4.0], DELTA)
