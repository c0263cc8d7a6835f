"""The mechanisms of the tables: their knobs, what they guarantee there, and the attack on all of them alike."""

import math

import numpy as np
import pytest

from del_audit.accounting import Accountant
from del_audit.accounting.rivals import rival_guarantee
from del_audit.reproduce.cells import NEAREST, POSTERIOR
from del_audit.reproduce.contenders import CONTENDERS, Contenders, hits
from del_audit.reproduce.protocol import CLIP, DELTA
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel
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
    low, high = (hits(made, NEAREST, one, tokens, 0, "test") for one in ends)
    assert low < 0.1 * len(tokens) < high
    if kind != "rantext":
        assert ends[0].epsilon.upper < ends[1].epsilon.upper


@pytest.mark.parametrize(
    ("kind", "knob", "nearest", "posterior"),
    [
        ("del", 40.0, 71, 167),
        ("gaussian", 40.0, 88, 339),
        ("metric", 400.0, 400, 400),
        ("rantext", 6.0, 349, None),
        ("randomized response", 6.0, 208, 208),
        ("subset selection", 6.0, 72, 72),
        ("projective geometry", 6.0, 62, 62),
    ],
)
def test_the_figures_of_a_seed_stay(made, tokens, kind, knob, nearest, posterior):
    one = made.at(kind, BITS, DIM, knob)
    assert hits(made, NEAREST, one, tokens, 0, "test") == nearest
    if posterior is not None:
        assert hits(made, POSTERIOR, one, tokens, 0, "test") == posterior


@pytest.mark.parametrize("kind", WITH_LAW)
def test_the_exact_law_reads_no_less_than_the_papers_attack(made, tokens, kind):
    one = made.at_epsilon(kind, BITS, DIM, 12.0)
    own = hits(made, NEAREST, one, tokens, 0, "test")
    law = hits(made, POSTERIOR, one, tokens, 0, "test")
    assert law >= own - 4 * math.sqrt(len(tokens)) / 2


def test_a_law_without_a_closed_form_is_refused(made, tokens):
    one = made.at("rantext", BITS, DIM, 6.0)
    assert not isinstance(one.mechanism, KnownChannel)
    with pytest.raises(UserError, match="law is known"):
        hits(made, POSTERIOR, one, tokens, 0, "test")


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


def test_coarse_words_tell_the_cluster_and_no_more(made, tokens):
    """Where nearly nothing is lost, the exact law names the commonest word of the right cluster."""
    one = made.at("coarse words", BITS, DIM, 39.0)
    assert len(np.unique(made.symbols)) == len(made.table) // 4
    order = np.lexsort((-made.prior, made.symbols))
    commonest = order[np.searchsorted(made.symbols[order], made.symbols)]
    named = int((commonest[tokens] == tokens).sum())
    assert hits(made, POSTERIOR, one, tokens, 0, "test") == named
    assert 0.25 * len(tokens) < named < 0.5 * len(tokens)


def test_metric_noise_clips_no_word(made):
    assert np.allclose(made.at("metric", BITS, DIM, 1e4).mechanism.points, made.table, atol=1e-12)
