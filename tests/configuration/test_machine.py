"""Where a configuration's language model is held: keys of this machine, which no certificate repeats."""

import json
import shutil

import pytest

from del_audit.certificate.model import Body
from del_audit.cli import main
from del_audit.configuration.changed_file import ChangedFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.service import language
from del_audit.service.language import language_of
from mechanisms.canonical_json import canonical_sha256
from mechanisms.errors import UserError

BASE = {
    "name": "machine",
    "model": "package:smollm2-135m-instruct",
    "mechanism": {"bits": 4, "dim": 18, "mu": 8.0},
    "data": {"corpus": "package:drug-reviews"},
    "policy": {"attack_success_at_most": 0.9},
}
KEYS = {"device": "auto", "device_map": "balanced", "max_memory": {0: "20GiB", "cpu": 1 << 30}}


@pytest.fixture
def written(tmp_path):
    def write(**changes):
        path = tmp_path / "machine.yaml"
        path.write_text(json.dumps({**BASE, **changes}).replace('"0":', "0:"))  # JSON is YAML but for its keys
        return path

    return write


def test_the_keys_are_read_and_stand_in_no_description(written):
    plain, moved = load_configuration(written()), load_configuration(written(**KEYS))
    assert (plain.device, plain.device_map, plain.max_memory) == ("auto", None, None)
    assert (moved.device, moved.device_map, moved.max_memory) == tuple(KEYS.values())
    assert moved.model_dump(mode="json") == plain.model_dump(mode="json")
    assert canonical_sha256(moved.model_dump(mode="json")) == canonical_sha256(plain.model_dump(mode="json"))
    assert not set(KEYS) & set(moved.model_dump(mode="json", exclude_unset=True))
    certified = Body.model_fields["configuration"].annotation
    assert not set(KEYS) & set(certified.model_json_schema(mode="serialization")["properties"])


def test_lengths_to_fill_prompts_up_to_change_no_description(written):
    plain, filled = load_configuration(written()), load_configuration(written(pad_to=[16, 48]))
    assert (plain.pad_to, filled.pad_to) == (None, (16, 48))
    assert filled.model_dump(mode="json") == plain.model_dump(mode="json")


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1", "cuda:12"])
def test_devices_have_the_names_that_torch_gives_them(written, device):
    assert load_configuration(written(device=device)).device == device


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"device": "gpu"}, "device: .*expected auto, cpu, cuda, cuda:N or mps, got 'gpu'"),
        ({"device": "meta"}, "expected auto, cpu, cuda, cuda:N or mps"),
        ({"device": "cuda:-1"}, "expected auto, cpu, cuda, cuda:N or mps"),
        ({"device": 0}, "device: "),
        ({"device": None}, "device: "),
        ({"dtype": "int8"}, "dtype: .*float32"),
        ({"device_map": "fast"}, "device_map"),
        ({"device_map": ["cuda:0"]}, "device_map"),
        ({"max_memory": {"cpu": "1GiB"}}, "expected max_memory with device_map"),
        ({"device_map": "auto", "max_memory": "1GiB"}, "max_memory"),
        ({"pad_to": []}, "pad_to: Expected at least one length"),
        ({"pad_to": [64, 32]}, "pad_to: Expected lengths that rise, got 64, 32"),
        ({"pad_to": [0, 64]}, "length to be a whole number >= 1"),
        ({"pad_to": [32]}, "expected pad_to to end with policy.prompt_tokens=48.*got 32: add 48"),
        ({"pad_to": 64}, "pad_to"),
        ({"pad_to": [32.5, 64]}, "pad_to"),
        ({"device_map": "auto", "device": "cuda"}, "expected device: auto beside device_map.*got cuda"),
    ],
)
def test_values_out_of_range_are_refused(written, changes, said):
    with pytest.raises(UserError, match=said):
        load_configuration(written(**changes))


def test_auto_becomes_the_format_of_the_models_files(written, tiny_lm_folder, tmp_path):
    folder = shutil.copytree(tiny_lm_folder, tmp_path / "lm")
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    found = load_configuration(written(model=str(folder), dtype="auto"))
    assert found.dtype == "float16"
    assert found.model_dump(mode="json")["dtype"] == "float16"
    assert load_configuration(ChangedFile(written(model=str(folder)), {"dtype": "auto"})).dtype == "float16"
    with pytest.raises(UserError, match="there is no such folder"):
        load_configuration(written(model="no such folder", dtype="auto"))


def test_the_command_line_stands_in_for_the_file(written):
    path = written(dtype="bfloat16", device="cpu")
    assert load_configuration(ChangedFile(path, {})) == load_configuration(path)
    changed = load_configuration(ChangedFile(path, {"dtype": "float16", "device": "cuda:1"}))
    assert (changed.dtype, changed.device) == ("float16", "cuda:1")
    with pytest.raises(UserError, match=r"machine\.yaml: device: .*got 'abacus'"):
        load_configuration(ChangedFile(path, {"device": "abacus"}))


def test_the_model_is_loaded_as_the_configuration_says(written, monkeypatch):
    asked = []
    monkeypatch.setattr(language, "load_causal_lm", lambda *names, **kinds: asked.append((names, kinds)))
    language_of(load_configuration(written(dtype="bfloat16", **KEYS)))
    assert asked == [((BASE["model"],), {"dtype": "bfloat16", **KEYS})]


MODEL_COMMANDS = [
    ["certify", "CONFIG"],
    *(
        ["attack", kind, "CONFIG", "--out", "OUT"]
        for kind in ("inversion", "attribute", "repeated", "context", "lists")
    ),
    ["attack", "distinguish", "CONFIG", "--out", "OUT"],
    ["tune", "CONFIG", "--out", "OUT"],
    ["frontier", "CONFIG", "--out", "OUT"],
    ["bundle", "CONFIG", "--out", "OUT"],
    *(["train", part, "CONFIG", "--out", "OUT"] for part in ("prompt", "projection", "codes", "attacker")),
    ["verify-mechanism", "--config", "CONFIG"],
]


@pytest.mark.parametrize("command", MODEL_COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_every_command_that_loads_a_model_takes_the_device(command, written, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"CONFIG": str(written()), "OUT": str(tmp_path / "out")}
    arguments = [names.get(part, part) for part in command]
    assert main([*arguments, "--device", "abacus"]) == 2
    assert "expected auto, cpu, cuda, cuda:N or mps, got 'abacus'" in capsys.readouterr().err
    assert main([*arguments, "--dtype", "int8"]) == 2
    assert "invalid choice: 'int8'" in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "machine.yaml"]


def test_a_device_that_is_not_there_ends_a_command_with_nothing_written(written, tiny_lm_folder, tmp_path, capsys):
    corpus = tmp_path / "texts.csv"
    rows = [f"{split},text number {index} of some length" for split in ("train", "test") for index in range(5)]
    corpus.write_text("\n".join(["split,text", *rows]) + "\n")
    config = written(model=str(tiny_lm_folder), data={"corpus": str(corpus), "text_column": "text"})
    out = tmp_path / "out"
    assert main(["attack", "lists", str(config), "--out", str(out), "--device", "cuda:7"]) == 2
    said = capsys.readouterr().err
    assert "Expected device to be one that torch can use here, got device='cuda:7'" in said
    assert not out.exists()


def test_the_self_test_takes_the_device_with_its_configuration_alone(written, capsys):
    assert main(["attack", "--self-test", "--test-device", "cpu"]) == 2
    assert "--test-device and --test-dtype with --self-test CONFIG" in capsys.readouterr().err
    assert main(["attack", "--self-test", str(written()), "--test-device", "abacus"]) == 2
    assert "cuda:N or mps, got 'abacus'" in capsys.readouterr().err


def test_a_configuration_that_is_made_from_another_is_of_the_same_format():
    made = Configuration.model_validate({**BASE, "device": "cuda", "dtype": "bfloat16"})
    again = Configuration.model_validate(made.model_dump(mode="json", exclude_unset=True))
    assert (again.dtype, again.device) == ("bfloat16", "auto")
