import numpy as np
import pytest
import torch

from mechanisms.errors import UserError
from mechanisms.nlu import PLAIN, SPLIT_AND_DENOISE, ClassifierShape, Denoiser, DenoiserShape, TaskReader, TaskServer
from mechanisms.nlu.reader import Classifier, TaskParts
from mechanisms.nlu.states import initial_soft_tokens, read_states
from mechanisms.randomness import SimulatedRandomness

TOKENS = ((65, 70, 80), (300,), (270, 271, 272, 273, 274))


@pytest.fixture(scope="module")
def make_reader(own_language):
    """Returns a maker of readers whose classifier says something."""

    def make(shape=PLAIN, place=None):
        soft = initial_soft_tokens(own_language, "the doctor", 3)
        denoiser = Denoiser(32, DenoiserShape(place, 1, 2, 8), 0) if place else None
        parts = TaskParts(soft, ("no", "yes", "perhaps"), shape, denoiser, seed=0)
        with torch.no_grad():
            parts.classifier.last.weight.copy_(
                torch.sin(torch.arange(parts.classifier.last.weight.numel())).view(3, -1)
            )
            if denoiser is not None:
                denoiser.mean.fill_(0.5)
                denoiser.gain.fill_(0.25)
        return TaskReader(own_language.model, parts)

    return make


def test_a_classifier_starts_by_telling_all_texts_the_classes_shares():
    for shape in (PLAIN, SPLIT_AND_DENOISE):
        classifier = Classifier(6, 3, shape, 0)
        classifier.start(torch.randn(8, 6), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1]))
        told = torch.softmax(classifier(torch.randn(4, 6)), 1)
        assert told.flatten().tolist() == pytest.approx([6 / 8.5, 2 / 8.5, 0.5 / 8.5] * 4, rel=1e-5)


def test_features_are_standardised_even_where_one_never_varies():
    classifier, labels = Classifier(2, 2, PLAIN, 0), torch.tensor([0, 1])
    classifier.start(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), labels)
    assert classifier.centre.tolist() == [2.0, 5.0]
    assert classifier.spread.tolist() == pytest.approx([1.0, 1e-6])
    classifier.start(torch.zeros(2, 2), labels)
    assert torch.isfinite(classifier(torch.ones(1, 2))).all()


def test_the_plain_path_reads_the_last_state_and_pooling_adds_the_mean(make_reader, gentle):
    rows = gentle.rows(TOKENS, "reader")
    reader = make_reader()
    states = read_states(reader.model, reader.parts.soft, rows)
    last, mean = torch.stack([s[-1] for s in states]), torch.stack([s.mean(0) for s in states])
    assert torch.equal(reader.features(rows), last)
    assert torch.equal(make_reader(SPLIT_AND_DENOISE).features(rows), torch.cat([mean, last], 1))


def test_the_denoiser_stands_behind_the_model_or_before_it(make_reader, gentle):
    rows = gentle.rows(TOKENS, "reader")
    behind, before = make_reader(PLAIN, "states"), make_reader(PLAIN, "embeddings")
    plain = make_reader().features(rows)
    assert torch.allclose(behind.features(rows), 0.5 + 0.25 * plain, atol=1e-5)
    shrunk = [0.5 + 0.25 * row for row in rows]
    assert torch.allclose(before.features(rows), make_reader().features(shrunk), atol=1e-5)


@pytest.mark.parametrize("place", [None, "states", "embeddings"])
def test_scores_are_probabilities_in_the_rows_order_whatever_the_batch(make_reader, gentle, place):
    rows = gentle.rows(TOKENS, "reader")
    reader = make_reader(SPLIT_AND_DENOISE, place)
    scores = reader.scores(rows, batch=2)
    assert scores.shape == (3, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(scores, np.concatenate([reader.scores([row]) for row in rows]), atol=1e-6)
    with torch.no_grad():
        expected = torch.softmax(reader.logits(rows), 1).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert len({tuple(row) for row in scores.round(4)}) == 3
    assert reader.scores([]).shape == (0, 3)


def test_the_server_scores_messages_and_nothing_else(make_reader, gentle):
    mechanism = gentle.mechanism
    messages = [mechanism.release(tokens, SimulatedRandomness(0, str(i))) for i, tokens in enumerate(TOKENS)]
    server = TaskServer(mechanism, make_reader())
    rows = [torch.from_numpy(mechanism.embeddings(message)) for message in messages]
    np.testing.assert_array_equal(server.scores(messages), make_reader().scores(rows))
    with pytest.raises(UserError):
        server.scores([b"not a message"])


def test_gradients_reach_soft_tokens_and_classifier_and_nothing_else(make_reader, gentle):
    for place in (None, "states", "embeddings"):
        reader = make_reader(SPLIT_AND_DENOISE, place)
        torch.logsumexp(reader.logits(gentle.rows(TOKENS, "reader")), 1).sum().backward()
        reached = {name for name, parameter in reader.parts.named_parameters() if parameter.grad is not None}
        trained = {name for name, _ in reader.parts.named_parameters() if not name.startswith("denoiser.")}
        assert reached == trained
        assert float(reader.parts.soft.grad.abs().sum()) > 0
        assert all(parameter.grad is None for parameter in reader.model.parameters())


def test_the_language_model_is_not_among_the_parts(make_reader):
    names = make_reader(SPLIT_AND_DENOISE, "states").parts.state_dict()
    assert {name.split(".")[0] for name in names} == {"soft", "classifier", "denoiser"}


def test_what_does_not_fit_is_refused(own_language, make_reader):
    with pytest.raises(UserError, match="denoiser of width 32, got width 8"):
        TaskParts(torch.zeros(2, 32), ("a", "b"), PLAIN, Denoiser(8, DenoiserShape(inner=4, heads=2), 0), 0)
    with pytest.raises(UserError, match="width 32, got width 8"):
        make_reader().scores([torch.zeros(2, 8)])
    with pytest.raises(UserError, match="at most 256 tokens, the model's context, got 257"):
        make_reader().scores([torch.zeros(254, 32)])
    with pytest.raises(UserError, match="pooling to be one of"):
        ClassifierShape("first", 0)
    with pytest.raises(UserError, match="hidden >= 0"):
        ClassifierShape("last", -1)
