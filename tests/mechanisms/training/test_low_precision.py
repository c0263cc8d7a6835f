import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm
from mechanisms.training.kernels import kernel_for
from mechanisms.training.low_precision import LayerPrecision, SwitchedLinear

COARSE = kernel_for("simulated-int4", torch.device("cpu"))


@pytest.fixture(scope="module")
def model(tiny_lm_folder):
    torch.set_num_threads(1)
    return load_causal_lm(str(tiny_lm_folder)).model


def logits(model, inputs):
    return model(inputs_embeds=inputs).logits


def test_layers_are_switched_and_the_model_is_given_back(model):
    inputs = torch.randn(1, 7, 32, generator=torch.Generator().manual_seed(0))
    before, modules = logits(model, inputs), dict(model.named_modules())
    with LayerPrecision(model, COARSE) as layers:
        assert len(layers) == 2
        assert torch.equal(logits(model, inputs), before)
        found = {}
        for chosen in ([0], [1], [0, 1]):
            layers.choose(chosen)
            assert layers.low == chosen
            found[tuple(chosen)] = logits(model, inputs)
            assert not torch.equal(found[tuple(chosen)], before)
        assert not torch.equal(found[(0,)], found[(1,)])
        with layers.only([]):
            assert torch.equal(logits(model, inputs), before)
        assert torch.equal(logits(model, inputs), found[(0, 1)])
    assert torch.equal(logits(model, inputs), before)
    after = dict(model.named_modules())
    assert after.keys() == modules.keys()
    assert all(after[name] is module for name, module in modules.items())


def test_an_error_gives_the_model_back_too(model):
    def interrupted():
        with LayerPrecision(model, COARSE) as layers:
            layers.choose([0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any(isinstance(module, SwitchedLinear) for module in model.modules())


def test_the_gradient_is_the_product_with_the_dequantized_weight():
    exact = torch.nn.Linear(8, 6)
    held = COARSE.pack(exact.weight.detach())
    switched = SwitchedLinear(exact, held)
    switched.low = True
    inputs = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    outputs = switched(inputs)
    assert torch.allclose(outputs, held.forward(inputs.detach().view(6, 8)).view(2, 3, 6) + exact.bias)
    upstream = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad(outputs, inputs, upstream)
    assert torch.allclose(found, held.backward(upstream.view(6, 6)).view(2, 3, 8))
    assert exact.weight.grad is None
    assert (switched.weight is exact.weight, switched.bias is exact.bias) == (True, True)


@pytest.mark.parametrize("name", ["simulated-int8", "auto"])
def test_gradients_reach_the_inputs_through_all_layers(model, name):
    inputs = torch.randn(1, 7, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def gradient():
        return torch.autograd.grad(logits(model, inputs).log_softmax(-1)[0, -1, 5], inputs)[0]

    exact = gradient()
    with LayerPrecision(model, kernel_for(name, torch.device("cpu"))) as layers:
        layers.choose([0, 1])
        rounded = gradient()
    assert float(torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0)) > 0.98
    assert not torch.equal(exact, rounded)


def test_weights_that_are_held_transposed_are_switched_as_well():
    torch.manual_seed(0)
    gpt = GPT2LMHeadModel(GPT2Config(n_layer=3, n_embd=16, n_head=2, vocab_size=50, n_positions=20)).eval()
    inputs = torch.randn(1, 5, 16)
    with torch.no_grad(), LayerPrecision(gpt, kernel_for("simulated-int8", torch.device("cpu"))) as layers:
        exact = logits(gpt, inputs)
        layers.choose([0, 1, 2])
        found = logits(gpt, inputs)
    assert len(layers) == 3
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.03


def test_a_model_without_layers_is_refused():
    with pytest.raises(UserError, match="layers with linear maps to quantize, got Embedding"):
        LayerPrecision(torch.nn.Embedding(3, 3), COARSE)
