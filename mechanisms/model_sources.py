"""What a model's name stands for: a folder of safetensors, checked and hashed.

A name is an existing local folder, a pinned package source (`package:smollm2-135m-instruct`), or a hub name
(`HuggingFaceTB/SmolLM2-135M`, with `@revision` where one is wanted). Pickled weights are refused. Imports no torch.
"""

import json
import re
from pathlib import Path
from typing import Literal

from mechanisms.assets import Asset, AssetRecord, announce, content_sha256, hash_files, package_asset
from mechanisms.errors import UserError, first_line
from mechanisms.package_sources import PACKAGE_SOURCES, PREFIX
from mechanisms.user_path import user_path

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja", "1_Pooling/*.json")

STORED_FORMATS = ("float32", "bfloat16", "float16")


def model_asset(name: str) -> Asset:
    """Returns the folder that a model's name stands for, checked and hashed.

    Raises UserError for a bad name, a hub that is out of reach, and a folder without config.json or safetensors.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"Expected a model name, got {name!r}. {_allowed()}")
    if name.startswith(PREFIX):
        asset = package_asset(name)
        _require_safetensors(name, asset.folder)
        return asset
    if (folder := user_path(name, "a model's name", home=True)).is_dir():
        return _folder_asset(name, folder, "folder", "", str(folder.resolve()))
    if HUB_NAME.fullmatch(name):
        return _hub_asset(name)
    raise UserError(f"Expected a model name, got {name!r}: there is no such folder. {_allowed()}")


def stored_number_format(name: str) -> str:
    """Returns number_format of the folder that a model's name stands for; a local folder is not hashed for it.

    Raises UserError as model_asset and number_format do.
    """
    here = not name.startswith(PREFIX) and (folder := user_path(name, "a model's name", home=True)).is_dir()
    return number_format(folder if here else model_asset(name).folder)


def number_format(folder: Path) -> str:
    """Returns the number format that config.json names for the weights: float32 where it names none of STORED_FORMATS.

    Raises UserError for a config.json that cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the number format in {folder / 'config.json'}: {first_line(error)}") from None
    parts = [config, config.get("text_config")] if isinstance(config, dict) else []
    named = [part.get(key) for part in parts if isinstance(part, dict) for key in ("dtype", "torch_dtype")]
    return next((each for each in named if each in STORED_FORMATS), "float32")


def _allowed() -> str:
    packages = ", ".join(PACKAGE_SOURCES)
    return f"Allowed are a local folder, a hub name such as 'org/name' or 'org/name@revision', and {packages}."


def _hub_asset(name: str) -> Asset:
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        known = isinstance(try_to_load_from_cache(repository, "config.json", revision=revision or None), str)
        folder = Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=[*MODEL_FILES, "README.md"],
                ignore_patterns=["consolidated*", "onnx/*", "openvino/*", "original/*"],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = first_line(error)
        raise UserError(
            f"Cannot fetch the model {name!r} from the hub: {reason} It is no local folder either. Check the name and "
            f"the connection; with a filled hub cache and HF_HUB_OFFLINE=1 no connection is needed. {_allowed()}"
        ) from error
    asset = _folder_asset(name, folder, "hub", folder.name, f"hub repository {repository}")
    if not known:
        announce(asset.record)
    return asset


def _folder_asset(name: str, folder: Path, kind: Literal["folder", "hub"], version: str, origin: str) -> Asset:
    _require_safetensors(name, folder)
    names = {path.relative_to(folder).as_posix() for pattern in MODEL_FILES for path in folder.glob(pattern)}
    record = AssetRecord(
        name=name,
        kind=kind,
        version=version,
        sha256=content_sha256(hash_files(folder, names)),
        licence=_card_licence(folder),
        terms="",
        origin=origin,
    )
    return Asset(folder, record)


def _require_safetensors(name: str, folder: Path) -> None:
    """Raises UserError unless the folder can be loaded without unpickling anything."""
    if not (folder / "config.json").is_file():
        raise UserError(f"Expected the model {name!r} to be a folder with config.json, got {folder} without one.")
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for ending in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{ending}"))
    found = f"only pickled weights ({', '.join(pickled)}), which can run code when they are read" if pickled else "none"
    raise UserError(f"Expected the model {name!r} to have *.safetensors in {folder}, got {found}.")


def _card_licence(folder: Path) -> str:
    """Returns the licence that a model card's header states, or an empty string."""
    card = folder / "README.md"
    header = card.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0] if card.is_file() else ""
    stated = re.search(r"^license:\s*(\S+)\s*$", header, flags=re.MULTILINE) if header.startswith("---") else None
    return stated.group(1) if stated else ""
