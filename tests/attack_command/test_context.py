"""`del-audit attack context`: who knows the other words, or the template around a slot, by the command."""

import json

import numpy as np
import pytest

from attacks.inversion import AdaptedBeam
from attacks.known_context import KnownContext
from attacks.registry import INFORMED_VERSIONS
from del_audit.attack.context import in_template
from del_audit.attack.scene import Scene
from del_audit.configuration.configuration import load_configuration
from del_audit.evidence.inversion.readers import adapted_beam
from del_audit.evidence.known_context import measure_known_context
from del_audit.statistics.contradiction import FALSE_ALARMS
from mechanisms.levels import ZERO_LEVEL
from mechanisms.quantizer import StochasticQuantizer

SOME = ("--prompts", "12", "--prompt-tokens", "10")
FEW = ("--prompts", "6", "--prompt-tokens", "8", "--sides", "left")


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_both_attackers_are_measured_with_the_release_and_without(attack, configured, tmp_path, capsys):
    assert attack("context", *SOME, "--plain-model") == 0
    printed, found = capsys.readouterr().out, read(tmp_path / "out")
    assert [(row["context"], row["asked_each"]) for row in found["rows"]] == [("left", 10), ("both sides", 8)]
    assert [row["success"]["sample"] for row in found["rows"]] == [120, 96]
    scene = Scene.of(load_configuration(configured()))
    sent = scene.prompts(12, 10)
    released = sent.released(scene.client("attack context").release_tokens)
    for row, sides in zip(found["rows"], ("left", "both sides"), strict=True):
        mine = measure_known_context(
            scene.public,
            released,
            KnownContext(sides),
            longest=row["asked_each"] * sent.prompts_each,
            seed=scene.seed,
            each=row["asked_each"],
            judged=2,
        )
        assert row["version"] == INFORMED_VERSIONS["known-context"]
        for name in ("success", "without", "lift", "centre"):
            assert row[name] == getattr(mine, name).to_dict()
        assert (row["allowed"], row["broken_below"]) == (mine.allowed, mine.broken_below)
        assert (row["success"]["unit"], row["success"]["sample_unit"]) == ("share of tokens recovered", "tokens")
    assert (found["broken"], found["false_alarm_rate"]) == ([], FALSE_ALARMS)
    for said in ("to the left", "on both sides", "without the release", "lift", "(estimate)", f"Seed {found['seed']}"):
        assert said in printed


def test_the_model_that_is_read_with_is_the_certificates_and_is_named(
    attack, configured, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(AdaptedBeam, "_loss_added", lambda *_: -1.0)  # a few steps on little text may not suffice
    assert attack("context", *FEW) == 0
    (row,), printed = read(tmp_path / "out")["rows"], capsys.readouterr().out
    scene = Scene.of(load_configuration(configured()))
    reader = adapted_beam().fit(scene.public)
    assert row["trained_sha256"] == reader.trained
    assert reader.trained[:16] in printed
    released = scene.prompts(6, 8).released(scene.client("attack context").release_tokens)
    mine = measure_known_context(reader.public, released, KnownContext("left"), longest=8, seed=scene.seed, each=8)
    assert row["success"] == mine.success.to_dict()


def test_the_plain_model_is_read_with_where_it_is_asked_for_or_reads_better(attack, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(AdaptedBeam, "_loss_added", lambda *_: 0.01)
    assert attack("context", *FEW) == 0
    monkeypatch.setattr(AdaptedBeam, "fit", None)  # whoever fits it fails
    assert attack("context", *FEW, "--plain-model", out="plain") == 0
    (worse,), (plain,) = (read(tmp_path / out)["rows"] for out in ("out", "plain"))
    assert worse == plain
    assert plain["trained_sha256"] is None
    assert read(tmp_path / "plain")["settings"]["reads_with"] == {}
    assert capsys.readouterr().out.count("Language model: as it comes.") == 2


def test_an_adapter_that_its_self_test_complains_of_is_not_passed_over(attack, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(AdaptedBeam, "_loss_added", lambda *_: 0.03)
    assert attack("context", *FEW) == 2
    said = capsys.readouterr().err
    assert "worse than the model without it, by 0.030 nats" in said
    assert "--plain-model" in said
    assert not (tmp_path / "out").exists()


def test_a_template_is_known_and_its_slot_alone_is_read(attack, configured, tmp_path, capsys):
    options = ("--template", "I took: {} and slept.", "--sides", "both", "--each", "4")
    assert attack("context", *SOME, *options, "--plain-model") == 0
    found = read(tmp_path / "out")
    (row,) = found["rows"]
    assert (row["context"], row["asked_each"], found["template"]) == ("both sides", 4, "I took: {} and slept.")
    assert row["success"]["sample"] == 48
    assert "in the template 'I took: {} and slept.'" in " ".join(capsys.readouterr().out.split())
    scene = Scene.of(load_configuration(configured()))
    tokenizer, sent = scene.assets.language.tokenizer, scene.prompts(12, 10)
    prompts, fixed = in_template(("I took: ", " and slept."), sent, tokenizer)
    for before, tokens, known in zip(sent.prompts, prompts.prompts, fixed, strict=True):
        text = tokenizer.decode(tokens)
        assert text == f"I took: {tokenizer.decode(before)} and slept."
        slot = tokenizer.decode(np.array(tokens)[~known].tolist())
        assert tokenizer.decode(before).strip() in slot
        assert len(slot) < len(text)


def test_a_killed_run_goes_on(attack, tmp_path, monkeypatch):
    import del_audit.attack.context as command

    right, calls = command.measure_known_context, []

    def killed(public, sent, found, **options):
        calls.append(found.sides)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return right(public, sent, found, **options)

    monkeypatch.setattr(command, "measure_known_context", killed)
    assert attack("context", *SOME, "--plain-model") == 130
    assert attack("context", *SOME, "--plain-model") == 0
    assert calls == ["left", "both sides", "both sides"]
    assert attack("context", *SOME, "--plain-model", out="again") == 0
    assert read(tmp_path / "out") == read(tmp_path / "again")


def test_a_client_without_noise_is_broken(attack, configured, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        StochasticQuantizer,
        "sample",
        lambda self, levels, source: (levels > ZERO_LEVEL).astype(np.uint8) * self.spec.trials,
    )
    assert attack("context", "--sides", "left", "--plain-model", config=configured(mu=1.0)) == 1
    assert read(tmp_path / "out")["broken"] == ["left"]
    assert "BROKEN" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--template", "no slot"), "{} once"),
        (("--template", "{} and {}"), "{} once"),
        (("--template", "{}"), "words around it"),
        (("--each", "0"), "each >= 1"),
        (("--sides", "right"), "right"),
        (("--prompts", "1"), "prompts >= 2"),
    ],
)
def test_what_a_user_can_mend_ends_with_code_2(attack, tmp_path, capsys, options, said):
    assert attack("context", *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
