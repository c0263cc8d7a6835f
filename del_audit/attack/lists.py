"""`del-audit attack lists`: which text was sent, asked by who holds a list of the texts that it may be."""

from dataclasses import asdict
from pathlib import Path

from attacks.candidate_list import CandidateList, self_test_of_lists
from attacks.self_test import References
from del_audit.attack.scene import Scene, finished
from del_audit.attack.tables import print_lists
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import load_configuration
from del_audit.evidence.candidate_list import (
    LEAST_CANDIDATES,
    LEAST_TEXTS,
    LISTED,
    LISTED_DECOYS,
    LISTED_TEXTS,
    private_lists,
)
from del_audit.evidence.readiness import require_attacks
from del_audit.runs import Run
from del_audit.service.private_text import one_of_each_group
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.validation import at_least


def attack_lists(
    config: ConfigurationFile,
    out: Path,
    *,
    seed: int | None = None,
    prompts: int | None = None,
    decoys: int = LISTED_DECOYS,
    prompt_tokens: int | None = None,
) -> int:
    """Picks private texts out of lists by exact likelihood, writes out/result.json, prints a table and returns 0.

    With the options left out the figures are a certificate's, at one send. The arguments are the command's options.
    Raises UserError for what a user can mend, and where the attack does not pass its self-test.
    """
    wanted = at_least("prompts", LISTED_TEXTS if prompts is None else prompts, LEAST_TEXTS)
    at_least("decoys", decoys, LEAST_CANDIDATES)
    scene, attack = Scene.of(load_configuration(config), seed), CandidateList()
    longest, there = scene.prompt_length(prompt_tokens), len(one_of_each_group(scene.assets, 1))
    if there < LEAST_TEXTS:
        raise UserError(
            f"Expected private text of {LEAST_TEXTS} documents or groups or more, got {there}. Add private text."
        )
    if prompts is not None and prompts > there:
        raise UserError(
            f"Expected prompts <= {there}, what the private split has with one per document or group, got "
            f"prompts={prompts}."
        )
    require_attacks({}, scene.assets, longest)
    settings: dict[str, Json] = {
        "command": "lists",
        "attack": asdict(attack),
        "prompts": wanted,
        "decoys": decoys,
        "prompt_tokens": longest,
    }
    run = Run(out, {**settings, **scene.identity})
    test = run.part(
        "self-test",
        lambda: self_test_of_lists(attack, References.of(scene.public), scene.public, scene.seed).to_dict(),
    )
    if test["reason"]:
        raise UserError(f"Expected a usable attack, got one that does not pass its self-test. {test['reason']}")
    client = scene.client(LISTED)
    found = run.part(
        "lists",
        lambda: {"rows": list(map(asdict, private_lists(scene.assets, client, scene.public, longest, wanted, decoys)))},
    )
    document = {
        **scene.document(settings),
        "unit": "text",
        "documents": min(there, wanted),
        "rows": [{"version": attack.version, **row} for row in found["rows"]],
        "self_test": test,
    }
    return finished(run, document, print_lists)
