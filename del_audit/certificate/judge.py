"""The one judge of a policy: every limit against what was measured, for a certificate, its verifier and a search."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from del_audit.certificate.verdict import Check, Contender, check_contenders, check_figure, unmeasured
from del_audit.statistics.figure import Figure
from del_audit.statistics.gain_interval import FEWEST_PROMPTS

CONTROLS = ("another user's released prompt", "no prompt", "soft prompt alone")
"""What the server answers from instead of the released prompt: it must do worse from each."""


class Measured(Protocol):
    """What limits are held against. None, or nothing, where it was not measured."""

    def success(self) -> Sequence[Contender]:
        """Share of tokens recovered by each attack."""
        ...

    def slice_success(self, name: str) -> Sequence[Contender]:
        """Share of a slice's tokens recovered by each attack."""
        ...

    def worst_prompt(self) -> Sequence[Contender]:
        """Share of tokens recovered of the prompt that is read best, by each attack."""
        ...

    def attribute(self) -> tuple[str, Figure | None]:
        """The attribute's column, and the advantage of the strongest probe."""
        ...

    def gain(self, control: str) -> Figure | None:
        """Nats per token that the released prompt saves over a control."""
        ...

    def share_of_gain(self) -> Figure | None:
        """The gain over another user's prompt, as a share of what the clean prompt gives."""
        ...

    def task(self) -> tuple[str, Figure | None, Figure | None]:
        """The task's column, its accuracy, and by how much it exceeds always naming the commonest class."""
        ...


def judge(policy: Mapping[str, Any], measured: Measured) -> Iterator[Check]:
    """Yields a check for each limit of a policy (as JSON values) that is held against an estimate."""
    yield from _privacy(policy, measured)
    yield from _utility(policy, measured)


def _privacy(policy: Mapping[str, Any], measured: Measured) -> Iterator[Check]:
    if (limit := policy.get("attack_success_at_most")) is not None:
        yield check_contenders("strongest attack", measured.success(), limit)
    for name, limit in sorted((policy.get("slice_success_at_most") or {}).items()):
        yield check_contenders(f"slice: {name}", measured.slice_success(name), limit)
    if (limit := policy.get("worst_prompt_success_at_most")) is not None:
        yield check_contenders("worst prompt", measured.worst_prompt(), limit)
    if (limit := policy.get("attribute_advantage_at_most")) is not None:
        column, advantage = measured.attribute()
        yield check_figure(f"attribute advantage ({column})", advantage, limit, "at most")


def _utility(policy: Mapping[str, Any], measured: Measured) -> Iterator[Check]:
    if (limit := policy.get("paired_gain_at_least")) is not None:
        for control in CONTROLS:
            yield _gain(f"utility: gain over {control}", measured.gain(control), limit, "it was not measured")
    if (limit := policy.get("share_of_clean_gain_at_least")) is not None:
        why = "the clean prompt itself gives no gain to take a share of"
        yield _gain("utility: share of the clean gain", measured.share_of_gain(), limit, why)
    if (limit := policy.get("task_accuracy_at_least")) is not None:
        column, accuracy, over = measured.task()
        yield check_figure(f"utility: accuracy of {column}", accuracy, limit, "above")
        yield check_figure(f"utility: accuracy of {column} over its commonest class", over, 0.0, "above")


def _gain(limit: str, figure: Figure | None, threshold: float, lacking: str) -> Check:
    """Returns the check of a gain; lacking: why there may be no figure."""
    if figure is None or figure.sample < FEWEST_PROMPTS:
        few = f"it was measured on {figure.sample} prompts, and at least {FEWEST_PROMPTS} are needed" if figure else ""
        return unmeasured(limit, f"above {threshold:g}", few or lacking)
    return check_figure(limit, figure, threshold, "above")
