"""`del-audit attack context`: what is recovered of a token by who knows the other words, or a template around it."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache, partial
from pathlib import Path

import numpy as np

from attacks.base import AttackerKnowledge
from attacks.known_context import KnownContext, Places, Sides
from del_audit.attack.asked_ladder import described
from del_audit.attack.scene import Scene, finished
from del_audit.attack.tables import print_context
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import load_configuration
from del_audit.evidence.inversion.readers import ADAPTED, adapted_beam, equipment
from del_audit.evidence.known_context import ASKED_EACH, ContextFigures, measure_known_context
from del_audit.runs import Run
from del_audit.service.planting import Identifier, PlantedText, tokenized
from del_audit.service.releases import PrivatePrompts
from del_audit.statistics.contradiction import FALSE_ALARMS
from del_audit.statistics.figure import Figure
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.text_pieces import text_of
from mechanisms.validation import at_least

SLOT = "{}"


def attack_context(
    config: ConfigurationFile,
    out: Path,
    *,
    seed: int | None = None,
    sides: str | None = None,
    template: str | None = None,
    each: int | None = None,
    prompts: int | None = None,
    prompt_tokens: int | None = None,
    plain_model: bool = False,
) -> int:
    """Attacks private prompts with their other words known, writes out/result.json, and prints a table.

    It reads with the language model that a certificate's attackers read with, or with the plain one.
    Returns 0, or 1 where an attacker recovers more than theorem 23 allows. The arguments are the command's options.
    Raises UserError for what a user can mend.
    """
    readings: dict[str, Sides] = {"left": "left", "both": "both sides"}
    asked = [readings[sides]] if sides is not None else list(readings.values())
    if each is not None:
        at_least("each", each, 1)
    around = None if template is None else cut_template(template)
    scene = Scene.of(load_configuration(config), seed)
    sent, fixed = scene.prompts(prompts, prompt_tokens), None
    if around is not None:
        sent, fixed = in_template(around, sent, scene.assets.language.tokenizer)
    adapted = None if plain_model else adapted_beam()
    if adapted is not None:
        adapted.require(scene.assets.language, scene.assets.public, sent.prompt_tokens)
    settings: dict[str, Json] = {
        "command": "context",
        "reads_with": described({} if adapted is None else {ADAPTED: adapted}),
        "attacks": {side: asdict(KnownContext(side)) for side in asked},
        "template": template,
        "each": each,
        "prompts": len(sent),
        "prompt_tokens": sent.prompt_tokens,
    }
    run = Run(out, {**settings, **scene.identity})
    released = sent.released(scene.client("attack context").release_tokens)

    @cache
    def knowledge() -> tuple[str, AttackerKnowledge]:
        if adapted is None:
            return "", scene.public
        found = equipment(adapted.fit(scene.public), scene.public)
        if not found[0] and (complaint := adapted.complaint(scene.public)):
            raise UserError(f"{complaint} Or give --plain-model, to read with the model as it comes.")
        return found

    def measured(side: Sides) -> dict[str, Json]:
        most = min(each or ASKED_EACH[side] or sent.prompt_tokens, sent.prompt_tokens)
        sha256, known = knowledge()
        found = measure_known_context(
            known,
            released,
            KnownContext(side),
            longest=most * sent.prompts_each,
            seed=scene.seed,
            each=most,
            fixed=fixed,
            judged=len(asked),
        )
        return {
            "version": KnownContext(side).version,
            "trained_sha256": sha256 or None,
            "asked_each": most,
            **_written(found),
            "broken": found.broken,
        }

    rows: list[Mapping[str, Json]] = [run.part(f"known-{side}", partial(measured, side)) for side in asked]
    document = {
        **scene.document(settings),
        "unit": "token",
        "prompts": len(sent),
        "documents": len(set(sent.units)),
        "template": template,
        "rows": rows,
        "broken": [row["context"] for row in rows if row["broken"]],
        "false_alarm_rate": FALSE_ALARMS,
    }
    return finished(run, document, print_context)


def cut_template(template: str) -> tuple[str, str]:
    """Returns the text before and after the slot; raises UserError unless there is one slot, and text around it.

    >>> cut_template("Translate: {}")
    ('Translate: ', '')
    """
    if template.count(SLOT) != 1 or template.strip() == SLOT:
        raise UserError(
            f"Expected --template with {SLOT} once, where the secret text stands, and words around it, such as "
            f"'Translate: {SLOT}', got {template!r}."
        )
    before, _, after = template.partition(SLOT)
    return before, after


def in_template(
    around: tuple[str, str], sent: PrivatePrompts, tokenizer: PreTrainedTokenizerBase
) -> tuple[PrivatePrompts, list[Places]]:
    """Returns the prompts with their texts in a template's slot, and which tokens of each the template fixes.

    A token across the slot's edge is of the slot. prompt_tokens stays that of the slot's text alone.
    Raises UserError as planting.tokenized does.
    """
    prompts, fixed = [], list[Places]()
    for prompt in sent.prompts:
        text, start = text_of(tokenizer, prompt), len(around[0])
        slot = Identifier("slot", text, start, start + len(text))
        whole = tokenized(PlantedText(text.join(around), (slot,)), tokenizer)
        known = np.ones(len(whole.ids), dtype=bool)
        for span in whole.spans:
            known[span.start : span.stop] = False
        prompts.append(list(whole.ids))
        fixed.append(known)
    return PrivatePrompts(prompts, sent.units, sent.prompt_tokens, sent.prompts_each), fixed


def _written(found: ContextFigures) -> dict[str, Json]:
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    return {name: value.to_dict() if isinstance(value, Figure) else value for name, value in values.items()}
