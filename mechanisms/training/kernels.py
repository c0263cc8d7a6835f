"""Products with a frozen weight in few bits: the kernels that a machine really has, and simulated ones.

Each is used in both directions. On the way back the gradient of the inputs is the product with the dequantized
weight, as if the inputs had not been rounded (straight through). Every row of the inputs, a token, is scaled by its
own largest value, so that no token is rounded by another's.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from mechanisms.errors import UserError

KernelName = Literal["int8", "bf16", "fp8", "simulated-int8", "simulated-int4"]
KERNELS: tuple[KernelName, ...] = get_args(KernelName)
FP8_FROM = (8, 9)
"""CUDA compute capability from which on the tensor cores multiply float8."""
_LARGEST_FP8 = 448.0


class Packed(Protocol):
    """A weight of shape (outputs, inputs) as a kernel holds it."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns inputs times the weight's transpose, shape (rows, outputs), in the inputs' number format."""

    def backward(self, gradient: Tensor) -> Tensor:
        """Returns gradient times the dequantized weight, shape (rows, inputs), in the gradient's number format."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """name: as the card says it. simulated: computed in full precision after rounding, so it saves no time."""

    name: KernelName
    simulated: bool
    pack: Callable[[Tensor], Packed]


def kernel_for(name: KernelName | Literal["auto"], device: torch.device) -> Kernel:
    """Returns a kernel that runs on the device; "auto" is the fastest real one, else simulated-int8.

    Raises UserError for a kernel that the device lacks.
    """
    lacks = {one: _TABLE[one][1](device) for one in KERNELS}
    if name == "auto":
        return kernel_for(next(one for one in _FASTEST_FIRST if lacks[one] is None), device)
    if name not in KERNELS:
        raise UserError(f"Expected kernel to be auto or one of {', '.join(KERNELS)}, got kernel={name!r}.")
    if (missing := lacks[name]) is not None:
        able = [one for one in KERNELS if lacks[one] is None]
        raise UserError(f"Expected {missing} for kernel={name}, got {device.type}. Use --kernel {able[0]} or auto.")
    return Kernel(name, name.startswith("simulated"), _TABLE[name][0])


class _Int8:
    """7-bit weights with a scale per output, and 8-bit inputs with a scale per row, by PyTorch's own CPU kernels.

    Processors without VNNI add products in pairs, in 16 bits: 2 x 255 x 63 is the most that fits. The bit is
    missed least in the weights, since a token's largest value is many times its others.
    """

    def __init__(self, weight: Tensor) -> None:
        rounded, self._scale = _rounded(weight.float(), 7)
        self._ahead = _prepacked(rounded.to(torch.int8))
        self._back = _prepacked(rounded.T.contiguous().to(torch.int8))

    def forward(self, inputs: Tensor) -> Tensor:
        return (_int8_product(inputs.float(), self._ahead) * self._scale.T).to(inputs.dtype)

    def backward(self, gradient: Tensor) -> Tensor:
        return _int8_product(gradient.float() * self._scale.T, self._back).to(gradient.dtype)


class _Bf16:
    """bfloat16 weights and inputs."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.to(torch.bfloat16)

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs.to(torch.bfloat16) @ self._weight.T).to(inputs.dtype)

    def backward(self, gradient: Tensor) -> Tensor:
        return (gradient.to(torch.bfloat16) @ self._weight).to(gradient.dtype)


class _Fp8:
    """float8 (e4m3) weights with a scale per output, and inputs with a scale per row, by the GPU's tensor cores."""

    def __init__(self, weight: Tensor) -> None:
        stored, self._scale = _as_fp8(weight.float())
        self._ahead = stored
        self._back = stored.T.contiguous()
        self._ones = torch.ones((1, weight.shape[1]), device=weight.device)

    def forward(self, inputs: Tensor) -> Tensor:
        return self._product(inputs.float(), self._ahead, self._scale.T.contiguous()).to(inputs.dtype)

    def backward(self, gradient: Tensor) -> Tensor:
        return self._product(gradient.float() * self._scale.T, self._back, self._ones).to(gradient.dtype)

    @staticmethod
    def _product(inputs: Tensor, stored: Tensor, scale: Tensor) -> Tensor:
        rows, row_scale = _as_fp8(inputs)
        return torch._scaled_mm(rows, stored.T, row_scale, scale, out_dtype=torch.bfloat16)


class _Simulated:
    """Weights and inputs rounded to so many bits, with a scale per output and per row, and multiplied as they are."""

    def __init__(self, weight: Tensor, bits: int) -> None:
        rounded, scale = _rounded(weight.float(), bits)
        self._weight, self._bits = (rounded * scale).to(weight.dtype), bits

    def forward(self, inputs: Tensor) -> Tensor:
        return self._nearest(inputs) @ self._weight.T

    def backward(self, gradient: Tensor) -> Tensor:
        return self._nearest(gradient) @ self._weight

    def _nearest(self, rows: Tensor) -> Tensor:
        rounded, scale = _rounded(rows.float(), self._bits)
        return (rounded * scale).to(rows.dtype)


def _rounded(rows: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Returns whole numbers of at most 2^(bits - 1) - 1, and the scale of each row, shape (rows, 1)."""
    most = 2 ** (bits - 1) - 1
    scale = rows.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny * most) / most
    return (rows / scale).round_(), scale


def _as_fp8(rows: Tensor) -> tuple[Tensor, Tensor]:
    scale = rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / _LARGEST_FP8
    return (rows / scale).to(torch.float8_e4m3fn), scale


def _prepacked(whole: Tensor) -> Any:
    """Returns an int8 weight of shape (outputs, inputs), scale 1, as the processor's engine holds it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch plans to remove these tensors; its successors need VNNI to be fast
        quantized = torch._make_per_tensor_quantized_tensor(whole, 1.0, 0)
    return torch.ops.quantized.linear_prepack(quantized, None)


def _int8_product(rows: Tensor, packed: Any) -> Tensor:
    """Returns rows times a packed weight's transpose, float32.

    The engine rounds by the least and the largest of all it is given. Rows scaled to [-1, 1] and one more row that has
    both ends make that -1 and 1 always.
    """
    scale = rows.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    framed = torch.empty((len(rows) + 1, rows.shape[1]))
    torch.div(rows, scale, out=framed[:-1])
    framed[-1] = -1.0
    framed[-1, 0] = 1.0
    product: Tensor = torch.ops.quantized.linear_dynamic(framed, packed, False)
    return product[:-1].mul_(scale)


def _no_int8(device: torch.device) -> str | None:
    if device.type == "cpu" and torch.backends.quantized.engine in ("x86", "fbgemm"):
        return None
    return "an x86 processor and a PyTorch with its int8 engine"


def _no_bf16(device: torch.device) -> str | None:
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return None
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return None
    return "a processor or GPU that multiplies bfloat16 (AVX512_BF16, AMX)"


def _no_fp8(device: torch.device) -> str | None:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= FP8_FROM:
        return None
    return "a CUDA GPU of compute capability 8.9 or later"


def _runs(device: torch.device) -> str | None:
    return None


_FASTEST_FIRST: tuple[KernelName, ...] = ("fp8", "int8", "bf16", "simulated-int8")
_TABLE: dict[KernelName, tuple[Callable[[Tensor], Packed], Callable[[torch.device], str | None]]] = {
    "int8": (_Int8, _no_int8),
    "bf16": (_Bf16, _no_bf16),
    "fp8": (_Fp8, _no_fp8),
    "simulated-int8": (lambda weight: _Simulated(weight, 8), _runs),
    "simulated-int4": (lambda weight: _Simulated(weight, 4), _runs),
}
