"""Training a soft prompt with DP-SGD while layers of the frozen model run in low precision, against full precision.

    python benchmarks/dpquant.py
    python benchmarks/dpquant.py --data notes.csv --kernel simulated-int4 --seeds 3

At one total epsilon: `none` (full precision), `static` (the same layers always) and `dynamic` (others each epoch, by
losses that are paid for). The seeds of a method's noise and batches are the others' too, so differences are paired. The
documents of the private split, or of --data, train; public ones that train nothing are scored in full precision.
Times are of one thread's processor, so that other work on the machine counts less.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # `attacks` is a package

from del_audit.configuration.configuration import load_configuration
from del_audit.process.quiet import silence_libraries
from del_audit.service.pipelines import pipeline_of
from del_audit.service.splits import read_splits
from del_audit.training.parts import PrivateText, _noise_for
from del_audit.training.quantize import Quantize
from mechanisms.corpora import load_corpus
from mechanisms.models import load_causal_lm
from mechanisms.own_forward import logits_within
from mechanisms.soft_prompt import load_soft_prompt
from mechanisms.tokens import tokenized
from mechanisms.training.layer_selection import LowPrecision, loss_differences
from mechanisms.training.low_precision import LayerPrecision
from mechanisms.training.private_prompt import DpSgdSettings, document_gradients, train_private_prompt
from mechanisms.training.prompt_examples import PromptExamples, initial_vectors
from mechanisms.training.prompt_settings import PromptTraining

DELTA = 1e-5
METHODS = ("none", "static", "dynamic")


def interval(differences: list[float]) -> str:
    """Returns the mean of paired differences with its 95% t interval over seeds."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return f"{mean:+.4f}"
    half = float(stats.t.ppf(0.975, len(differences) - 1)) * statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


def cpu_seconds(run: Callable[[], object]) -> float:
    """Returns the processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main(options: argparse.Namespace) -> None:
    """Prints losses, accuracies, their paired differences, and times of a step."""
    began = time.perf_counter()
    torch.set_num_threads(1)
    silence_libraries()
    configuration = load_configuration(options.config)
    language = load_causal_lm(configuration.model, dtype="float32")
    splits = read_splits(configuration.data)
    settings = PromptTraining(
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.lr,
        warm_up=1,
        virtual_tokens=4,
        window=options.window,
        shortest_prompt=12,
        shortest_response=12,
        checkpoint_every=10_000,
    )
    shortest = settings.shortest_prompt + settings.shortest_response
    public = tokenized(language.tokenizer, splits.public.texts, language.context_tokens)
    corpus = load_corpus(options.data) if options.data else splits.private
    private = tokenized(language.tokenizer, corpus.texts, language.context_tokens, shortest)[: options.documents]
    held = [row for row in public if len(row) >= shortest][-options.scored :]
    pipeline = pipeline_of(configuration, language, public[: -options.scored])
    examples = PromptExamples(language, (pipeline,), settings)
    scored = [examples._example(pipeline, row, f"evaluation {place}") for place, row in enumerate(held)]

    rate = settings.batch / len(private)
    quantize = {
        name: Quantize(
            name, options.kernel, options.share, batch=options.selection_batch, every=options.selection_every
        )
        for name in METHODS[1:]
    }
    kernel = quantize["static"].kernel_on("cpu")
    plans: dict[str, tuple[float, LowPrecision | None]] = {}
    for name in METHODS:
        own = quantize.get(name)
        asked = PrivateText("", None, None, options.epsilon, DELTA, options.clip)
        target = replace(asked, epsilon=own.training_epsilon(options.epsilon) if own else options.epsilon)
        noise, found = _noise_for(target, rate, settings.steps)
        low, charged = own.charged(kernel, found, len(private), options.epsilon) if own else (None, None)
        plans[name] = noise, low
        total = charged.total if charged else found
        about = f"noise {noise:.4f}, total epsilon {total.epsilon.upper:.4f}"
        if charged is not None and charged.total.selection is not None:
            about += (
                f", of which the selection takes {charged.share:.2%} ({charged.total.selection.steps} releases of "
                f"{options.selection_batch} documents, noise {charged.total.selection.noise_multiplier:.3f})"
            )
        print(f"{name}: {about}", flush=True)

    def score(vectors: torch.Tensor) -> tuple[float, float]:
        """Returns the mean loss, nats per token, and the share of next tokens that are the most likely, in points."""
        losses, hits = [], []
        with torch.no_grad():
            for decoded, response in scored:
                row = torch.cat([vectors, decoded, language.model.get_input_embeddings()(torch.tensor(response[:-1]))])
                (logits,) = logits_within(language.model, [row], [(len(row) - len(response), len(row))])
                target = torch.tensor(response)
                losses.append(torch.nn.functional.cross_entropy(logits.float(), target, reduction="none"))
                hits.append(logits.argmax(-1) == target)
        return float(torch.cat(losses).mean()), 100 * float(torch.cat(hits).float().mean())

    first = score(initial_vectors(language, settings))
    print(
        f"{language.record.name}, {len(private)} private documents, {settings.steps} steps of {settings.batch}, window "
        f"{settings.window}; {kernel.name}{' (simulated)' if kernel.simulated else ''} in {options.share:.0%} of the "
        f"layers; {len(scored)} public documents scored: loss {first[0]:.4f}, accuracy {first[1]:.2f} before training"
    )
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for name, (noise, low) in plans.items():
                out = Path(folder) / f"{name}-{seed}"
                own = replace(settings, seed=seed)
                privacy = DpSgdSettings(noise, options.clip, simulate=True)
                train_private_prompt(language, (pipeline,), private, (), own, privacy, out, {}, low=low)
                results[name].append(score(load_soft_prompt(str(out), initial_vectors(language, own).shape[1]).vectors))
                loss, accuracy = results[name][-1]
                print(f"  seed {seed} {name}: loss {loss:.4f}, accuracy {accuracy:.2f}", flush=True)
                if low is not None:
                    card = json.loads((out / "card.json").read_text())
                    assert card["quantization"]["kernel"] == kernel.name
    for name in METHODS:
        losses, accuracies = np.array(results[name]).T
        print(f"{name}: loss {losses.mean():.4f}, accuracy {accuracies.mean():.2f}")
    for name in METHODS[1:]:
        loss, lost = (
            [sign * (one[part] - other[part]) for one, other in zip(results[name], results["none"], strict=True)]
            for part, sign in ((0, 1), (1, -1))
        )
        print(f"{name} over none: loss {interval(loss)} nats per token, accuracy lost {interval(lost)} points")

    virtual = initial_vectors(language, settings).requires_grad_()
    batch = private[: settings.batch]
    times: dict[str, list[float]] = {}
    chosen = range(round(options.share * len(LayerPrecision(language.model, kernel))))
    for _ in range(options.repeats):  # in turns, so that what else runs slows all of them
        for name, at_once, inside in (
            ("full precision, 8 at once", 8, nullcontext()),
            ("full precision, 1 at once", 1, nullcontext()),
            (f"{kernel.name}, share of layers, 1 at once", 1, LayerPrecision(language.model, kernel)),
            (f"{kernel.name}, all layers, 1 at once", 1, LayerPrecision(language.model, kernel)),
        ):
            with inside as layers:
                if layers is not None:
                    layers.choose(range(len(layers)) if "all" in name else chosen)
                run = cpu_seconds(lambda size=at_once: document_gradients(examples, virtual, batch, 0, size))  # type: ignore[misc]
            times.setdefault(name, []).append(run)
    base = statistics.median(times["full precision, 8 at once"])
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(
            f"a step of {len(batch)} documents, {name}: {middle:.2f} s of processor, {base / middle:.2f} times as fast"
        )
    with LayerPrecision(language.model, kernel) as layers:
        part = private[: options.selection_batch]
        took = cpu_seconds(lambda: loss_differences(examples, virtual, part, 0, layers))
    print(f"a release of losses, {len(part)} documents: {took:.1f} s of processor")
    print(f"in all {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="examples/smollm2-reviews.yaml")
    parser.add_argument("--data", help="private documents: a corpus name or file (default: the private split)")
    parser.add_argument("--kernel", default="auto")
    parser.add_argument("--share", type=float, default=0.75)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--window", type=int, default=96)
    parser.add_argument("--scored", type=int, default=24)
    parser.add_argument("--selection-batch", type=int, default=2)
    parser.add_argument("--selection-every", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    main(parser.parse_args())
