import pytest
import torch

from mechanisms.errors import UserError
from mechanisms.training import kernels
from mechanisms.training.kernels import KERNELS, kernel_for

CPU = torch.device("cpu")
AT_MOST = {"int8": 0.03, "bf16": 0.006, "fp8": 0.06, "simulated-int8": 0.02, "simulated-int4": 0.3}
needs_int8 = pytest.mark.skipif(kernels._no_int8(CPU) is not None, reason="no int8 engine")


def made(rows, columns, seed):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def packed(name, weight):
    if name == "int8" and kernels._no_int8(CPU) is not None:
        pytest.skip("no int8 engine")
    return kernels._TABLE[name][0](weight)  # also those that this machine is too slow for: their arithmetic is tested


def away(found, exact):
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("name", KERNELS)
def test_both_directions_are_the_product_up_to_the_kernels_rounding(name):
    weight, gradient = made(48, 32, 0) * 0.1, made(9, 48, 2)
    inputs = made(9, 32, 1) * torch.logspace(-3, 3, 9)[:, None]  # tokens of very different sizes
    held = packed(name, weight)
    for row, exact in zip(held.forward(inputs), inputs @ weight.T, strict=True):
        assert 0 < away(row, exact) < 2 * AT_MOST[name]
    assert 0 < away(held.backward(gradient), gradient @ weight) < AT_MOST[name]
    assert held.forward(inputs).dtype == inputs.dtype


@pytest.mark.parametrize("name", KERNELS)
def test_a_token_is_rounded_by_itself_alone(name):
    held, inputs = packed(name, made(48, 32, 0)), made(9, 32, 1)
    louder = inputs.clone()
    louder[5:] *= 1000
    assert torch.equal(held.forward(inputs)[:5], held.forward(louder)[:5])
    assert torch.equal(
        held.backward(made(9, 48, 2))[:3],
        held.backward(made(9, 48, 2) * torch.tensor([1.0] * 3 + [99.0] * 6)[:, None])[:3],
    )


@needs_int8
def test_a_planted_scale_of_the_whole_batch_is_found(monkeypatch):
    monkeypatch.setattr(
        kernels, "_int8_product", lambda rows, held: torch.ops.quantized.linear_dynamic(rows, held, False)
    )
    held, inputs = packed("int8", made(48, 32, 0)), made(9, 32, 1)
    louder = inputs.clone()
    louder[5:] *= 1000
    assert not torch.equal(held.forward(inputs)[:5], held.forward(louder)[:5])


@needs_int8
def test_the_largest_sums_do_not_overflow():
    held = packed("int8", torch.full((16, 512), 0.3))
    assert torch.allclose(held.forward(torch.ones(4, 512)), torch.full((4, 16), 0.3 * 512), rtol=0.01)
    assert torch.allclose(held.forward(-torch.ones(4, 512)), torch.full((4, 16), -0.3 * 512), rtol=0.01)


@pytest.mark.parametrize("name", KERNELS)
def test_zeros_stay_zeros(name):
    held = packed(name, made(16, 32, 0))
    assert not held.forward(torch.zeros(3, 32)).abs().max() > 1e-20
    assert torch.isfinite(packed(name, torch.zeros(16, 32)).forward(made(3, 32, 1))).all()


def test_simulated_kernels_say_so():
    assert [name for name in KERNELS if name.startswith("simulated")] == ["simulated-int8", "simulated-int4"]
    assert kernel_for("simulated-int4", CPU).simulated
    chosen = kernel_for("auto", CPU)
    assert chosen.simulated == (chosen.name == "simulated-int8")


def test_a_kernel_that_the_device_lacks_is_refused(monkeypatch):
    with pytest.raises(UserError, match=r"a CUDA GPU of compute capability 8.9 or later for kernel=fp8, got cpu\. Use"):
        kernel_for("fp8", CPU)
    with pytest.raises(UserError, match="kernel to be auto or one of int8, bf16, fp8, simulated-int8"):
        kernel_for("int9", CPU)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with pytest.raises(UserError, match="multiplies bfloat16"):
        kernel_for("bf16", CPU)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert kernel_for("bf16", CPU).name == "bf16"
