"""adapter_config.json of a soft prompt: whether PEFT would put the file's own vectors in front, and of which model.

PEFT reads it before the weights, and computes what it says. Only adapters are taken with which PEFT puts the stored
vectors in front of the prompt's embeddings and does nothing else. No torch is imported here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechanisms.assets import AssetRecord, cache_folder
from mechanisms.errors import UserError
from mechanisms.package_sources import PACKAGE_SOURCES
from mechanisms.user_path import LONGEST_SHOWN

CONFIG_FILE = "adapter_config.json"
PLAIN = ("PROMPT_TUNING", "P_TUNING", "CPT")
"""The peft_types of which PEFT stores the finished vectors and, once loaded, puts them in front as they are."""
TASK = "CAUSAL_LM"
CARD_PARTS: dict[str, type] = {"base_model": dict, "files": dict, "mechanisms": list}
TRAIN = "Train a soft prompt with `del-audit train prompt` or with PEFT's PromptTuningConfig."


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What an adapter says of its vectors.

    tokens: how many there are. width: None where it leaves that to the model. base_model, revision: the model that it
    was trained for, "" where it does not say.
    """

    tokens: int
    width: int | None
    base_model: str
    revision: str


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Returns the JSON object in a file of the adapter; name: the adapter's, for errors.

    Raises UserError for a file that cannot be read, is no UTF-8 or no JSON, or holds another value than an object.
    """
    try:
        found = json.loads(path.read_bytes().decode("utf8"))
    except (OSError, ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise UserError(
            f"Expected {path.name} of soft_prompt={name!r} to hold JSON: {error}. Copy the adapter again, or train it "
            "again."
        ) from None
    if not isinstance(found, dict):
        raise UserError(
            f"Expected {path.name} of soft_prompt={name!r} to hold a JSON object, got {shown(found)}. Copy the adapter "
            "again, or train it again."
        )
    return found


def read_card(path: Path, name: str) -> dict[str, Any]:
    """Returns the card of an adapter; raises UserError as read_json does, and for a card of something else."""
    card = read_json(path, name)
    model, files, made_for = (card.get(key) or kind() for key, kind in CARD_PARTS.items())
    sound = isinstance(model, dict) and isinstance(model.get("sha256", ""), str) and isinstance(files, dict)
    known = isinstance(made_for, list) and all(isinstance(one, dict) for one in made_for)
    if not (sound and known and all({"spec", "fingerprint"} <= one.keys() for one in made_for)):
        raise UserError(
            f"Expected {path.name} of soft_prompt={name!r} to have {', '.join(CARD_PARTS)} as `del-audit train` "
            f"writes them, got {shown({key: card.get(key) for key in CARD_PARTS})}. Remove the file, or train the "
            "soft prompt again."
        )
    return card


def adapter_config(folder: Path, name: str) -> AdapterConfig:
    """Returns what adapter_config.json says; name: the adapter's, for errors.

    Raises UserError where it is missing or damaged, and where PEFT would compute something else than the stored
    vectors in front of a prompt, or could not load them.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"Expected soft_prompt={name!r} to hold {CONFIG_FILE}, got none: without it nothing says how the vectors "
            "are used, and PEFT cannot load them. Copy the whole folder of the adapter."
        )
    config = read_json(path, name)

    def require(field: str, fits: bool, allowed: str, why: str) -> None:
        if not fits:
            raise UserError(
                f"Expected {field} in {CONFIG_FILE} of soft_prompt={name!r} to be {allowed}, got "
                f"{shown(config.get(field))}: {why}"
            )

    kind, task = config.get("peft_type"), config.get("task_type")
    copies, modules = config.get("num_transformer_submodules"), config.get("modules_to_save")
    tokens, width = config.get("num_virtual_tokens"), config.get("token_dim")
    damaged = "PEFT could not load it. Copy the adapter again, or train it again."
    more = f"PEFT would compute something else than the stored vectors in front of a prompt. {TRAIN}"
    require("peft_type", kind in PLAIN, f"one of {', '.join(PLAIN)}", more)
    require("task_type", task == TASK, repr(TASK), f"PEFT would generate without the vectors. {TRAIN}")
    require("num_transformer_submodules", copies is None or _is_whole(copies, 1, 1), "1 or null", more)
    require("modules_to_save", modules is None or modules == [], "null", f"PEFT would replace weights too. {TRAIN}")
    require("num_virtual_tokens", _is_whole(tokens, 1), "a whole number >= 1", damaged)
    require("token_dim", width is None or _is_whole(width, 1), "a whole number >= 1 or null", damaged)
    for field in ("base_model_name_or_path", "revision"):
        require(field, isinstance(config.get(field), str | None), "a name or null", damaged)
    return AdapterConfig(
        int(config["num_virtual_tokens"]),
        width,
        config.get("base_model_name_or_path") or "",
        config.get("revision") or "",
    )


def require_base_model(config: AdapterConfig, card: Mapping[str, Any], model: AssetRecord, name: str) -> None:
    """Raises UserError for an adapter of another model than the one that it is to stand in front of.

    A hash in the card decides. Without one, the name in adapter_config.json does; an adapter without a name passes.
    """
    trained_for = card.get("base_model") or {}
    if digest := trained_for.get("sha256"):
        if digest != model.sha256:
            raise UserError(
                f"Expected a soft prompt for {model.name!r} (sha256 {model.sha256[:12]}), got "
                f"soft_prompt={name!r}, which was trained for {trained_for.get('name')!r} (sha256 {digest[:12]})."
            )
        return
    if config.base_model and not _names(config.base_model, config.revision, model):
        pinned = f" at revision {shown(config.revision)}" if config.revision else ""
        raise UserError(
            f"Expected a soft prompt for {model.name!r}, got base_model_name_or_path={shown(config.base_model)}"
            f"{pinned} in {CONFIG_FILE} of soft_prompt={name!r}. Train it for this model; if that is another name of "
            f"this very model, write {model.name!r} there{' and null as revision' if config.revision else ''}."
        )


def shown(value: object) -> str:
    """Returns a value for an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _is_whole(value: object, low: int, high: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value and (high is None or value <= high)


def _names(stated: str, revision: str, model: AssetRecord) -> bool:
    """Returns whether a name, as PEFT writes it, is one of this model: its own, or the folder that holds it."""
    named, _, pinned = stated.partition("@")
    match model.kind:
        case "hub":
            repository, _, asked = model.name.partition("@")
            if Path(stated).parts[-3:] == _snapshot(repository, model.version):  # loaded by its folder in the cache
                return True
            return named == repository and (pinned or revision) in ("", asked or "main", model.version)
        case "package":
            source = PACKAGE_SOURCES.get(model.name)
            cached = source and _resolved(str(cache_folder() / "packages" / source.slug))
            return stated == model.name or (cached is not None and _resolved(stated) == cached)
        case _:
            *_, commit = held = Path(model.origin).parts[-3:]
            if _snapshot(named, commit) == held:  # a folder of the hub's cache
                return (pinned or revision) in ("", commit)
            return stated == model.name or _resolved(stated) == model.origin


def _snapshot(repository: str, commit: str) -> tuple[str, ...]:
    """Returns the last parts of the folder in which the hub's cache keeps a commit of a repository."""
    return "models--" + repository.replace("/", "--"), "snapshots", commit


def _resolved(path: str) -> str | None:
    """Returns the absolute path without links, None where there can be none."""
    try:
        return str(Path(path).resolve())
    except (OSError, ValueError, RuntimeError):
        return None
