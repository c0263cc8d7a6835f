"""`del-audit attack repeated`: what is read of prompts sent several times, and of chats that send turns again."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from attacks.base import InversionAttack
from del_audit.attack.asked_ladder import asked_ladder, described, require_usable
from del_audit.attack.scene import Scene, finished
from del_audit.attack.tables import print_repeated
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import load_configuration
from del_audit.evidence.inversion.own_repeats import OwnRepeats, measure_own_repeats
from del_audit.evidence.inversion.readers import Ladder
from del_audit.evidence.inversion.readers import self_tests as test_each
from del_audit.evidence.inversion.repeated import RepeatedLeakage, measure_histories, measure_repeated
from del_audit.evidence.readiness import require_attacks
from del_audit.runs import Run
from del_audit.service.releases import PrivatePrompts
from del_audit.statistics.bound import Bound
from del_audit.statistics.contradiction import FALSE_ALARMS, contradicts, lower_limit
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.progress import Progress
from mechanisms.splits import first_of_each
from mechanisms.validation import at_least

Row = dict[str, Any]


def attack_repeated(
    config: ConfigurationFile,
    out: Path,
    *,
    seed: int | None = None,
    attacks: tuple[str, ...] | None = None,
    times: tuple[int, ...] = (1, 2, 4, 8),
    turns: int | None = None,
    prompts: int | None = None,
    prompt_tokens: int | None = None,
    masked_lm: str | None = None,
    delta: float = 1e-5,
    self_tests: bool = True,
) -> int:
    """Attacks repeated releases of private prompts, writes out/result.json and out/outcomes, and prints a table.

    turns: also chats, each a prompt cut into so many turns. Returns 0, or 1 where an attack reads more than the
    guarantee allows. The arguments are the command's options. Raises UserError for what a user can mend.
    """
    _check(times, delta)
    configuration = load_configuration(config)
    plan = configuration.evaluation
    ladder = asked_ladder(plan, attacks, masked_lm)
    scene = Scene.of(configuration, seed)
    sent = scene.prompts(prompts, prompt_tokens)
    require_attacks(ladder, scene.assets, sent.prompt_tokens)
    chats = [] if turns is None else cut_chats(sent, turns)
    settings: dict[str, Json] = {
        "command": "repeated",
        "attacks": described(ladder),
        "times": list(times),
        "turns": turns,
        "prompts": len(sent),
        "prompt_tokens": prompt_tokens or plan.context_tokens,
        "delta": delta,
        "self_tests": self_tests,
    }
    run = Run(out, {**settings, **scene.identity})
    tests = test_each(ladder, scene.public, scene.seed, run) if self_tests else {}
    kept = require_usable(ladder, tests)
    with tqdm(total=len(kept) * (len(times) + bool(chats)), desc="attacks", unit="attack") as bar:
        rows = _sent_again(run, scene, kept, sent, times, delta, bar)
        longest = -(-sent.prompt_tokens // (turns or 1))  # the longest turn that cut_turns makes
        session = _chats(run, scene, kept, chats, longest, delta, bar) if chats else None
    own = run.part("own-repeats", lambda: {"rows": [row.to_dict() for row in _own_repeats(scene, sent)]})
    every = [*rows, *(session["rows"] if session else [])]
    judge(every)
    document = {
        **scene.document(settings),
        "unit": "token",
        "delta": delta,
        "prompts": len(sent),
        "documents": len(set(sent.units)),
        "tokens": sent.tokens,
        "rows": rows,
        "chats": {"turns": turns, **session} if session else None,
        "own_repeats": own["rows"],
        "broken": list(dict.fromkeys(row["attack"] for row in every if row["beaten"])),
        "false_alarm_rate": FALSE_ALARMS,
        "self_tests": {key: test.to_dict() for key, test in tests.items()},
        "unusable": [test.to_dict() for test in tests.values() if not test.passed],
    }
    return finished(run, document, lambda found: print_repeated(found, tests.values()))


def _check(times: Sequence[int], delta: float) -> None:
    if not times or len(set(times)) != len(times) or min(times) < 1:
        raise UserError(f"Expected --times to be different whole numbers >= 1, got {','.join(map(str, times))}.")
    if not 0 < delta < 1:
        raise UserError(f"Expected delta in (0, 1), got delta={delta}.")


def cut_chats(sent: PrivatePrompts, turns: int) -> list[list[list[int]]]:
    """Returns the first prompt of each document in turns: chats are taken for independent."""
    return [cut_turns(sent.prompts[row], turns) for row in first_of_each(sent.units)]


def cut_turns(prompt: Sequence[int], turns: int) -> list[list[int]]:
    """Returns the prompt as so many turns of about equal length; raises UserError where it has fewer tokens.

    >>> cut_turns([1, 2, 3, 4, 5], 2)
    [[1, 2], [3, 4, 5]]
    """
    at_least("turns", turns, 2)
    if len(prompt) < turns:
        raise UserError(f"Expected turns <= {len(prompt)}, the tokens of the shortest prompt, got turns={turns}.")
    ends = [len(prompt) * turn // turns for turn in range(turns + 1)]
    return [list(prompt[start:end]) for start, end in itertools.pairwise(ends)]


def _sent_again(
    run: Run, scene: Scene, ladder: Ladder, sent: PrivatePrompts, times: Sequence[int], delta: float, bar: Progress
) -> list[Row]:
    """Returns a row for each number of times and attack, each measured only where it is missing."""
    rows = []
    for number in times:
        for key, attack in ladder.items():

            def measure(number: int = number, attack: InversionAttack = attack) -> RepeatedLeakage:
                return measure_repeated(
                    scene.public,
                    [attack],
                    sent.prompts,
                    scene.seed,
                    (number,),
                    sent.units,
                    delta,
                    longest=sent.longest,
                )

            found = _kept(run, f"{key}-times-{number}", key, attack.context_free, measure)
            rows += found["rows"]
            bar.update()
    return rows


def _chats(
    run: Run,
    scene: Scene,
    ladder: Ladder,
    chats: Sequence[Sequence[Sequence[int]]],
    longest: int,
    delta: float,
    bar: Progress,
) -> dict[str, Any]:
    """Returns the rows of all attacks on chats, and the epsilon of the longest session."""
    rows, session = [], {}
    for key, attack in ladder.items():

        def measure(attack: InversionAttack = attack) -> RepeatedLeakage:
            return measure_histories(scene.public, [attack], chats, scene.seed, delta, longest=longest)

        found = _kept(run, f"{key}-chats", key, attack.context_free, measure)
        rows += found["rows"]
        session = {name: found[name] for name in ("session_tokens", "session")}
        bar.update()
    return {"rows": rows, **session}


def _own_repeats(scene: Scene, sent: PrivatePrompts) -> tuple[OwnRepeats, ...]:
    """Returns what is read of words that occur several times in one prompt, from one release of each."""
    released = sent.released(scene.client("own repeats").release_tokens)
    return measure_own_repeats(scene.public, released, longest=sent.longest, seed=scene.seed)


def _kept(run: Run, name: str, key: str, context_free: bool, measure: Callable[[], RepeatedLeakage]) -> dict[str, Any]:
    """Returns the rows of one measurement as JSON values; their outcomes are part of the result."""

    def compute() -> dict[str, Any]:
        found = measure()
        rows = []
        for row in found.rows:
            file = name if len(found.rows) == 1 else f"{name}-{row.times}"
            run.keep(file, row.outcome)
            hits, tokens = int(row.outcome.hits.sum()), len(row.outcome)
            about = {"key": key, "context_free": context_free, "hits": hits, "attacked_tokens": tokens}
            rows.append({**about, **row.to_dict(), "allowed": _bound(row.allowed), "epsilon": _bound(row.epsilon)})
        return {"rows": rows, "session_tokens": found.session_tokens, "session": _bound(found.session)}

    return run.part(name, compute)


def _bound(bound: Bound | None) -> dict[str, Json] | None:
    return None if bound is None else {**bound.to_dict(), "kind": bound.kind}


def judge(rows: Sequence[Row]) -> None:
    """Sets `beaten` and `broken_below` of all rows together: measured one by one, they share the false alarms."""
    bounded = [row for row in rows if row["context_free"] and row["allowed"] is not None]
    for row in rows:
        row |= {"broken_below": None, "beaten": False}
    for row in bounded:
        row["broken_below"] = lower_limit(row["hits"], row["attacked_tokens"], len(bounded))
        row["beaten"] = contradicts(row["broken_below"], row["allowed"]["upper"])
