"""Where a model's weights lie and in which format: what torch and accelerate do with it is mocked, there is no GPU."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mechanisms import placement
from mechanisms.assets import Asset
from mechanisms.channel import MEMORY_LIMIT
from mechanisms.errors import UserError
from mechanisms.model_sources import model_asset, stored_number_format
from mechanisms.models import load_causal_lm
from mechanisms.placement import (
    ON_CPU,
    Placement,
    all_finite,
    device_line,
    free_bytes,
    missing_package,
    require_memory,
    usable_device,
    weight_bytes,
)

sys.path.insert(0, str(Path(__file__).parent))
from families import tiny_models


@pytest.fixture
def lm_copy(tiny_lm_folder, tmp_path):
    return shutil.copytree(tiny_lm_folder, tmp_path / "lm")


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_auto_is_the_first_cuda_device_where_there_is_one_else_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert usable_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert usable_device("auto") == "cpu"
    assert usable_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "abacus", "meta", "cuda:-1", ""])
def test_a_device_that_cannot_be_used_is_refused_with_what_can(name):
    with pytest.raises(UserError, match=rf"device to be one that torch can use here, got device='{name}'.*`auto`"):
        usable_device(name)


def test_weights_are_read_straight_to_their_device():
    assert ON_CPU.arguments() == {}
    assert Placement("cuda:1").arguments() == {"device_map": {"": "cuda:1"}}
    spread = Placement("cuda", "auto", {0: "20GiB", "cpu": "60GiB"}).arguments()
    assert spread == {"device_map": "auto", "max_memory": {0: "20GiB", "cpu": "60GiB"}}
    assert Placement("cuda", {"model": 0}).arguments() == {"device_map": {"model": 0}, "max_memory": None}


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_read_in_a_format_are_those_read_in_float32_and_rounded_once(
    family, dtype, stored, tiny_lm_folder, tmp_path
):
    folder = tiny_models.write(family, tiny_lm_folder, tmp_path)
    model = tiny_models.make(family).to(stored)
    model.save_pretrained(folder)
    wanted = load_causal_lm(str(folder)).model.to(getattr(torch, dtype))
    found = load_causal_lm(str(folder), dtype=dtype).model
    assert found.state_dict().keys() == wanted.state_dict().keys()
    for name, value in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    for (name, value), other in zip(wanted.named_buffers(), dict(found.named_buffers()).values(), strict=True):
        assert other.dtype == value.dtype, name
        assert torch.equal(other, value), name


def test_the_loader_is_asked_for_the_format_and_not_for_float32(tiny_lm_folder, monkeypatch):
    from transformers import AutoModelForCausalLM

    asked, real = [], AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda *args, **kinds: asked.append(kinds) or real(*args, **kinds)
    )
    load_causal_lm(str(tiny_lm_folder), dtype="float16")
    assert [(each["dtype"], "device_map" in each) for each in asked] == [(torch.float16, False)]


@pytest.mark.parametrize(
    ("field", "named", "found"),
    [
        ("dtype", "bfloat16", "bfloat16"),
        ("torch_dtype", "float16", "float16"),
        ("dtype", "int8", "float32"),
        ("dtype", None, "float32"),
    ],
)
def test_auto_is_the_format_that_the_configuration_names(field, named, found, lm_copy):
    change(lm_copy, dtype=None, torch_dtype=None)
    change(lm_copy, **{field: named})
    assert stored_number_format(str(lm_copy)) == found
    model = load_causal_lm(str(lm_copy), dtype="auto").model
    assert {weights.dtype for weights in model.parameters()} == {getattr(torch, found)}


def test_auto_of_a_folder_without_a_readable_configuration_is_refused(lm_copy):
    (lm_copy / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"Cannot read the number format in .*config\.json"):
        stored_number_format(str(lm_copy))


def test_bytes_follow_from_the_headers_alone(lm_copy):
    weights = load_file(lm_copy / "model.safetensors")
    count = sum(each.numel() for each in weights.values())
    assert weight_bytes(lm_copy, torch.float32) == 4 * count
    assert weight_bytes(lm_copy, torch.bfloat16) == 2 * count
    save_file({"packed": torch.zeros(10, 3, dtype=torch.uint8), "rows": torch.zeros(5)}, lm_copy / "model.safetensors")
    assert weight_bytes(lm_copy, torch.float16) == 30 + 10
    assert weight_bytes(lm_copy, None) == 30 + 20
    (lm_copy / "model.safetensors").write_bytes(b"\xff" * 9)
    assert weight_bytes(lm_copy, torch.float32) == 0


def test_too_little_memory_is_said_before_anything_is_read(tiny_lm_folder, monkeypatch):
    from transformers import AutoModelForCausalLM

    asset = model_asset(str(tiny_lm_folder))
    needed = weight_bytes(tiny_lm_folder, torch.bfloat16) + MEMORY_LIMIT
    monkeypatch.setattr(placement, "free_bytes", lambda _device: needed)
    require_memory(asset, torch.bfloat16, ON_CPU)
    with pytest.raises(
        UserError, match=r"0\.06 GiB of free memory on cpu .* in float32, got 0\.06 GiB.*device_map: auto"
    ):
        require_memory(asset, torch.float32, ON_CPU)
    require_memory(asset, torch.float32, Placement("cpu", "auto"))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_args, **_kinds: pytest.fail("it was read"))
    with pytest.raises(UserError, match="free memory on cpu"):
        load_causal_lm(str(tiny_lm_folder))


def test_free_memory_is_the_devices(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: asked.append(device) or (7 << 30, 8 << 30))
    assert free_bytes("cuda:1") == 7 << 30
    assert asked == ["cuda:1"]
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    monkeypatch.setattr(placement, "MEMORY_FILE", tmp_path / "meminfo")
    assert free_bytes("cpu") == 2 << 20
    monkeypatch.setattr(placement, "MEMORY_FILE", tmp_path / "none")
    assert free_bytes("cpu") is None
    require_memory(Asset(tmp_path, None), torch.float32, ON_CPU)


def test_a_device_map_is_followed_and_embeddings_left_on_disk_are_refused(tiny_lm_folder, tmp_path):
    spread = load_causal_lm(str(tiny_lm_folder), device_map="auto", max_memory={"cpu": "1GiB"})
    plain = load_causal_lm(str(tiny_lm_folder))
    for name, value in plain.model.state_dict().items():
        assert torch.equal(spread.model.state_dict()[name], value)
    assert device_line(spread.model) == "cpu"
    folder = tiny_models.write("llama", tiny_lm_folder, tmp_path, tie_word_embeddings=False)
    parts = {**dict.fromkeys(("model.layers", "model.norm", "lm_head"), "cpu"), "model.embed_tokens": "disk"}
    left = r"device_map to put the input embeddings of .* on a device, got them left on disk"
    with pytest.raises(UserError, match=left) as refusal:
        load_causal_lm(str(folder), device_map=parts)
    assert "\n" not in str(refusal.value)


def test_the_line_names_the_accelerator(monkeypatch):
    class Spread:
        def parameters(self):
            class Weights:
                is_meta = False

                def __init__(self, device):
                    self.device = device

            return [Weights("cuda:0"), Weights("cpu"), Weights("cuda:0")]

        def modules(self):
            return []

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card of {device}")
    assert device_line(Spread()) == "cpu, cuda:0 (card of cuda:0)"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_weights_that_are_not_finite_are_found_in_every_format(dtype, monkeypatch):
    monkeypatch.setattr(placement, "BLOCK", 4)
    weights = torch.full((5, 3), 300.0).to(dtype)
    assert all_finite(weights)
    weights[4, 2] = float("nan")
    assert not all_finite(weights)
    assert all_finite(torch.full((3000,), 60000.0, dtype=torch.float16))  # their sum is none of the format
    assert all_finite(torch.zeros(3, dtype=torch.uint8))
    assert all_finite(torch.zeros((), dtype=torch.float16))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_damaged_weights_are_refused_in_every_format(dtype, lm_copy):
    weights = load_file(lm_copy / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("inf")
    save_file(weights, lm_copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"finite weights in .*got NaN or infinite ones in .*up_proj"):
        load_causal_lm(str(lm_copy), dtype=dtype)


@pytest.mark.parametrize("family", ["gemma3n", "gemma4", "bert", "t5"])
def test_what_is_refused_in_float32_is_refused_in_bfloat16(family, tiny_lm_folder, tmp_path):
    folder = tiny_models.write(family, tiny_lm_folder, tmp_path)
    with pytest.raises(UserError):
        load_causal_lm(str(folder), dtype="bfloat16")


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "(optimum|gptqmodel)"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "gptqmodel"),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed.tensors"),
    ],
)
def test_quantized_weights_name_the_package_that_they_lack(settings, package, lm_copy):
    change(lm_copy, quantization_config=settings)
    with pytest.raises(UserError, match=rf"a package that is not installed: .*{package}") as refusal:
        load_causal_lm(str(lm_copy), dtype="bfloat16")
    assert "\n" not in str(refusal.value)


def test_a_lack_of_another_kind_is_said_as_it_is():
    assert missing_package(ImportError("no luck")) == "its weights need a package that is not installed: no luck"


def test_weights_that_transformers_unpacks_are_held_in_the_format_that_is_asked_for(lm_copy):
    """Scaled fp8, for which there is no kernel on a CPU."""
    weights = load_file(lm_copy / "model.safetensors")
    plain = dict(weights)
    for name in [name for name in weights if "_proj" in name]:
        scale = weights[name].abs().max() / 448
        weights[f"{name}_scale_inv"] = scale.reshape(1, 1)
        weights[name] = (weights[name] / scale).to(torch.float8_e4m3fn)
    save_file(weights, lm_copy / "model.safetensors", metadata={"format": "pt"})
    change(lm_copy, dtype="float32", quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})
    for dtype in ("float32", "bfloat16"):
        model = load_causal_lm(str(lm_copy), dtype=dtype).model
        assert {each.dtype for each in model.parameters()} == {getattr(torch, dtype)}
        found, wanted = model.model.layers[0].mlp.up_proj.weight.float(), plain["model.layers.0.mlp.up_proj.weight"]
        assert float((found - wanted).abs().max()) <= 0.05 * float(wanted.abs().max())


def test_quantized_weights_stay_as_they_are_stored(lm_copy, monkeypatch):
    from transformers import AutoModelForCausalLM

    change(lm_copy, quantization_config={"quant_method": "a kernel that is here"})
    model, asked = tiny_models.make("llama"), []
    model.is_quantized = True

    def loaded(*_args, **kinds):
        asked.append(kinds["dtype"])
        return model, {"missing_keys": [], "mismatched_keys": []}

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loaded)
    found = load_causal_lm(str(lm_copy), dtype="bfloat16").model
    assert asked == ["auto"]
    assert {weights.dtype for weights in found.parameters()} == {torch.float32}
