"""What the ladder read, beside what the guarantee allows: who is held to the bound, and on which tokens."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import beta

from attacks.outcome import Outcome
from attacks.ranking import Guesses
from del_audit.accounting import inversion_bound
from del_audit.evidence.inversion.leakage import measure_leakage
from del_audit.service.releases import Releases
from del_audit.statistics.contradiction import FALSE_ALARMS
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec(bits=2, dim=2, clip=0.05, scale=0.5)
PRIOR = np.full(400, 1 / 400)


@dataclass(frozen=True)
class Named:
    name: str
    context_free: bool
    version: int = 3


def outcome(attack, hits, tokens=2_000, documents=40, commonest=0.01):
    """Returns an outcome with so many hits, spread evenly; one word in a hundred is the same."""
    truth = np.random.default_rng(0).integers(1, 400, tokens)
    truth[: int(commonest * tokens)] = 0
    guess = np.where(np.random.default_rng(1).permutation(tokens) < hits, truth, 0)
    lengths = [tokens // documents] * documents
    parts = Guesses(guess[:, None].astype(np.int32), np.zeros((tokens, 1), np.float32)).split(lengths)
    return Outcome.of(attack, parts, np.split(truth, documents))


def ran(*pairs):
    """Returns pairs of an attack and its outcome under the attack's name."""
    return {attack.name: (attack, found) for attack, found in pairs}


def test_only_attacks_on_single_tokens_are_held_to_the_bound():
    free, context = Named("free", True), Named("context", False)
    bound = inversion_bound(SPEC, 0.02).upper
    many = int(2_000 * min(1.0, 2 * bound))
    leakage = measure_leakage(
        ran((free, outcome(free, 60)), (context, outcome(context, many))), SPEC, PRIOR, 0, longest=50
    )
    assert leakage.broken == ()
    assert leakage.attacks[1].broken_below is None
    assert leakage.strongest.name == "context"
    broken = measure_leakage(
        ran((free, outcome(free, many)), (context, outcome(context, 60))), SPEC, PRIOR, 0, longest=50
    )
    assert broken.broken == ("free",)


def test_kappa_and_the_alarms_limit_are_clopper_pearsons():
    free, other = Named("free", True), Named("other", True)
    found = measure_leakage(ran((free, outcome(free, 100)), (other, outcome(other, 50))), SPEC, PRIOR, 0, longest=50)
    truth = outcome(free, 100).truth
    commonest = int(np.bincount(truth).max())
    assert found.kappa == pytest.approx(beta.ppf(1 - FALSE_ALARMS, commonest + 1, 2_000 - commonest), rel=1e-9)
    hits = int(found.attacks[0].outcome.hits.sum())
    assert found.attacks[0].broken_below == pytest.approx(beta.ppf(FALSE_ALARMS / 2, hits, 2_000 - hits + 1), rel=1e-9)
    assert found.allowed.upper >= inversion_bound(SPEC, found.kappa).lower
    assert [attack.version for attack in found.attacks] == [3, 3]


def test_intervals_are_over_documents_and_the_worst_prompt_is_named():
    free = Named("free", True)
    found = measure_leakage(ran((free, outcome(free, 400))), SPEC, PRIOR, 0, longest=50).attacks[0]
    assert found.success.documents == 40
    assert found.success.lower < found.success.value < found.success.upper
    assert found.worst.value >= found.success.value
    assert found.rare is not None
    with pytest.raises(UserError, match="two documents or more"):
        measure_leakage(ran((free, outcome(free, 10, documents=1))), SPEC, PRIOR, 0, longest=50)


def test_one_prompt_a_document_is_each_ones_first():
    sent = Releases([b"a", b"b", b"c", b"d"], [[1], [2], [3], [4]], ["x", "x", "y", "z"])
    some = sent.one_a_document(2)
    assert (some.messages, some.truths, some.documents) == ([b"a", b"c"], [[1], [3]], ["x", "y"])
    later = Releases([b"a", b"b", b"c"], [[1], [2], [3]], ["y", "x", "y"])
    assert later.one_a_document(5).messages == [b"a", b"b"]


def test_figures_are_found_by_key_in_any_order():
    free, context = Named("a display name", True), Named("another", False)
    pairs = {"map": (free, outcome(free, 300)), "beam": (context, outcome(context, 900))}
    turned = dict(reversed(pairs.items()))
    for ran in (pairs, turned):
        found = measure_leakage(ran, SPEC, PRIOR, 0, longest=50)
        assert (found.of("map").name, found.of("beam").name) == ("a display name", "another")
        assert found.of("map").success.value < found.of("beam").success.value
        assert found.of("map").broken_below is not None
        with pytest.raises(KeyError):
            found.of("cosine")
