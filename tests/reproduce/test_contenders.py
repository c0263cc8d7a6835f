"""The mechanisms of the tables: their knobs, what they guarantee there, and the attack on all of them alike."""

import math

import numpy as np
import pytest

from attacks.base import AttackerKnowledge
from attacks.inversion import CosineNeighbour, MaximumAPosteriori
from del_audit.accounting import Accountant
from del_audit.accounting.rivals import rival_guarantee
from del_audit.reproduce.contenders import CONTENDERS, Contenders, nearest_hits, posterior_hits
from del_audit.reproduce.protocol import CLIP, DELTA
from mechanisms.models import load_causal_lm
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.training import ProjectionTraining, train_projection

BITS, DIM = 4, 6
KINDS = tuple(CONTENDERS)
WITH_LAW = [kind for kind in KINDS if kind not in ("rantext", "metric")]
WITH_LAW.append(pytest.param("metric", marks=pytest.mark.slow))


@pytest.fixture(scope="module")
def made(model_folder, tmp_path_factory):
    """The maker of mechanisms over the tiny model, with a pair trained for two steps."""
    language = load_causal_lm(str(model_folder))
    generator = simulation_generator(0, "contenders")
    documents = [generator.integers(1, 384, 60).tolist() for _ in range(20)]
    folder = tmp_path_factory.mktemp("pair") / "pair"
    settings = ProjectionTraining(steps=2, batch=2, window=16, validation_windows=0)
    train_projection(language, QuantizerSpec.from_mu(BITS, DIM, CLIP, 40.0), documents, settings, folder, {})
    table = language.model.get_input_embeddings().weight.detach().numpy()
    return Contenders(table, documents, lambda dim: folder)


@pytest.fixture(scope="module")
def tokens():
    return simulation_generator(1, "attacked").integers(1, 384, 400)


@pytest.mark.parametrize("kind", KINDS)
def test_more_of_the_knob_is_less_private_and_easier_to_attack(made, tokens, kind):
    knob = CONTENDERS[kind].knob
    ends = [made.at(kind, BITS, DIM, value) for value in (knob.low * 1.5, knob.high / 1.5)]
    low, high = (nearest_hits(one, made.table, tokens, 0, "test") for one in ends)
    assert low < 0.1 * len(tokens) < high
    if kind != "rantext":
        assert ends[0].epsilon.upper < ends[1].epsilon.upper


def test_the_attack_on_del_is_the_packages_own(made, tokens):
    one = made.at("del", BITS, DIM, 40.0)
    message = one.mechanism.release(tokens.tolist(), SimulatedRandomness(0, "reproduce", "test"))
    public = AttackerKnowledge(one.mechanism, made.table, made.prior)
    paper, law = (a.fit(public).guess([message])[0].best for a in (CosineNeighbour(), MaximumAPosteriori()))
    assert nearest_hits(one, made.table, tokens, 0, "test") == (paper == tokens).sum()
    assert posterior_hits(one, np.log(made.prior), tokens, 0, "test") == (law == tokens).sum()


@pytest.mark.parametrize("kind", WITH_LAW)
def test_the_exact_law_reads_no_less_than_the_papers_attack(made, tokens, kind):
    one = made.at_epsilon(kind, BITS, DIM, 12.0)
    own = nearest_hits(one, made.table, tokens, 0, "test")
    law = posterior_hits(one, np.log(made.prior), tokens, 0, "test")
    assert law >= own - 4 * math.sqrt(len(tokens)) / 2


def test_no_law_in_closed_form_is_no_figure(made, tokens):
    assert posterior_hits(made.at("rantext", BITS, DIM, 6.0), np.log(made.prior), tokens, 0, "test") is None


@pytest.mark.parametrize("kind", WITH_LAW)
@pytest.mark.parametrize("epsilon", [4.0, 20.0])
def test_an_epsilon_is_met_on_the_safe_side(made, kind, epsilon):
    found = made.at_epsilon(kind, BITS, DIM, epsilon)
    spec = found.mechanism.spec
    own = Accountant(spec).epsilon(DELTA) if kind == "del" else rival_guarantee(spec, DELTA).epsilon
    assert found.epsilon == own
    assert 0.99 * epsilon < found.epsilon.upper <= epsilon
    again = made.at(kind, BITS, DIM, found.knob)
    assert again.epsilon.upper == pytest.approx(found.epsilon.upper, rel=1e-3)


def test_gaussian_noise_is_read_by_the_pairs_own_decoder(made, tokens):
    one = made.at("gaussian", BITS, DIM, 900.0)
    clear = made.at("del", 8, DIM, 900.0)
    noisy, exact = (
        mechanism.embeddings(mechanism.release(tokens[:50].tolist(), SimulatedRandomness(0, "test")))
        for mechanism in (one.mechanism, clear.mechanism)
    )
    assert noisy.shape == exact.shape == (50, made.table.shape[1])
    assert np.corrcoef(noisy.ravel(), exact.ravel())[0, 1] > 0.9
    assert one.mechanism.spec.sigma == pytest.approx(2 * CLIP * math.sqrt(DIM) / 900)


def test_metric_noise_clips_no_word(made):
    assert np.allclose(made.at("metric", BITS, DIM, 1e4).mechanism.points, made.table, atol=1e-12)
