"""Attribute probes on thousands of public documents: time and peak memory, beside views that are dense in documents.

    python benchmarks/attribute_probes.py
    python benchmarks/attribute_probes.py --few 100 --documents 1000

Made-up documents of about 100 tokens: words of Zipf's law over the vocabulary of SmolLM2, of which each of five classes
writes a tenth three times as often. They are released by DEL with 2 bits, 18 coordinates and mu 7, as in the example.
Each row of the table is measured in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # `attacks` is a package

from attacks.attribute import Viewer
from attacks.attribute.candidates import PRIOR_TOKENS, families
from attacks.attribute.posteriors import KEPT_CANDIDATES, LEAST
from attacks.attribute.views import TOKENS
from attacks.base import AttackerKnowledge
from attacks.inversion import MaximumAPosteriori
from attacks.side_channel import side_channels
from del_audit.evidence.inference import Sample, infer
from del_audit.process.quiet import silence_libraries
from mechanisms.channel import exponentiate
from mechanisms.models import load_embedding_table
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import Generator, SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec

MODEL, BITS, DIM, CLIP, MU = "package:smollm2-135m-instruct", 2, 18, 0.05, 7.0
CLASSES, SHIFTED, TIMES = 5, 0.1, 3.0
PRIVATE = 500
Texts = list[list[int]]


class Numbers:
    """A tokenizer that writes each token as its number."""

    def decode(self, tokens: list[int], **_: object) -> str:
        """Returns the numbers between spaces."""
        return " ".join(map(str, tokens))


def world() -> tuple[AttackerKnowledge, NDArray[np.float64]]:
    """Returns what an attacker knows, and the classes' laws over the words, shape (classes, words)."""
    table = load_embedding_table(MODEL)
    generator, words = simulation_generator(0, "attribute probes"), len(table)
    zipf = 1 / generator.permutation(np.arange(1, words + 1))
    laws = zipf * np.where(generator.random((CLASSES, words)) < SHIFTED, TIMES, 1.0)
    laws /= laws.sum(axis=1, keepdims=True)
    documents = [drawn(generator, laws[index % CLASSES]) for index in range(500)]
    spec = QuantizerSpec.from_mu(BITS, DIM, CLIP, MU)
    settings = EncoderSettings(whitening=0.0, prior_power=0.5)
    pipeline = assemble(table, documents, spec, settings, "posterior-mean-plain")
    return AttackerKnowledge(pipeline, pipeline.table, pipeline.prior), laws


def drawn(generator: Generator, law: NDArray[np.float64]) -> list[int]:
    """Returns a document of 5 to 256 tokens, 100 on average."""
    length = int(np.clip(generator.gamma(4, 25), 5, 256))
    places = np.searchsorted(np.cumsum(law), generator.random(length))
    return [int(place) for place in np.minimum(places, law.size - 1)]


def released(public: AttackerKnowledge, laws: NDArray[np.float64], count: int, part: str) -> tuple[Texts, list[bytes]]:
    """Returns so many documents, the classes in turn, and their messages."""
    generator, source = simulation_generator(1, part), SimulatedRandomness(1, part)
    texts = [drawn(generator, laws[index % CLASSES]) for index in range(count)]
    return texts, [public.mechanism.release(text, source) for text in texts]


def whole(public: AttackerKnowledge, laws: NDArray[np.float64], count: int) -> str:
    """Makes all views of public and of private documents, fits the probes and scores them; returns what they tell."""
    viewer, samples = Viewer(public, tokenizer=Numbers()), []  # type: ignore[arg-type]
    for part, rows in (("public", count), ("private", PRIVATE)):
        texts, messages = released(public, laws, rows, part)
        views = viewer.released(messages, texts if part == "public" else None).rows
        labels = tuple(f"class {index % CLASSES}" for index in range(rows))
        documents = tuple(f"{part} {index}" for index in range(rows))
        sizes = {"sizes": side_channels(public.mechanism, messages).features}
        samples.append(Sample(views, viewer.clean(texts).rows, labels, documents, sizes))
    found = infer("class", *samples, 0)
    told = [f"{part.balanced.value:.3f}" for part in (found.figures, found.clean_figures)]
    return f"balanced accuracy {told[0]}, clean {told[1]}: {found.probe.features}, {found.probe.classifier}"


def streamed(public: AttackerKnowledge, laws: NDArray[np.float64], count: int) -> str:
    """Makes the views of public documents, and tells the second half's classes from the tokens of the first half."""
    texts, messages = released(public, laws, count, "public")
    rows = Viewer(public, tokenizer=Numbers()).released(messages, texts).rows[TOKENS]  # type: ignore[arg-type]
    labels, half = np.arange(count) % CLASSES, count // 2
    (family,) = families(rows, 0)
    assert family.prepare is not None
    prepare = family.prepare()
    before, after = prepare.fit_transform(rows[:half], labels[:half]), prepare.transform(rows[half:])
    fitted = [candidate.make().fit(before, labels[:half]) for candidate in family.candidates]
    return shares([model.predict_proba(after).argmax(axis=1) for model in fitted], labels[half:])


def dense(public: AttackerKnowledge, laws: NDArray[np.float64], count: int) -> str:
    """Does the same with a whole bag of words for each document, and every token's posterior kept, as before."""
    texts, messages = released(public, laws, count, "public")
    viewer, table, prior = Viewer(public, tokenizer=Numbers()), public.table, public.prior  # type: ignore[arg-type]
    readings = [guesses.best for guesses in MaximumAPosteriori(depth=1).fit(public).guess(messages)]
    bags, means, posteriors = [], [], []
    for message in messages:
        bag, mean, kept = np.zeros(public.words, np.float32), [], []
        for _, scores in public.channel.scores(public.mechanism.observed(message), public.log_prior):
            totals, _ = exponentiate(scores)
            bag += (1 / totals) @ scores
            mean.append(scores @ viewer._reduced_table / totals[:, None])
            kept.append(likeliest(scores, totals))
        bags.append(bag)
        means.append(np.concatenate(mean))
        posteriors.append(vstack(kept, format="csr"))
    _ = [table[reading].mean(axis=0) for reading in readings], [bag @ table / bag.sum() for bag in bags]
    labels, half, guesses = np.arange(count) % CLASSES, count // 2, []
    for smoothing in PRIOR_TOKENS:
        laws_found = np.tile(smoothing * prior, (CLASSES, 1))
        for text, label in zip(texts[:half], labels[:half], strict=True):
            laws_found[label] += np.bincount(text, minlength=prior.size)
        excess = (laws_found / laws_found.sum(axis=1, keepdims=True) / prior - 1).T
        scores = [np.log(np.maximum(1 + posterior @ excess, 1e-300)).sum(axis=0) for posterior in posteriors[half:]]
        guesses.append(np.argmax(scores, axis=1))
    return shares(guesses, labels[half:])


def likeliest(weights: NDArray[np.float32], totals: NDArray[np.float32]) -> csr_array:
    """Returns the words of a block's posteriors that are kept, found in the whole block at once."""
    least = LEAST * totals
    above = weights >= least[:, None]
    for row in np.flatnonzero(above.sum(axis=1) > KEPT_CANDIDATES):
        least[row] = np.partition(weights[row, above[row]], -KEPT_CANDIDATES)[-KEPT_CANDIDATES]
    rows, words = np.nonzero(weights >= least[:, None])
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(weights)))])
    return csr_array((weights[rows, words] / totals[rows], words.astype(np.int32), ends), shape=weights.shape)


def shares(guesses: list[NDArray[np.int64]], truth: NDArray[np.int64]) -> str:
    """Returns the share of right guesses at each smoothing."""
    return "share right " + ", ".join(f"{np.mean(guess == truth):.3f}" for guess in guesses)


WORKS: dict[str, Callable[[AttackerKnowledge, NDArray[np.float64], int], str]] = {
    "dense": dense,
    "streamed": streamed,
    "whole": whole,
}


def peak() -> int:
    """Returns the largest memory of this process since it was last set back, bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measured(work: str, count: int) -> None:
    """Prints as JSON what one work takes: seconds, seconds of processor, and bytes in all and above the world's."""
    public, laws = world()
    loaded = peak()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, start, processor = peak(), time.perf_counter(), time.process_time()
    told = WORKS[work](public, laws, count)
    spent = {"seconds": time.perf_counter() - start, "processor": time.process_time() - processor}
    print(json.dumps({**spent, "grown": peak() - before, "peak": max(loaded, peak()), "told": told}))


def row(work: str, count: int) -> dict[str, float]:
    """Measures a work in a process of its own, prints its row, and returns it."""
    asked = [sys.executable, __file__, "--work", work, "--documents", str(count)]
    found: dict[str, float] = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)
    sizes = f"{found['grown'] / 2**20:8,.0f} MB{found['peak'] / 2**20:8,.0f} MB"
    print(
        f"{work:<10}{count:>6}{found['seconds']:9.1f} s{found['processor']:9.1f} s{sizes}  {found['told']}", flush=True
    )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=5_000, help="public ones of the whole inference")
    parser.add_argument("--few", type=int, default=250, help="of the rows that are compared")
    parser.add_argument("--work", choices=WORKS, help="measures this work alone, here")
    options = parser.parse_args()
    silence_libraries()
    if options.work:
        measured(options.work, options.documents)
    else:
        print("work      documents     time  processor   grown by       peak  told")
        former, now = (row(work, options.few) for work in ("dense", "streamed"))
        print(
            "dense over streamed: "
            + ", ".join(f"{name} {former[name] / now[name]:.1f}x" for name in ("seconds", "processor", "grown"))
        )
        row("whole", options.documents)
