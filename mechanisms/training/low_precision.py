"""Layers of a frozen model that are switched between full and low precision, without loading the model again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import OTHER_PARTS
from mechanisms.training.kernels import Kernel, Packed


class SwitchedLinear(nn.Module):
    """A linear map that is computed as it is, or, where `low` is set, by a kernel of few bits.

    exact: the map of the model. packed: its weight for the kernel, its bias stays in full precision.
    """

    def __init__(self, exact: nn.Module, packed: Packed) -> None:
        super().__init__()
        self.exact, self._packed, self.low = exact, packed, False

    @property
    def weight(self) -> Tensor:
        """The map's weight in full precision, as models ask for it."""
        return self.exact.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        """The map's bias, None without one."""
        return self.exact.bias  # type: ignore[return-value]

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the outputs, shape (..., outputs)."""
        if not self.low:
            return self.exact(inputs)  # type: ignore[no-any-return]
        rows = inputs.reshape(-1, inputs.shape[-1])
        outputs: Tensor = _StraightThrough.apply(rows, self._packed)  # type: ignore[no-untyped-call]
        outputs = outputs.view(*inputs.shape[:-1], outputs.shape[-1])
        return outputs if self.bias is None else outputs + self.bias


class _StraightThrough(torch.autograd.Function):
    """The packed product; its gradient is the product with the dequantized weight."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, packed: Packed) -> Tensor:
        ctx.packed = packed
        return packed.forward(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        packed: Packed = ctx.packed  # type: ignore[attr-defined]
        return packed.backward(gradient.contiguous()), None


class LayerPrecision:
    """The layers of a model whose linear maps can be switched, while it is entered; leaving gives the model back.

    Embeddings, attention itself, norms and the head stay in full precision. A layer is one of the model's blocks.
    Raises UserError for a model without layers of linear maps, and for weights that are not in memory.
    """

    def __init__(self, model: PreTrainedModel, kernel: Kernel) -> None:
        self.kernel = kernel
        self._places = [list(_linear_maps(block)) for block in _blocks(model)]
        self._switched: list[list[SwitchedLinear]] = []

    def __len__(self) -> int:
        """Returns the number of layers."""
        return len(self._places)

    def __enter__(self) -> Self:
        self._switched = [
            [SwitchedLinear(exact, self.kernel.pack(_weight(exact))) for *_, exact in places] for places in self._places
        ]
        for places, layer in zip(self._places, self._switched, strict=True):
            for (owner, name, _), switched in zip(places, layer, strict=True):
                setattr(owner, name, switched)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for places in self._places:
            for owner, name, exact in places:
                setattr(owner, name, exact)
        self._switched = []

    @property
    def low(self) -> list[int]:
        """The layers that run in low precision, in their order."""
        return [index for index, layer in enumerate(self._switched) if layer[0].low]

    def choose(self, layers: Sequence[int]) -> None:
        """Runs these layers in low precision and all others in full."""
        for index, layer in enumerate(self._switched):
            for switched in layer:
                switched.low = index in layers

    @contextmanager
    def only(self, layers: Sequence[int]) -> Iterator[None]:
        """Runs only these layers in low precision for as long as it is entered."""
        before = self.low
        self.choose(layers)
        try:
            yield
        finally:
            self.choose(before)


def _blocks(model: PreTrainedModel) -> list[nn.Module]:
    """Returns the model's layers: the list of modules that holds the most weights of linear maps."""
    lists = [
        (sum(_weight(exact).numel() for *_, exact in _linear_maps(module)), list(module))
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and not OTHER_PARTS.search(name)
    ]
    weights, blocks = max(lists, key=lambda found: found[0], default=(0, []))
    if not weights or not all(any(_linear_maps(block)) for block in blocks):
        raise UserError(
            f"Expected a model of layers with linear maps to quantize, got {type(model).__name__}. Use --quantize none."
        )
    return blocks


def _linear_maps(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Yields (the module that holds it, its name there, the map) of each linear map with weights of real numbers."""
    for owner in module.modules():
        for name, child in owner.named_children():
            if type(child) is nn.Linear or type(child).__name__ == "Conv1D":
                weight = _weight(child)
                if weight.is_meta:
                    raise UserError("Expected weights in memory to quantize, got offloaded ones. Use --quantize none.")
                if weight.is_floating_point():
                    yield owner, name, child


def _weight(exact: nn.Module) -> Tensor:
    """Returns a map's weight, shape (outputs, inputs); GPT-2's own class holds it transposed."""
    weight = exact.weight
    assert isinstance(weight, Tensor)
    return weight.detach() if isinstance(exact, nn.Linear) else weight.detach().T
