"""`del-audit attack distinguish`: games one by one, judged together."""

import json

import pytest
from scipy.stats import binom

import del_audit.attack.distinguish as command
from del_audit.accounting import Accountant
from del_audit.attack.distinguish import CORNERS, judge
from del_audit.evidence.games import p_value
from del_audit.statistics.contradiction import FALSE_ALARMS
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.spec import QuantizerSpec

OPTIONS = ("--pair", " pain", " sleep", "--phrase", " tired", "--trials", "200")


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_games_and_table(attack, tmp_path, capsys):
    assert attack("distinguish", *OPTIONS) == 0
    printed = capsys.readouterr().out
    found = read(tmp_path / "out")
    worst, *others = found["games"]
    assert worst["name"] == CORNERS
    assert [game["name"].split(":")[0] for game in others] == [
        "worst of the vocabulary", "median of the vocabulary", "' pain' or ' sleep'", "' tired' in a prompt",
    ]  # fmt: skip
    spec = QuantizerSpec(**found["spec"])
    exact = Accountant(spec).total_variation().estimate
    for game in found["games"]:
        assert game["total_variation"]["estimate"] == pytest.approx(exact, rel=1e-12)
        assert game["advantage"]["lower"] <= game["total_variation"]["upper"]
        assert game["epsilon"]["value"] <= game["exact_epsilon"]["upper"]
        assert not game["broken"]
    advantages = [game["advantage"]["value"] for game in found["games"]]
    assert advantages[0] > advantages[2] > advantages[4]
    assert worst["advantage"]["lower"] <= exact <= worst["advantage"]["upper"]
    for said in ("' pain' or ' sleep'", "200 messages a side", "(estimate)", "No attack beats the guarantee"):
        assert said in printed
    assert not (tmp_path / "out" / "outcomes").exists()


def test_a_killed_run_goes_on_without_repeating(attack, tmp_path, monkeypatch):
    right, calls = command.play, []

    def killed(public, pairs, settings):
        calls.extend(pairs)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return right(public, pairs, settings)

    monkeypatch.setattr(command, "play", killed)
    assert attack("distinguish", *OPTIONS) == 130
    assert attack("distinguish", *OPTIONS) == 0
    assert len(calls) == 3 + 2
    assert calls[2] == calls[3]
    monkeypatch.undo()
    assert attack("distinguish", *OPTIONS, out="whole") == 0
    assert read(tmp_path / "out") == read(tmp_path / "whole")


def test_a_quantizer_of_too_small_a_scale_is_called_broken(attack, configured, tmp_path, monkeypatch, capsys):
    from dataclasses import replace

    right = StochasticQuantizer.sample

    def sample(self, levels, source):
        return right(replace(self, spec=replace(self.spec, scale=self.spec.scale / 3)), levels, source)

    monkeypatch.setattr(StochasticQuantizer, "sample", sample)
    assert attack("distinguish", "--trials", "400", config=configured(mu=1.0)) == 1
    assert CORNERS in read(tmp_path / "out")["broken"]
    assert "BROKEN" in capsys.readouterr().out


def test_games_share_the_false_alarms():
    spec, trials = QuantizerSpec.from_mu(4, 12, 0.05, 1.0), 1000
    level, curve = FALSE_ALARMS, Accountant(spec).trade_off("token", 1)
    expected = int(trials * curve.beta(0.2))
    # the most that beat the curve where one game is judged: chance has so few with a little less than the level
    missed = next(m for m in range(expected, 0, -1) if p_value(200, m, trials, curve, level) < level)

    def game():
        point = {"alpha": {"value": 0.2}, "beta": {"value": missed / trials}, "beats": True}
        return {"unit": "token", "tokens": 1, "trials": trials, "points": [point]}

    assert binom.cdf(missed, trials, curve.beta(0.2)) < level
    alone, many = [game()], [game() for _ in range(20)]
    judge(alone, spec)
    judge(many, spec)
    assert alone[0]["broken"]
    assert not any(one["broken"] for one in many)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pair", " pain", " pain"), "two different prompts"),
        (("--pair", " pain", " pain in the head"), "of as many tokens"),
        (("--pair", "pain"), "2 arguments"),
        (("--phrase", ""), "phrase"),
        (("--phrase", " tired", "--prompt-tokens", "0"), "prompt-tokens >= 1"),
        (("--phrase", " pain in the head", "--prompt-tokens", "2"), "length >="),
        (("--trials", "0"), "trials"),
        (("--delta", "2"), "delta in (0, 1)"),
    ],
)
def test_what_a_user_can_mend_ends_with_code_2(attack, tmp_path, capsys, options, said):
    assert attack("distinguish", *options) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
