"""Tests the tests of the gate: how many of 300 seeded mutants of the code that decides a verdict do they notice?

The tracked files are copied into a temporary folder, where mutmut makes every mutant of MUTATED. A fixed seed draws
some of all, and each runs against those of TESTS that reach its function. Killed: a test failed, or it took so long
that it was stopped. Survived: all tests passed, or none reaches it. The interval is Clopper and Pearson's, at 95%, for
the share of all mutants that mutmut makes of these files. A control then runs the tests of some killed mutants again,
in the same way but on unchanged code: a failure there is a test that fails by chance, so that some kills are none.

mutmut leaves out code outside functions, properties and other decorated functions, such as pydantic's validators and
the ledger's context manager. Every mutant runs in a fork of a server that has only collected the tests, on one thread:
forked from a process that ran them, torch's threads may hang, which would count as a kill.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import get_mutant_name

from del_audit.statistics.intervals import clopper_pearson
from mechanisms.randomness import simulation_generator

ROOT = Path(__file__).parents[1]
TARGET = 0.85
GATE = {
    "del_audit/certificate": (
        *("checks", "requirement", "consistency", "error_rate", "verify", "attack_versions", "attempts"),
        *("typed", "recompute"),
    ),
    "del_audit/configuration": ("policy", "limits", "verdict", "asked"),
    "del_audit/service": ("seed",),
    "del_audit/statistics": ("intervals", "gain_interval", "sequential", "contradiction"),
    "del_audit/evidence/inversion": ("worst_prompt",),
    "mechanisms": ("client", "ledger", "ledger_file", "client_certificate", "terms"),
}
HELD_BY = {
    "tests/certificate": ("checks", "verify", "tampering", "attempts", "fixture"),
    "tests/configuration": ("configuration", "limits", "toy_limit", "verdict"),
    "tests/statistics": ("intervals", "gain_interval", "sequential", "contradiction", "sample_size"),
    "tests/evidence": ("rare_documents",),
    "tests/evidence/inversion": ("worst_prompt", "stopping"),
    "tests/mechanisms": (
        *("client_certificate", "ledger", "client_and_server", "client_bundle", "curve_point", "revocation"),
    ),
    "tests/mechanisms/rivals": ("client_half",),
    "tests/client": ("certified_client", "send"),
    "tests/cli": ("ledger_command",),
}
MUTATED = [f"{folder}/{name}.py" for folder, names in GATE.items() for name in names]
TESTS = [f"{folder}/test_{name}.py" for folder, names in HELD_BY.items() for name in names]
SOURCES = ("del_audit", "mechanisms")
KILLED = ("killed", "timeout")


def copy_tree(folder: Path) -> None:
    """Copies the tracked files as they are, and gives them mutmut's configuration for the gate."""
    if lacking := [name for name in (*MUTATED, *TESTS) if not (ROOT / name).is_file()]:
        sys.exit(f"gate_mutants: expected the files of the gate, got none at {', '.join(lacking)}: they were moved")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    project = folder / "pyproject.toml"
    kept = project.read_text(encoding="utf8").partition("[tool.mutmut]")[0]
    settings = {
        "source_paths": list(SOURCES),
        "only_mutate": MUTATED,
        "also_copy": sorted({name.split("/")[0] for name in tracked.split("\0") if name} - {*SOURCES, "tests"}),
        "pytest_add_cli_args_test_selection": TESTS,
        "pytest_add_cli_args": ["-x", "--no-header", "-m", "not slow", "-p", "no:cacheprovider"],
        "process_isolation": "forkserver",
        "timeout_multiplier": 8.0,
        "timeout_constant": 4.0,
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    project.write_text(f"{kept}[tool.mutmut]\n{''.join(lines)}", encoding="utf8")


def draw(count: int, seed: int) -> tuple[dict[str, str], int]:
    """Returns the file of each mutant that was drawn, and the number of all; in the folder of copy_tree."""
    every = {}
    for path in MUTATED:
        names = mutate_file_contents(path, Path(path).read_text(encoding="utf8")).mutant_names
        every.update({get_mutant_name(Path(path), name): path for name in names})
    chosen = simulation_generator(seed, "gate mutants").choice(sorted(every), count, replace=False)
    return {str(name): every[name] for name in sorted(chosen)}, len(every)


def run(drawn: dict[str, str], children: int) -> dict[str, str]:
    """Returns what became of each mutant; in the folder of copy_tree."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(children), *drawn]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stdout[-6000:]}{done.stderr[-2000:]}\nmutmut ended with {done.returncode}.")
    codes = {}
    for path in set(drawn.values()):
        codes.update(json.loads(Path(f"mutants/{path}.meta").read_text(encoding="utf8"))["exit_code_by_key"])
    return {name: status_by_exit_code[codes[name]] for name in drawn}


def control(drawn: dict[str, str], became: dict[str, str], count: int, seed: int, children: int) -> tuple[int, int]:
    """Returns how many runs of unchanged code failed, and of how many; each has the tests of a killed mutant."""
    killed = [name for name in drawn if became[name] in KILLED]
    chosen = simulation_generator(seed, "gate control").choice(killed, min(count, len(killed)), replace=False)
    for name in map(str, chosen):
        file, own = Path("mutants", drawn[name]), re.escape(name.rpartition(".")[2])
        text, changed = re.subn(rf"(\['{own}'\] = .*__mutmut_)\d+ ", r"\1orig ", file.read_text(encoding="utf8"))
        if changed != 1:
            raise SystemExit(f"Expected one entry of {name} in {file}, got {changed}: see mutmut's trampolines.")
        file.write_text(text, encoding="utf8")
    found = run({str(name): drawn[str(name)] for name in chosen}, children)
    return sum(status != "survived" for status in found.values()), len(found)


def report(drawn: dict[str, str], became: dict[str, str], every: int, seed: int) -> None:
    """Prints every mutant that was not killed by a test, and then the figures."""
    for name, path in drawn.items():
        if became[name] != "killed":
            print(f"{became[name]}: {name}\n{get_diff_for_mutant(name, path=path)}\n")
    counts, killed = Counter(became.values()), sum(status in KILLED for status in became.values())
    lower, upper = clopper_pearson(killed, len(became))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("mutmut", "pytest", "numpy"))
    print(f"{len(became)} of {every} mutants of {len(MUTATED)} files, seed {seed}, Python {platform.python_version()},")
    print(f"{versions}: {', '.join(f'{count} {status}' for status, count in sorted(counts.items()))}.")
    print(f"Killed: {killed / len(became):.3f} [{lower:.3f}, {upper:.3f}], Clopper-Pearson 95%; a timeout is a kill,")
    print(f"no test is a survivor. Target: lower end at least {TARGET}: {'met' if lower >= TARGET else 'missed'}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=300, help="how many are drawn (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="the seed that draws them (default: 0)")
    parser.add_argument("--control", type=int, default=30, help="how many run again on unchanged code (default: 30)")
    parser.add_argument("--children", type=int, default=2, help="mutants that run at once (default: 2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gate-mutants-") as folder:
        copy_tree(Path(folder))
        os.chdir(folder)  # mutmut knows no other place than the current one
        try:
            drawn, every = draw(options.mutants, options.seed)
            became = run(drawn, options.children)
            report(drawn, became, every, options.seed)
            failed, controls = control(drawn, became, options.control, options.seed, options.children)
            print(f"Control: {failed} of {controls} runs on unchanged code failed.")
        finally:
            os.chdir(ROOT)


if __name__ == "__main__":
    main()
