"""Products of 16-bit weights in float32: as close to the truth as one rounding, over the same weights, where needed."""

import copy

import pytest
import torch
from torch import nn

from mechanisms import wide_products
from mechanisms.models import load_causal_lm
from mechanisms.placement import device_line
from mechanisms.wide_products import FEW, WideLinear, has_products, widen


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(96, 40).bfloat16()


def narrow(monkeypatch):
    monkeypatch.setattr(wide_products, "has_products", lambda dtype: dtype is torch.float32)


@pytest.mark.parametrize("rows", [FEW - 1, FEW, 300])
def test_a_product_is_the_exact_one_rounded_once(linear, rows):
    inputs = torch.randn(3, rows, 96).bfloat16()
    exact = nn.functional.linear(inputs.double(), linear.weight.double(), linear.bias.double())
    got = WideLinear.of(linear)(inputs)
    assert got.dtype == torch.bfloat16
    spacing = torch.finfo(torch.bfloat16).eps * exact.abs().clamp(min=1e-2)
    assert ((got.double() - exact).abs() <= 0.51 * spacing + 1e-4).all()


def test_weights_are_shared_and_gradients_reach_the_inputs(linear):
    wide = WideLinear.of(linear)
    assert wide.weight is linear.weight
    assert wide.bias is linear.bias
    inputs = torch.randn(20, 96).bfloat16().requires_grad_()
    wide(inputs).sum().backward()
    expected = linear.weight.float().sum(dim=0).expand(20, -1)
    assert torch.allclose(inputs.grad.float(), expected, rtol=2e-2, atol=2e-2)


def test_only_plain_layers_without_products_of_their_own_are_replaced(linear, monkeypatch):
    class Own(nn.Linear):
        pass

    model = nn.Sequential(linear, Own(40, 8).bfloat16(), nn.Linear(8, 4))
    narrow(monkeypatch)
    widen(model)
    assert [type(layer) for layer in model] == [WideLinear, Own, nn.Linear]


def test_cpus_with_the_instructions_keep_torchs_layers(linear, monkeypatch):
    monkeypatch.setattr(wide_products, "has_products", lambda dtype: True)
    model = nn.Sequential(linear)
    widen(model)
    assert model[0] is linear
    assert has_products(torch.float32)


def test_a_loaded_model_reads_as_torchs_own_layers_do(tiny_lm_folder, monkeypatch):
    monkeypatch.setattr(wide_products, "has_products", lambda dtype: True)
    plain = load_causal_lm(str(tiny_lm_folder), dtype="bfloat16").model
    narrow(monkeypatch)
    wide = load_causal_lm(str(tiny_lm_folder), dtype="bfloat16").model
    kinds = {type(layer) for layer in wide.modules()}
    assert WideLinear in kinds
    assert nn.Linear not in kinds
    assert WideLinear not in {type(layer) for layer in plain.modules()}
    tokens = torch.arange(64)[None]
    with torch.no_grad():
        one, other = wide(tokens).logits.float(), plain(tokens).logits.float()
        full = copy.deepcopy(plain).float()(tokens).logits
    assert (one - full).abs().mean() < 1.5 * (other - full).abs().mean() + 1e-3
    assert torch.allclose(one, other, atol=0.1)
    embeddings = wide.get_input_embeddings().weight
    tied = wide.get_output_embeddings().weight is embeddings
    assert tied == (plain.get_output_embeddings().weight is plain.get_input_embeddings().weight)


def test_a_certificate_says_where_products_are_computed(tiny_lm_folder, monkeypatch):
    monkeypatch.setattr(wide_products, "has_products", lambda dtype: True)
    assert device_line(load_causal_lm(str(tiny_lm_folder), dtype="bfloat16").model) == "cpu"
    narrow(monkeypatch)
    assert device_line(load_causal_lm(str(tiny_lm_folder)).model) == "cpu"
    wide = load_causal_lm(str(tiny_lm_folder), dtype="bfloat16").model
    assert device_line(wide) == "cpu (16-bit products in float32)"
