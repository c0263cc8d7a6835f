"""Clusters of a run: made once, the same as certify makes, and never where a map is given."""

import pytest

from del_audit.configuration.configuration import Configuration
from del_audit.configuration.named import Named
from del_audit.service import clusters
from del_audit.service.clusters import require_symbols, with_clusters
from del_audit.service.mechanisms import mechanism_over
from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm, load_embedding_table
from mechanisms.public_words import PublicWords

DOCUMENTS = [[1, 2, 3, 3], [3, 5, 8]]


@pytest.fixture(scope="module")
def language(tiny_lm_folder):
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture
def configured(tiny_lm_folder):
    def made(mechanism):
        return Configuration(
            name="tiny",
            model=str(tiny_lm_folder),
            mechanism=mechanism,
            data={"corpus": "c.csv"},
            policy={"attack_success_at_most": 0.2},
        )

    return made


def coarse(epsilon=2.0, **fields):
    inner = {"kind": "randomized-response", "epsilon": epsilon}
    return {"kind": "coarse-words", "symbols": 8, "seed": 1, "inner": inner, **fields}


def test_a_file_of_clusters_gives_the_mechanism_that_is_made_without_it(configured, language, tmp_path):
    base = configured(coarse())
    placed = with_clusters(base, language, DOCUMENTS, tmp_path).mechanism
    words = PublicWords(load_embedding_table(base.model), DOCUMENTS)
    plain, filed = mechanism_over(base.mechanism, words).spec, mechanism_over(placed, words).spec
    assert filed == plain
    assert placed.symbols == plain.inner.words <= 8


def test_clusters_are_made_once_for_all_epsilons(configured, language, tmp_path, monkeypatch):
    said, first = [], with_clusters(configured(coarse()), language, DOCUMENTS, tmp_path)
    monkeypatch.setattr(clusters, "spherical_clusters", lambda *_: pytest.fail("made again"))
    other = with_clusters(configured(coarse(5.0)), language, DOCUMENTS, tmp_path, said.append)
    assert other.mechanism.map == first.mechanism.map
    assert other.mechanism.inner.epsilon == 5.0
    assert said == []
    monkeypatch.undo()
    seeded = with_clusters(configured(coarse(seed=2)), language, DOCUMENTS, tmp_path)
    assert seeded.mechanism.map != first.mechanism.map


def test_others_and_those_with_a_map_are_left_as_they_are(configured, language, tmp_path):
    for mechanism in ({"kind": "randomized-response", "epsilon": 1.0}, coarse(map="own.safetensors")):
        base = configured(mechanism)
        assert with_clusters(base, language, DOCUMENTS, tmp_path) is base
    assert list(tmp_path.iterdir()) == []


def test_more_symbols_than_words_are_refused():
    require_symbols(16, [Named.parse("coarse-words:16"), Named.parse("del")])
    with pytest.raises(UserError, match=r"in 2\.\.15, the model's vocabulary, got 'coarse-words:16'"):
        require_symbols(15, [Named.parse("del"), Named.parse("coarse-words:16")])
