import json

import pytest

from mechanisms.adapter_config import CONFIG_FILE, AdapterConfig, adapter_config, require_base_model
from mechanisms.assets import AssetRecord
from mechanisms.errors import UserError
from mechanisms.package_sources import PACKAGE_SOURCES

CONFIG = {
    "peft_type": "PROMPT_TUNING",
    "task_type": "CAUSAL_LM",
    "num_virtual_tokens": 5,
    "num_transformer_submodules": 1,
    "token_dim": 32,
    "base_model_name_or_path": "org/name",
    "revision": None,
    "modules_to_save": None,
}
COMMIT = "ab" * 20


@pytest.fixture
def written(tmp_path):
    """Writes the configuration with changes; a value of ... leaves its key out. Returns the folder."""

    def write(**changes):
        kept = {key: value for key, value in {**CONFIG, **changes}.items() if value is not ...}
        (tmp_path / CONFIG_FILE).write_text(json.dumps(kept))
        return tmp_path

    return write


def record(name, kind, version="", origin="", sha256="0" * 64):
    return AssetRecord(name, kind, version, sha256, "", "", origin)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, AdapterConfig(5, 32, "org/name", "")),
        ({"token_dim": None, "num_transformer_submodules": None}, AdapterConfig(5, None, "org/name", "")),
        (
            {"token_dim": ..., "num_transformer_submodules": ..., "revision": ...},
            AdapterConfig(5, None, "org/name", ""),
        ),
        ({"base_model_name_or_path": None, "revision": "main"}, AdapterConfig(5, 32, "", "main")),
        ({"base_model_name_or_path": "", "modules_to_save": []}, AdapterConfig(5, 32, "", "")),
        ({"inference_mode": False, "a_later_field": 1}, AdapterConfig(5, 32, "org/name", "")),
    ],
)
def test_what_peft_loads_as_the_stored_vectors_is_read(written, changes, expected):
    assert adapter_config(written(**changes), "given") == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": ...}, "peft_type .*, got None"),
        ({"peft_type": "prompt_tuning"}, "peft_type .*PROMPT_TUNING, .*got 'prompt_tuning'"),
        ({"peft_type": ["LORA"] * 100}, r"peft_type .*got \['LORA', .{191}\.\.\.: "),
        ({"task_type": None}, "task_type .*'CAUSAL_LM', got None"),
        ({"task_type": "SEQ_2_SEQ_LM"}, "task_type .*got 'SEQ_2_SEQ_LM'"),
        ({"num_transformer_submodules": 2}, "num_transformer_submodules .*got 2"),
        ({"num_transformer_submodules": True}, "num_transformer_submodules .*got True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save .*'lm_head'"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens .*>= 1, got 0"),
        ({"num_virtual_tokens": 5.0}, r"num_virtual_tokens .*got 5\.0"),
        ({"num_virtual_tokens": ...}, "num_virtual_tokens .*got None"),
        ({"token_dim": "32"}, "token_dim .*got '32'"),
        ({"base_model_name_or_path": 3}, "base_model_name_or_path .*got 3"),
        ({"revision": ["main"]}, r"revision .*got \['main'\]"),
    ],
)
def test_another_configuration_is_refused(written, changes, reason):
    with pytest.raises(UserError, match=f"^Expected {reason}") as told:
        adapter_config(written(**changes), "given")
    assert f"{CONFIG_FILE} of soft_prompt='given'" in str(told.value)
    assert len(str(told.value)) < 600


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"LORA"', b"null", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000])
def test_a_damaged_configuration_is_refused(tmp_path, data):
    (tmp_path / CONFIG_FILE).write_bytes(data)
    with pytest.raises(UserError, match=f"^Expected {CONFIG_FILE} of soft_prompt='given' to hold .*again"):
        adapter_config(tmp_path, "given")


def test_a_missing_configuration_is_refused(tmp_path):
    with pytest.raises(UserError, match=f"soft_prompt='given' to hold {CONFIG_FILE}, got none.*whole folder"):
        adapter_config(tmp_path, "given")


def test_the_configuration_is_read_once(written, swapped):
    path = written() / CONFIG_FILE
    first, later = (json.dumps({**CONFIG, "num_virtual_tokens": count}).encode() for count in (7, 8))
    reads = swapped(path, first, later)
    assert adapter_config(path.parent, "given").tokens == 7
    assert reads == [first]


HUB = record("org/name", "hub", COMMIT)
PINNED = record("org/name@v2", "hub", COMMIT)
CACHED = record("cache", "folder", origin=f"/hub/models--org--name/snapshots/{COMMIT}")
PACKAGE = next(iter(PACKAGE_SOURCES.values()))


@pytest.mark.parametrize(
    ("model", "stated", "revision"),
    [
        (HUB, "org/name", ""),
        (HUB, "org/name", "main"),
        (HUB, "org/name", COMMIT),
        (HUB, f"org/name@{COMMIT}", ""),
        (HUB, f"/else/models--org--name/snapshots/{COMMIT}", ""),
        (HUB, f"/else/models--org--name/snapshots/{COMMIT}/", ""),
        (PINNED, "org/name", ""),
        (PINNED, "org/name@v2", ""),
        (PINNED, "org/name", "v2"),
        (PINNED, "org/name", COMMIT),
        (CACHED, "org/name", ""),
        (CACHED, "org/name", COMMIT),
        (record(PACKAGE.name, "package"), PACKAGE.name, ""),
        (HUB, "", ""),
        (HUB, "", "v1"),
    ],
)
def test_names_of_the_same_model_pass(model, stated, revision):
    require_base_model(AdapterConfig(5, 32, stated, revision), {}, model, "given")


@pytest.mark.parametrize(
    ("model", "stated", "revision"),
    [
        (HUB, "org/other", ""),
        (HUB, "other/name", ""),
        (HUB, "name", ""),
        (HUB, "Org/Name", ""),
        (HUB, "org/name", "v1"),
        (HUB, "org/name@v1", "main"),
        (HUB, "/models/name", ""),
        (HUB, f"/else/models--org--name/snapshots/{'cd' * 20}", ""),
        (PINNED, "org/name", "main"),
        (PINNED, "org/name@v1", ""),
        (CACHED, "org/other", ""),
        (CACHED, "org/name", "v1"),
        (record("models/name", "folder", origin="/models/name"), "org/name", ""),
        (record("models/name", "folder", origin="/models/name"), "/else/name", ""),
        (record("models/name", "folder", origin="/models/name"), "\0", ""),
        (record(PACKAGE.name, "package"), PACKAGE.project, ""),
    ],
)
def test_names_of_another_model_are_refused(model, stated, revision):
    with pytest.raises(UserError) as told:
        require_base_model(AdapterConfig(5, 32, stated, revision), {}, model, "given")
    said = str(told.value)
    assert f"for {model.name!r}, got base_model_name_or_path={stated!r}" in said
    assert ("at revision" in said, "null as revision" in said) == (bool(revision), bool(revision))
    assert f"write {model.name!r} there" in said


def test_a_folder_is_named_by_any_path_to_it(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    model = record("~/model", "folder", origin=str(folder.resolve()))
    for stated in (str(folder), f"{folder}/", "model", "./model", "link", "~/model"):
        require_base_model(AdapterConfig(5, 32, stated, ""), {}, model, "given")


def test_a_package_is_named_by_its_folder_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CACHE", str(tmp_path))
    model = record(PACKAGE.name, "package", PACKAGE.version)
    stated = str(tmp_path / "packages" / PACKAGE.slug)
    require_base_model(AdapterConfig(5, 32, stated, ""), {}, model, "given")
    with pytest.raises(UserError, match="base_model_name_or_path"):
        require_base_model(AdapterConfig(5, 32, f"{stated}-other", ""), {}, model, "given")


def test_a_hash_in_the_card_decides():
    config = AdapterConfig(5, 32, "org/other", "v1")
    require_base_model(config, {"base_model": HUB.to_dict()}, HUB, "given")
    other = {"base_model": {"name": "org/name", "sha256": "1" * 64}}
    with pytest.raises(UserError, match=r"\(sha256 000000000000\), got soft_prompt='given', which was trained for"):
        require_base_model(AdapterConfig(5, 32, "org/name", ""), other, HUB, "given")
    with pytest.raises(UserError, match="base_model_name_or_path='org/other'"):
        require_base_model(config, {"base_model": {"name": "org/name"}}, HUB, "given")
