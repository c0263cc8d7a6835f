import numpy as np
import pytest
import torch

from mechanisms.errors import UserError
from mechanisms.nlu import Denoiser, DenoiserShape

SHAPE = DenoiserShape(layers=2, heads=2, inner=8)


def pairs(seed, count=12):
    """Noisy and clean sequences of width 5: scaled, shifted and noised; one noisy coordinate says nothing."""
    generator = np.random.default_rng(seed)
    clean = [
        generator.standard_normal((length, 5)) * [1, 2, 3, 4, 0.1] + 3 for length in generator.integers(1, 9, count)
    ]
    noisy = [0.5 * rows - 1 + generator.standard_normal(rows.shape) for rows in clean]
    for rows in noisy:
        rows[:, 3] = 2.0
    return [[torch.from_numpy(rows).float() for rows in side] for side in (noisy, clean)]


@pytest.fixture
def denoiser():
    made = Denoiser(5, SHAPE, seed=1)
    made.fit_affine(*pairs(0))
    return made


def trained_a_little(denoiser):
    with torch.no_grad():
        denoiser.write.weight.copy_(torch.linspace(-1, 1, 40).reshape(5, 8))
    return denoiser


def test_it_starts_as_the_least_squares_line_of_each_coordinate(denoiser):
    noisy, clean = (torch.cat(side).double().numpy() for side in pairs(0))
    fresh = pairs(1)[0]
    told = torch.cat(denoiser.denoise(fresh)).detach().numpy()
    seen = torch.cat(fresh).numpy()
    for coordinate in (0, 1, 2, 4):
        line = np.polyfit(noisy[:, coordinate], clean[:, coordinate], 1)
        np.testing.assert_allclose(told[:, coordinate], np.polyval(line, seen[:, coordinate]), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(told[:, 3], clean[:, 3].mean(), rtol=1e-6)


def test_the_error_is_in_units_of_the_clean_variance(denoiser):
    _, clean = pairs(0)
    mean = torch.cat(clean).mean(0)
    assert float(denoiser.error([mean.expand(len(rows), -1) for rows in clean], clean)) == pytest.approx(1, rel=1e-5)
    assert float(denoiser.error(clean, clean)) == 0


def test_a_sequence_is_told_the_same_alone_and_in_a_batch(denoiser):
    noisy, _ = pairs(2)
    trained_a_little(denoiser)
    for alone, together in zip([denoiser.denoise([row])[0] for row in noisy], denoiser.denoise(noisy), strict=True):
        assert torch.allclose(alone, together, atol=1e-5)


def test_the_network_sees_the_other_tokens_and_their_order(denoiser):
    trained_a_little(denoiser)
    row = pairs(2)[0][0].new_tensor(np.random.default_rng(0).standard_normal((4, 5)))
    told = denoiser.denoise([row])[0]
    changed = row.clone()
    changed[3] += 1
    assert not torch.allclose(denoiser.denoise([changed])[0][0], told[0], atol=1e-4)
    swapped = denoiser.denoise([row[[0, 2, 1, 3]]])[0]
    assert not torch.allclose(swapped[0], told[0], atol=1e-4)


def test_the_seed_decides_the_start_and_torch_is_left_alone():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first, same, other = (Denoiser(5, SHAPE, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["read.weight"], other["read.weight"])
    assert first["read.weight"].std() == pytest.approx(5**-0.5, rel=0.4)
    layers = [first[f"layers.layers.{layer}.linear1.weight"] for layer in (0, 1)]
    assert not torch.equal(*layers)


def test_six_layers_are_the_default():
    assert len(Denoiser(4, DenoiserShape(inner=4, heads=2), 0).layers.layers) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"place": "elsewhere"}, "place to be one of states, embeddings"),
        ({"layers": 0}, "layers >= 1"),
        ({"heads": 0}, "heads >= 1"),
        ({"inner": 6, "heads": 4}, "multiple of heads=4"),
        ({"inner": 3, "heads": 1}, "even"),
    ],
)
def test_impossible_shapes_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        DenoiserShape(**options)


def test_one_token_is_too_little_to_fit():
    with pytest.raises(UserError, match="two public tokens or more"):
        Denoiser(5, SHAPE, 0).fit_affine([torch.zeros(1, 5)], [torch.zeros(1, 5)])
