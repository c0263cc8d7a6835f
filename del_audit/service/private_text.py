"""Which of the private text is measured: prompts that are attacked, prompts that are answered, rows with a label."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from del_audit.configuration.configuration import Configuration
from del_audit.configuration.written import Attribute
from del_audit.service.assets import Assets
from del_audit.service.prompts import Cuts, cut_prompts
from del_audit.service.releases import PrivatePrompts
from mechanisms.errors import UserError
from mechanisms.splits import first_of_each


def attacked_rounds(documents: int, tokens: int, prompt_tokens: int) -> int:
    """Returns the most prompts that one document (a group, where there are groups) gives to so many tokens together.

    It is fixed by the number of documents, before any of their lengths is seen: no document then has more than
    attacked_rounds * prompt_tokens tokens, the `longest` that intervals over documents ask for.
    Raises UserError for documents, tokens or prompt_tokens below 1.

    >>> attacked_rounds(documents=100, tokens=10_000, prompt_tokens=40)
    3
    """
    for name, value in (("documents", documents), ("tokens", tokens), ("prompt_tokens", prompt_tokens)):
        if value < 1:
            raise UserError(f"Expected {name} >= 1, got {name}={value}.")
    return max(1, math.ceil(tokens / (documents * prompt_tokens)))


def by_turns(places: Sequence[tuple[int, int]], groups: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Returns (turn, place) of (document, start) places, in order: every group's first place before any second.

    places: in the order in which one group's own are to be taken. groups: of each document.

    >>> by_turns([(0, 0), (1, 0), (2, 0)], ["a", "a", "b"])
    [(0, 0), (0, 2), (1, 1)]
    """
    taken: Counter[Hashable] = Counter()
    turns = []
    for number, (document, _) in enumerate(places):
        turns.append((taken[groups[document]], number))
        taken[groups[document]] += 1
    return sorted(turns)


def windows(
    documents: Sequence[Sequence[int]], groups: Sequence[Hashable], length: int, each: int, *, whole: bool
) -> list[tuple[int, int]]:
    """Returns (document, start) of windows of so many tokens, every group's first before any second.

    groups: of each document. each: the most windows of one group. whole: of a document, only its first window may be
    short; otherwise its last one as well.

    >>> windows([[1, 2, 3, 4, 5], [], [6]], "abc", 2, 3, whole=True)
    [(0, 0), (2, 0), (0, 2)]
    >>> windows([[1, 2, 3, 4, 5], [], [6]], "abc", 2, 3, whole=False)
    [(0, 0), (2, 0), (0, 2), (0, 4)]
    """
    places = [
        (index, start)
        for start in range(0, each * length, length)
        for index, document in enumerate(documents)
        if len(document) >= start + (length if whole and start else 1)
    ]
    return [places[number] for turn, number in by_turns(places, groups) if turn < each]


def attacked_prompts(assets: Assets, tokens: int, prompt_tokens: int) -> PrivatePrompts:
    """Returns private prompts of so many tokens together, or fewer; groups are their units.

    Every group's first prompt comes before any second one, and no group has more than attacked_rounds prompts. Groups
    are numbered as they first appear, since their names may be people's.
    """
    groups = assets.private_groups
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    each = attacked_rounds(max(1, len(numbers)), tokens, prompt_tokens)
    found = PrivatePrompts([], [], prompt_tokens, each)
    for index, start in windows(assets.private, groups, prompt_tokens, each, whole=False):
        if tokens <= 0:
            break
        found.prompts.append(assets.private[index][start : start + min(prompt_tokens, tokens)])
        found.units.append(numbers[groups[index]])
        tokens -= len(found.prompts[-1])
    return found


def one_of_each_group(assets: Assets, least: int) -> list[list[int]]:
    """Returns the first private document of each group that has one of so many tokens, in order, whole."""
    long_enough = [i for i, document in enumerate(assets.private) if len(document) >= least]
    first = first_of_each(assets.private_groups[i] for i in long_enough)
    return [assets.private[long_enough[place]] for place in first]


def answered_prompts(configuration: Configuration, assets: Assets) -> Cuts:
    """Returns each unit's first private document that is long enough, cut into a prompt and its true response.

    Raises UserError for fewer than evaluation.prompts.
    """
    plan, cut = configuration.evaluation, configuration.policy.prompt_tokens
    end = cut + plan.response_tokens
    long_enough = one_of_each_group(assets, end)
    if len(long_enough) < plan.prompts:
        units = configuration.data.group_column or "row"
        raise UserError(
            f"Expected evaluation.prompts <= {len(long_enough)}, private documents of {end} tokens or more, one per "
            f"{units}, got evaluation.prompts={plan.prompts}. Lower evaluation.prompts or evaluation.response_tokens."
        )
    return cut_prompts(long_enough, cut, plan.response_tokens, limit=plan.prompts)


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Rows of one part whose label is measured, and the labels of all its rows."""

    rows: list[int]
    labels: list[str]


def classes_of(attribute: Attribute, assets: Assets) -> list[str]:
    """Returns the attribute's commonest classes in the public part, the commonest first."""
    labels = [label for label in assets.public_corpus.labels(attribute.column) if label is not None]
    return [label for label, _ in Counter(labels).most_common(attribute.classes)]


def labelled_rows(assets: Assets, column: str, classes: Sequence[str] | None) -> tuple[LabelledRows, LabelledRows]:
    """Returns the public and the private rows that have text and a label, one of the classes where they are given.

    Of the private ones the first of each group alone, so that intervals are exact.
    """
    found = []
    for documents, corpus in ((assets.public, assets.public_corpus), (assets.private, assets.private_corpus)):
        labels = corpus.labels(column)
        kept = [label is not None and (classes is None or label in classes) for label in labels]
        rows = [row for row, tokens in enumerate(documents) if tokens and kept[row]]
        found.append(LabelledRows(rows, [str(label) for label in labels]))
    public, private = found
    first = first_of_each(assets.private_groups[row] for row in private.rows)
    return public, LabelledRows([private.rows[place] for place in first], private.labels)
