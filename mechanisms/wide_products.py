"""Products of 16-bit weights on CPUs without instructions for them: in float32, and rounded as those would round."""

from typing import Self

import torch
from torch import Tensor, nn

from mechanisms.library_types import PreTrainedModel

FEW = 8
"""Rows of inputs below which reading the weights once in 16 bits costs less than making them float32."""


class WideLinear(nn.Linear):
    """A linear layer over another's own weights, whose product is computed in float32 and rounded once.

    That is what the instructions for 16-bit numbers compute too: exact products, sums in float32, one rounding. Only
    the order of the sums differs. torch's own way without these instructions is about six times slower.
    """

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """Returns the layer of another's parameters; nothing is copied."""
        with torch.device("meta"):
            made = cls(linear.in_features, linear.out_features, linear.bias is not None)
        made.weight, made.bias = linear.weight, linear.bias
        return made.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the outputs, in the input's number format; for FEW rows torch's own way, which then is faster."""
        if input.numel() < FEW * self.in_features:
            return super().forward(input)
        bias = None if self.bias is None else self.bias.float()
        return nn.functional.linear(input.float(), self.weight.float(), bias).to(input.dtype)


def has_products(dtype: torch.dtype) -> bool:
    """Returns whether this CPU multiplies matrices of a number format by instructions of its own."""
    if dtype not in (torch.bfloat16, torch.float16):
        return True
    name = "_is_mkldnn_bf16_supported" if dtype == torch.bfloat16 else "_is_mkldnn_fp16_supported"
    asked = getattr(torch.ops.mkldnn, name, None)
    return asked is None or bool(asked())


def widen(model: PreTrainedModel) -> None:
    """Puts wide layers in the place of a model's linear ones that are on a CPU which has no products for them.

    Only plain layers: those of a quantized model, or of a class of their own, stay.
    """
    found = [
        (name, layer)
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and layer.weight.device.type == "cpu" and not has_products(layer.weight.dtype)
    ]
    for name, layer in found:
        model.set_submodule(name, WideLinear.of(layer))
