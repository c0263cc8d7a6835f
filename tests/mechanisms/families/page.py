"""Writes docs/models.md from the tiny models: `python tests/mechanisms/families/page.py`. A test holds it to them.

The tests beside this file hold what the rows call exact to the model's own answer.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from mechanisms.abilities import Abilities, abilities
from mechanisms.library_types import PreTrainedModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from families.refused import REASONS
from families.tiny_models import FAMILIES, make

COMMAND = "python tests/mechanisms/families/page.py"
PAGE = Path(__file__).parents[3] / "docs" / "models.md"
INTRODUCTION = f"""# Model families

<!-- Made from the tiny models of the tests; do not edit. To make it again: {COMMAND} -->

Each row is a family that was tried as a tiny random model: its losses, its text and the operations of a beam search
agree with the model's own answer to token ids to 1e-4, or the model is refused when it is loaded, before other work.
Families that are not here are tried in the same way when they are loaded: nothing depends on a family's name.

| word | means |
| --- | --- |
| exact | to 1e-4 of the model's own forward pass over the token ids, with its caps and scales of logits |
| from the cache | each token is read once |
| reads again | each step reads all tokens again, which is slower and as exact |
| losses, by length | only texts of one length are read side by side |
| text | greedy or sampled, behind prompts of different lengths |
| beam: `keep` | the beam's sequences are dropped and doubled from step to step |
| beam: `branch` | the two-sided attack reads on from many places of one sequence |
| up to the window | from the cache where the sequence is no longer than the window, else it reads again |
| up to a length | the same for models that read long texts in another way, such as those with `longrope` factors |

The sizes of the tiny models, and of their windows, are in `tests/mechanisms/families`. What a model needs besides is in
[your own model](how-to/own-model.md#model-families).

| family | `model_type` | losses | text | beam: `keep` | beam: `branch` |
| --- | --- | --- | --- | --- | --- |
"""


def page(model_of: Callable[[str], PreTrainedModel] = make) -> str:
    """Returns the page as Markdown; model_of: gives a family's model."""
    rows = []
    for family, (kind, _) in FAMILIES.items():
        told = [f"refused: {REASONS[family]}", "", "", ""] if family in REASONS else _told(abilities(model_of(family)))
        rows.append("| " + " | ".join([family, f"`{kind}`", *told]) + " |")
    return INTRODUCTION + "\n".join(rows) + "\n"


def _told(able: Abilities) -> list[str]:
    """Returns how a model's losses, its text, and a beam that it reads are made."""
    losses = "exact" if able.pads else "exact, by length"
    if not able.cache:
        return [losses, *["exact, reads again"] * 3]
    up_to = " up to a length" if able.turns else ""
    text = f"exact, from the cache{up_to}" if able.pads_front else "exact, reads again where lengths differ"
    limit = "" if able.branch_limit is None else up_to or " up to the window"
    branch = f"exact, from the cache{limit}" if able.branches else "exact, reads again"
    return [losses, text, f"exact, from the cache{up_to}", branch]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf8")
    print(f"Written: {PAGE}")
