"""`del-audit attack repeated`: measured part by part, and still what one measurement of all of it finds."""

import json

import pytest

import del_audit.attack.repeated as command
from attacks.ladder import ladder
from attacks.outcome import Outcome
from del_audit.attack.repeated import cut_chats, cut_turns, judge
from del_audit.attack.scene import Scene
from del_audit.configuration.configuration import load_configuration
from del_audit.evidence.inversion.repeated import measure_histories, measure_repeated
from del_audit.service.releases import PrivatePrompts
from mechanisms.errors import UserError

OPTIONS = ("--attacks", "map,cosine", "--times", "1,4", "--turns", "3", "--prompts", "10", "--no-self-tests")


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_parts_are_one_measurement(attack, configured, tmp_path, capsys):
    assert attack("repeated", *OPTIONS) == 0
    printed = capsys.readouterr().out
    found = read(tmp_path / "out")
    scene = Scene.of(load_configuration(configured()))
    sent, attacks = scene.prompts(10, None), list(ladder(("baseline", "cosine", "map")).values())
    asked = scene.public, attacks, sent.prompts, scene.seed, (1, 4), sent.units
    whole = measure_repeated(*asked, longest=sent.longest).to_dict()
    turns = [cut_turns(prompt, 3) for prompt in sent.prompts]
    chats = measure_histories(scene.public, attacks, turns, scene.seed, longest=6).to_dict()
    for mine, theirs in ((found["rows"], whole["rows"]), (found["chats"]["rows"], chats["rows"])):
        assert len(mine) == len(theirs)
        for row, expected in zip(mine, theirs, strict=True):
            for name in ("attack", "version", "times", "success", "kappa", "beaten"):
                assert row[name] == expected[name]
            assert row["allowed"]["upper"] == expected["allowed"]["upper"]
            assert row["epsilon"]["kind"] == "proved"
    assert found["chats"]["session_tokens"] == chats["session_tokens"] == 5 * 3 + 5 * 2 + 6
    best = {row["times"]: row["success"]["value"] for row in found["rows"] if row["key"] == "map"}
    assert best[4] > best[1] + 0.2
    kept = Outcome.read(tmp_path / "out" / "outcomes" / "map-times-4.parquet")
    assert kept.hits.mean() == best[4]
    assert len(list((tmp_path / "out" / "outcomes").iterdir())) == 3 * 2 + 3 * 3
    assert found["broken"] == []
    for said in ("chats of 3 turns", "token epsilon", "(estimate)", "(proved)", "Self-tests were not run"):
        assert said in printed


def test_a_killed_run_goes_on_without_repeating(attack, tmp_path, monkeypatch):
    right, calls = command.measure_repeated, []

    def killed(public, attacks, prompts, seed, times, *others, **known):
        calls.append((attacks[0].name[:3], times))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return right(public, attacks, prompts, seed, times, *others, **known)

    monkeypatch.setattr(command, "measure_repeated", killed)
    assert attack("repeated", *OPTIONS) == 130
    assert attack("repeated", *OPTIONS) == 0
    expected = [(name, (times,)) for times in (1, 4) for name in ("com", "cos", "MAP")]
    assert calls == [*expected[:5], *expected[4:]]
    monkeypatch.undo()
    assert attack("repeated", *OPTIONS, out="whole") == 0
    assert read(tmp_path / "out") == read(tmp_path / "whole")


def test_rows_share_the_false_alarms():
    # P[Bin(400, .5) >= 274] = 1.6e-14, >= 238: 8.6e-5 (scipy.stats.binom.sf), so 238 beats .5 alone and not among 20
    def row(hits, context_free=True):
        return {"hits": hits, "attacked_tokens": 400, "context_free": context_free, "allowed": {"upper": 0.5}}

    alone, many = [row(238)], [row(238) for _ in range(20)]
    judge(alone)
    judge(many)
    assert alone[0]["beaten"]
    assert not any(one["beaten"] for one in many)
    mixed = [row(274), row(274, context_free=False), {**row(274), "allowed": None}]
    judge(mixed)
    assert [one["beaten"] for one in mixed] == [True, False, False]
    assert mixed[1]["broken_below"] is None
    # a row that nothing bounds is never judged, and takes no share of the false alarms
    unbounded = [row(238), *(row(400, context_free=False) for _ in range(19))]
    judge(unbounded)
    assert [one["beaten"] for one in unbounded] == [True] + [False] * 19


def test_a_chat_is_of_one_document():
    sent = PrivatePrompts([[1, 2], [3, 4], [5, 6]], ["a", "b", "a"], 2, 2)
    assert cut_chats(sent, 2) == [[[1], [2]], [[3], [4]]]


def test_turns_are_cut_whole():
    prompt = list(range(17))
    for turns in range(2, 18):
        parts = cut_turns(prompt, turns)
        assert [token for part in parts for token in part] == prompt
        assert {len(part) for part in parts} <= {17 // turns, -(-17 // turns)}
    with pytest.raises(UserError, match="turns <= 17"):
        cut_turns(prompt, 18)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--times", "1,1"), "different whole numbers"),
        (("--times", "0"), "different whole numbers"),
        (("--times", "2,x"), "whole number"),
        (("--turns", "1"), "turns >= 2"),
        (("--turns", "17"), "turns <= 16"),
        (("--delta", "1"), "delta in (0, 1)"),
    ],
)
def test_what_a_user_can_mend_ends_with_code_2(attack, tmp_path, capsys, options, said):
    assert attack("repeated", *options) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
