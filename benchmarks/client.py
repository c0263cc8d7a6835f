"""A client's time: releases of each mechanism beside DEL's, and whole processes beside transformers and torch.

Every release of a word mechanism is timed next to one of DEL's on the same prompt, from tokens to the message, so that
other work on the machine slows both alike. Nothing is charged to a ledger.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mechanisms.client import CodeReleaser
from mechanisms.client_bundle import save_client_bundle
from mechanisms.encoder import Encoder
from mechanisms.levels import LEVELS
from mechanisms.mechanism import ModelName
from mechanisms.models import load_embedding_table, load_tokenizer
from mechanisms.projection import EncoderSettings, fit_encoder
from mechanisms.randomness import SystemRandomness, simulation_generator
from mechanisms.rivals import (
    CoarseWords,
    CoarseWordsSpec,
    ProjectiveGeometry,
    RandomizedResponse,
    RandomizedResponseSpec,
    SubsetSelection,
    SubsetSelectionSpec,
)
from mechanisms.rivals.geometry_search import best_geometry
from mechanisms.spec import QuantizerSpec

RUNS, PAIRS, WARM_UP = 11, 120, 20
WORDS, SYMBOLS, TOKENS, EPSILONS = 49_152, 4_096, 512, (4.0, 6.0, 8.0, 9.0)
MODEL = "package:smollm2-135m-instruct"
PROMPT = "The pain was gone within a week, but I could not sleep while I was on it. " * 7
BITS = (4, 8)
PEAK = "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
OURS = f"""
from pathlib import Path
from mechanisms.client_bundle import load_client
from mechanisms.client_certificate import UNCERTIFIED
message = load_client(Path(FOLDER), certificate=UNCERTIFIED).release({PROMPT!r})
{PEAK}
"""
THEIRS = f"""
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer
tokens = AutoTokenizer.from_pretrained(FOLDER)({PROMPT!r}, return_tensors="pt").input_ids[0]
success = load_file(FOLDER + "/success.safetensors")["success"][tokens]
counts = sum(torch.rand(success.shape) <= success for _ in range(TRIALS))
message = counts.to(torch.uint8).numpy().tobytes()
{PEAK}
"""
IMPORTS = {"python -c 'import numpy'": "import numpy", "python -c 'import torch'": "import torch"}


def release_rows(pairs: int) -> list[str]:
    """Returns the lines of the first table: median and least ms, DEL's ms beside it, ratio, size."""
    spec, source = QuantizerSpec.from_mu(4, 18, 0.05, 8.0), SystemRandomness()
    generator = simulation_generator(0, "benchmark")
    codes = Encoder(generator.integers(0, LEVELS, (WORDS, spec.dim), dtype=np.uint8), spec.clip)
    ours, prompt = CodeReleaser(codes, spec), generator.integers(0, WORDS, TOKENS)
    symbols, rows = generator.integers(0, SYMBOLS, WORDS), list[str]()
    for epsilon in EPSILONS:
        for mechanism in (
            RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, epsilon)),
            ProjectiveGeometry(best_geometry(WORDS, epsilon)),
            CoarseWords(CoarseWordsSpec.over(best_geometry(SYMBOLS, epsilon), symbols), symbols),
            SubsetSelection(SubsetSelectionSpec.from_epsilon(WORDS, epsilon)),
        ):
            taken = timed_pairs(
                lambda one=mechanism: one.release(prompt, source), lambda: ours.release(prompt, source), pairs
            )
            own, beside = np.median(taken, axis=0)
            ratio = np.median(taken[:, 0] / taken[:, 1])
            size, least = len(mechanism.release(prompt, source)) / TOKENS, taken[:, 0].min()
            figures = f"{own:9.3f}{least:9.3f}{beside:9.3f}{ratio:8.1f}x{size:10.2f}"
            rows.append(f"{epsilon:7.1f}  {mechanism.name:22}{figures}")
    return rows


def timed_pairs(one: Callable[[], object], other: Callable[[], object], pairs: int) -> np.ndarray:
    """Returns the times of both in turns, ms, shape (pairs, 2), after a warm-up."""
    taken = np.empty((WARM_UP + pairs, 2))
    for turn in taken:
        for place, work in enumerate((one, other)):
            start = time.perf_counter()
            work()
            turn[place] = 1e3 * (time.perf_counter() - start)
    return taken[WARM_UP:]


def prepare(folder: Path) -> dict[str, str]:
    """Returns the programs to time, by name: their folders hold the same codes of the same model."""
    from safetensors.numpy import save_file

    os.environ["DEL_AUDIT_STATE"] = str(folder / "state")  # its releases are none of the user's ledger
    table, tokenizer = load_embedding_table(MODEL), load_tokenizer(MODEL)
    programs = {name: f"{program}\n{PEAK}" for name, program in IMPORTS.items()}
    for bits in BITS:
        spec = QuantizerSpec.from_mu(bits, 18, 0.05, 8.0)
        encoder = fit_encoder(table, np.full(len(table), 1 / len(table)), spec, EncoderSettings(rotate=False))
        ours, theirs = folder / f"client-{bits}", folder / f"torch-{bits}"
        save_client_bundle(ours, CodeReleaser(encoder, spec), ModelName(MODEL, ""), tokenizer, 1024)
        tokenizer.save_pretrained(theirs)
        success = (0.5 + encoder.codes / (2 * spec.scale)).astype(np.float32)
        save_file({"success": success}, theirs / "success.safetensors")
        programs[f"client folder, {bits} bits"] = OURS.replace("FOLDER", repr(str(ours)))
        programs[f"AutoTokenizer and torch, {bits} bits"] = THEIRS.replace("FOLDER", repr(str(theirs))).replace(
            "TRIALS", str(spec.trials)
        )
        size = sum(path.stat().st_size for path in ours.iterdir())
        print(f"client folder, {bits} bits: {size / 1e6:.2f} MB, of which codes {encoder.levels.nbytes / 1e6:.2f} MB")
    return programs


def measure(programs: dict[str, str], runs: int) -> dict[str, tuple[float, float, float]]:
    """Returns the median and the largest wall time in seconds, and the median peak of memory in MB; in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    peaks: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(runs + 1):
        for name, program in programs.items():
            start = time.perf_counter()
            run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
            seconds[name].append(time.perf_counter() - start)
            peaks[name].append(int(run.stdout) * 1024 / 1e6)
    return {
        name: (statistics.median(taken[1:]), max(taken[1:]), statistics.median(peaks[name][1:]))
        for name, taken in seconds.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of whole processes; 0 leaves them out")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args()
    chosen = options.runs
    print(
        f"releases of {TOKENS} tokens of {WORDS} words, coarse: {SYMBOLS} symbols; medians of {options.pairs} pairs, ms"
    )
    print("epsilon                           median    least    DEL's   ratio  bytes per token")
    for row in release_rows(options.pairs):
        print(row, flush=True)
    print()
    if not chosen:
        raise SystemExit(0)
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(prepare(Path(temporary)), chosen)
    print(f"whole processes, {chosen} runs in turns after one warm-up; peak memory is VmHWM of /proc/self/status")
    print(f"{'':36}  median    worst     peak")
    for name, (median, worst, peak) in found.items():
        print(f"{name:36} {median:6.2f} s {worst:6.2f} s {peak:5.0f} MB")
