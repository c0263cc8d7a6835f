"""`del-audit attack lists`: texts picked out of a list of candidates, by the command."""

import json
from dataclasses import asdict

import pytest

from attacks.registry import INFORMED_VERSIONS
from attacks.self_test import SelfTest
from del_audit.attack.scene import Scene
from del_audit.certificate.gather import lists_of
from del_audit.configuration.configuration import load_configuration
from del_audit.evidence.inversion.readings import Target
from del_audit.service.private_text import attacked_prompts

SOME = ("--decoys", "300", "--prompt-tokens", "12", "--prompts", "22")


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_the_figures_are_a_certificates_where_no_option_is_given(attack, configured, tmp_path, capsys):
    assert attack("lists") == 0
    printed, found = capsys.readouterr().out, read(tmp_path / "out")
    scene = Scene.of(load_configuration(configured()))
    private = attacked_prompts(scene.assets, 100, 16)
    target = Target.of(scene.configuration, scene.assets, scene.pipeline, private)
    mine = lists_of(scene.assets, scene.pipeline, target, 16)
    assert mine.why == ""
    version = INFORMED_VERSIONS["candidate-list"]
    assert found["rows"] == json.loads(json.dumps([{"version": version, **asdict(each)} for each in mine.figures]))
    assert (found["format"], found["command"], found["seed"]) == ("del-audit attack 1", "lists", scene.seed)
    assert found["documents"] == 24
    assert found["versions"]["numpy"]
    assert found["self_test"]["passed"]
    for row in found["rows"]:
        figure = row["success"]
        assert (figure["unit"], figure["sample_unit"]) == ("share of texts picked out", "texts")
        assert figure["kind"] == "estimated, with interval"
        assert figure["lower"] <= figure["value"] <= figure["upper"]
    for said in ("the other private texts", "windows of public text", "true lengths", "chance", f"Seed {scene.seed}"):
        assert said in printed


def test_options_bound_the_texts_the_lists_and_the_tokens(attack, tmp_path):
    assert attack("lists", *SOME, "--seed", "3") == 0
    found = read(tmp_path / "out")
    assert {row["success"]["sample"] for row in found["rows"]} == {22}
    assert {row["candidates"] for row in found["rows"]} == {22, 300}
    assert {row["tokens"] for row in found["rows"]} == {8, 12}
    assert (found["seed"], found["settings"]["decoys"]) == (3, 300)


def test_a_killed_run_goes_on(attack, tmp_path, monkeypatch):
    import del_audit.attack.lists as command

    right, test, calls = command.private_lists, command.self_test_of_lists, []

    def killed(*arguments):
        calls.append("lists")
        if len(calls) == 2:
            raise KeyboardInterrupt
        return right(*arguments)

    def tested(*arguments):
        calls.append("self-test")
        return test(*arguments)

    monkeypatch.setattr(command, "private_lists", killed)
    monkeypatch.setattr(command, "self_test_of_lists", tested)
    assert attack("lists", *SOME) == 130
    assert attack("lists", *SOME) == 0
    assert calls == ["self-test", "lists", "lists"]
    assert not (tmp_path / "out.partial").exists()


def test_an_attack_that_fails_its_self_test_gives_no_figure(attack, tmp_path, monkeypatch, capsys):
    failed = SelfTest("exact likelihood", 1, 8, 3, 0, 8, 1, "It picks out 3 of 8 texts.")
    monkeypatch.setattr("del_audit.attack.lists.self_test_of_lists", lambda *_: failed)
    assert attack("lists", *SOME) == 2
    assert "does not pass its self-test. It picks out 3 of 8 texts." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        (("--prompts", "19"), {}, "prompts >= 20, got prompts=19"),
        (("--prompts", "25"), {}, "prompts <= 24"),
        (("--decoys", "99"), {}, "decoys >= 100, got decoys=99"),
        (("--decoys", "many"), {}, "many"),
        (("--prompt-tokens", "0"), {}, "prompt-tokens >= 1"),
        (("--prompt-tokens", "999"), {}, "prompt-tokens <= 255"),
        (("--seed", "-1"), {}, "seed >= 0"),
        ((), {"data": {"private_split": "test", "group_column": "author"}}, "20 documents or groups or more, got"),
    ],
)
def test_what_a_user_can_mend_ends_with_code_2(attack, configured, reviews, tmp_path, capsys, options, changes, said):
    if "data" in changes:
        changes["data"] |= {"corpus": str(reviews), "text_column": "text"}
    assert attack("lists", *options, config=configured(**changes)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()
