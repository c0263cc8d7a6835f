"""`del-audit attack distinguish`: exact tests between two prompts, and of a phrase, beside what bounds them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from attacks.base import AttackerKnowledge
from del_audit.accounting.any_mechanism import Proved, has_proof, trade_off_of
from del_audit.attack.scene import Scene, finished
from del_audit.attack.tables import print_distinguish
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import load_configuration
from del_audit.evidence.distinguishing import play, play_membership
from del_audit.evidence.games import Game, GameSettings, beaten
from del_audit.evidence.pairs import Pair, common_pair, corner_public, notable_pairs
from del_audit.runs import Run
from del_audit.statistics.contradiction import FALSE_ALARMS
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.hashes import json_sha256
from mechanisms.spec import QuantizerSpec
from mechanisms.validation import at_least

CORNERS = "worst inputs of all"
Games = dict[str, Callable[[], Game]]


def attack_distinguish(
    config: ConfigurationFile,
    out: Path,
    *,
    seed: int | None = None,
    pair: Sequence[Sequence[str]] = (),
    phrase: Sequence[str] = (),
    trials: int = 1000,
    prompt_tokens: int = 32,
    delta: float = 1e-5,
) -> int:
    """Plays the games, writes out/result.json, and prints a table; one that is finished is not played again.

    Returns 0, or 1 where a test makes fewer errors than the guarantee allows. The arguments are the command's options.
    Raises UserError for what a user can mend.
    """
    at_least("prompt-tokens", prompt_tokens, 1)
    GameSettings(trials, delta=delta)  # their ranges are checked here, not after the model is loaded
    scene = Scene.of(load_configuration(config), seed)
    own = {f"{first!r} or {second!r}": (_tokens(scene, first), _tokens(scene, second)) for first, second in pair}
    for name, (first, second) in own.items():
        if len(first) != len(second) or first == second:
            raise UserError(
                f"Expected --pair to be two different prompts of as many tokens, got {len(first)} and {len(second)} "
                f"in {name}."
            )
    spec = scene.pipeline.spec
    if not has_proof(spec):
        raise UserError(
            f"Expected a mechanism with a proved guarantee, which bounds any test, got {scene.pipeline.name!r}, which "
            "has none. The other attacks take it."
        )
    phrases = {f"{text!r} in a prompt": _tokens(scene, text) for text in phrase}
    settings: dict[str, Json] = {
        "command": "distinguish",
        "trials": trials,
        "delta": delta,
        "pairs": {name: [list(side) for side in sides] for name, sides in own.items()},
        "phrases": phrases,
        "prompt_tokens": prompt_tokens,
    }
    run = Run(out, {**settings, **scene.identity})
    rules = GameSettings(trials, scene.seed, delta)
    games = _games(run, scene, rules, own, phrases, prompt_tokens)
    played = []
    with tqdm(games.items(), desc="games", unit="game") as bar:
        for name, game in bar:
            bar.set_postfix_str(name[:40])
            played.append(run.part(f"game-{json_sha256(name)[:16]}", lambda game=game: game().to_dict()))  # type: ignore[misc]
    judge(played, spec)
    document = {
        **scene.document(settings),
        "trials": trials,
        "delta": delta,
        "games": played,
        "broken": [game["name"] for game in played if game["broken"]],
        "false_alarm_rate": FALSE_ALARMS,
    }
    return finished(run, document, print_distinguish)


def _games(
    run: Run,
    scene: Scene,
    rules: GameSettings,
    own: Mapping[str, Pair],
    phrases: Mapping[str, Sequence[int]],
    length: int,
) -> Games:
    """Returns every game under its name, to be played."""
    games, spec = Games(), scene.pipeline.spec
    if isinstance(spec, QuantizerSpec):
        corner = corner_public(spec)
        found = run.part("notable-pairs", lambda: _as_lists(notable_pairs(scene.public, rules.delta, scene.seed)))
        games[CORNERS] = lambda: _one(corner, CORNERS, ((0,), (1,)), rules)
    else:  # any two words that are told apart at all are told apart as well as any other two
        found = run.part("notable-pairs", lambda: _as_lists({"two common words": common_pair(scene.public)}))
    for name, pair in {**{_worded(scene, name, sides): sides for name, sides in found.items()}, **own}.items():
        games[name] = lambda name=name, pair=pair: _one(scene.public, name, pair, rules)  # type: ignore[misc]
    for name, tokens in phrases.items():
        games[name] = lambda name=name, tokens=tokens: play_membership(  # type: ignore[misc]
            scene.public, {name: tokens}, scene.assets.public, length, rules
        )[0]
    return games


def _one(public: AttackerKnowledge, name: str, pair: Pair, rules: GameSettings) -> Game:
    return play(public, {name: pair}, rules)[0]


def _as_lists(pairs: Mapping[str, Pair]) -> dict[str, Json]:
    return {name: [list(map(int, side)) for side in sides] for name, sides in pairs.items()}


def _worded(scene: Scene, name: str, pair: Pair) -> str:
    first, second = (scene.assets.language.tokenizer.decode(list(side)) for side in pair)
    return f"{name}: {first!r} or {second!r}"


def _tokens(scene: Scene, text: str) -> list[int]:
    return list(scene.assets.language.tokenizer(text, add_special_tokens=False).input_ids)


def judge(games: Sequence[dict[str, Any]], spec: Proved) -> None:
    """Judges all games together: played one by one, they share the false alarms, and fewer points beat the curve."""
    for game in games:
        points = game["points"]
        judged, curve = len(points) * len(games), trade_off_of(spec, game["tokens"])
        for point in points:
            if point["beats"]:
                false, missed = (round(point[side]["value"] * game["trials"]) for side in ("alpha", "beta"))
                point["beats"] = beaten(false, missed, game["trials"], curve, judged)
        game["broken"] = any(point["beats"] for point in points)
