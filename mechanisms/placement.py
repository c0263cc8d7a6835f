"""Where a model's weights lie: which device, whether there is room for them, and what is found there afterwards."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from mechanisms.assets import Asset
from mechanisms.channel import MEMORY_LIMIT
from mechanisms.errors import UserError, first_line
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import input_weight
from mechanisms.wide_products import WideLinear

DeviceMap: TypeAlias = str | Mapping[str, int | str]
MaxMemory: TypeAlias = Mapping[int | str, int | str]
BLOCK = 1 << 24
"""Weights that are looked at together."""
MEMORY_FILE = Path("/proc/meminfo")
"""Where Linux says how much memory is available; elsewhere a run does not ask."""
_INSTALL = re.compile(r"pip install (?:-U |--upgrade )?['\"]?([A-Za-z0-9_.-]+)")


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, or a device_map with max_memory, as accelerate takes them, which then stand in its place."""

    device: str = "cpu"
    device_map: DeviceMap | None = None
    max_memory: MaxMemory | None = None

    def arguments(self) -> dict[str, object]:
        """Returns what from_pretrained is given, so that weights are read straight to their device."""
        if self.device_map is not None:
            whole = self.device_map if isinstance(self.device_map, str) else dict(self.device_map)
            return {"device_map": whole, "max_memory": dict(self.max_memory) if self.max_memory else None}
        return {} if self.device == "cpu" else {"device_map": {"": self.device}}


ON_CPU = Placement()


def usable_device(name: str) -> str:
    """Returns the device of a name: of `auto` the first CUDA device, where torch has one, else the CPU.

    Raises UserError for a device that torch cannot use here, and for one that holds no values (meta).
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"Expected device to be one that torch can use here, got device={name!r}: {first_line(error)} "
            "Use `auto`, which takes a CUDA device where there is one, or `cpu`."
        ) from None
    return name


def require_memory(asset: Asset, dtype: torch.dtype | None, place: Placement) -> None:
    """Raises UserError where the weights, and a block of scores, are more than is free on the device.

    dtype: in which the weights are held; None: as they are stored. A device map is not asked: it parts the model.
    """
    if place.device_map is not None:
        return
    needed, free = weight_bytes(asset.folder, dtype) + MEMORY_LIMIT, free_bytes(place.device)
    if free is not None and needed > free:
        held = "as they are stored" if dtype is None else f"in {str(dtype).removeprefix('torch.')}"
        raise UserError(
            f"Expected {_gib(needed)} of free memory on {place.device} for {asset.record.name!r}, its weights {held}, "
            f"got {_gib(free)}. Set dtype: bfloat16, which takes half of float32, name a larger device, or spread the "
            "model over several devices with device_map: auto."
        )


def weight_bytes(folder: Path, dtype: torch.dtype | None) -> int:
    """Returns the bytes of a folder's weights, from the headers of its safetensors alone.

    dtype: in which floating-point numbers are held; None: as they are stored.
    """
    return sum(
        (stop - start if dtype is None or kind[0] not in "FB" or kind == "BOOL" else count * dtype.itemsize)
        for path in sorted(folder.glob("*.safetensors"))
        for kind, count, start, stop in _header(path)
    )


def _header(path: Path) -> Iterator[tuple[str, int, int, int]]:
    """Yields kind, numbers, first byte and byte behind the last of each tensor; nothing of a damaged file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            return
        try:
            entries = json.loads(file.read(size))
            for name, entry in entries.items():
                if name != "__metadata__":
                    (start, stop), kind = entry["data_offsets"], entry["dtype"]
                    yield kind, torch.Size(entry["shape"]).numel(), start, stop
        except (ValueError, KeyError, TypeError, AttributeError):  # the loader says what is wrong
            return


def free_bytes(device: str) -> int | None:
    """Returns the free memory of a device in bytes, None where it is not known."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if not MEMORY_FILE.is_file():
        return None
    found = re.search(r"^MemAvailable:\s*(\d+) kB", MEMORY_FILE.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) << 10 if found else None


def require_on_device(name: str, model: PreTrainedModel) -> None:
    """Raises UserError for a device map that leaves the input embeddings out of every device's memory."""
    if input_weight(model).is_meta:
        raise UserError(
            f"Expected device_map to put the input embeddings of {name!r} on a device, got them left on disk or in "
            "another device's store: raise max_memory of the first device, or name a device for them in device_map."
        )


def device_line(model: PreTrainedModel) -> str:
    """Returns the devices that hold a model's weights, as a certificate names them: `cpu`, `cuda:0 (NVIDIA H200)`.

    It also says where a CPU multiplies 16-bit weights in float32 (mechanisms.wide_products).
    """
    devices = sorted({str(weights.device) for weights in model.parameters() if not weights.is_meta})
    wide = "cpu" in devices and any(isinstance(layer, WideLinear) for layer in model.modules())
    widened = " (16-bit products in float32)" if wide else ""
    return ", ".join(
        f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device + widened
        for device in devices
    )


def all_finite(weights: Tensor) -> bool:
    """Returns whether no weight is NaN or infinite; blocks are looked at in the format in which they are held.

    Weights that a device map left on disk are not read: the model's first logits tell of them.
    """
    if weights.is_meta or not weights.is_floating_point():
        return True
    if weights.element_size() > 1 and bool(torch.isfinite(weights.sum())):
        return True  # the sum is NaN or infinite where a weight is, and is faster than a look at each
    blocks = torch.split(weights.flatten(), BLOCK)
    return all(bool(torch.isfinite(block if block.element_size() > 1 else block.float()).all()) for block in blocks)


def missing_package(error: ImportError) -> str:
    """Returns what to install for weights that transformers reads only with another package."""
    said = first_line(error)
    found = _INSTALL.search(str(error))
    return f"its weights need a package that is not installed: {said}" + (
        f" Install {found[1]}, or name a model whose weights are not quantized." if found else ""
    )


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB"
