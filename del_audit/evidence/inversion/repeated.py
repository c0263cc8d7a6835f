"""What is read of tokens that are sent more than once, beside what the guarantee of the session allows."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attacks.base import AttackerKnowledge, InversionAttack
from attacks.history import history, times_sent
from attacks.outcome import Outcome, invert
from attacks.repeated import repeated
from del_audit.accounting import Bound
from del_audit.accounting.any_mechanism import guess_bound, has_proof, proved_guarantee
from del_audit.statistics.bootstrap import group
from del_audit.statistics.contradiction import contradicts, lower_limit
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clustered_rate, require_longest
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness

TIMES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class RepeatedRow:
    """What one attack reads of tokens that are sent `times` times.

    success: share of tokens read, first guess. epsilon: nats at delta, of one token sent so often: the session's
    guarantee. kappa: share of the commonest word among the attacked tokens. allowed: the bound of theorem 6 at times x
    dim x u trials, on the expected success on these very tokens of any attack that takes them one by one. beaten: such
    an attack read more, as del_audit.statistics.contradiction judges all rows together: the implementation is broken.
    epsilon and allowed are None for mechanisms without a proved guarantee. outcome: the attack's guesses.
    """

    attack: str
    version: int
    times: int
    success: Figure
    delta: float
    epsilon: Bound | None
    kappa: float
    allowed: Bound | None
    beaten: bool
    outcome: Outcome

    def to_dict(self) -> dict[str, Json]:
        """Returns the figures under their names, without the outcome."""
        return {
            "attack": self.attack,
            "version": self.version,
            "times": self.times,
            "success": self.success.to_dict(),
            "delta": self.delta,
            "epsilon": self.epsilon.to_dict() if self.epsilon else None,
            "kappa": self.kappa,
            "allowed": self.allowed.to_dict() if self.allowed else None,
            "beaten": self.beaten,
        }


@dataclass(frozen=True, slots=True)
class RepeatedLeakage:
    """rows: of each attack and number of times. seed: of the simulated releases.

    session_tokens: tokens of the history that sends most, each counted as often as it is sent. session: its epsilon
    (nats) at delta. None where no history was sent, and session for mechanisms other than DEL.
    """

    rows: tuple[RepeatedRow, ...]
    seed: int
    session_tokens: int | None = None
    session: Bound | None = None

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the attacks that read more than the guarantee allows."""
        return tuple(dict.fromkeys(row.attack for row in self.rows if row.beaten))

    def to_dict(self) -> dict[str, Json]:
        """Returns rows, seed, the session's figures, and `broken`."""
        return {
            "rows": [row.to_dict() for row in self.rows],
            "seed": self.seed,
            "session_tokens": self.session_tokens,
            "session": self.session.to_dict() if self.session else None,
            "broken": list(self.broken),
        }


def measure_repeated(
    public: AttackerKnowledge,
    attacks: Sequence[InversionAttack],
    prompts: Sequence[Sequence[int]],
    seed: int,
    times: Sequence[int] = TIMES,
    documents: Sequence[Hashable] | None = None,
    delta: float = 1e-5,
    *,
    longest: int,
) -> RepeatedLeakage:
    """Returns what each attack reads of private prompts that are sent so many times, with fresh noise for each row.

    prompts: tokens; they are released, and score the guesses, and reach no attack. documents: of each prompt; each is
    its own if left out. longest: the most tokens that one document can have, fixed before any is drawn.
    Raises UserError for no attacks, prompts or times, times < 1, prompts of one document alone, a document of more than
    `longest` tokens, and as the attacks' fit does.
    """
    names: list[Hashable] = list(range(len(prompts)) if documents is None else documents)
    if not prompts or len(names) != len(prompts):
        raise UserError(
            f"Expected prompts, at least one, and a document for each, got {len(prompts)} and {len(names)}."
        )
    if not times or len(set(times)) != len(times):
        raise UserError(f"Expected times to be different whole numbers, at least one, got times={tuple(times)}.")
    _some(attacks)
    require_longest(group(names, len(names)).sums(np.array([len(row) for row in prompts], dtype=np.float64)), longest)
    judged, rows = sum(attack.context_free for attack in attacks) * len(times), []
    for number in times:
        world = replace(public, mechanism=repeated(public.mechanism, number))
        source = SimulatedRandomness(seed, "repeated release", str(number))
        messages = [world.mechanism.release(prompt, source) for prompt in prompts]
        for attack in attacks:
            attacker = attack.fit(world)
            outcome = invert(attack, attacker, messages, prompts, names)
            rows.append(_row(public, attack.context_free, outcome, number, longest, seed, delta, judged))
    return RepeatedLeakage(tuple(rows), seed)


def measure_histories(
    public: AttackerKnowledge,
    attacks: Sequence[InversionAttack],
    histories: Sequence[Sequence[Sequence[int]]],
    seed: int,
    delta: float = 1e-5,
    *,
    longest: int,
) -> RepeatedLeakage:
    """Returns what each attack reads of chats in which every exchange sends all turns so far again, by times sent.

    histories: the turns of each, in tokens. Each chat is read as a whole: an attack with a language model has the
    earlier turns, which are read best, for context. longest: the most tokens of one chat that can be sent equally
    often, fixed before any is drawn, such as the cut of its turns.
    Raises UserError as measure_repeated does, and for no turns.
    """
    if not histories or not all(len(turns) for turns in histories):
        raise UserError("Expected histories, at least one, of at least one turn each, got none.")
    _some(attacks)
    chats = history(public.mechanism, max(map(len, histories)))
    world, source = replace(public, mechanism=chats), SimulatedRandomness(seed, "histories")
    messages = [chats.release_turns(turns, source) for turns in histories]
    truths = [[word for turn in turns for word in turn] for turns in histories]
    sent = [times_sent(np.cumsum([len(turn) for turn in turns]).tolist()) for turns in histories]
    times = np.concatenate(sent)
    judged, rows = sum(attack.context_free for attack in attacks) * len(np.unique(times)), []
    for attack in attacks:
        attacker = attack.fit(world)
        outcome = invert(attack, attacker, messages, truths)
        for number in np.unique(times):
            part = outcome.where(times == number)
            rows.append(_row(public, attack.context_free, part, int(number), longest, seed, delta, judged))
    tokens = max(int(each.sum()) for each in sent)
    return RepeatedLeakage(tuple(rows), seed, tokens, _epsilon(public, tokens, delta))


def _some(attacks: Sequence[InversionAttack]) -> None:
    if not attacks:
        raise UserError("Expected at least one attack, got none.")


def _row(
    public: AttackerKnowledge,
    context_free: bool,
    outcome: Outcome,
    times: int,
    longest: int,
    seed: int,
    delta: float,
    judged: int,
) -> RepeatedRow:
    """Returns one attack's row of tokens that were sent `times` times; judged: bounded rows together."""
    success = clustered_rate(outcome.hits, outcome.clusters, longest, "share of tokens read", "tokens", seed)
    # The tokens are fixed and their noise is independent: with the share of the commonest among them for kappa the
    # bound holds for them, and a sum of unequal chances strays no further up than the binomial (Hoeffding, 1956).
    kappa = float(np.bincount(outcome.truth).max() / len(outcome))
    allowed = _allowed(public, kappa, times)
    below = lower_limit(int(outcome.hits.sum()), len(outcome), judged) if context_free else None
    beaten = contradicts(below, allowed.upper if allowed else None)
    epsilon = _epsilon(public, times, delta)
    return RepeatedRow(outcome.attack, outcome.version, times, success, delta, epsilon, kappa, allowed, beaten, outcome)


def _epsilon(public: AttackerKnowledge, tokens: int, delta: float) -> Bound | None:
    """Returns epsilon (nats) at delta of so many tokens sent in one session; None where none is proved."""
    spec = public.mechanism.spec
    return proved_guarantee(spec, "session", tokens, delta).epsilon if has_proof(spec) else None


def _allowed(public: AttackerKnowledge, kappa: float, times: int) -> Bound | None:
    """Returns theorem 6's bound on a token that is sent so often: as many trials as a phrase of so many tokens has."""
    spec = public.mechanism.spec
    return guess_bound(spec, kappa, times) if has_proof(spec) else None
