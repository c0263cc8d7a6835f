"""`del-audit tune`: a policy in, the configuration of best utility out, with all that was seen on the way."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from attacks.ladder import ladder
from del_audit.accounting.any_mechanism import proved_guarantee
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.configuration.mechanisms import LARGEST_EPSILON, CoarseWordsMechanism, DelMechanism
from del_audit.evidence.readiness import (
    require_attacks,
    require_columns,
    require_encoder,
    require_room,
    require_slices,
    require_texts,
)
from del_audit.process.exit_codes import INCONCLUSIVE, REFUSED
from del_audit.process.quiet import silence_libraries
from del_audit.runs import Run
from del_audit.service.assets import Assets, load_assets
from del_audit.service.private_text import one_of_each_group
from del_audit.service.provenance import commit, versions
from del_audit.service.splits import grouped_by
from del_audit.tune.bench import MeasuringBench, certified_documents, with_limited_columns
from del_audit.tune.channels import DelChannel, Shape, WordChannel
from del_audit.tune.judge import Judge
from del_audit.tune.parts import HELD_OUT, TUNING, Parts, authors_of, part_of, split_private, write_corpus
from del_audit.tune.proof import Edge, edge_of
from del_audit.tune.report import BEST, CORPUS, best_configuration, best_yaml, held_out_report, print_frontier, row_dict
from del_audit.tune.search import Asked, Effort, Row, Search, nearest
from del_audit.tune.sharing import TuneWork, missing
from del_audit.tune.space import Candidate, candidates_of, load_space
from del_audit.workers.filling import Workers, filling
from del_audit.workers.work import Work
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.files import write_file
from mechanisms.hashes import file_sha256
from mechanisms.private_folders import MARKER
from mechanisms.soft_prompt import load_soft_prompt
from mechanisms.user_path import user_path
from mechanisms.validation import at_least

FORMAT = "del-audit frontier 1"
FRONTIER = "frontier.json"
CHEAP_TOKENS = 4_000
"""Tokens that the cheap attack reads, about."""
FEWEST_PROMPTS = 4
NONE_MEETS, UNFINISHED = REFUSED, INCONCLUSIVE


def tune(
    config: ConfigurationFile,
    out: Path,
    *,
    space: Path | None = None,
    dimensions: Mapping[str, Any] | None = None,
    budget: int = 32,
    minutes: float | None = None,
    finalists: int = 2,
    power: float = 0.8,
    tuning_share: float = 0.5,
    group: str | None = None,
    seed: int | None = None,
    workers: Workers | None = None,
) -> int:
    """Searches, writes out/frontier.json, out/best.yaml and out/corpus.parquet, prints the frontier and returns 0.

    The arguments are the command's options. Returns 1 where no candidate meets the policy, or the held-out part refutes
    the one chosen, and 3 where time ran out before any was seen to: the same command goes on in OUT.partial.
    Raises UserError for what a user can mend.
    """
    started, base = time.monotonic(), grouped_by(load_configuration(config), group)
    group = base.data.group_column
    _require_options(base, minutes, finalists, power)
    seed = 0 if seed is None else seed
    searched = load_space(space, dimensions or {})
    wanted = candidates_of(base, searched, budget, seed)
    _require_proof(wanted)
    silence_libraries()
    assets = load_assets(base, seed)
    parts = _parts(assets, tuning_share, group, seed)
    tuning, held_out = part_of(assets, parts.tuning), part_of(assets, parts.held_out)
    effort = _effort(base, tuning, finalists)
    _require_ready(base, wanted, tuning, held_out)
    judge = Judge(base.policy, certified_documents(base, held_out), power)
    asked: dict[str, Json] = {"budget": budget, "power": power, "tuning_share": tuning_share, "group": group}
    asked |= {"seed": seed, "epsilons": list(searched.epsilons), "effort": asdict(effort), "parts": parts.to_dict()}
    run = Run(out, {**_identity(base, assets, wanted), **asked})
    console = Console(markup=False, highlight=False)
    bench = MeasuringBench(base, tuning, TUNING, run, lambda said: console.print(f"measuring {said}", style="dim"))

    def out_of_time() -> bool:
        return minutes is not None and time.monotonic() - started > 60 * minutes

    wanted = [bench.clustered(each) for each in wanted]
    own = base.mechanism if isinstance(base.mechanism, DelMechanism) else None
    edges = {
        each.shape: edge_of(each, own, base.policy, searched.epsilons)
        for each in {each.channel.shape: each.channel for each in wanted if not each.unreadable}.values()
    }
    about = TuneWork(base, seed, parts.tuning, judge, effort, searched.epsilons)
    with filling(workers or Workers(), Work("del_audit.tune.sharing:bench_in", about), run) as others:

        def share(asked: Sequence[Asked]) -> None:
            if others.there:
                others.fill(missing(bench, about, asked), "candidate", out_of_time)

        rows = Search(judge, bench, effort, edges, searched.epsilons, out_of_time, share).run(wanted)
    chosen = next((row for row in rows if row.status == "chosen"), None)
    if chosen is None and any("out of time" in row.why for row in rows):
        console.print(
            f"Out of time before any candidate was seen to meet the policy: run it again to go on in {run.folder}"
        )
        return UNFINISHED
    reported = None
    if chosen is not None:
        reporting = MeasuringBench(base, held_out, HELD_OUT, run, bench.progress)
        reported = held_out_report(base, chosen.candidate, reporting)
    document = _document(base, rows, chosen, parts, reported, run.settings, edges)
    if chosen is not None:
        _keep_best(run, base, chosen.candidate, assets, held_out, document)
    run.finish(document, FRONTIER)
    print_frontier(document, console)
    console.print(f"\nWritten: {', '.join(str(path) for path in sorted(out.iterdir()) if path.name != MARKER)}")
    refuted = reported is not None and any(check["status"] == "failed" for check in reported["checks"])
    return NONE_MEETS if chosen is None or refuted else 0


def _require_options(base: Configuration, minutes: float | None, finalists: int, power: float) -> None:
    if not base.policy.epsilon and base.policy.attack_success_at_most is None:
        raise UserError(
            "Expected a policy with a limit on epsilon or attack_success_at_most, got neither: the least noise would "
            "win."
        )
    if minutes is not None and minutes <= 0:
        raise UserError(f"Expected minutes > 0, got minutes={minutes}.")
    at_least("finalists", finalists, 1)
    if not 0 < power < 1:
        raise UserError(f"Expected power in (0, 1), got power={power}.")


def _require_ready(base: Configuration, wanted: Sequence[Candidate], *parts: Assets) -> None:
    """Raises UserError for what a measurement would lack after minutes: text, classes, room, an encoder that fits."""
    policy, plan, language = base.policy, base.evaluation, parts[0].language
    for part in parts:
        require_texts(part)
        require_columns(with_limited_columns(base), part)
    require_slices(policy, parts[0])
    require_attacks(ladder(plan.attacks, plan.masked_lm, depth=1), parts[0], policy.prompt_tokens)
    named = [_somewhere(each).configuration(base) for each in wanted if not each.unreadable]
    for one in {(each.encoder, _dim(each)): each for each in named}.values():
        require_encoder(one, parts[0])
    for name in dict.fromkeys(each.soft_prompt for each in wanted):
        soft = None if name is None else load_soft_prompt(name, language.width, language.record)
        require_room(base, replace(parts[0], soft_prompt=soft))


def _dim(configuration: Configuration) -> int | None:
    return configuration.mechanism.dim if isinstance(configuration.mechanism, DelMechanism) else None


def _somewhere(candidate: Candidate) -> Candidate:
    """Returns the candidate with some noise, before the search has set it."""
    channel = candidate.channel
    return candidate.at(2 * channel.quantizer.clip if isinstance(channel, DelChannel) else LARGEST_EPSILON)


def _require_proof(wanted: Sequence[Candidate]) -> None:
    """Raises UserError where nothing can be proved: now, not after minutes."""
    over_words = {each.channel: each for each in wanted if isinstance(each.channel, WordChannel)}
    of_del = [each for each in wanted if isinstance(each.channel, DelChannel)]
    for each in (*of_del[:1], *over_words.values()):
        proved_guarantee(_somewhere(each).channel.spec())


def _parts(assets: Assets, share: float, group: str | None, seed: int) -> Parts:
    private = assets.private_corpus
    return split_private(private.texts, authors_of(private, group), assets.public_corpus.texts, share, seed)


def _effort(base: Configuration, tuning: Assets, finalists: int) -> Effort:
    """Returns what is spent, cut to what the part to choose on holds; raises UserError where that is too little."""
    plan = base.evaluation
    window = base.policy.prompt_tokens + plan.response_tokens
    most = min(plan.prompts, len(one_of_each_group(tuning, window)))
    if most < FEWEST_PROMPTS:
        raise UserError(
            f"Expected {FEWEST_PROMPTS} documents of {window} tokens or more to choose on, got {most}: shorten "
            "policy.prompt_tokens or evaluation.response_tokens, or raise tuning-share."
        )
    rungs = tuple(dict.fromkeys(max(FEWEST_PROMPTS, -(-most // divisor)) for divisor in (8, 4, 2, 1)))
    cheap = -(-CHEAP_TOKENS // base.policy.prompt_tokens)
    return Effort(rungs, cheap, plan.attacks, plan.context_prompts, finalists)


def _identity(base: Configuration, assets: Assets, wanted: list[Candidate]) -> dict[str, Json]:
    """Returns all that decides a figure, for Run to compare."""
    language = assets.language
    width = language.width
    prompts = sorted({each.soft_prompt for each in wanted if each.soft_prompt is not None})
    encoders = [each.channel.encoder for each in wanted if isinstance(each.channel, DelChannel)]
    trained = sorted({name for each in encoders for name in (each.codes, each.projection) if name})
    choices = [each.channel.choice for each in wanted if isinstance(each.channel, WordChannel)]
    maps = sorted({each.map for each in choices if isinstance(each, CoarseWordsMechanism) and each.map})
    return {
        "configuration": base.model_dump(mode="json"),
        "candidates": [each.to_dict() for each in wanted],
        "soft_prompts": {name: load_soft_prompt(name, width, language.record).sha256 for name in prompts},
        "encoders": {name: _content(user_path(name, "an encoder")) for name in trained},
        "maps": {name: _content(user_path(name, "a map")) for name in maps},
        "model": language.record.sha256,
        "corpus": assets.corpus.record.sha256,
        "versions": dict[str, Json](versions(language.model)),
        "commit": commit(),
    }


def _content(path: Path) -> dict[str, str]:
    """Returns the hash of a file, or of each file of a folder; raises UserError where there is none."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if not all(file.is_file() for file in files):
        raise UserError(f"Expected an encoder's file or a projection's folder, got {str(path)!r}.")
    return {file.name: file_sha256(file) for file in files}


def _document(
    base: Configuration,
    rows: list[Row],
    chosen: Row | None,
    parts: Parts,
    reported: dict[str, Json] | None,
    settings: Mapping[str, Json],
    edges: Mapping[Shape, Edge],
) -> dict[str, Json]:
    """Returns the whole frontier as JSON values: every candidate, where it ended and why."""
    order = {"chosen": 0, "met": 1, "outpaced": 2, "dropped": 3, "waiting": 4}
    described = [row_dict(row, base) for row in sorted(rows, key=lambda row: (order[row.status], row.excess))]
    close = row_dict(nearest(rows), base)
    return {
        "format": FORMAT,
        "name": base.name,
        "kind": "epsilons proved; all else estimated on the part to choose on, but for held_out",
        "parts": parts.to_dict(),
        "least_scales": [
            {"bits": shape[0], "dim": shape[1], "scale": found.level, "reason": found.reason, "beyond": found.beyond}
            for shape, found in edges.items()
            if isinstance(shape, tuple)
        ],
        "largest_epsilons": [
            {"mechanism": shape.name, "epsilon": found.level, "reason": found.reason, "beyond": found.beyond}
            for shape, found in edges.items()
            if isinstance(shape, WordChannel)
        ],
        "candidates": described,
        "chosen": None if chosen is None else row_dict(chosen, base),
        "nearest": close if chosen is None else None,
        "held_out": reported,
        "seed": settings["seed"],
        "settings": settings,
    }


def _keep_best(
    run: Run, base: Configuration, chosen: Candidate, assets: Assets, held_out: Assets, document: Mapping[str, Json]
) -> None:
    """Writes the configuration to certify and the corpus that it names, as it will be called once the run is over."""
    best = best_configuration(base, chosen, held_out, run.out / CORPUS)
    write_corpus(run.folder / CORPUS, assets.public_corpus, held_out.private_corpus, base.data.public_split)
    write_file(run.folder / BEST, best_yaml(best, document).encode())
