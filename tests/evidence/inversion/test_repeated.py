"""Repeated release: success beside the session's guarantee, and theorem 6 at as many trials."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from attacks.base import AttackerKnowledge
from attacks.inversion import CommonestWord, CosineNeighbour, MaximumAPosteriori, MaximumLikelihood
from del_audit.accounting import Accountant, Session
from del_audit.accounting.any_mechanism import guess_bound, proved_guarantee
from del_audit.accounting.session import Part
from del_audit.evidence.inversion.repeated import measure_histories, measure_repeated
from del_audit.statistics.intervals import clopper_pearson
from mechanisms.channel import Channel
from mechanisms.corners import corner_signs
from mechanisms.decoding import LinearDecoder
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.rivals import RandomizedResponse, RandomizedResponseSpec
from mechanisms.spec import QuantizerSpec
from tests.toy_mechanism import Toy, ToySpec

ATTACKS = (CommonestWord(), CosineNeighbour(), MaximumLikelihood(), MaximumAPosteriori())
WORDS = 32


@pytest.fixture(scope="module")
def public():
    """Words at corners of the cube, where theorem 6 has the least to spare, under Zipf's law."""
    spec = QuantizerSpec.from_mu(4, 5, 0.05, 1.5)
    prior = 1 / np.arange(1.0, WORDS + 1)
    prior /= prior.sum()
    encoder = Encoder.of(corner_signs(prior, 5, 0) * spec.clip, spec.clip)
    table = (encoder.codes @ np.random.default_rng(0).standard_normal((5, 15))).astype(np.float32)
    linear = LinearDecoder.fit(StochasticQuantizer(spec), encoder, prior, table)
    return AttackerKnowledge(
        Pipeline(spec, table, prior, encoder, Channel.of(spec, encoder.codes), linear, linear), table, prior
    )


@pytest.fixture(scope="module")
def prompts(public):
    return np.random.default_rng(1).choice(WORDS, (30, 40), p=public.prior).tolist()


def bound(spec, kappa, times):
    """Returns theorem 6's bound by the lemma's hand: counts join the test from the largest down, the last in part."""
    trials, power = spec.dim * spec.trials * times, 0.0
    for count in range(trials, -1, -1):
        level = binom.pmf(count, trials, 0.5)
        share = 1.0 if kappa >= level else kappa / level
        power += share * binom.pmf(count, trials, spec.threshold_high / 2**32)
        kappa -= share * level
        if kappa <= 0:
            break
    return power


def test_success_rises_with_times_beside_its_guarantees(public, prompts):
    leakage = measure_repeated(public, ATTACKS, prompts, 0, (1, 4, 16), [i // 3 for i in range(30)], longest=120)
    rows = {(row.attack, row.times): row for row in leakage.rows}
    assert len(rows) == 12
    spec, kappa = public.mechanism.spec, np.bincount(np.ravel(prompts)).max() / 1_200
    for (name, times), row in rows.items():
        assert row.epsilon.estimate == pytest.approx(Session((Part(spec, 1, times),)).epsilon(1e-5).estimate, rel=1e-9)
        assert row.kappa == pytest.approx(kappa, rel=1e-12)
        assert row.allowed.estimate == pytest.approx(bound(spec, kappa, times), rel=1e-9)
        assert row.success.value == row.outcome.hits.mean()
        assert (row.success.documents, row.success.sample, row.success.seed) == (10, 1_200, 0)
        assert row.success.lower <= row.allowed.upper
        assert not row.beaten
        if name != CommonestWord().name:
            lower, _ = clopper_pearson(int(row.outcome.hits.sum()), len(row.outcome))
            assert times == 1 or lower > rows[name, times // 4].success.value
    best = rows[MaximumAPosteriori().name, 16]
    assert best.success.value > 0.6 * best.allowed.estimate  # the bound is no empty one
    assert leakage.broken == ()
    assert leakage.session is None


def test_a_quantizer_of_too_small_a_scale_beats_what_is_allowed(public, prompts, monkeypatch):
    right = StochasticQuantizer.sample

    def sample(self, levels, source):
        return right(replace(self, spec=replace(self.spec, scale=self.spec.scale / 3)), levels, source)

    monkeypatch.setattr(StochasticQuantizer, "sample", sample)
    leakage = measure_repeated(public, ATTACKS, prompts, 0, (1, 4), longest=40)
    assert MaximumAPosteriori().name in leakage.broken
    assert CommonestWord().name not in leakage.broken


def test_a_history_is_reported_by_how_often_its_turns_are_sent(public, prompts):
    histories = [[prompts[i][:10], prompts[i][10:30], prompts[i][30:]] for i in range(30)]
    histories[0] = [prompts[0], prompts[1]]
    leakage = measure_histories(public, [MaximumAPosteriori()], histories, 0, longest=40)
    assert [row.times for row in leakage.rows] == [1, 2, 3]
    assert [len(row.outcome) for row in leakage.rows] == [29 * 10 + 40, 29 * 20 + 40, 29 * 10]
    assert [row.success.documents for row in leakage.rows] == [30, 30, 29]
    assert leakage.rows[0].success.value < leakage.rows[2].success.value
    assert leakage.session_tokens == 2 * 40 + 40
    spec = public.mechanism.spec
    expected = Session((Part(spec, 40, 2), Part(spec, 40, 1))).epsilon(1e-5)
    assert leakage.session.estimate == pytest.approx(expected.estimate, rel=1e-9)
    exact = Accountant(spec).epsilon(1e-5, "session", 3)
    assert leakage.rows[2].epsilon.estimate == pytest.approx(exact.estimate, rel=1e-9)


def test_a_mechanism_over_words_is_held_to_its_own_bound(public, prompts):
    rival = RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, 1.5), public.table, public.prior)
    leakage = measure_repeated(
        replace(public, mechanism=rival), [MaximumAPosteriori()], prompts, 0, (1, 10), longest=40
    )
    for row in leakage.rows:
        assert row.epsilon == proved_guarantee(rival.spec, "session", row.times, row.delta).epsilon
        assert row.success.lower <= row.allowed.upper == guess_bound(rival.spec, row.kappa, row.times).upper
    assert leakage.broken == ()


def test_a_rival_without_a_proof_is_measured_without_a_bound(public, prompts):
    rival = Toy(ToySpec(WORDS, 1 << 15), public.table)
    leakage = measure_repeated(
        replace(public, mechanism=rival), [MaximumAPosteriori()], prompts, 0, (1, 10), longest=40
    )
    first, last = leakage.rows
    assert first.success.upper < last.success.lower
    assert {row.epsilon for row in leakage.rows} == {None}
    assert {row.allowed for row in leakage.rows} == {None}
    assert leakage.broken == ()
    assert json.loads(json.dumps(leakage.to_dict()))["rows"][0]["allowed"] is None


def test_figures_go_to_json_and_the_same_seed_repeats_them(public, prompts):
    def run(seed):
        return measure_repeated(public, [MaximumAPosteriori()], prompts[:10], seed, (2,), longest=40).to_dict()

    kept = json.loads(json.dumps(run(3), allow_nan=False))
    assert kept == json.loads(json.dumps(run(3)))
    assert kept["rows"][0]["success"]["value"] != run(4)["rows"][0]["success"]["value"]
    assert set(kept["rows"][0]["allowed"]) == {"lower", "estimate", "upper"}
    assert kept["broken"] == []


def test_bad_input_is_refused(public, prompts):
    attacks = [MaximumAPosteriori()]
    for call, reason in [
        (lambda: measure_repeated(public, attacks, prompts, 0, (0,), longest=40), "times"),
        (lambda: measure_repeated(public, attacks, prompts, 0, (), longest=40), "times"),
        (lambda: measure_repeated(public, attacks, prompts, 0, (2, 2), longest=40), "times"),
        (lambda: measure_repeated(public, [], prompts, 0, longest=40), "at least one attack"),
        (lambda: measure_repeated(public, attacks, [], 0, longest=40), "at least one"),
        (lambda: measure_repeated(public, attacks, prompts, 0, documents=[1], longest=40), "document for each"),
        (lambda: measure_repeated(public, attacks, prompts[:1], 0, longest=40), "two documents"),
        (lambda: measure_repeated(public, attacks, [[1, 99]], 0, longest=40), "tokens in"),
        (lambda: measure_repeated(public, attacks, prompts, 0, longest=39), "longest=39 trials, got one of 40"),
        (lambda: measure_histories(public, attacks, [], 0, longest=40), "histories, at least one"),
        (lambda: measure_histories(public, attacks, [[]], 0, longest=40), "at least one turn"),
        (lambda: measure_histories(public, attacks, [[[1], []]], 0, longest=40), "none empty"),
        (lambda: measure_histories(public, [], [[[1]]], 0, longest=40), "at least one attack"),
    ]:
        with pytest.raises(UserError, match=reason):
            call()
