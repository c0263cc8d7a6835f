"""What made a certificate: versions, commit, hashes."""

import hashlib
import platform
import subprocess
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from mechanisms.hashes import file_sha256
from mechanisms.library_types import PreTrainedModel
from mechanisms.mechanism import ObservableMechanism

PACKAGES = (
    "del-audit",
    "torch",
    "transformers",
    "peft",
    "numpy",
    "scipy",
    "scikit-learn",
    "simplemma",
    "datasets",
    "tokenizers",
    "cryptography",
)
SOURCES = ("attacks", "del_audit", "mechanisms")


def versions(model: "PreTrainedModel | None" = None) -> dict[str, str]:
    """Returns the version of Python and of every package that a figure may depend on.

    model: the language model, whose devices a figure depends on too: they stand under `device`.
    """
    found = {"python": platform.python_version()}
    if model is not None:
        from mechanisms.placement import device_line  # imports torch, which `curve` does without

        found["device"] = device_line(model)
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str:
    """Returns the commit of this source tree, with `+changes` where files differ; `unknown` outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown"
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def source_sha256() -> str:
    """Returns one hash over the source files of the three packages, wherever they are installed."""
    root = Path(__file__).resolve().parents[2]
    names = sorted(path for package in SOURCES for path in (root / package).rglob("*.py"))
    lines = [f"{file_sha256(path)}  {path.relative_to(root).as_posix()}" for path in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def fingerprint(part: object) -> str:
    """Returns the hash of a decoder: its type and all that it holds, arrays by their bytes, assets by their own hash.

    Raises TypeError for a field of a kind that has no bytes: a hash that left it out would not name the decoder.
    """
    digest = hashlib.sha256()
    _feed(digest, part)
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", part: object) -> None:
    record = getattr(part, "record", None)
    digest.update(f"{type(part).__name__}:".encode())
    if record is not None:
        digest.update(record.sha256.encode())
    elif isinstance(part, ObservableMechanism):  # its law is in its description, which is complete
        digest.update(part.spec.fingerprint)
    elif is_dataclass(part):
        for field in (field for field in fields(part) if field.compare):  # where it is computed is no part of it
            digest.update(f"{field.name}=".encode())
            _feed(digest, getattr(part, field.name))
    elif part is None or isinstance(part, str | int | float | tuple):
        digest.update(repr(part).encode())
    elif hasattr(part, "__array__"):
        array = np.array(part, order="C", ndmin=1)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    else:
        raise TypeError(f"A {type(part).__name__} has no fingerprint.")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
