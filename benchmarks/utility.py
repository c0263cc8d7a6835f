"""What a prompt is still worth after its release: learned codes beside the paper's recipe and rivals, at equal epsilon.

Every mechanism's exact token epsilon is met on the safe side, and all are scored on the same prompts. Learned codes and
the paper's recipe have soft prompts of their own, the others share one; each is trained for all epsilons together.
Trains for about an hour on 2 cores; what is trained stays in --out, and a run that was cut off goes on. --quick takes
3 steps of everything, to see that it runs.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from del_audit.accounting import Accountant, Target, calibrate
from del_audit.accounting.rivals import calibrate_rival, rival_guarantee
from del_audit.process.quiet import silence_libraries
from del_audit.service.prompts import Cuts, cut_words, strangers
from del_audit.statistics.comparison import compare
from del_audit.statistics.gain_interval import gain_mean
from mechanisms import registry
from mechanisms.continuation import embed, score
from mechanisms.corners import corner_signs
from mechanisms.corpora import load_corpus
from mechanisms.encoder_file import load_encoder
from mechanisms.mechanism import Mechanism
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel, load_causal_lm
from mechanisms.own_forward import embedding_table
from mechanisms.pipeline import assemble
from mechanisms.prior import unigram_prior
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import imported
from mechanisms.server import Server
from mechanisms.soft_prompt import load_soft_prompt
from mechanisms.spec import QuantizerSpec
from mechanisms.splits import split_corpus
from mechanisms.trained_projection import load_projection
from mechanisms.training import (
    CodesTraining,
    ProjectionTraining,
    PromptTraining,
    train_codes,
    train_projection,
    train_soft_prompt,
)

BITS, DIM, CLIP, DELTA = 4, 18, 0.05, 1e-5
EPSILONS = (10.0, 20.0, 40.0, 80.0, 160.0)
LEARNED_EPSILONS = (40.0, 80.0, 160.0)
"""What the codes are trained for: below, too little of a word arrives for the loss to say where it should lie."""
HEADLINE_MU = 40.0
"""The paper's operating point; its exact token epsilon is 508.9."""
HEADLINE_SHARES = (4.0, 8.0)
RESPONSE_TOKENS = 64
TEXT = "The following is a noisy and scrambled text; continue it as its writer would, on the topic."


@dataclass(frozen=True)
class Bench:
    """What all mechanisms share: model, public text, prompts, and where trained parts are kept."""

    language: LanguageModel
    table: Any
    prior: Any
    documents: list[list[int]]
    cuts: Cuts
    folder: Path
    options: argparse.Namespace

    def pipeline(self, spec: QuantizerSpec, encoder: Any, decoder: Any, name: str) -> Mechanism:
        """Returns a DEL pipeline under a name."""
        return replace(assemble(self.table, self.documents, spec, encoder, decoder), name=name)

    def soft_prompt(self, mechanisms: Sequence[Mechanism], virtual_tokens: int, name: str) -> str:
        """Trains a soft prompt for mechanisms, unless it is there, and returns its folder."""
        folder = self.folder / name
        if not folder.exists():
            settings = PromptTraining(
                steps=self.options.prompt_steps,
                virtual_tokens=virtual_tokens,
                window=128,
                shortest_prompt=32,
                shortest_response=32,
                learning_rate=1e-2 if virtual_tokens < 50 else 5e-3,
                initial_text=TEXT,
            )
            train_soft_prompt(self.language, mechanisms, self.documents, settings, folder, self.about)
        return str(folder)

    @property
    def about(self) -> dict[str, Any]:
        """What cards say of the data."""
        return {"data": {"corpus": self.options.corpus, "split": self.options.public_split}}


def paper(bench: Bench, spec: QuantizerSpec) -> Mechanism:
    """Returns the paper's recipe: the linear pair, from principal components, trained without noise."""
    projection = load_projection(bench.folder / "projection", bench.table, spec)
    return bench.pipeline(spec, projection, "trained-linear", "the paper's recipe")


def learned(bench: Bench, spec: QuantizerSpec) -> Mechanism:
    """Returns the learned codes behind the most likely word, as they were trained."""
    encoder, _ = load_encoder(bench.folder / "codes" / "encoder.safetensors", spec, len(bench.table))
    return bench.pipeline(spec, encoder, "most-likely", "learned codes")


def corners(bench: Bench, spec: QuantizerSpec) -> Mechanism:
    """Returns a corner of the cube for each word, common ones far apart, behind the most likely word."""
    return bench.pipeline(spec, EncoderSettings(kind="corners"), "most-likely", "corners")


def del_at(make: Callable[[Bench, QuantizerSpec], Mechanism]) -> Callable[[Bench, float], tuple[Mechanism, float]]:
    """Returns a maker of a DEL mechanism that meets an epsilon, and the epsilon it has."""

    def at(bench: Bench, epsilon: float) -> tuple[Mechanism, float]:
        spec = calibrate(BITS, DIM, CLIP, Target.epsilon(epsilon, DELTA)).spec
        return make(bench, spec), Accountant(spec).epsilon(DELTA).upper

    return at


RIVALS = {"gaussian": ("bits", "dim", "clip"), "metric": ("bits", "dim", "radius"), "randomized response": ("words",)}
"""Keys of mechanisms.registry, and what each is calibrated for."""


def rival(kind: str) -> Callable[[Bench, float], tuple[Mechanism, float]]:
    """Returns a maker of a rival that meets an epsilon, and the epsilon it has."""

    def at(bench: Bench, epsilon: float) -> tuple[Mechanism, float]:
        made_by = imported(registry.MECHANISMS[kind].made_by)
        takes = {"words": len(bench.table), "bits": BITS, "dim": DIM, "clip": CLIP, "radius": CLIP * math.sqrt(DIM)}
        spec = calibrate_rival(kind, epsilon, DELTA, **{name: takes[name] for name in RIVALS[kind]})
        codes = [CLIP * corner_signs(bench.prior, DIM, 0)] if "dim" in RIVALS[kind] else []
        made: Mechanism = made_by(spec, *codes, bench.table, bench.prior, "most-likely")
        return made, rival_guarantee(spec, DELTA).epsilon.upper

    return at


MECHANISMS: dict[str, Callable[[Bench, float], tuple[Mechanism, float]]] = {
    "learned": del_at(learned),
    "corners": del_at(corners),
    "paper": del_at(paper),
    **{kind.split()[-1]: rival(kind) for kind in RIVALS},
}
"""Makers at an epsilon. All but the paper's recipe give the model words, right or wrong."""
SHARED = ("corners", "gaussian", "response")
"""Whose releases the soft prompt that the word-giving mechanisms share is trained with, alike at every epsilon."""


def train(bench: Bench) -> None:
    """Trains the pair and the codes, unless they are there."""
    steps = bench.options.steps
    if not (bench.folder / "projection").exists():
        spec = QuantizerSpec.from_mu(BITS, DIM, CLIP, HEADLINE_MU)
        settings = ProjectionTraining(steps=steps, learning_rate=1e-3, validate_every=80, validation_windows=12)
        train_projection(bench.language, spec, bench.documents, settings, bench.folder / "projection", bench.about)
    if not (bench.folder / "codes").exists():
        specs = [calibrate(BITS, DIM, CLIP, Target.epsilon(value, DELTA)).spec for value in LEARNED_EPSILONS]
        codes = CodesTraining(steps=bench.options.code_steps, window=112, initial_text=TEXT)
        train_codes(bench.language, specs, bench.documents, codes, bench.folder / "codes", bench.about)


def train_prompts(bench: Bench) -> None:
    """Trains the shared soft prompt and the paper's over all epsilons, and the paper's at its own point."""
    shared = [MECHANISMS[name](bench, epsilon)[0] for name in SHARED for epsilon in EPSILONS]
    bench.soft_prompt(shared, 20, "prompt-shared")
    bench.soft_prompt([MECHANISMS["paper"](bench, epsilon)[0] for epsilon in EPSILONS], 100, "prompt-paper")
    bench.soft_prompt([paper(bench, QuantizerSpec.from_mu(BITS, DIM, CLIP, HEADLINE_MU))], 100, "prompt-paper-40")


def controls(bench: Bench) -> None:
    """Prints what the clean prompt and no prompt give."""
    model, cuts = bench.language.model, bench.cuts
    opening = embed(model, opening_tokens(model))
    clean = [torch.cat([opening, embed(model, tokens)]) for tokens in cuts.clean]
    others = strangers(cuts.documents)
    values = {
        "clean prompt": score(model, clean, cuts.responses),
        "another user's clean prompt": score(model, [clean[index] for index in others], cuts.responses),
        "no prompt": score(model, [opening] * len(clean), cuts.responses),
    }
    for name, losses in values.items():
        print(f"{name:<32} perplexity {math.exp(losses.mean()):6.1f}")
    gain = values["another user's clean prompt"] - values["clean prompt"]
    print(f"{'clean gain':<32} {gain.mean():.3f} nats a token", flush=True)


def headline(bench: Bench, makers: Sequence[str]) -> None:
    """Prints the paper's recipe at its own point, and what reaches it at a share of the epsilon."""
    spec = QuantizerSpec.from_mu(BITS, DIM, CLIP, HEADLINE_MU)
    mechanism, epsilon = paper(bench, spec), Accountant(spec).epsilon(DELTA).upper
    _row(bench, "the paper's recipe, mu 40", epsilon, mechanism, str(bench.folder / "prompt-paper-40"))
    for share in HEADLINE_SHARES:
        for name in makers:
            made, found = MECHANISMS[name](bench, epsilon / share)
            _row(bench, f"{name}, {share:g}x smaller", found, made, str(bench.folder / _prompt_name(name)))


def matched(bench: Bench, names: Sequence[str]) -> None:
    """Prints every mechanism at every epsilon, and whether the first one beats the others on the same prompts."""
    for epsilon in map(float, bench.options.epsilons.split(",")):
        gains = {}
        for name in names:
            mechanism, found = MECHANISMS[name](bench, epsilon)
            gains[name] = _row(
                bench, f"{name}, target {epsilon:g}", found, mechanism, str(bench.folder / _prompt_name(name))
            )
        if len(gains) > 1:
            for difference in compare(gains, bench.options.seed, bench.cuts.documents, names[0]).differences:
                figure = difference.mean
                print(
                    f"    {difference.first} less {difference.second}: {figure.value:+.3f} "
                    f"[{figure.lower:+.3f}, {figure.upper:+.3f}], p {difference.holm:.3g} (Holm)",
                    flush=True,
                )


def _prompt_name(name: str) -> str:
    return {"learned": "codes", "paper": "prompt-paper"}.get(name, "prompt-shared")


def _row(bench: Bench, label: str, epsilon: float, mechanism: Mechanism, prompt: str) -> np.ndarray:
    """Prints one line and returns the gain of each prompt."""
    server = Server(bench.language, mechanism, load_soft_prompt(prompt, bench.table.shape[1], bench.language.record))
    words = SimulatedRandomness(bench.options.seed, "utility benchmark")
    made = bench.cuts.released(lambda tokens: mechanism.release(tokens, words))
    own = server.losses(made.messages, made.responses)
    other = server.losses([made.messages[index] for index in strangers(made.documents)], made.responses)
    figure = gain_mean(other - own, bench.options.seed, made.documents, made.per_document)
    size = np.mean([len(message) / len(tokens) for message, tokens in zip(made.messages, made.clean, strict=True)])
    print(
        f"{label:<32} epsilon {epsilon:7.2f}  perplexity {math.exp(own.mean()):6.1f}  gain {figure.value:6.3f} "
        f"[{figure.lower:+.3f}, {figure.upper:+.3f}]  {size:4.1f} bytes a token",
        flush=True,
    )
    return np.asarray(other - own)


def _bench(options: argparse.Namespace) -> Bench:
    """Returns the model, the public text and the prompts that the options name."""
    corpus, column = load_corpus(options.corpus, options.text_column), options.document_column
    splits = split_corpus(corpus, options.public_split, options.private_split, column)
    public, private = splits.public, splits.private
    language = load_causal_lm(options.model)
    documents = [row for row in language.tokenizer(list(public.texts), add_special_tokens=False).input_ids if row]
    ids = splits.private_groups
    firsts = {value: index for index, value in reversed(list(enumerate(ids))) if len(private.texts[index].split()) > 99}
    chosen = private.take(sorted(firsts.values()))
    cuts = cut_words(language.tokenizer, chosen.texts, 50, 100, RESPONSE_TOKENS, limit=options.prompts)
    table = embedding_table(language.model)
    prior = unigram_prior(documents, len(table))
    return Bench(language, table, prior, documents, cuts, Path(options.out), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="package:drug-reviews")
    parser.add_argument("--text-column")
    parser.add_argument("--document-column", default="document_id", help="prompts are one a document")
    parser.add_argument("--public-split", default="train")
    parser.add_argument("--private-split", default="test")
    parser.add_argument("--model", default="package:smollm2-135m-instruct")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--steps", type=int, default=320, help="of the linear pair")
    parser.add_argument("--code-steps", type=int, default=200)
    parser.add_argument("--prompt-steps", type=int, default=60)
    parser.add_argument("--mechanisms", default=",".join(MECHANISMS), help="the first is compared with the others")
    parser.add_argument("--epsilons", default=",".join(f"{value:g}" for value in EPSILONS), help="of the comparison")
    parser.add_argument("--only", choices=("codes", "prompts", "headline", "matched"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="out/benchmark-utility")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.steps = options.code_steps = options.prompt_steps = 3
        options.prompts, options.out = 6, options.out + "-quick"
    return options


if __name__ == "__main__":
    silence_libraries()
    bench = _bench(_options())
    names = bench.options.mechanisms.split(",")
    only = bench.options.only
    if only in (None, "codes"):
        train(bench)
    if only in (None, "prompts"):
        train_prompts(bench)
    if only in (None, "headline", "matched"):
        print(f"{bench.options.corpus}: {len(bench.cuts)} prompts of 50 words, {RESPONSE_TOKENS} tokens of response")
        controls(bench)
    if only in (None, "headline"):
        headline(bench, [name for name in names if name in ("learned", "corners")])
    if only in (None, "matched"):
        matched(bench, names)
