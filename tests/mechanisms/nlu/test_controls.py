import numpy as np
import pytest
import torch

from mechanisms.errors import UserError
from mechanisms.nlu import PLAIN, Clean, Denoiser, DenoiserShape, LabelledTokens, TaskReader, others, score_task
from mechanisms.nlu.reader import TaskParts
from mechanisms.nlu.states import initial_soft_tokens


@pytest.fixture(scope="module")
def make_reader(own_language):
    def make(denoiser=None, classes=("body", "time")):
        soft = initial_soft_tokens(own_language, "the doctor", 3)
        parts = TaskParts(soft, classes, PLAIN, denoiser, seed=0)
        with torch.no_grad():
            weight = parts.classifier.last.weight
            weight.copy_(torch.cos(torch.arange(weight.numel())).view(len(classes), -1))
        return TaskReader(own_language.model, parts)

    return make


def test_others_is_a_permutation_without_fixed_points():
    for examples in (2, 3, 50):
        other = others(examples, seed=4)
        assert sorted(other.tolist()) == list(range(examples))
        assert not (other == np.arange(examples)).any()
        assert other.tolist() == others(examples, seed=4).tolist()
    assert others(50, 4).tolist() != others(50, 5).tolist()
    with pytest.raises(UserError, match="two examples or more, got 1"):
        others(1, 0)


def test_each_control_is_what_its_name_says(make_reader, make_task, gentle, own_language):
    train, test = make_task(30, 0).take(range(25)), make_task(12, 1)
    scores = score_task(make_reader(), gentle, train, test, make_reader(), seed=3)
    rows = gentle.rows(test.tokens, "task test", "3")
    np.testing.assert_array_equal(scores.released, make_reader().scores(rows))
    np.testing.assert_array_equal(scores.other, scores.released[others(12, 3)])
    shares = [(train.labels == index).mean() for index in (0, 1)]
    np.testing.assert_allclose(scores.majority, [shares] * 12, rtol=1e-15)
    np.testing.assert_allclose(scores.length, [shares] * 12, atol=1e-4)  # all are of one length
    clean = make_reader().scores(Clean(own_language.model).rows(test.tokens))
    np.testing.assert_array_equal(scores.clean, clean)
    assert scores.labels.tolist() == test.labels.tolist()
    assert list(scores.by_name()) == ["released", "other", "majority", "length", "clean"]
    for values in scores.by_name().values():
        np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-12)


def test_without_a_clean_reader_there_is_no_ceiling(make_reader, make_task, gentle):
    scores = score_task(make_reader(), gentle, make_task(10, 0), make_task(4, 1))
    assert scores.clean is None
    assert "clean" not in scores.by_name()


def test_length_alone_tells_classes_of_unlike_length(make_reader, gentle):
    short, long = ((65, 70),) * 10, ((65, 70, 75, 300, 301),) * 10
    part = LabelledTokens(short + long, np.repeat([0, 2], 10), ("body", "none", "time"))
    scores = score_task(make_reader(classes=part.classes), gentle, part, part)
    assert scores.length.argmax(axis=1).tolist() == part.labels.tolist()
    assert scores.length[:, 1].tolist() == [0.0] * 20


def test_clean_inputs_and_other_classes_are_refused(make_reader, make_task, gentle, own_language):
    task = make_task(10, 0)
    with pytest.raises(UserError, match="those are a control"):
        score_task(make_reader(), Clean(own_language.model), task, task)
    with pytest.raises(UserError, match="clean_reader without a denoiser"):
        score_task(make_reader(), gentle, task, task, make_reader(Denoiser(32, DenoiserShape(inner=4, heads=2), 0)))
    other = LabelledTokens(task.tokens, task.labels, ("body", "soul"))
    with pytest.raises(UserError, match="Expected the classes"):
        score_task(make_reader(), gentle, task, other)
