"""Games meet the exact curve, never beat it, and show a quantizer that keeps less than it promises."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from attacks.base import AttackerKnowledge
from attacks.distinguishing import LikelihoodRatio
from attacks.repeated import repeated
from del_audit.accounting import Accountant, TradeOff
from del_audit.accounting.any_mechanism import proved_guarantee
from del_audit.evidence.distinguishing import exact_auc, play, play_membership
from del_audit.evidence.games import Claim, GameSettings, Guarantee, judge, p_value
from del_audit.evidence.pairs import corner_public, notable_pairs, pair_curve, pair_figures
from del_audit.statistics.contradiction import FALSE_ALARMS
from del_audit.statistics.intervals import clopper_pearson
from mechanisms.channel import Channel
from mechanisms.decoding import LinearDecoder
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import simulation_generator
from mechanisms.rivals import RandomizedResponse, RandomizedResponseSpec
from mechanisms.rivals._message import renamed
from mechanisms.spec import QuantizerSpec
from tests.toy_mechanism import Toy, ToySpec

SPEC = QuantizerSpec.from_mu(4, 18, 0.05, 2.0)
CORNERS = {"opposite corners": ((0,), (1,))}
RARE = 1e-6
"""False-alarm rate of a test on a seeded sample."""


def make_public(bits=2, dim=3, mu=2.0, words=30, seed=0):
    generator = np.random.default_rng(seed)
    prior = generator.dirichlet(np.full(words, 2.0))
    spec = QuantizerSpec.from_mu(bits, dim, 0.05, mu)
    encoder = Encoder.of(generator.uniform(-1, 1, (words, dim)) * spec.clip, spec.clip)
    table = (encoder.codes @ generator.standard_normal((dim, 3 * dim))).astype(np.float32)
    linear = LinearDecoder.fit(StochasticQuantizer(spec), encoder, prior, table)
    pipeline = Pipeline(spec, table, prior, encoder, Channel.of(spec, encoder.codes), linear, linear)
    return AttackerKnowledge(pipeline, table, prior)


@pytest.fixture
def plant(monkeypatch):
    """Returns what makes the client sample at a fraction of the scale that the spec says: the planted fault."""
    right = StochasticQuantizer.sample

    def fault(factor):
        def sample(self, levels, source):
            return right(replace(self, spec=replace(self.spec, scale=self.spec.scale * factor)), levels, source)

        monkeypatch.setattr(StochasticQuantizer, "sample", sample)

    return fault


def box(point, trials):
    """Returns intervals of both errors that are both right but for RARE."""
    counts = [round(figure.value * trials) for figure in (point.alpha, point.beta)]
    return [clopper_pearson(count, trials, 1 - RARE) for count in counts]


def meets(point, curve, trials):
    (low_a, high_a), (low_b, high_b) = box(point, trials)
    return curve.beta(high_a) <= high_b and curve.beta(low_a) >= low_b


@pytest.mark.parametrize(("tokens", "times", "mu"), [(1, 1, 2.0), (2, 1, 1.0), (1, 3, 1.0)])
def test_theorem_1_the_worst_pairs_game_meets_the_exact_curve_and_does_not_beat_it(tokens, times, mu):
    spec = QuantizerSpec.from_mu(4, 18, 0.05, mu)
    public = corner_public(spec)
    public = public if times == 1 else replace(public, mechanism=repeated(public.mechanism, times))
    (game,) = play(public, {"corners": ((0,) * tokens, (1,) * tokens)}, GameSettings(2_000, seed=tokens + times))
    curve = TradeOff.of_vertices(tokens * times * 270, spec.threshold_high / 2**32 - 0.5)
    assert len(game.points) > 8
    assert all(meets(point, curve, 2_000) for point in game.points)
    assert not game.broken
    assert game.tokens == tokens * times
    assert game.unit == ("session" if times > 1 else "phrase" if tokens > 1 else "token")
    assert game.advantage.lower <= curve.total_variation <= game.advantage.upper
    assert game.auc.lower <= game.exact_auc <= game.auc.upper
    assert game.total_variation.estimate == pytest.approx(curve.total_variation, rel=1e-12)
    assert game.epsilon.value < game.exact_epsilon.lower
    assert game.own_epsilon.upper == pytest.approx(game.exact_epsilon.estimate, rel=1e-6)
    assert game.own_total_variation.upper == pytest.approx(game.total_variation.estimate, rel=1e-6)
    alpha, beta = game.drawn
    assert (np.diff(alpha) <= 0).all()
    assert (np.diff(beta) >= 0).all()


@pytest.mark.parametrize("factor", [0.5, 0.9])
def test_a_quantizer_of_too_small_a_scale_is_shown_broken(plant, factor):
    plant(factor)
    (game,) = play(corner_public(SPEC), CORNERS, GameSettings(4_000))
    assert game.broken
    assert factor == 0.9 or not all(meets(point, Accountant(SPEC).trade_off(), 4_000) for point in game.points)


def test_what_is_proved_of_epsilon_exceeds_the_claim_of_a_broken_client(plant):
    spec = QuantizerSpec.from_mu(4, 18, 0.05, 0.5)
    settings = GameSettings(3_000, delta=1e-2)
    (right,) = play(corner_public(spec), CORNERS, settings)
    assert right.epsilon.value < right.exact_epsilon.lower
    plant(0.25)
    (wrong,) = play(corner_public(spec), CORNERS, settings)
    assert wrong.epsilon.value > wrong.exact_epsilon.upper
    assert wrong.broken


def test_a_claim_is_tested_like_a_curve():
    """Randomized response keeps its own claim and breaks a smaller one."""
    spec = RandomizedResponseSpec.from_epsilon(5, 1.5)
    table = np.eye(5, dtype=np.float32)
    public = AttackerKnowledge(RandomizedResponse(spec, table), table, np.full(5, 0.2))
    pair, settings = {"two words": ((0,), (1,))}, GameSettings(2_500)
    (kept,) = play(public, pair, settings, Claim(1.5))
    (broken,) = play(public, pair, settings, Claim(1.0))
    unproved = replace(public, mechanism=Toy(ToySpec(5, 1 << 14), table))
    (silent,) = play(unproved, pair, settings)
    assert not kept.broken
    assert kept.epsilon.value <= 1.5
    assert kept.epsilon.value > 1.15
    assert broken.broken
    assert not silent.broken
    assert {point.least_beta for point in silent.points} == {None}


@pytest.mark.parametrize(("alpha", "trials"), [(0.02, 200), (0.2, 1_000), (0.5, 200)])
def test_the_alarm_is_false_no_oftener_than_its_level(alpha, trials):
    curve = Claim(1.5, 0.01)  # a curve that costs nothing to compute
    generator = simulation_generator(0, "alarms", str(alpha))
    false, missed = generator.binomial(trials, alpha, 500), generator.binomial(trials, float(curve.beta(alpha)), 500)
    found = np.array([p_value(int(a), int(b), trials, curve, 0.01) for a, b in zip(false, missed, strict=True)])
    for level in (0.3, 0.1, 0.03):
        assert (found < level).sum() <= binom.isf(RARE, 500, level)


def test_the_alarms_level_bounds_the_largest_combined_tail_and_is_near_it():
    """Against the largest of Fisher's combinations over a fine grid of type I errors."""
    curve = Accountant(SPEC).trade_off()
    for false, missed in [(0, 130), (10, 40), (60, 3), (25, 22)]:
        alphas = np.linspace(1e-6, 1 - 1e-6, 4_001)
        tails = binom.cdf(false, 400, alphas) * binom.cdf(missed, 400, curve.beta(alphas))
        tails = np.maximum(tails, 1e-300)
        largest = (tails * (1 - np.log(tails))).max()
        found = p_value(false, missed, 400, curve, FALSE_ALARMS / 10)
        assert largest * (1 - 1e-6) <= found
        assert found <= 1.2 * largest + FALSE_ALARMS / 10
    assert p_value(400, 0, 400, curve, 1e-5) == 1.0
    assert p_value(0, 0, 400, curve, 1e-5) < 1e-5


def test_the_exact_area_is_the_chance_that_one_binomial_exceeds_another():
    trials, offset = 12, 0.1
    p, q = (binom.pmf(range(13), trials, 0.5 + sign * offset) for sign in (1, -1))
    expected = sum(p[i] * (q[:i].sum() + q[i] / 2) for i in range(13))
    assert exact_auc(TradeOff.of_vertices(trials, offset)) == pytest.approx(expected, rel=1e-12)


def test_the_pairs_own_figures_are_those_of_its_two_laws():
    public = make_public()
    pipeline = public.mechanism
    pair = (3,), (8,)
    chance = StochasticQuantizer(pipeline.spec).thresholds(pipeline.encoder.codes) / 2**32
    laws = []
    for word in (3, 8):
        parts = [binom.pmf(range(4), 3, p) for p in chance[word]]
        laws.append(np.multiply.outer(np.multiply.outer(parts[0], parts[1]), parts[2]).ravel())
    variation, epsilon = pair_figures(public, LikelihoodRatio(*pair), 1e-3)
    assert variation.lower <= np.abs(laws[0] - laws[1]).sum() / 2 <= variation.upper
    assert variation.upper - variation.lower < 1e-3
    deltas = [np.maximum(p - np.exp(epsilon.upper) * q, 0).sum() for p, q in (laws, laws[::-1])]
    assert max(deltas) == pytest.approx(1e-3, rel=1e-2)
    order = np.argsort(laws[0] / laws[1])  # Neyman and Pearson: the releases that speak for the second come first
    alpha, beta = np.cumsum(laws[0][order]), 1 - np.cumsum(laws[1][order])
    curve = pair_curve(public, pair, alpha.tolist(), epsilons=60)
    assert (curve <= beta + 1e-12).all()
    assert np.abs(curve - beta).max() < 0.01


def test_equal_codes_tell_nothing():
    public = make_public()
    levels = public.mechanism.encoder.levels.copy()
    levels[1] = levels[0]
    encoder = replace(public.mechanism.encoder, levels=levels)
    channel = Channel.of(public.mechanism.spec, encoder.codes)
    public = replace(public, mechanism=replace(public.mechanism, encoder=encoder, channel=channel))
    (game,) = play(public, {"same": ((0,), (1,))}, GameSettings(300))
    assert game.own_total_variation.upper == 0
    assert game.advantage.value == 0
    assert game.auc.value == 0.5
    assert pair_curve(public, ((0,), (1,)), [0.25]).tolist() == [0.75]


def test_the_vocabularys_pairs_lie_between_nothing_and_the_cube():
    public = make_public()
    pairs = notable_pairs(public, 1e-3)
    found = {name: pair_figures(public, LikelihoodRatio(*pair), 1e-3)[1].estimate for name, pair in pairs.items()}
    cube = Accountant(public.mechanism.spec).epsilon(1e-3).upper
    assert found["median of the vocabulary"] < found["worst of the vocabulary"] <= cube
    others = np.random.default_rng(0).permuted(np.tile(np.arange(30), (8, 1)), axis=1)[:, :2]
    for first, second in others:
        own = pair_figures(public, LikelihoodRatio((first,), (second,)), 1e-3)[1]
        assert own.lower <= found["worst of the vocabulary"] * (1 + 1e-6)
    games = play(public, pairs, GameSettings(300))
    assert [game.name for game in games] == list(pairs)
    assert not any(game.broken for game in games)
    for game in games:
        assert game.advantage.lower <= game.own_total_variation.upper


def test_a_prompts_game_counts_the_tokens_that_differ_only():
    public = make_public()
    (game,) = play(public, {"prompts": ((1, 2, 3, 4), (1, 9, 3, 7))}, GameSettings(200))
    assert (game.unit, game.tokens) == ("phrase", 2)
    assert game.exact_epsilon == Accountant(public.mechanism.spec).epsilon(1e-5, "phrase", 2)


def test_membership_is_told_and_stays_above_the_curve():
    public = make_public(bits=4, dim=6, mu=6.0)
    generator = np.random.default_rng(0)
    texts = [generator.choice(30, 64, p=public.prior).tolist() for _ in range(40)]
    phrases = {"word": (2,), "phrase": (5, 7, 5)}
    games = play_membership(public, phrases, texts, 8, GameSettings(600))
    assert [(game.unit, game.tokens) for game in games] == [("token", 1), ("phrase", 3)]
    assert not any(game.broken for game in games)
    assert all(game.auc.lower > 0.55 for game in games)
    assert games[1].auc.value > games[0].auc.value
    assert all(game.advantage.lower <= game.total_variation.upper for game in games)


def test_membership_shows_a_broken_client_too(plant):
    public = corner_public(QuantizerSpec.from_mu(4, 6, 0.05, 0.5))
    world = ({"word": (1,)}, [[0] * 40], 3, GameSettings(1_500))
    assert not play_membership(public, *world)[0].broken
    plant(0.1)
    assert play_membership(public, *world)[0].broken


def test_figures_name_themselves_and_go_to_json():
    (game,) = play(corner_public(SPEC), CORNERS, GameSettings(100, seed=5))
    kept = json.loads(json.dumps(game.to_dict(), allow_nan=False))
    assert kept["broken"] is False
    assert kept["seed"] == 5
    assert kept["points"][0]["alpha"]["method"] == "Clopper-Pearson"
    assert kept["epsilon"]["kind"] == "estimated, lower confidence limit"
    (again,) = play(corner_public(SPEC), CORNERS, GameSettings(100, seed=5))
    assert again == game
    (other,) = play(corner_public(SPEC), CORNERS, GameSettings(100, seed=6))
    assert other != game


def test_what_never_mixes_keeps_an_interval():
    settings = GameSettings(40)
    far = [np.full(90, -5.0), np.full(90, 5.0)]
    game = judge("far", LikelihoodRatio((0,), (1,)), far, Guarantee("token", 1, None), settings)
    assert game.auc.value == 1
    assert 0.88 < game.auc.lower < 0.95
    assert game.advantage.value == 1
    assert game.advantage.lower < 0.85
    assert 0 < game.epsilon.value < 3


def test_intervals_cover():
    """Area and advantage of normal laws one apart: at least 95% of 400 runs, but for RARE."""
    generator = simulation_generator(3, "coverage of games")
    area, advantage, missed = 0.7602499, 0.3829249, np.zeros(2)
    for seed in range(400):
        null, alternative = generator.normal(-0.5, 1, 200), generator.normal(0.5, 1, 200)
        settings = GameSettings(150, seed=seed)
        game = judge("n", LikelihoodRatio((0,), (1,)), [null, alternative], Guarantee("token", 1, None), settings)
        missed += [
            not figure.lower <= truth <= figure.upper
            for figure, truth in ((game.auc, area), (game.advantage, advantage))
        ]
    assert (missed <= binom.isf(RARE, 400, 0.05)).all()


@pytest.mark.parametrize(
    "values", [{"trials": 0}, {"trials": 1.5}, {"trials": 5, "delta": 0.0}, {"trials": 5, "confidence": 1.0}]
)
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(UserError, match="Expected"):
        GameSettings(**values)


def test_bad_games_are_refused():
    public, settings = make_public(), GameSettings(10)
    for call, reason in [
        (lambda: play(public, {}, settings), "at least one pair"),
        (lambda: play(public, {"x": ((0,), (99,))}, settings), "tokens in"),
        (lambda: play(public, {"x": ((0,), (1, 2))}, settings), "one length"),
        (lambda: play_membership(public, {}, [[0] * 9], 4, settings), "at least one phrase"),
        (lambda: play_membership(public, {"x": (1, 2)}, [[0] * 9], 1, settings), "length"),
        (lambda: play_membership(public, {"x": (0,)}, [[0] * 9], 4, settings), "without the phrase"),
        (lambda: play_membership(public, {"x": (99,)}, [[0] * 9], 4, settings), "tokens in"),
        (lambda: Claim(-1.0), "epsilon"),
    ]:
        with pytest.raises(UserError, match=reason):
            call()


RESPONSE = RandomizedResponseSpec.from_epsilon(6, 1.2)


def of_response(spec=RESPONSE, released=None):
    """Returns a public world of randomised response; released: of another spec, whose messages bear this one's name."""
    table = np.eye(6, dtype=np.float32)
    mechanism = RandomizedResponse(spec)
    if released is not None:
        louder = RandomizedResponse(released)
        release = lambda tokens, source: renamed(louder.release(tokens, source), released.fingerprint, spec.fingerprint)  # noqa: E731
        object.__setattr__(mechanism, "release", release)
    return AttackerKnowledge(mechanism, table, np.full(6, 1 / 6))


@pytest.mark.parametrize("times", [1, 3])
def test_a_mechanism_over_words_is_held_to_its_own_curve_and_its_best_test_nearly_reaches_it(times):
    public = of_response()
    if times > 1:
        public = replace(public, mechanism=repeated(public.mechanism, times))
    (game,) = play(public, {"two words": ((0,), (1,))}, GameSettings(4000, seed=3))
    proved = proved_guarantee(RESPONSE, "session" if times > 1 else "token", times, 1e-5)
    assert (game.total_variation, game.exact_epsilon) == (proved.total_variation, proved.epsilon)
    assert not game.broken
    assert game.advantage.lower <= proved.total_variation.upper
    assert game.advantage.value > 0.85 * proved.total_variation.lower
    assert game.epsilon.value <= proved.epsilon.upper


def test_a_mechanism_over_words_of_less_noise_than_it_states_is_broken():
    public = of_response(released=RandomizedResponseSpec.from_epsilon(6, 1.8))
    (game,) = play(public, {"two words": ((0,), (1,))}, GameSettings(4000, seed=3))
    assert game.broken
