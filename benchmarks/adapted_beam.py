"""What the adapted language model reads over the beam without it: the same releases, paired over documents.

    python benchmarks/adapted_beam.py
    python benchmarks/adapted_beam.py examples/smollm2-reviews.yaml --mu 8,8.5,9 --rivals "" --held-out

The codes are the configuration's own. By default the documents of the private split are attacked, which no attacker was
trained on; with --held-out it is those public ones that only validate the adapter: settings are chosen on these.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # `attacks` is a package

from attacks.base import AttackerKnowledge, AttackOptions, InversionAttack
from attacks.inversion import AdaptedBeam, LanguageBeam, MaximumAPosteriori
from attacks.inversion.adapted.training import parts_of
from attacks.ladder import trained_attackers
from attacks.outcome import Outcome, invert
from del_audit.configuration.configuration import load_configuration
from del_audit.process.quiet import silence_libraries
from del_audit.service.pipelines import pipelines_of
from del_audit.service.splits import read_splits
from del_audit.statistics.intervals import clustered_rate
from mechanisms.mechanism import ObservableMechanism
from mechanisms.models import load_causal_lm
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.rivals import RandomizedResponse, RandomizedResponseSpec
from mechanisms.spec import QuantizerSpec
from mechanisms.tokens import tokenized

LENGTH, SHORTEST, DRAWS = 64, 8, 2000


def ratio(over: Outcome, under: Outcome, seed: int) -> tuple[float, float, float]:
    """Returns the ratio of two attacks' shares with its 95% bootstrap interval over documents, which both read."""
    documents = np.unique(over.clusters)
    hits: list[NDArray[np.int64]] = []
    for outcome in (over, under):
        hits.append(np.array([outcome.hits[outcome.clusters == one].sum() for one in documents]))
    drawn = simulation_generator(seed, "paired ratio").integers(0, len(documents), (DRAWS, len(documents)))
    ratios = hits[0][drawn].sum(axis=1) / np.maximum(hits[1][drawn].sum(axis=1), 1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(hits[0].sum() / hits[1].sum()), float(low), float(high)


def main(options: argparse.Namespace) -> None:
    """Prints what MAP, the beam and the adapted beam read at each noise, and the adapted one over the beam."""
    configuration = load_configuration(options.config)
    language = load_causal_lm(configuration.model, dtype=configuration.dtype)
    splits = read_splits(configuration.data)
    documents, private = (
        tokenized(language.tokenizer, corpus.texts, language.context_tokens)
        for corpus in (splits.public, splits.private)
    )
    own = configuration.mechanism.spec()
    specs = [QuantizerSpec.from_mu(own.bits, own.dim, own.clip, mu) for mu in options.mu] or [own]
    pipelines = pipelines_of(configuration, language, documents, specs)
    mechanisms: dict[str, ObservableMechanism] = {
        f"DEL, mu {mu:g}": one for mu, one in zip(options.mu, pipelines, strict=False)
    }
    for epsilon in options.rivals:
        spec = RandomizedResponseSpec.from_epsilon(len(pipelines[0].table), epsilon)
        rival = RandomizedResponse(spec, pipelines[0].table, pipelines[0].prior)
        mechanisms[f"randomised response, epsilon {epsilon:g}"] = rival
    public = AttackerKnowledge(pipelines[0], pipelines[0].table, pipelines[0].prior, documents, language)
    adapted = AdaptedBeam.of(AttackOptions(depth=1, folder=trained_attackers(("adapted-beam",))))
    held = parts_of(public, adapted.adaptation)[1] if options.held_out else private
    held = [list(text[:LENGTH]) for text in held if len(text) >= SHORTEST][: options.prompts]
    print(f"{len(held)} documents, {sum(map(len, held))} tokens, seed {options.seed}, {language.record.name}")
    attacks: list[InversionAttack] = [MaximumAPosteriori(), LanguageBeam(depth=1), adapted]
    for name, mechanism in mechanisms.items():
        world = replace(public, mechanism=mechanism)
        messages = [
            mechanism.release(text, SimulatedRandomness(options.seed, "adapted beam", str(place)))
            for place, text in enumerate(held)
        ]
        outcomes = []
        for attack in attacks:
            start = time.perf_counter()
            attacker = attack.fit(world)
            fitted = time.perf_counter()
            outcome = invert(attack, attacker, messages, held)
            outcomes.append(outcome)
            rate = clustered_rate(
                outcome.hits, outcome.clusters, LENGTH, "share of tokens recovered", "tokens", options.seed
            )
            print(
                f"{name:<34}{attack.name:<38}{rate.value:6.3f} [{rate.lower:.3f}, {rate.upper:.3f}]  "
                f"fit {fitted - start:5.1f} s, read {time.perf_counter() - fitted:6.1f} s",
                flush=True,
            )
        value, low, high = ratio(outcomes[2], outcomes[1], options.seed)
        print(f"{name:<34}adapted over the beam: {value:.3f}x [{low:.3f}, {high:.3f}]", flush=True)


def numbers(text: str) -> tuple[float, ...]:
    """Returns the numbers between commas."""
    return tuple(float(part) for part in text.split(",") if part)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=Path("examples/smollm2-reviews.yaml"))
    parser.add_argument("--mu", type=numbers, default=(10.0, 12.0, 20.0))
    parser.add_argument("--rivals", type=numbers, default=(6.0, 8.0))
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    silence_libraries()
    main(parser.parse_args())
