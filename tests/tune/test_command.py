"""The whole search on a tiny model: files, exit codes, resuming, and text that no choice has seen."""

import json

import pytest
import yaml

from attacks.inversion import AdaptedBeam
from del_audit.accounting.accountant import Accountant
from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from del_audit.evidence import system
from del_audit.runs import Run
from del_audit.service.assets import load_assets
from del_audit.tune import tune as tuning
from del_audit.tune.bench import MeasuringBench
from del_audit.tune.channels import DelChannel
from del_audit.tune.parts import HELD_OUT, TUNING, part_of
from del_audit.tune.space import Candidate
from mechanisms.corpora import load_corpus
from mechanisms.errors import UserError
from mechanisms.private_folders import MARKER

EPSILON = 12.0
POLICY = {"epsilon": {"at_most": EPSILON}, "attack_success_at_most": 0.6, "bytes_per_token_at_most": 7}


SHORT = {"prompts": 16, "response_tokens": 8, "generations": 2, "generated_tokens": 3, "other_prompts": 4}


def run(path, out, *options):
    return main(["tune", str(path), "--out", str(out), *options])


def frontier(out):
    return json.loads((out / "frontier.json").read_text())


@pytest.fixture
def counted(monkeypatch):
    """Counts the measurements made, by kind and part."""
    made = []
    for kind in ("_read", "_gain", "_others", "_lists", "_contexts"):
        real = getattr(MeasuringBench, kind)

        def counting(self, *arguments, real=real, kind=kind):
            made.append((kind, self.name))
            return real(self, *arguments)

        monkeypatch.setattr(MeasuringBench, kind, counting)
    return made


def test_the_chosen_configuration_is_within_the_policy_and_can_be_certified(configured, tmp_path, capsys, reviews):
    out, path = tmp_path / "out", configured(POLICY)
    assert run(path, out, "--bits", "1,4,8") == 0
    assert sorted(each.name for each in out.iterdir()) == [MARKER, "best.yaml", "corpus.parquet", "frontier.json"]
    assert out.stat().st_mode & 0o777 == 0o700
    found, said = frontier(out), capsys.readouterr().out
    assert len(found["candidates"]) == 6
    by_status = {row["status"] for row in found["candidates"]}
    assert {"chosen", "dropped"} <= by_status
    for row in found["candidates"]:
        if row["candidate"]["bits"] == 8:
            assert "12 bytes a token" in row["why"]
            assert row["attacks"] == {}
        else:
            assert row["epsilons"][0]["epsilon"] <= EPSILON
    best = load_configuration(out / "best.yaml")
    assert best.mechanism.scale == found["chosen"]["candidate"]["scale"]
    assert Accountant(best.mechanism.spec(), proved=True).epsilon(delta=1e-5).upper <= EPSILON
    head = (out / "best.yaml").read_text()
    assert head.startswith("# Chosen by del-audit tune of 6 candidates")
    assert f"{found['held_out']['paired_gain']['value']:.4g}" in head
    assert "Held out" in said
    held_out = load_assets(best)
    assert len(held_out.private) == found["parts"]["held_out"]
    texts = load_corpus(str(reviews), "review").subset("test").texts
    assert set(held_out.private_corpus.texts) <= set(texts)
    assert len(texts) == sum(found["parts"].values())
    assert main(["certify", str(out / "best.yaml"), "--out", str(tmp_path / "certified")]) == 0


def test_the_scale_is_at_the_edge_of_the_proof_where_the_attack_allows_it(configured, tmp_path):
    policy = {"epsilon": {"at_most": EPSILON}}
    assert run(configured(policy), tmp_path / "out", "--soft-prompts", "none") == 0
    found = frontier(tmp_path / "out")
    (least,) = found["least_scales"]
    assert least["beyond"] > EPSILON
    assert {row["candidate"]["scale"] for row in found["candidates"]} == {least["scale"]}
    assert all(EPSILON - 1e-4 < row["epsilons"][0]["epsilon"] <= EPSILON for row in found["candidates"])


def test_more_noise_than_is_proved_is_sought_where_an_attack_reads_too_much(configured, tmp_path):
    policy = {"epsilon": {"at_most": 60.0}, "attack_success_at_most": 0.5}
    assert run(configured(policy), tmp_path / "out", "--soft-prompts", "none") == 0
    found = frontier(tmp_path / "out")
    (least,) = found["least_scales"]
    assert found["chosen"]["candidate"]["scale"] > least["scale"]
    assert found["chosen"]["scales_tried"][0]["success"] > 0.5
    assert max(figure["value"] for figure in found["chosen"]["attacks"].values()) < 0.5
    epsilon, strongest = found["held_out"]["checks"]
    assert (epsilon["limit"], epsilon["status"]) == ("epsilon of a token (1 token) at delta 1e-05", "passed")
    assert (strongest["limit"], strongest["status"] == "failed") == ("strongest attack", False)


def test_a_killed_run_goes_on_and_measures_nothing_twice(configured, tmp_path, monkeypatch, counted, capsys):
    path, whole, out = configured(POLICY), tmp_path / "whole", tmp_path / "out"
    assert run(path, whole) == 0
    everything = len(counted)
    counted.clear()
    with monkeypatch.context() as patched:
        real = MeasuringBench._gain

        def killed(self, *arguments):
            if sum(kind == "_gain" for kind, _ in counted) == 2:
                raise KeyboardInterrupt
            return real(self, *arguments)

        patched.setattr(MeasuringBench, "_gain", killed)
        assert run(path, out) == 130
    assert not out.exists()
    before = len(counted)
    assert 3 <= before < everything
    assert run(path, out) == 0
    assert len(counted) == everything
    assert frontier(out) == frontier(whole)
    assert "".join(capsys.readouterr().err.splitlines()[-1:]) != "del-audit: interrupted"


def test_two_workers_choose_what_one_chooses(configured, tmp_path, counted, one_thread):
    path, alone, shared = configured(POLICY), tmp_path / "alone", tmp_path / "shared"
    assert run(path, alone) == 0
    tuned = [kind for kind, part in counted if part == TUNING]
    assert {"_read", "_gain"} <= set(tuned)
    counted.clear()
    assert run(path, shared, "--workers", "2") == 0
    assert {part for _, part in counted} == {HELD_OUT}  # all else was measured by workers
    assert frontier(shared) == frontier(alone)


def test_a_cut_off_run_of_other_settings_is_refused(configured, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(MeasuringBench, "_gain", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(configured(POLICY), out) == 130
    assert run(configured(POLICY), out, "--power", "0.7") == 2
    assert "another power" in capsys.readouterr().err
    assert run(configured({**POLICY, "attack_success_at_most": 0.7}), out) == 2
    assert "another configuration" in capsys.readouterr().err
    assert not out.exists()


def test_nothing_that_is_chosen_depends_on_the_held_out_text(configured, tmp_path, monkeypatch, counted):
    path = configured(POLICY)
    assert run(path, tmp_path / "plain") == 0
    order = [part for _, part in counted]
    assert order == sorted(order, key=[HELD_OUT, "tuning"].index, reverse=True)  # the held-out part comes last

    def scrambled(assets, chosen):
        part = part_of(assets, chosen)
        if chosen == parts.held_out:
            for document in part.private:
                document[:] = document[::-1]
        return part

    parts = tuning._parts(load_assets(load_configuration(path)), 0.5, None, 0)
    monkeypatch.setattr(tuning, "part_of", scrambled)
    assert run(path, tmp_path / "scrambled") == 0
    plain, other = frontier(tmp_path / "plain"), frontier(tmp_path / "scrambled")
    assert plain["candidates"] == other["candidates"]
    assert plain["chosen"] == other["chosen"]
    assert plain["held_out"]["attacks"] != other["held_out"]["attacks"]


def test_no_candidate_ends_with_code_1_and_names_the_limit(configured, tmp_path, capsys):
    assert run(configured({**POLICY, "attack_success_at_most": 0.02}), tmp_path / "out") == 1
    found = frontier(tmp_path / "out")
    assert (found["chosen"], found["held_out"]) == (None, None)
    assert "would not certify at most 0.02" in found["nearest"]["why"]
    assert not (tmp_path / "out" / "best.yaml").exists()
    assert "No candidate was seen to meet the policy" in capsys.readouterr().out


def test_what_proof_refuses_is_not_measured(configured, tmp_path, counted):
    assert run(configured({"bytes_per_token_at_most": 1.0, "attack_success_at_most": 0.5}), tmp_path / "out") == 1
    assert counted == []
    assert "bytes a token" in frontier(tmp_path / "out")["nearest"]["why"]


def test_a_held_out_part_that_refutes_the_choice_ends_with_code_1(configured, tmp_path, monkeypatch):
    def refuted(base, candidate, bench):
        found = report(base, candidate, bench)
        found["checks"][0]["status"] = "failed"
        return found

    report = tuning.held_out_report
    monkeypatch.setattr(tuning, "held_out_report", refuted)
    assert run(configured(POLICY), tmp_path / "out", "--soft-prompts", "none") == 1
    assert (tmp_path / "out" / "best.yaml").exists()


@pytest.mark.slow
def test_task_accuracy_is_maximised_where_the_policy_asks_for_it(configured, tmp_path):
    """The rating decides the words here, so that a release can tell it better than its commonest class does."""
    words, lines = ("doctor tablet pain week sleep", "sister tired time work head"), ["review,split,rating"]
    for index in range(140):
        good = index // 2 % 2
        text, split = f"{words[good]} {index} {words[good]} {words[good]} {index}", "train" if index < 36 else "test"
        lines.append(f"{text},{split},{('good', 'bad')[good]}")
    (tmp_path / "told.csv").write_text("\n".join(lines) + "\n")
    policy = {"epsilon": {"at_most": 20.0}, "task_accuracy_at_least": 0.1}
    data = {"corpus": str(tmp_path / "told.csv"), "text_column": "review"}
    path = configured(policy, task={"column": "rating"}, data=data)
    assert run(path, tmp_path / "out", "--soft-prompts", "none") == 0
    found = frontier(tmp_path / "out")
    met = [row for row in found["candidates"] if row["status"] in ("chosen", "met")]
    accuracies = [row["others"]["task_accuracy_at_least"]["lower"] for row in met]
    assert found["chosen"]["others"]["task_accuracy_at_least"]["lower"] == max(accuracies)
    epsilon, accuracy, over = (check["limit"] for check in found["held_out"]["checks"])
    assert (epsilon[:7], accuracy) == ("epsilon", "utility: accuracy of the task")
    assert over == f"{accuracy} over its commonest class"


def test_a_task_that_the_release_says_nothing_about_is_not_met(configured, tmp_path):
    policy = {"epsilon": {"at_most": 20.0}, "task_accuracy_at_least": 0.1}
    assert run(configured(policy, task={"column": "rating"}), tmp_path / "out", "--soft-prompts", "none") == 1
    assert {"over its commonest class" in row["why"] for row in frontier(tmp_path / "out")["candidates"]} == {True}


def test_limits_on_slices_are_measured_for_finalists(configured, tmp_path):
    policy = {**POLICY, "slice_success_at_most": {"words 1 to 100": 0.9}}
    assert run(configured(policy), tmp_path / "out", "--soft-prompts", "none") == 0
    for parts in frontier(tmp_path / "out")["chosen"]["slices"].values():
        assert 0 <= parts["words 1 to 100"]["upper"] <= 0.9


def test_limits_on_attackers_who_know_more_are_met_and_reported(configured, tmp_path, counted):
    policy = {"epsilon": {"at_most": EPSILON}, "list_success_at_most": 0.8, "context_success_at_most": 0.8}
    assert run(configured(policy), tmp_path / "out", "--soft-prompts", "none") == 0
    found = frontier(tmp_path / "out")
    chosen = found["chosen"]
    assert all(each["success"]["upper"] <= 0.8 for each in chosen["lists"])
    assert {each["tokens"] for each in chosen["lists"]} == {8, 16, 20}
    assert list(chosen["contexts"]) == ["left", "both sides"]
    assert all(figure["upper"] <= 0.8 for figure in chosen["contexts"].values())
    checks = [check["limit"] for check in found["held_out"]["checks"]]
    assert checks[1:] == ["tokens recovered by who knows the context", "texts picked out of a list"]
    assert len(found["held_out"]["lists"]) == len(chosen["lists"])
    scales = [len({each["scale"] for each in row["scales_tried"]}) for row in found["candidates"]]
    assert counted.count(("_lists", "tuning")) == sum(scales)  # each candidate once
    assert counted.count(("_contexts", HELD_OUT)) == 1


def test_a_limit_on_lists_that_nothing_meets_is_named_and_nothing_dearer_is_measured(configured, tmp_path, counted):
    policy = {"epsilon": {"at_most": EPSILON}, "list_success_at_most": 0.01, "context_success_at_most": 0.8}
    assert run(configured(policy), tmp_path / "out", "--soft-prompts", "none") == 1
    found = frontier(tmp_path / "out")
    assert "texts picked out of a list: out of" in found["nearest"]["why"]
    assert found["nearest"]["lists"]
    assert {kind for kind, _ in counted} == {"_read", "_lists"}


def test_the_context_is_read_with_the_model_that_a_certificate_reads_with(configured, tmp_path, monkeypatch):
    read = []

    def figures(knowledge, sent, *rest):
        read.append(knowledge.language)
        return measure(knowledge, sent.one_a_document(6), *rest)

    measure = system.known_contexts
    monkeypatch.setattr(system, "known_contexts", figures)
    monkeypatch.setattr(AdaptedBeam, "_loss_added", lambda *_: -1.0)
    for attacks in (["baseline", "map"], ["baseline", "map", "adapted-beam"]):
        path = configured({"context_success_at_most": 0.9}, evaluation={**SHORT, "attacks": attacks})
        base = load_configuration(path)
        one = MeasuringBench(base, load_assets(base), "tuning", Run(tmp_path / str(len(attacks)), {}))
        mechanism = base.mechanism.spec()
        channel = DelChannel.of(mechanism.bits, mechanism.dim, mechanism.clip, base.encoder).at(mechanism.scale)
        candidate = Candidate(channel, base.decoder, None)
        assert list(one.contexts(candidate)) == ["left", "both sides"]
        assert one.contexts(candidate) == one.contexts(candidate)
        assert one.lists(candidate) is None
    assert len(read) == 2
    assert read[0] is not read[1]
    assert len({language.record.sha256 for language in read}) == 1


def test_out_of_time_before_anything_is_seen_to_hold_ends_with_code_3_and_goes_on(configured, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(configured(POLICY), out, "--minutes", "1e-9") == 3
    assert not out.exists()
    assert "Out of time" in capsys.readouterr().out
    assert run(configured(POLICY), out) == 0


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        (["--budget", "0"], {}, "budget >= 1"),
        (["--minutes", "0"], {}, "minutes > 0"),
        (["--finalists", "0"], {}, "finalists >= 1"),
        (["--power", "1"], {}, "power in (0, 1)"),
        (["--tuning-share", "0"], {}, "tuning-share"),
        (["--tuning-share", "0.001"], {}, "tuning part of 4 documents"),
        (["--group", "nobody"], {}, "nobody"),
        (["--bits", "9"], {}, "bits in 1..8"),
        (["--bits", "two"], {}, "bits to be a whole number"),
        (["--decoders", "crystal-ball"], {}, "decoders"),
        (["--soft-prompts", "no-such-folder"], {}, "no-such-folder"),
        (["--space", "no-such-file.yaml"], {}, "no-such-file.yaml"),
        (
            [],
            {"policy": {"attribute_advantage_at_most": 0.5}, "attribute": {"column": "rating"}},
            "the least noise would win",
        ),
        ([], {"evaluation": {"response_tokens": 236}}, "256 tokens or more to choose on"),
        ([], {"model": "no-such-model"}, "no-such-model"),
        (["--dim", "12,33"], {}, "dim <= 32, the embedding's width, got dim=33"),
        (["--decoders", "linear,trained-linear"], {}, "needs encoder.projection"),
        ([], {"policy": {**POLICY, "prompt_tokens": 240}, "evaluation": SHORT}, "to choose on"),
        ([], {"policy": {**POLICY, "slice_success_at_most": {"words 1 to 99": 0.5}}}, "slice_success_at_most among"),
        ([], {"evaluation": {**SHORT, "generated_tokens": 240}}, "got 1 + 20 + 240 = 261"),
        (
            [],
            {"evaluation": {**SHORT, "attacks": ["baseline", "map", "inference"], "masked_lm": "no-such-mask"}},
            "no-such-mask",
        ),
    ],
)
def test_what_does_not_fit_ends_with_code_2_and_one_line(configured, tmp_path, capsys, counted, options, changes, said):
    assert run(configured(**{"policy": POLICY, **changes}), tmp_path / "out", *options) == 2
    assert counted == []
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_an_encoder_that_is_not_there_is_refused(configured, tmp_path, capsys):
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump({"encoders": [{"codes": str(tmp_path / "none.safetensors")}]}))
    assert run(configured(POLICY), tmp_path / "out", "--space", str(space)) == 2
    assert "none.safetensors" in capsys.readouterr().err


def test_an_out_that_exists_is_refused(configured, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="does not exist yet"):
        tuning.tune(configured(POLICY), tmp_path / "out")
