"""Commands on each rival that a configuration names: attacked and trained for as others, refused without a bound."""

import json

import pytest
from rival_kinds import RIVALS

from del_audit.cli import main

LOUD = {
    "gaussian": {"sigma": 0.01},
    "metric": {"eta": 400.0},
    "exponential": {"epsilon": 60.0},
    "santext": {"epsilon": 400.0},
    "custext": {"group_size": 8},
}
QUICK = ("--prompts", "10", "--prompt-tokens", "8")


@pytest.fixture(params=RIVALS)
def config(request, configured):
    """Returns the kind, and a configuration of it."""
    evaluation = {"attacks": ["baseline", "cosine", "map"]}
    return request.param, configured(mechanism=RIVALS[request.param] | LOUD[request.param], evaluation=evaluation)


def test_inversion_reads_by_its_law(attack, config, tmp_path, capsys):
    kind, path = config
    assert attack("inversion", *QUICK, config=path) == 0
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert found["spec"]["kind"] == kind
    rates = {row["key"]: row["success"]["value"] for row in found["attacks"]}
    assert set(rates) == {"baseline", "cosine", "map"}
    assert rates["map"] > rates["baseline"] + 0.1
    assert found["mechanism"] in capsys.readouterr().out


def test_repeated_releases_have_no_epsilon(attack, configured, tmp_path, capsys):
    path = configured(mechanism=RIVALS["santext"], evaluation={"attacks": ["baseline", "map"]})
    assert attack("repeated", *QUICK, "--times", "1,2", "--turns", "2", "--no-self-tests", config=path) == 0
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {row["epsilon"] for row in [*found["rows"], *found["chats"]["rows"]]} == {None}
    printed = " ".join(capsys.readouterr().out.split())
    assert "each counted as often as it is sent: no epsilon is proved of it." in printed


def test_distinguish_is_refused_since_nothing_bounds_it(attack, config, tmp_path, capsys):
    assert attack("distinguish", config=config[1]) == 2
    assert "Expected a mechanism with a proved guarantee, which bounds any test" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_soft_prompt_is_trained_for_it(config, tmp_path, capsys):
    kind, path = config
    sizes = ("--steps", "2", "--virtual-tokens", "3", "--window", "40")
    assert main(["train", "prompt", str(path), "--out", str(tmp_path / "prompt"), *sizes]) == 0
    assert "held-out perplexity" in capsys.readouterr().out
    card = json.loads((tmp_path / "prompt" / "card.json").read_text())
    assert [each["spec"]["kind"] for each in card["mechanisms"]] == [kind]


def test_a_clients_folder_and_the_battery_are_refused(config, tmp_path, capsys):
    kind, path = config
    assert main(["bundle", str(path), "--out", str(tmp_path / "client")]) == 2
    assert "its description and small public files alone (DEL, k-ary" in capsys.readouterr().err
    assert not (tmp_path / "client").exists()
    assert main(["verify-mechanism", "--config", str(path), "--command", "true"]) == 2
    assert f"got {kind!r}: no battery tests it" in capsys.readouterr().err
