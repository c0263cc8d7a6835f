"""One suite for every mechanism: its contract, the sampler's law, clipping, and the guarantee against a distinguisher.

What any mechanism must keep is tested by del_audit.testing.check_mechanism. Beside it a case names a mechanism over
eight public words, the law of what it releases of a word (computed here, not by the mechanism), and the same mechanism
with a planted fault. Every row of the registry has one case or more.
"""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaincinv, softmax
from scipy.stats import binom, norm

from attacks.base import AttackerKnowledge
from attacks.candidate_list import CandidateList
from del_audit.accounting.rivals import rival_guarantee
from del_audit.testing import check_mechanism
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, ObservableMechanism
from mechanisms.pipeline import Pipeline, assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import MECHANISMS, described, imported, mechanism_of
from mechanisms.rivals import (
    CoarseWords,
    CoarseWordsSpec,
    CusText,
    CusTextSpec,
    DpMlm,
    DpMlmSpec,
    DpPrompt,
    DpPromptSpec,
    Exponential,
    ExponentialSpec,
    Gaussian,
    GaussianSpec,
    Metric,
    MetricSpec,
    Points,
    ProjectiveGeometry,
    ProjectiveGeometrySpec,
    RandomizedResponse,
    RandomizedResponseSpec,
    RanText,
    RanTextSpec,
    SanText,
    SanTextSpec,
    SubsetSelection,
    SubsetSelectionSpec,
)
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import unpack

FALSE_ALARM = 1e-6
RELEASES = 10_000
DELTA = 1e-2
WORDS = 8
GENERATOR = np.random.default_rng(5)
PLACES = np.round(GENERATOR.standard_normal((WORDS, 2)), 3)
LINE = np.round(np.sort(GENERATOR.uniform(-1, 1, (WORDS, 1)), axis=0), 3)
TABLE = GENERATOR.standard_normal((WORDS, 5)).astype(np.float32)
GROUPS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
DOCUMENTS = [[word] * (word + 1) for word in range(WORDS)]
SENSITIVE = np.array([True, True, True, True, True, False, False, False])
GAPS = np.abs(PLACES[:, None] - PLACES[None]) ** 2
DISTANCES = np.sqrt(GAPS.sum(axis=-1))
LOGITS = np.round(GENERATOR.standard_normal((WORDS, WORDS)) * 3, 3)
ANY_SIGN = {"p", "low", "high"}
"""Fields of specs that are not simply above 0."""


@dataclass(frozen=True)
class Case:
    """law: word to the probabilities of all outcomes. outcomes: message to each token's outcome. exact: whether the
    stated epsilon is attained, by these two words."""

    name: str
    mechanism: Any
    law: Callable[[int], Any]
    outcomes: Callable[[bytes], Any]
    faulty: Any
    pair: tuple[int, int]
    exact: bool


def ids(mechanism):
    return lambda message: mechanism.observed(message)


def cells(mechanism, base):
    return lambda message: mechanism.observed(message) @ base ** np.arange(mechanism.spec.dim)


def faulty(mechanism, **changes):
    """The same mechanism with a method replaced: what it sends still claims the true description."""
    copy = object.__new__(type(f"Faulty{type(mechanism).__name__}", (type(mechanism),), changes))
    copy.__dict__.update(mechanism.__dict__)
    return copy


def response_case():
    spec = RandomizedResponseSpec.from_epsilon(WORDS, 1.5)
    mechanism = RandomizedResponse(spec, TABLE)

    def law(word):
        rest = 1 / (np.exp(1.5) + WORDS - 1)
        return np.where(np.arange(WORDS) == word, np.exp(1.5) * rest, rest)

    def replace(self, tokens, source):  # a replaced token may stay what it was
        kept = source.words(len(tokens)) < np.exp(1.5) / (np.exp(1.5) + WORDS - 1) * 2**32
        return np.where(kept, tokens, source.words(len(tokens)) % WORDS).astype(np.int64)

    return Case("response", mechanism, law, ids(mechanism), faulty(mechanism, replace=replace), (0, 1), True)


def sets_case():
    """In the faulty one the true word never takes the place of one drawn beside it: it may be drawn twice."""
    mechanism = SubsetSelection(SubsetSelectionSpec.from_epsilon(WORDS, 1.5, 3), TABLE)
    sets = list(itertools.combinations(range(WORDS), 3))
    number = np.zeros((WORDS,) * 3, dtype=int)
    number[tuple(np.array(sets).T)] = np.arange(len(sets))

    def law(word):
        weights = np.where([word in one for one in sets], np.exp(1.5), 1.0)
        return weights / weights.sum()

    def replace(self, tokens, source):
        kept = source.words(len(tokens)) < self.spec.inside >> 32
        drawn = np.array([source.words(WORDS).argsort()[:3] for _ in tokens])
        drawn[:, 0] = np.where(kept & (drawn != tokens[:, None]).all(axis=1), tokens, drawn[:, 0])
        return np.sort(drawn, axis=1)

    outcomes = lambda message: number[tuple(mechanism.observed(message).T)]  # noqa: E731
    return Case("sets", mechanism, law, outcomes, faulty(mechanism, replace=replace), (0, 1), True)


def on_hyperplanes(words, space):
    """Whether each point of the space lies on each word's hyperplane, both in the order of the numbers of points."""
    q, t = space
    vectors = [v for v in itertools.product(range(q), repeat=t) if next((c for c in v if c), 0) == 1]
    points = np.array(sorted(vectors))  # fewer coordinates after the 1 come first, then base-q order
    return points, points[:words] @ points.T % q == 0


def points_case():
    """In the faulty one the points off the hyperplane have one coordinate that is never 0 at the pivot."""
    spec = ProjectiveGeometrySpec.from_epsilon(WORDS, 1.5, 3, 3)
    mechanism = ProjectiveGeometry(spec, TABLE)
    points, held = on_hyperplanes(WORDS, (3, 3))
    number = np.zeros((3, 3, 3), dtype=int)
    number[tuple(points.T)] = np.arange(13)
    law = lambda word: np.where(held[word], np.exp(1.5), 1.0) / (4 * np.exp(1.5) + 9)  # noqa: E731

    def replace(self, tokens, source):  # what is not on the hyperplane is any point
        kept = source.words(len(tokens)) < self.spec.inside >> 32
        inside = ProjectiveGeometry(dataclasses.replace(self.spec, inside=(1 << 64) - 1)).replace(tokens, source)
        return np.where(kept, inside, source.words(len(tokens)).astype(np.int64) % 13)

    outcomes = lambda message: number[tuple(mechanism.observed(message).T)]  # noqa: E731
    return Case("points", mechanism, law, outcomes, faulty(mechanism, replace=replace), (0, 1), True)


def coarse_case():
    """Words of GROUPS-like pairs; in the faulty one another map is behind the same description."""
    symbols = np.array([0, 1, 2, 3, 3, 2, 1, 0])
    inner = RandomizedResponseSpec.from_epsilon(4, 1.5)
    mechanism = CoarseWords(CoarseWordsSpec.over(inner, symbols), symbols, TABLE)
    law = lambda word: np.where(np.arange(4) == symbols[word], np.exp(1.5), 1.0) / (np.exp(1.5) + 3)  # noqa: E731
    wrong = faulty(mechanism)
    wrong.symbols = np.roll(symbols, 1)
    outcomes = lambda message: mechanism.observed(message)[:, 0]  # noqa: E731
    return Case("coarse", mechanism, law, outcomes, wrong, (0, 1), True)


def exponential_case():
    points = Points.of(PLACES)
    spec = ExponentialSpec.over(points, 4.0)
    mechanism = Exponential(spec, points, TABLE)
    law = lambda word: softmax(-2.0 * np.minimum(DISTANCES[word] / spec.scale, 1))  # noqa: E731
    wrong = faulty(mechanism, log_weights=lambda self, words: -4.0 * DISTANCES[words] / spec.scale)
    return Case("exponential", mechanism, law, ids(mechanism), wrong, worst_pair(law), True)


def santext_case():
    points = Points.of(PLACES)
    mechanism = SanText(SanTextSpec.over(points, 1.0), points, None, TABLE)
    law = lambda word: softmax(-0.5 * DISTANCES[word])  # noqa: E731
    wrong = faulty(mechanism, log_weights=lambda self, words: -GAPS.sum(axis=-1)[words] / 2)
    return Case("santext", mechanism, law, ids(mechanism), wrong, worst_pair(law), True)


def santext_plus_case():
    points = Points.of(PLACES)
    spec = SanTextSpec.plus(points, 1.0, SENSITIVE, 0.3)
    mechanism = SanText(spec, points, SENSITIVE, TABLE)

    def law(word):
        moved = np.where(SENSITIVE, np.exp(-0.5 * DISTANCES[word]), 0)
        moved /= moved.sum()
        return moved if SENSITIVE[word] else 0.3 * moved + 0.7 * (np.arange(WORDS) == word)

    other = SanText(dataclasses.replace(spec, p=0.35), points, SENSITIVE)
    wrong = faulty(mechanism, log_weights=lambda self, words: other.log_weights(words))
    return Case("santext plus", mechanism, law, ids(mechanism), wrong, worst_pair(law, np.flatnonzero(SENSITIVE)), True)


def custext_case():
    points = Points.of(PLACES)
    mechanism = CusText(CusTextSpec.over(points, GROUPS, 2.5), points, GROUPS, TABLE)

    def law(word):
        inside = GROUPS[word] == GROUPS
        u = 1 - DISTANCES[word] / DISTANCES[word][inside].max()
        return np.where(inside, np.exp(1.25 * u), 0) / np.exp(1.25 * u[inside]).sum()

    def wrong(self, words):  # the span of all distances in place of the group's own
        return np.where(GROUPS[words][:, None] == GROUPS, -1.25 * DISTANCES[words] / DISTANCES.max(), -np.inf)

    bad = faulty(mechanism, log_weights=wrong)
    return Case("custext", mechanism, law, ids(mechanism), bad, worst_pair(law, np.arange(4)), True)


def rantext_case():
    points = Points.of(LINE)
    mechanism = RanText(RanTextSpec.over(points, 2.0, rate=2.0), points, TABLE)
    scale = float(np.ptp(LINE)) / 2

    def law(word):
        far = np.abs(LINE - LINE[word])[:, 0]
        edges = [*np.sort(far), far.max() + 60 * scale]

        def share(radius, other):
            weights = np.where(far < radius, np.exp(-far / radius), 0)
            return weights[other] / weights.sum() * np.exp(-radius / scale) / scale

        pieces = [(low, high) for low, high in pairwise(edges) if high > low]
        return np.array([sum(quad(share, *piece, args=(other,))[0] for piece in pieces) for other in range(WORDS)])

    wrong = faulty(mechanism, radii=lambda self, count, source: np.full(count, scale))
    return Case("rantext", mechanism, law, ids(mechanism), wrong, (0, WORDS - 1), False)


class OneToken:
    """A language model whose logits depend on the token at the place and on nothing else."""

    words, longest, sha256, possible = WORDS, 1 << 20, "0" * 64, np.ones(WORDS, dtype=bool)

    def logits(self, document):
        yield LOGITS[document]

    def begin(self, document):
        return OneToken.Begun(iter(LOGITS[document]))

    class Begun:
        def __init__(self, left):
            self.left = left

        def logits(self):
            return next(self.left)

        def write(self, word):
            assert 0 <= word < WORDS


def rewriting_case(name, kind, described):
    """In the faulty one nothing is clipped."""
    spec = described(words=WORDS, tokens=1 << 18, low=-1.5, high=1.0, temperature=1.25, model="0" * 64)
    mechanism = kind(spec, OneToken(), TABLE)
    law = lambda word: softmax(np.clip(LOGITS[word], -1.5, 1.0) / 1.25)  # noqa: E731

    def weights(self, logits):
        return np.rint(np.exp((logits - logits.max()) / 1.25) * 2.0**40).astype(np.uint64)

    return Case(name, mechanism, law, ids(mechanism), faulty(mechanism, weights=weights), worst_pair(law), False)


def gaussian_case():
    codes = np.vstack([[0.7, 0.7], [-0.7, -0.7], [2.0, -0.1], np.round(GENERATOR.uniform(-0.5, 0.5, (5, 2)), 3)])
    spec = GaussianSpec(bits=3, dim=2, clip=0.5, sigma=1.0, reach=2.0)
    mechanism = Gaussian(spec, codes, TABLE)

    def law(word):
        edges = np.array([-np.inf, *np.arange(-1.5, 2, 0.5), np.inf])
        first, second = (np.diff(norm.cdf(edges - np.clip(code, -0.5, 0.5))) for code in codes[word])
        return np.outer(second, first).ravel()

    def quantize(self, values, source):  # no clipping
        wide = Gaussian(dataclasses.replace(spec, clip=5.0), codes)
        return wide.quantize(values, source)

    return Case("gaussian", mechanism, law, cells(mechanism, 8), faulty(mechanism, quantize=quantize), (0, 1), True)


def metric_case():
    points = np.array([[1.5], [-2.0], [0.3], [-0.2], [0.9], [-0.8], [0.0], [0.5]])
    spec = MetricSpec(bits=3, dim=1, radius=1.0, eta=1.0, reach=2.0)
    mechanism = Metric(spec, points, TABLE)

    def law(word):
        edges = np.array([-np.inf, *np.arange(-1.5, 2, 0.5), np.inf]) - np.clip(points[word], -1, 1)
        return np.diff(np.where(edges < 0, np.exp(np.minimum(edges, 0)) / 2, 1 - np.exp(-np.maximum(edges, 0)) / 2))

    def quantize(self, values, source):
        return Metric(dataclasses.replace(spec, eta=1.25), points).quantize(values, source)

    return Case("metric", mechanism, law, cells(mechanism, 8), faulty(mechanism, quantize=quantize), (0, 1), True)


def relabelled(pipeline, wrong):
    """The releases of another DEL under the name of this one, read as this one's."""

    class Relabelled:
        name, spec, table = pipeline.name, pipeline.spec, pipeline.table
        observed, embeddings, scores = pipeline.observed, pipeline.embeddings, pipeline.scores

        def release(self, tokens, source):
            message = wrong.release(tokens, source)
            return message[:4] + pipeline.spec.fingerprint[:8] + message[12:]

    return Relabelled()


def del_law(codes, spec):
    chances = 0.5 + np.clip(codes, -spec.clip, spec.clip) / (2 * spec.scale)

    def law(word):
        first, second = (binom.pmf(np.arange(4), 3, chance) for chance in chances[word])
        return np.outer(second, first).ravel()

    return law


def del_case():
    """The encoder fitted, the scale wrong."""
    spec, settings = QuantizerSpec(bits=2, dim=2, clip=0.05, scale=0.15), EncoderSettings(fill=5.0)
    pipeline = assemble(TABLE, DOCUMENTS, spec, settings)
    wrong = assemble(TABLE, DOCUMENTS, dataclasses.replace(spec, scale=0.17), settings)
    law = del_law(pipeline.encoder.codes.astype(np.float64), spec)
    outcomes = lambda message: unpack(message, spec).astype(int) @ [1, 4]  # noqa: E731
    return Case("DEL", pipeline, law, outcomes, relabelled(pipeline, wrong), worst_pair(law), False)


def del_clipping_case():
    """Codes outside the cube; two of them beyond opposite corners, where the guarantee is attained. Not clipped."""
    codes = np.vstack([[0.08, 0.09], [-0.07, -0.1], [0.3, -0.01], np.zeros((WORDS - 3, 2))])
    spec = QuantizerSpec(bits=2, dim=2, clip=0.05, scale=0.12)
    wide = dataclasses.replace(spec, clip=0.1)
    pipeline, wrong = (assemble(TABLE, DOCUMENTS, one, Encoder.of(codes, one.clip)) for one in (spec, wide))
    outcomes = lambda message: unpack(message, spec).astype(int) @ [1, 4]  # noqa: E731
    return Case("DEL clipping", pipeline, del_law(codes, spec), outcomes, relabelled(pipeline, wrong), (0, 1), True)


def worst_pair(law, among=None):
    rows = np.array([law(word) for word in range(WORDS)])
    among = np.arange(WORDS) if among is None else among
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [(np.nanmax(np.log(rows[a] / rows[b])), a, b) for a in among for b in among if a != b]
    return max(ratios)[1:]


CASES_OF = {
    "del": [del_case(), del_clipping_case()],
    "randomized response": [response_case()],
    "subset selection": [sets_case()],
    "projective geometry": [points_case()],
    "coarse words": [coarse_case()],
    "gaussian": [gaussian_case()],
    "metric": [metric_case()],
    "exponential": [exponential_case()],
    "santext": [santext_case(), santext_plus_case()],
    "custext": [custext_case()],
    "rantext": [rantext_case()],
    "dp prompt": [rewriting_case("dp-prompt", DpPrompt, DpPromptSpec)],
    "dp mlm": [rewriting_case("dp-mlm", DpMlm, DpMlmSpec)],
}
CASES = [case for cases in CASES_OF.values() for case in cases]
RIVALS = [case for case in CASES if not isinstance(case.mechanism, Pipeline)]
KNOWN = [case for key, cases in CASES_OF.items() if MECHANISMS[key].known_law for case in cases]
FOLLOWED = ("coarse", "exponential", "santext", "santext plus", "custext")
"""Cases whose scores follow the planted fault: they state the law of what they release, which is another one."""
CONTRADICTED = [case for case in KNOWN if case.name not in FOLLOWED]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_rival = pytest.mark.parametrize("case", RIVALS, ids=lambda case: case.name)


def released(mechanism, case, word, seed, count=RELEASES):
    """Returns how often each outcome of a word was released."""
    message = mechanism.release([word] * count, SimulatedRandomness(seed, "conformance"))
    return np.bincount(case.outcomes(message), minlength=len(case.law(word)))


def law_p_value(found, law):
    """Returns the p-value of counts of independent outcomes against a law: exact binomial tests, Bonferroni."""
    n = int(found.sum())
    if len(found) != len(law):
        return 0.0
    tests = []
    for observed, chance in ((found, law), (np.cumsum(found)[:-1], np.cumsum(law)[:-1])):
        chance = np.clip(chance, 0, 1)
        tests.append(2 * np.minimum(binom.cdf(observed, n, chance), binom.sf(observed - 1, n, chance)))
    every = np.concatenate(tests)
    return min(1.0, every.size * every.min())


def test_every_mechanism_of_the_registry_has_a_case():
    assert list(CASES_OF) == list(MECHANISMS)
    assert all(CASES_OF.values())


@every_case
def test_it_keeps_the_contract_and_its_scores_are_the_law_of_its_releases(case):
    report = check_mechanism(case.mechanism)
    assert report.passed, str(report)
    tested = {check.name for check in report.checks if not check.reason.startswith("not tested")}
    law = {"scores", "law", "independence"}
    assert tested & law == (law if case in KNOWN else set())
    assert len(tested - law) == 10


@pytest.mark.parametrize("case", CONTRADICTED, ids=lambda case: case.name)
def test_a_planted_fault_contradicts_the_stated_law(case):
    """By what is read of the releases alone: no law that this file computes."""
    failed = [check.name for check in check_mechanism(case.faulty).failed]
    assert "law" in failed
    assert set(failed) <= {"law", "independence"}


@pytest.mark.parametrize("row", MECHANISMS.values(), ids=lambda row: row.key)
def test_a_row_says_what_its_mechanism_is(row):
    for case in CASES_OF[row.key]:
        mechanism, spec = case.mechanism, case.mechanism.spec
        assert type(mechanism) is imported(row.made_by)
        assert type(spec) is imported(row.spec)
        assert mechanism_of(spec) is row
        assert getattr(spec, "kind", "del") == row.key == rival_guarantee(mechanism, DELTA).mechanism
        assert isinstance(mechanism, ObservableMechanism)
        assert isinstance(mechanism, KnownChannel) == row.known_law


@every_case
def test_what_is_released_has_the_law(case):
    for word in (0, 5, 7):
        assert law_p_value(released(case.mechanism, case, word, word), case.law(word)) > FALSE_ALARM / 3


@every_case
def test_the_law_test_rejects_the_planted_fault(case):
    p_values = [law_p_value(released(case.faulty, case, word, word), case.law(word)) for word in (0, 5, 7)]
    assert min(p_values) < FALSE_ALARM / 3


@every_case
def test_tokens_are_released_independently(case):
    """Each two neighbours of one word are released with the product of its law."""
    law = case.law(0)
    outcomes = case.outcomes(case.mechanism.release([0] * RELEASES, SimulatedRandomness(3, "independence")))
    pairs = np.bincount(outcomes[::2] * len(law) + outcomes[1::2], minlength=len(law) ** 2)
    assert law_p_value(pairs, np.outer(law, law).ravel()) > FALSE_ALARM


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_a_text_is_picked_from_a_list_by_the_law_of_its_tokens(case):
    """Against the law that this file computes, of DEL's codes as they are rounded.

    d_chi privacy has none in closed form, so its own scores stand in.
    """
    texts = np.array(list(itertools.product(range(WORDS), repeat=3)))
    public = AttackerKnowledge(case.mechanism, TABLE, np.full(WORDS, 1 / WORDS))
    reader = CandidateList().fit(public)
    message, law_of = case.mechanism.release([0, 5, 7], SimulatedRandomness(0, "list")), case.law
    if isinstance(case.mechanism, Pipeline):
        law_of = del_law(case.mechanism.encoder.codes.astype(np.float64), case.mechanism.spec)
    if isinstance(case.mechanism, Metric):
        law = np.concatenate([block.copy() for _, block in public.channel.scores(reader.observed(message))])
    else:
        with np.errstate(divide="ignore"):
            law = np.log([law_of(word) for word in range(WORDS)])[:, case.outcomes(message)].T
    expected = law[np.arange(3), texts].sum(axis=1)
    found = reader.log_likelihood(message, texts)
    assert np.isfinite(expected).any()
    assert np.array_equal(np.isneginf(found), np.isneginf(expected))
    assert found - found.max() == pytest.approx(expected - expected.max(), abs=1e-4)


def lower_epsilon(case, first, second, delta):
    """Returns what a distinguishing test shows of epsilon, by Clopper-Pearson at 1e-6; the test is fixed beforehand."""
    p, q = case.law(first), case.law(second)
    with np.errstate(divide="ignore"):
        order = np.argsort(np.where(p > 0, -np.log(np.maximum(p, 1e-300) / np.maximum(q, 1e-300)), np.inf))
    count = 30 * RELEASES if case.exact else RELEASES
    margin = 5 / np.sqrt(count)
    p_sum, q_sum = np.cumsum(p[order]), np.cumsum(q[order])
    worth = (p_sum - margin * np.sqrt(p_sum) - delta) / (q_sum + margin * np.sqrt(q_sum) + 1 / count)
    event = order[: int(worth.argmax()) + 1]
    hits = released(case.mechanism, case, first, 11, count)[event].sum()
    false = released(case.mechanism, case, second, 12, count)[event].sum()
    least = betaincinv(hits, count - hits + 1, FALSE_ALARM / 2) if hits else 0.0
    most = betaincinv(false + 1, count - false, 1 - FALSE_ALARM / 2)
    return float(np.log((least - delta) / most)) if least > delta else 0.0


@every_case
def test_no_distinguisher_beats_the_guarantee_and_exact_ones_are_nearly_reached(case):
    stated = rival_guarantee(case.mechanism, DELTA)
    bound = stated.within if stated.within is not None else stated.epsilon
    shown = lower_epsilon(case, *case.pair, DELTA)
    assert shown <= bound.upper
    assert shown >= (0.8 * bound.upper if case.exact else 0.1)


def test_claims_of_papers_that_do_not_hold_are_refuted():
    """RANTEXT's epsilon between words that are not on one list, and SanText+'s and CusText's between any two words."""
    by_name = {case.name: case for case in CASES}
    rantext = by_name["rantext"]
    tight = RanText(dataclasses.replace(rantext.mechanism.spec, rate=12.0), LINE)
    far = dataclasses.replace(rantext, mechanism=tight, outcomes=ids(tight), law=lambda word: np.arange(WORDS) == word)
    assert lower_epsilon(far, 0, WORDS - 1, DELTA) > 1.5 * tight.spec.epsilon
    assert rival_guarantee(tight, DELTA).epsilon.upper > lower_epsilon(far, 0, WORDS - 1, DELTA)
    for name, pair in (("santext plus", (5, 0)), ("custext", (0, 4))):
        assert lower_epsilon(by_name[name], *pair, DELTA) > 2 * by_name[name].mechanism.spec.epsilon
        assert rival_guarantee(by_name[name].mechanism, DELTA).epsilon.upper == np.inf


def test_a_distinguisher_shows_that_a_release_was_not_clipped():
    case = next(case for case in CASES if case.name == "DEL clipping")
    bound = rival_guarantee(case.mechanism, DELTA).epsilon
    assert lower_epsilon(dataclasses.replace(case, mechanism=case.faulty), *case.pair, DELTA) > 1.5 * bound.upper


def token_bits(mechanism):
    return getattr(mechanism, "format", mechanism.spec).token_bits


@every_case
@pytest.mark.parametrize("tokens", [1, 2, 7, 64])
def test_messages_have_a_header_of_16_bytes_and_so_many_bits_a_token(case, tokens):
    lengths = {len(case.mechanism.release([word] * tokens, SimulatedRandomness(word))) for word in range(WORDS)}
    assert lengths == {16 + -(-token_bits(case.mechanism) * tokens // 8)}


@every_case
def test_altered_messages_are_refused(case):
    message = case.mechanism.release([1, 2, 3], SimulatedRandomness(0))
    wrong = {
        "truncated": message[:-1],
        "short": message[:15],
        "padded": message + b"\0",
        "magic": b"XXXX" + message[4:],
        "fingerprint": message[:4] + bytes([message[4] ^ 1]) + message[5:],
        "tokens=0": message[:12] + bytes(4),
        "more tokens": message[:12] + (9).to_bytes(4, "little") + message[16:],
    }
    if token_bits(case.mechanism) * 3 % 8:
        wrong["spare bits"] = message[:-1] + bytes([message[-1] | 1])
    for altered in wrong.values():
        with pytest.raises(UserError, match="Expected"):
            case.mechanism.embeddings(altered)


@every_case
@pytest.mark.parametrize(
    ("tokens", "said"),
    [([], "at least one"), ([0, WORDS], r"0\.\.7, got 8"), ([-1], "got -1"), ([0.5], "whole numbers")],
    ids=["none", "beyond", "negative", "half"],
)
def test_bad_tokens_are_told_and_nothing_is_drawn(case, tokens, said, no_words):
    with pytest.raises(UserError, match=f"Expected .*{said}"):
        case.mechanism.release(tokens, no_words)


@every_case
def test_description_has_no_arrays_and_its_fingerprint_tells_it_from_every_other(case):
    spec = case.mechanism.spec
    assert all(isinstance(value, (str, int, float)) for value in spec.to_dict().values())
    assert len({other.mechanism.spec.fingerprint for other in CASES}) == len(CASES)
    assert described(spec.to_dict()) == spec
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, float) and field.name not in ANY_SIGN:
            assert dataclasses.replace(spec, **{field.name: value * 1.5}).fingerprint != spec.fingerprint
            with pytest.raises(UserError, match=field.name):
                dataclasses.replace(spec, **{field.name: -1.0})
