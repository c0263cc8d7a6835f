"""`del-audit attack --self-test`, its help, and what goes together on the command line."""

import json
import subprocess
import sys

import pytest

from attacks.inversion import CodeNeighbour, CommonestWord, LanguageBeam
from attacks.registry import attack_names
from del_audit.attack.asked_ladder import described, named_ladder
from del_audit.cli import main
from del_audit.configuration import attack_names as attack_names_asked
from mechanisms.assets import cache_folder


def test_attacks_that_work_pass(configured, capsys):
    assert main(["attack", "--self-test", str(configured()), "--test-attacks", "cosine,code,likelihood,map,beam"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("passed") == 5
    assert "192 of 192" in printed
    assert "UNUSABLE" not in printed


def test_an_attack_that_reads_nothing_is_unusable(configured, monkeypatch, capsys):
    monkeypatch.setattr(CodeNeighbour, "fit", lambda self, public: CommonestWord().fit(public))
    assert main(["attack", "--self-test", str(configured()), "--test-attacks", "map,code"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("passed") == 1
    assert "UNUSABLE" in printed
    assert f"Unusable: {CodeNeighbour().name}. It reads" in printed


@pytest.mark.slow
@pytest.mark.assets
def test_without_a_configuration_it_is_the_packaged_model(packaged, capsys):
    for name in ("package:smollm2-135m-instruct", "package:minilm-l6-v2", "package:drug-reviews"):
        packaged(name)
    assert main(["attack", "--self-test", "--test-attacks", "cosine,code,map"]) == 0
    assert capsys.readouterr().out.count("passed") == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Expected a kind of attack, or --self-test"),
        (("--self-test", "nothing.yaml"), "nothing.yaml"),
        (("--test-attacks", "map", "inversion", "a.yaml", "--out", "b"), "no --test-attacks beside inversion"),
        (("--self-test", "a.yaml", "inversion", "a.yaml", "--out", "b"), "no --self-test beside inversion"),
        (("--test-attacks", "map"), "--self-test, got neither"),
        (("guess", "a.yaml"), "invalid choice"),
        (("inversion", "a.yaml"), "--out"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, said, capsys):
    assert main(["attack", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_the_help_names_every_attack(capsys):
    with pytest.raises(SystemExit):
        main(["attack", "inversion", "--help"])
    said = "".join(capsys.readouterr().out.split())  # a line may end at a hyphen
    assert all(name in said for name in attack_names())


def test_a_former_name_is_taken_with_one_warning(capsys):
    attack_names_asked._warn.cache_clear()
    for _ in range(2):
        assert list(named_ladder(["informed"])) == ["baseline", "map", "contextual-beam"]
    warned = capsys.readouterr().err
    assert warned.count("the attack informed is now called contextual-beam") == len(warned.splitlines()) == 1


def test_settings_are_told_apart_and_name_no_folder():
    stated = described(named_ladder(attack_names(), "some/masked-model"))
    assert set(stated) == set(attack_names())
    text = json.dumps(stated)
    assert "folder" not in text
    assert str(cache_folder()) not in text
    assert stated["inference"]["masked_lm"] == "some/masked-model"
    assert stated["beam"]["width"] == LanguageBeam().width
    assert all(one["version"] >= 1 for one in stated.values())


@pytest.mark.parametrize("kind", [(), ("inversion",), ("attribute",), ("repeated",), ("distinguish",)])
def test_help_is_there_at_once(kind):
    code = (
        "import sys\nfrom del_audit.cli import main\n"
        f"try:\n    main(['attack', *{kind!r}, '--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'numpy', 'scipy', 'transformers', 'rich'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: del-audit attack" in done.stdout
