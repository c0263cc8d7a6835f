"""What a limit of the policy is: a row beside its field, which says how it is checked and what evidence it needs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from del_audit.configuration.asked import CLEAN_BYTES, FEWEST_PROMPTS
from del_audit.configuration.mechanisms import DelMechanism
from del_audit.configuration.verdict import Check, Contender, check_contenders, check_figure, unmeasured
from del_audit.statistics.bound import Bound
from del_audit.statistics.figure import Figure

if TYPE_CHECKING:
    from del_audit.configuration.written import WrittenConfiguration

CONTROLS = ("another user's released prompt", "no prompt", "soft prompt alone")
"""What the server answers from instead of the released prompt: it must do worse from each."""
Unit = Literal["token", "phrase", "prompt", "session"]
Evidence = Literal["attribute", "task", "gains", "releases", "context", "lists"]
"""Measured where a limit asks for it: the probe of a column, the gain over each control, repeated releases, attackers
who know the context, attackers who hold a list."""


class Measured(Protocol):
    """What limits are held against. None, or nothing, where it was not measured."""

    def epsilon(self, unit: Unit, tokens: int, sends: int, delta: float) -> Bound | None:
        """Proved epsilon (nats) at delta, for a unit of that many tokens, each sent so often."""

    def success(self) -> Sequence[Contender]:
        """Share of tokens recovered by each attack."""

    def meaning(self) -> Sequence[Contender]:
        """Share of tokens recovered up to meaning by each attack."""
        ...

    def slice_success(self, name: str) -> Sequence[Contender]:
        """Share of a slice's tokens recovered by each attack."""

    def worst_prompt(self) -> Sequence[Contender]:
        """Share of tokens recovered of the prompt that is read best, by each attack."""

    def known_context(self) -> Figure | None:
        """Share of tokens recovered by the attacker who knows other words of the prompt and may recover most."""
        ...

    def lists(self) -> Sequence[Contender]:
        """Share of texts picked out of a list, for each list that was tried."""
        ...

    def attribute(self) -> tuple[str, Figure | None]:
        """The attribute's column, and the advantage of the strongest probe."""

    def gain(self, control: str) -> Figure | None:
        """Nats per token that the released prompt saves over a control."""

    def share_of_gain(self) -> Figure | None:
        """The gain over another user's prompt, as a share of what the clean prompt gives."""

    def task(self) -> tuple[str, Figure | None, Figure | None]:
        """The task's column, its accuracy, and by how much it exceeds always naming the commonest class."""

    def bytes_per_token(self) -> float | None:
        """Payload on the wire, counted."""


class Listed(Protocol):
    """How often a text is picked out of one kind of list, from so many of its tokens."""

    @property
    def tokens(self) -> int:
        """Tokens of each text that are read."""
        ...

    @property
    def candidates(self) -> int:
        """Texts in the list."""
        ...

    @property
    def lengths(self) -> str:
        """Whether all have one length ("equal"), or the message's length excludes some ("true")."""
        ...

    @property
    def success(self) -> Figure:
        """Share of texts picked out."""
        ...


def list_contenders(lists: Sequence[Listed], why: str) -> list[Contender]:
    """Returns one contender for each list that was tried; why: there is none, where none is."""
    return [
        Contender(f"out of {each.candidates:,} texts by {each.tokens} tokens, {each.lengths} lengths", each.success)
        for each in lists
    ] or [Contender("a list", None, why=why)]


def most_recovered(shares: Iterable[Figure]) -> Figure | None:
    """Returns the share that may be largest; None where there is none."""
    return max(shares, key=lambda share: share.upper, default=None)


Checks = Callable[[Any, Measured, int], Iterator[Check]]
"""From a limit's value, what was measured, and how often the policy lets a text be sent."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A row of the registry: it stands in the annotation of the limit's field in `Policy`.

    needs: what must be measured for it, beyond what the attacks recover and the gain over another user's prompt.
    require: given the field's name, its value and a configuration, raises ValueError where nothing could meet or miss
    the limit.
    """

    kind: Literal["privacy", "utility"]
    checks: Checks
    needs: Evidence | None = None
    require: Callable[[str, Any, "WrittenConfiguration"], None] | None = None


def strongest_attack(most: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of what any attack recovers of all tokens."""
    yield check_contenders("strongest attack", measured.success(), most)


def meaning(most: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of what any attack recovers of all tokens up to meaning."""
    yield check_contenders("strongest attack up to meaning", measured.meaning(), most)


def slices(limits: Mapping[str, float], measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of what any attack recovers of each slice that is named."""
    for name, most in sorted(limits.items()):
        yield check_contenders(f"slice: {name}", measured.slice_success(name), most)


def worst_prompt(most: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of what any attack recovers of the prompt that it reads best."""
    yield check_contenders("worst prompt", measured.worst_prompt(), most)


def known_context(most: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of what an attacker recovers who knows other words of the prompt."""
    yield check_figure("tokens recovered by who knows the context", measured.known_context(), most, "at most")


def lists(most: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of how many texts an attacker picks out of a list of candidates."""
    yield check_contenders("texts picked out of a list", measured.lists(), most)


def attribute(most: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of the advantage of the attribute's probe."""
    column, advantage = measured.attribute()
    yield check_figure(f"attribute advantage ({column})", advantage, most, "at most")


def gains(least: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of the gain over each control."""
    for control in CONTROLS:
        yield _gain(f"utility: gain over {control}", measured.gain(control), least, "it was not measured")


def share_of_gain(least: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of the gain as a share of the clean prompt's."""
    why = "the clean prompt itself gives no gain to take a share of"
    yield _gain("utility: share of the clean gain", measured.share_of_gain(), least, why)


def task(least: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the checks of the task's accuracy, and of its lead over always naming the commonest class."""
    column, accuracy, over = measured.task()
    yield check_figure(f"utility: accuracy of {column}", accuracy, least, "above")
    yield check_figure(f"utility: accuracy of {column} over its commonest class", over, 0.0, "above")


def bytes_sent(most: float, measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of the bytes per token."""
    limit, asked, sent = "bytes per token", f"at most {most:g}", measured.bytes_per_token()
    if sent is None:
        yield unmeasured(limit, asked, "they were not counted")
    else:
        reason = "Counted on the wire; the header comes once per message."
        yield Check(limit, asked, f"{sent:g}", "passed" if sent <= most else "failed", reason)


def require_releases(name: str, most: float, configuration: "WrittenConfiguration") -> None:
    """Raises ValueError for fewer releases of a prompt than the limit can pass with."""
    from del_audit.statistics.worst_of_releases import fewest_releases  # heavy, and verifying has no use for it

    if (fewest := fewest_releases(most)) > (releases := configuration.evaluation.worst_releases):
        raise ValueError(
            f"expected evaluation.worst_releases >= {fewest} for policy.{name}={most:g}, got {releases}: with fewer "
            "releases of a prompt even one that is never read could not pass"
        )


def require_missable_epsilon(name: str, given: object, configuration: "WrittenConfiguration") -> None:
    """Raises ValueError for an epsilon that the configuration's own quantizer cannot miss at any scale."""
    if not isinstance(configuration.mechanism, DelMechanism):
        return
    spec = configuration.mechanism.spec()
    configuration.policy.require_missable(spec.dim, spec.trials)


def require_missable_bytes(name: str, most: float, configuration: "WrittenConfiguration") -> None:
    """Raises ValueError for more bytes than the coordinates take without quantization."""
    if not isinstance(configuration.mechanism, DelMechanism):
        return
    dim = configuration.mechanism.spec().dim
    if most > (clean := CLEAN_BYTES * dim):
        raise ValueError(
            f"expected policy.{name} <= {clean}, what {dim} coordinates take as they are, got {most:g}: nothing can "
            "miss it"
        )


def _gain(limit: str, figure: Figure | None, least: float, lacking: str) -> Check:
    """Returns the check of a gain; lacking: why there may be no figure."""
    if figure is None or figure.sample < FEWEST_PROMPTS:
        few = f"it was measured on {figure.sample} prompts, and at least {FEWEST_PROMPTS} are needed" if figure else ""
        return unmeasured(limit, f"above {least:g}", few or lacking)
    return check_figure(limit, figure, least, "above")
