"""One million rows of a csv of 500 MB: time and peak memory of load_corpus, beside pandas.read_csv of text."""

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 1_000_000
CHARACTERS = 400
TEXT = 'I felt “tired” all day, didn’t sleep – naïve café Übelkeit após 疼痛 🙂 and then the pain was gone: "never"'
PEAK = "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
PROGRAMS = {
    "load_corpus": """
from mechanisms.corpora import load_corpus
corpus = load_corpus(PATH, text_column="text")
assert len(corpus) == ROWS and len(set(corpus.labels("label"))) == 4
""",
    "pandas.read_csv(dtype=str, keep_default_na=False)": """
import pandas
frame = pandas.read_csv(PATH, dtype=str, keep_default_na=False)
assert len(frame) == ROWS and frame["label"].nunique() == 4
""",
}


def write(path: Path, rows: int) -> None:
    """Writes documents of about CHARACTERS characters, of four labels and two splits."""
    generator = random.Random(0)
    long = " ".join(generator.choices(TEXT.split(), k=20_000))
    with path.open("w", encoding="utf8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        for row in range(rows):
            start = generator.randrange(len(long) - 2 * CHARACTERS)
            text = f"{row} " + long[start : start + generator.randrange(CHARACTERS // 2, 3 * CHARACTERS // 2)]
            writer.writerow([text, f"0{row % 4}", "train" if row % 10 else "test"])


def measure(program: str, path: Path, rows: int) -> tuple[float, float]:
    """Returns the wall time of a fresh process in seconds, and its peak of memory in MB."""
    whole = f"{program}\n{PEAK}".replace("PATH", repr(str(path))).replace("ROWS", str(rows))
    start = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", whole], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, int(run.stdout) * 1024 / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    count = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as temporary:
        corpus = Path(temporary) / "corpus.csv"
        write(corpus, count)
        print(f"{count:,} rows, {corpus.stat().st_size / 1e6:.0f} MB; peak memory is VmHWM of /proc/self/status")
        found = {name: measure(program, corpus, count) for name, program in PROGRAMS.items()}
    seconds, peak = found["load_corpus"]
    print(f"{'':50}   time            peak")
    for name, (taken, most) in found.items():
        print(f"{name:50} {taken:6.1f} s {seconds / taken:5.2f}x {most:6.0f} MB {peak / most:5.2f}x")
