import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm
from mechanisms.randomness import SimulatedRandomness
from mechanisms.soft_prompt import CARD_FILE, WEIGHTS_FILE
from mechanisms.training import PromptTraining, loop
from mechanisms.training.documents import documents_sha256
from mechanisms.training.private_prompt import (
    DpSgdSettings,
    PrivateGradient,
    calibrated_noise,
    document_gradients,
    normals,
    poisson_sample,
    sample_rate,
    train_private_prompt,
)
from mechanisms.training.prompt_examples import PromptExamples, initial_vectors

opacus_optimizers = pytest.importorskip("opacus.optimizers")

FALSE_ALARM = 1e-6
SETTINGS = PromptTraining(
    steps=4, batch=2, virtual_tokens=5, window=40, shortest_prompt=5, shortest_response=5, warm_up=1, validate_every=2
)
SIMULATED = DpSgdSettings(0.8, clip_norm=0.5, simulate=True)


@pytest.fixture(scope="module")
def own_language(tiny_lm_folder):
    torch.set_num_threads(1)
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="module")
def examples(own_language, tiny_pipeline):
    return PromptExamples(own_language, (tiny_pipeline,), SETTINGS)


@pytest.fixture(scope="module")
def train(own_language, tiny_pipeline, public_documents):
    def run(folder, privacy=SIMULATED, settings=SETTINGS, private=public_documents, public=(), **options):
        return train_private_prompt(
            own_language, (tiny_pipeline,), private, public, settings, privacy, folder, {"data": "made"}, **options
        )

    return run


def made_gradients(norms, seed=0):
    """Returns gradients of those norms, shape (documents, 5, 32)."""
    rows = np.random.default_rng(seed).standard_normal((len(norms), 5, 32))
    rows *= (np.asarray(norms) / np.linalg.norm(rows.reshape(len(norms), -1), axis=1))[:, None, None]
    return torch.from_numpy(rows).float()


def filled(gradients, noise_multiplier=1e-12, clip_norm=0.5, mean_batch=4, seed=0):
    virtual = torch.zeros(gradients.shape[1:], requires_grad=True)
    PrivateGradient(virtual, DpSgdSettings(noise_multiplier, clip_norm), mean_batch).fill(
        gradients, SimulatedRandomness(seed)
    )
    return virtual.grad


def most_that_one_document_adds():
    """Returns the largest norm, over the clipping norm, that a single document's gradient enters the sum with."""
    return max(float(filled(made_gradients([norm])).norm() * 4 / 0.5) for norm in (0.1, 0.5, 0.51, 3.0, 1e6, 1e30))


def test_no_document_adds_more_than_the_clipping_norm():
    assert 0.999 < most_that_one_document_adds() <= 1 + 1e-5


def test_a_planted_sum_without_clipping_is_found(monkeypatch):
    def unclipped(optimiser):
        for parameter in optimiser.params:
            parameter.summed_grad = parameter.grad_sample.sum(0)

    monkeypatch.setattr(opacus_optimizers.DPOptimizer, "clip_and_accumulate", unclipped)
    assert most_that_one_document_adds() > 5


def test_a_mixed_batch_is_the_sum_of_clipped_gradients():
    gradients = made_gradients([0.05, 0.4, 0.5, 2.0, 40.0])
    alone = [gradient * min(1, 0.5 / float(gradient.norm())) for gradient in gradients.double()]
    assert torch.allclose(filled(gradients).double() * 4, torch.stack(alone).sum(0), atol=1e-6)


def test_a_gradient_that_is_not_finite_adds_nothing():
    gradients = made_gradients([0.3, 0.3, 0.3])
    gradients[1, 2, 3], gradients[2, 0, 0] = math.nan, math.inf
    assert torch.allclose(filled(gradients), filled(gradients[:1]), atol=1e-9)


def test_small_gradients_pass_unchanged():
    gradients = made_gradients([0.1, 0.2])
    assert torch.allclose(filled(gradients), gradients.sum(0) / 4, atol=1e-7)


def noise_alarm(scale):
    """Returns the probability of noise as far from the law of the settings as ours times scale is."""
    found = filled(torch.zeros((0, 300, 100)), noise_multiplier=1.7, clip_norm=0.3, mean_batch=8, seed=7)
    standard = found.double().flatten().numpy() * (8 / (1.7 * 0.3)) * scale
    square = stats.chi2.cdf((standard**2).sum(), len(standard))
    return min(2 * min(square, 1 - square), stats.kstest(standard, "norm").pvalue)


def test_the_noise_of_an_empty_batch_is_gaussian_of_the_stated_size():
    assert noise_alarm(1.0) > FALSE_ALARM


@pytest.mark.parametrize("scale", [0.95, 1.05])
def test_noise_of_another_size_is_found(scale):
    assert noise_alarm(scale) < FALSE_ALARM


def test_normals_are_fresh_words_in_float64():
    draws = normals((1000,), SimulatedRandomness(1))
    assert draws.dtype == torch.float64
    assert len(set(draws.tolist())) == 1000
    assert torch.equal(draws, normals((1000,), SimulatedRandomness(1)))
    assert not torch.equal(draws, normals((1000,), SimulatedRandomness(2)))
    assert float(stats.kstest(draws.numpy(), "norm").pvalue) > FALSE_ALARM


def batch_alarm(rate):
    """Returns the probability of batches as far from Poisson sampling at 0.03 as those drawn at rate."""
    chosen = [poisson_sample(500, rate, SimulatedRandomness(step)) for step in range(400)]
    places = np.bincount(np.concatenate(chosen), minlength=500)
    total = stats.binomtest(int(places.sum()), 500 * 400, 0.03).pvalue
    spread = stats.chi2.sf(((places - 400 * 0.03) ** 2 / (400 * 0.03 * 0.97)).sum(), 500)
    sizes = np.array([len(one) for one in chosen])
    between = stats.chi2.sf(((sizes - 15) ** 2 / (500 * 0.03 * 0.97)).sum(), 400)
    return min(total, spread, between, 1 - between)


def test_batches_are_poisson_samples():
    assert batch_alarm(0.03) > FALSE_ALARM
    assert batch_alarm(0.035) < FALSE_ALARM
    assert poisson_sample(5, 1.0, SimulatedRandomness(0)).tolist() == [0, 1, 2, 3, 4]
    assert any(not len(poisson_sample(4, 0.1, SimulatedRandomness(step))) for step in range(10))


def test_gradients_are_each_documents_own(own_language, examples, public_documents):
    virtual = initial_vectors(own_language, SETTINGS).requires_grad_()
    documents = [public_documents[index % 4][index:] for index in range(11)]  # more than one pass
    found = document_gradients(examples, virtual, documents, step=2)
    assert found.shape == (11, 5, 32)
    for place, document in enumerate(documents):
        (loss,) = examples.losses(virtual, [(documents_sha256([document]), document)], 2)
        (alone,) = torch.autograd.grad(loss.mean(), virtual)
        assert torch.allclose(found[place], alone, atol=1e-7)
        assert alone.norm() > 0
    assert all(parameter.grad is None for parameter in own_language.model.parameters())


def test_one_document_more_moves_no_other_gradient(own_language, examples, public_documents):
    virtual = initial_vectors(own_language, SETTINGS).requires_grad_()
    with_all = document_gradients(examples, virtual, public_documents, step=0)
    for gone in range(4):
        others = [document for index, document in enumerate(public_documents) if index != gone]
        without = document_gradients(examples, virtual, others, step=0)
        assert torch.allclose(without, with_all[[index for index in range(4) if index != gone]], atol=1e-7)
    again = document_gradients(examples, virtual, public_documents, step=1)
    assert (again - with_all).abs().max() > 1e-4  # drawn anew each step


def test_an_empty_batch_has_no_gradients(own_language, examples):
    virtual = initial_vectors(own_language, SETTINGS).requires_grad_()
    assert document_gradients(examples, virtual, [], 0).shape == (0, 5, 32)


def test_a_simulated_run_goes_on_to_the_same_bytes(train, tmp_path, monkeypatch, public_documents):
    train(tmp_path / "whole", public=public_documents[:2])
    real = loop._Trainer._update

    def interrupted(trainer, bar):
        if trainer.history.step == 2:
            raise KeyboardInterrupt
        real(trainer, bar)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Trainer, "_update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", public=public_documents[:2])
    with pytest.raises(UserError, match=r"unpublished\.private"):
        train(tmp_path / "cut", public=public_documents[:2], private=public_documents[::-1])
    train(tmp_path / "cut", public=public_documents[:2])
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()


def test_real_noise_is_not_repeated_by_the_seed(train, tmp_path):
    privacy = replace(SIMULATED, simulate=False)
    vectors = []
    for name in ("one", "two"):
        history = train(tmp_path / name, privacy)
        assert history.losses == []
        vectors.append(load_file(tmp_path / name / WEIGHTS_FILE)["prompt_embeddings"])
    assert not torch.equal(*vectors)


def test_the_card_has_the_runs_parameters_and_nothing_of_the_text(train, tmp_path, public_documents):
    train(tmp_path / "out", public=public_documents[:2])
    card = json.loads((tmp_path / "out" / CARD_FILE).read_text())
    assert card["dp_sgd"] == {
        "noise_multiplier": 0.8,
        "clip_norm": 0.5,
        "sample_rate": 0.5,
        "steps": 4,
        "unit": "training document",
        "noise_from": "a seed: NOT private",
    }
    assert (card["loss_first_10"], card["loss_last_10"]) == ([], [])
    assert "documents_sha256" not in card
    assert "unpublished" not in card
    assert [one["step"] for one in card["validation"]] == [0, 2, 4]


@pytest.mark.parametrize("short", [0.99, 1.0])
def test_the_command_adds_noise_until_both_accountants_are_within_the_target(monkeypatch, tmp_path, short):
    from del_audit.training import parts as train

    asked = train.PrivateText(str(tmp_path), "train", None, 2.0, 1e-5, 1.0)
    monkeypatch.setattr(train, "calibrated_noise", lambda *given: short * calibrated_noise(*given))
    noise, found = train._noise_for(asked, 0.02, 50)
    assert 2.0 * 0.95 < found.epsilon.upper <= 2.0
    assert found.run.noise_multiplier == noise


@pytest.mark.slow
@pytest.mark.parametrize(("epsilon", "delta", "rate", "steps"), [(1.0, 1e-5, 0.02, 200), (8.0, 1e-6, 0.1, 50)])
def test_the_noise_meets_its_target_by_another_accountant(epsilon, delta, rate, steps):
    from del_audit.accounting.dp_sgd import training_guarantee

    noise = calibrated_noise(epsilon, delta, rate, steps)
    found = training_guarantee(noise, rate, steps, delta)
    assert found.dp_accounting == pytest.approx(epsilon, rel=0.02)
    assert found.epsilon.upper <= epsilon  # the larger of two accountants
    assert training_guarantee(noise * 0.95, rate, steps, delta).epsilon.lower > epsilon


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 1e-5, 0.1, 10), "epsilon > 0"),
        ((math.inf, 1e-5, 0.1, 10), "finite private epsilon"),
        ((1.0, 0.0, 0.1, 10), r"delta in \(0, 1\)"),
        ((1.0, 1.0, 0.1, 10), r"delta in \(0, 1\)"),
    ],
)
def test_targets_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        calibrated_noise(*arguments)


@pytest.mark.parametrize("values", [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.inf)])
def test_noise_and_clip_must_be_positive(values):
    with pytest.raises(UserError, match="> 0"):
        DpSgdSettings(*values)


def test_documents_that_do_not_fit_are_refused(train, tmp_path, public_documents):
    with pytest.raises(UserError, match="1 empty ones"):
        train(tmp_path / "out", private=[*public_documents, []])
    with pytest.raises(UserError, match="10 tokens or more, got 1 shorter"):
        train(tmp_path / "out", private=[*public_documents, [1] * 9])
    with pytest.raises(UserError, match="2 private documents or more"):
        train(tmp_path / "out", private=public_documents[:1])
    assert sample_rate(SETTINGS, public_documents) == 0.5
    assert list(tmp_path.iterdir()) == []
