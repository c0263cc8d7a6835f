"""What a search leaves behind: the frontier, the chosen configuration to certify, and its figures on text unseen."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from del_audit.configuration.configuration import Configuration
from del_audit.configuration.yaml_file import dump_yaml
from del_audit.service.assets import Assets
from del_audit.service.private_text import one_of_each_group
from del_audit.tune.bench import MeasuringBench
from del_audit.tune.channels import DelChannel
from del_audit.tune.judge import Informed, Tuned
from del_audit.tune.parts import HELD_OUT
from del_audit.tune.proof import proved_epsilons, sent_bytes
from del_audit.tune.search import Row
from del_audit.tune.space import Candidate
from mechanisms.canonical_json import Json

CORPUS = "corpus.parquet"
BEST = "best.yaml"
SUFFIX = "-tuned"
LONGEST_NAME = 64


def row_dict(row: Row, base: Configuration) -> dict[str, Json]:
    """Returns a candidate as JSON values: proved figures first, then what was measured on the part to choose on."""
    channel, proved = row.candidate.channel, dict[str, Json]({"mu": None, "epsilons": [], "bytes_a_token": None})
    if channel.level is not None:
        spec, mu = channel.spec(), channel.loudness if isinstance(channel, DelChannel) else None
        proved = {"mu": mu, "epsilons": proved_epsilons(spec, base.policy), "bytes_a_token": sent_bytes(spec)}
    return {
        "mechanism": channel.name,
        "candidate": row.candidate.to_dict(),
        "described": row.candidate.described(),
        **proved,
        "attacks": {each.name: each.success.to_dict() for each in row.readings},
        "worst_prompts": {each.name: each.worst_prompt.to_dict() for each in row.readings},
        "slices": {each.name: {name: f.to_dict() for name, f in each.slices.items()} for each in row.readings},
        **informed_dict(row.informed),
        "paired_gain": row.gain.to_dict() if row.gain else None,
        "others": {name: figure.to_dict() for name, figure in row.others.items()},
        f"{channel.level_name}s_tried": row.tried,
        "stage": row.stage,
        "status": row.status,
        "why": row.why,
    }


def informed_dict(informed: Informed) -> dict[str, Json]:
    """Returns what attackers recover who know more, as JSON values; null and empty where no limit asks for it."""
    return {
        "lists": None if informed.lists is None else [asdict(each) for each in informed.lists],
        "contexts": {sides: figure.to_dict() for sides, figure in informed.contexts.items()},
    }


def held_out_report(base: Configuration, chosen: Candidate, bench: MeasuringBench) -> dict[str, Any]:
    """Returns the chosen candidate's figures on the held-out part, each limit checked; nothing is chosen by them."""
    plan = base.evaluation
    readings = bench.read(chosen, plan.attacks, plan.context_prompts)
    gain, others = bench.gain(chosen, plan.prompts), bench.others(chosen)
    informed = Informed(bench.lists(chosen), bench.contexts(chosen))
    checks = base.policy.checks(Tuned(chosen.channel.spec(), readings, gain, others, informed))
    return {
        "part": HELD_OUT,
        "attacks": {each.name: each.success.to_dict() for each in readings},
        "worst_prompts": {each.name: each.worst_prompt.to_dict() for each in readings},
        **informed_dict(informed),
        "paired_gain": gain.to_dict(),
        "others": {name: figure.to_dict() for name, figure in others.items()},
        "checks": [check.to_dict() for check in checks],
    }


def best_configuration(base: Configuration, chosen: Candidate, held_out: Assets, corpus: Path) -> Configuration:
    """Returns the configuration to certify: the chosen one over the held-out part, samples cut to what that part has.

    corpus: where write_corpus has put both splits.
    """
    plan = base.evaluation
    long_enough = len(one_of_each_group(held_out, base.policy.prompt_tokens + plan.response_tokens))
    prompts = min(plan.prompts, long_enough)
    of_del = ("other_prompts",) if isinstance(chosen.channel, DelChannel) else ()
    sizes = {name: min(getattr(plan, name), prompts) for name in ("prompts", "generations", *of_del)}
    changed = {name: value for name, value in sizes.items() if value != getattr(plan, name)}
    data = base.data.model_copy(update={"corpus": str(corpus), "text_column": "text", "private_split": HELD_OUT})
    name = base.name if base.name.endswith(SUFFIX) else base.name[: LONGEST_NAME - len(SUFFIX)] + SUFFIX
    content = chosen.configuration(base).model_dump(mode="json", exclude_unset=True)
    content |= {"name": name, "data": data.model_dump(mode="json", exclude_none=True)}
    if base.pad_to is not None:
        content["pad_to"] = list(base.pad_to)
    if changed:
        content["evaluation"] = {**content.get("evaluation", {}), **changed}
    return Configuration.model_validate(content)


def best_yaml(best: Configuration, document: Mapping[str, Any]) -> str:
    """Returns the file of the chosen configuration, with how it was chosen as comments."""
    parts, gain = document["parts"], document["held_out"]["paired_gain"]
    count, others = len(document["candidates"]), f"{parts['held_out']} others, the split {HELD_OUT} of this file"
    lines = [
        f"Chosen by del-audit tune of {count} candidates on {parts['tuning']} private documents.",
        f"Reported on {others}, which no choice has seen:",
        f"paired gain {gain['value']:.4g} [{gain['lower']:.4g}, {gain['upper']:.4g}] {gain['unit']}.",
        f"Seed of the split and the draws: {document['seed']}.",
    ]
    comments = "".join(f"# {line}\n" for line in lines)
    return comments + dump_yaml(best.model_dump(mode="json", exclude_unset=True), width=110)


def print_frontier(document: Mapping[str, Any], console: Console) -> None:
    """Prints the candidates seen, best last seen first, and what was chosen or which limit binds."""
    parts = document["parts"]
    console.print(
        f"Chosen on {parts['tuning']} private documents, reported on {parts['held_out']} others; "
        f"{parts['left_out_as_public']} left out, whose text is public."
    )
    table = Table("", "candidate", "epsilon (proved)", "bytes", "read most (estimate)", "gain (estimate)", "")
    for place, row in enumerate(document["candidates"], 1):
        table.add_row(
            str(place),
            row["described"],
            ", ".join(f"{e['epsilon']:.4g} a {e['unit']}" for e in row["epsilons"]) or "none",
            "" if row["bytes_a_token"] is None else f"{row['bytes_a_token']:g}",
            _most(row["attacks"]),
            _figure(row["paired_gain"]),
            row["status"],
        )
    console.print(table)
    reasons: dict[str, list[int]] = {}
    for place, row in enumerate(document["candidates"], 1):
        reasons.setdefault(row["why"], []).append(place)
    for why, places in reasons.items():
        console.print(f"{', '.join(map(str, places))}: {why}")
    held_out = document["held_out"]
    if held_out is None:
        console.print(f"No candidate was seen to meet the policy. Nearest: {document['nearest']['described']}")
        console.print(document["nearest"]["why"])
        return
    console.print(f"Chosen: {document['chosen']['described']}")
    console.print(f"Held out: gain {_figure(held_out['paired_gain'])}, read most {_most(held_out['attacks'])}")
    for check in held_out["checks"]:
        console.print(f"  {check['status']}: {check['limit']}, {check['asked']}: {check['found']}")


def _most(attacks: Mapping[str, Mapping[str, Any]]) -> str:
    if not attacks:
        return ""
    name = max(attacks, key=lambda name: attacks[name]["upper"])
    return f"{_figure(attacks[name])} {name}"


def _figure(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{found['value']:.3f} [{found['lower']:.3f}, {found['upper']:.3f}]"
