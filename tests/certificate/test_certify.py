"""The whole path on a tiny random model: release, attacks, utility, verdict, files, exit codes."""

import csv
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from made_up import some_words
from safetensors.numpy import save_file

from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from del_audit.service.assets import load_assets
from mechanisms.encoder_file import load_encoder
from mechanisms.models import LanguageModel
from mechanisms.quantizer import StochasticQuantizer, level_thresholds
from mechanisms.randomness import simulation_generator
from mechanisms.wide_products import has_products

sys.path.insert(0, str(Path(__file__).parents[1] / "mechanisms"))
from families import tiny_models

PROBES = {"attribute": {"column": "condition", "classes": 2}, "task": {"column": "rating"}}
"""Added where a test is of the probes: they take most of a run's time."""


QUICK = {"attacks": ["baseline", "map"], "attacked_tokens": 200, "prompts": 6, "response_tokens": 8}
QUICK |= {"generations": 2, "generated_tokens": 3}
"""For tests of what stands around the attacks."""
SMALL = {**{key: value for key, value in QUICK.items() if key != "attacks"}, "attacked_tokens": 1_000}
"""Every default attack, at no other number of bits."""


@pytest.fixture
def configured(tiny_lm_folder, tiny_bert_folder, reviews, tmp_path):
    def write(mu=5.0, policy=None, **changes):
        content = {
            "name": "tiny",
            "model": str(tiny_lm_folder),
            "sentence_encoder": str(tiny_bert_folder),
            "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": mu},
            "data": {"corpus": str(reviews), "text_column": "text"},
            "evaluation": {
                "attacked_tokens": 1_000,
                "prompts": 6,
                "response_tokens": 8,
                "generations": 2,
                "generated_tokens": 3,
                "other_bits": [1],
                "other_prompts": 4,
            },
            "policy": {
                "prompt_tokens": 12,
                **(policy or {"attack_success_at_most": 0.9, "bytes_per_token_at_most": 9.0}),
            },
            **changes,
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def test_a_leaking_configuration_is_refused_and_says_why(configured, tmp_path):
    policy = {"attack_success_at_most": 0.15, "epsilon": {"at_most": 12.0}, "bytes_per_token_at_most": 5.0}
    assert main(["certify", str(configured(mu=400.0, policy=policy)), "--out", str(tmp_path / "out")]) == 1
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert certificate["verdict"] == "refused"
    failed = {check["limit"].split(" (")[0] for check in certificate["checks"] if check["status"] == "failed"}
    assert failed == {"strongest attack", "epsilon of a token", "bytes per token"}
    assert len(certificate["reasons"]) == 3
    assert all(any(reason.startswith(name) for name in failed) for reason in certificate["reasons"])


def test_a_release_without_noise_proves_the_implementation_broken(configured, tmp_path, monkeypatch):
    def rounded(self, levels, source):
        return np.rint(level_thresholds(self.spec)[levels] / 2**32 * self.spec.trials).astype(np.uint8)

    monkeypatch.setattr(StochasticQuantizer, "sample", rounded)
    policy = {"attack_success_at_most": 0.999}
    assert main(["certify", str(configured(mu=2.0, policy=policy)), "--out", str(tmp_path / "out")]) == 1
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert "The implementation is broken" in certificate["reasons"][0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mechanism": {"bits": 4, "dim": 33, "mu": 5.0}}, "dim <= 32, the embedding's width, got dim=33"),
        ({"model": "no-such-folder"}, "no-such-folder"),
        ({"soft_prompt": "shipped:none"}, "shipped:none"),
        ({"soft_prompt": "shipped:smollm2-reviews"}, "another model"),
        ({"attribute": {"column": "colour"}}, "colour"),
        ({"policy": {"bytes_per_token_at_most": 9.0}}, "it would certify any leak"),
        (
            {"evaluation": {"prompts": 500, "generations": 2, "other_prompts": 2, "response_tokens": 8}},
            "evaluation.prompts",
        ),
    ],
)
def test_what_does_not_fit_ends_with_code_2_and_one_line(configured, tmp_path, capsys, changes, said):
    assert main(["certify", str(configured(**changes)), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not list((tmp_path / "out").glob("*"))


def test_an_attack_that_may_stop_early_has_an_interval_that_allows_it_and_no_figure_of_slices(configured, tmp_path):
    path = configured(policy={"attack_success_at_most": 0.9})
    content = yaml.safe_load(path.read_text())
    content["evaluation"]["stop_early"] = True
    path.write_text(yaml.safe_dump(content))
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 0
    attacks = json.loads((tmp_path / "out" / "certificate.json").read_text())["inversion"]["attacks"]
    beam = next(attack for attack in attacks if attack["key"] == "adapted-beam")
    assert beam["success"]["method"] == "betting confidence sequence"
    assert beam["success"]["documents"] == 16  # one batch of the 24 decides so high a limit
    assert (beam["rare"], beam["meaning"], beam["meaning_above"]) == (None, None, None)
    assert {part["success"] for part in beam["slices"]} == {None}
    assert (beam["worst_prompt"]["lower"], beam["worst_prompt"]["upper"]) == (0, 1)
    single = next(attack for attack in attacks if attack["key"] == "map")
    assert single["success"]["sample"] == 1_000
    assert "sequence" not in single["success"]["method"]
    assert single["meaning"]["value"] >= single["success"]["value"]
    assert single["meaning"]["sample"] == 1_000


def test_a_ladder_without_a_default_attack_is_warned_of(configured, tmp_path, capsys):
    content = yaml.safe_load(configured().read_text())
    content["evaluation"].update(attacks=["baseline", "map", "cosine"], attacked_tokens=100, other_bits=[])
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(content))
    main(["certify", str(tmp_path / "few.yaml"), "--out", str(tmp_path / "out")])
    assert "lacks code, likelihood, adapted-beam, which full assurance requires" in capsys.readouterr().err
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert certificate["verdict"] == "inconclusive"
    assert certificate["reasons"][0].startswith("attacks of full assurance: ")
    assert main(["verify", str(tmp_path / "out" / "certificate.json")]) == 1
    assert "code was not run; likelihood was not run; adapted-beam was not run" in capsys.readouterr().out


def test_one_class_is_refused(configured, tmp_path, capsys, reviews):
    single = tmp_path / "single.csv"
    single.write_text(reviews.read_text().replace(",pain,", ",sleep,"))
    path = configured(data={"corpus": str(single)}, attribute=PROBES["attribute"])
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "two classes or more" in capsys.readouterr().err


def test_json_alone_goes_to_standard_output(configured, tmp_path, capsys):
    policy = {"assurance": "quick", "attack_success_at_most": 0.9}
    path = configured(policy=policy, evaluation=QUICK)
    assert main(["certify", str(path), "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert "CERTIFIED" in printed.err


def test_a_soft_prompt_is_trained_on_public_text_and_then_certified(configured, tmp_path, capsys):
    folder = tmp_path / "prompt"
    command = ["train", "prompt", str(configured()), "--out", str(folder), "--steps", "2"]
    assert main(command) == 0
    card = json.loads((folder / "card.json").read_text())
    assert (card["data"]["split"], card["data"]["documents"]) == ("train", 36)
    assert card["spec"]["dim"] == 12
    policy = {"assurance": "quick", "attack_success_at_most": 0.9}
    path = configured(policy=policy, evaluation=QUICK, soft_prompt=str(folder))
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 0
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert certificate["soft_prompt"] == card
    assert len(certificate["hashes"]["soft_prompt"]) == 64
    assert main(command) == 2
    assert "does not exist yet" in capsys.readouterr().err
    assert json.loads((folder / "card.json").read_text()) == card


@pytest.mark.parametrize("steps", ["0", "-3", "many"])
def test_bad_steps_end_with_code_2(configured, tmp_path, capsys, steps):
    command = ["train", "prompt", str(configured()), "--out", str(tmp_path / "prompt"), f"--steps={steps}"]
    assert main(command) == 2
    assert "steps" in capsys.readouterr().err
    assert not (tmp_path / "prompt").exists()


def test_one_column_may_be_attribute_and_task(configured, tmp_path):
    columns = {"attribute": {"column": "condition", "classes": 2}, "task": {"column": "condition"}}
    policy = {"assurance": "quick", "attack_success_at_most": 0.9}
    path = configured(policy=policy, evaluation=QUICK, **columns)
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 0
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert certificate["attribute"]["column"] == certificate["utility"]["task"]["column"] == "condition"


@pytest.fixture
def adapter(tmp_path):
    """A soft prompt of two vectors without a card, as PEFT writes it, with changes of its configuration."""

    def make(**changes):
        folder = tmp_path / "prompt"
        folder.mkdir(exist_ok=True)
        save_file({"prompt_embeddings": np.zeros((2, 32), np.float32)}, folder / "adapter_model.safetensors")
        config = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 2, "token_dim": 32}
        (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))
        return folder

    return make


def test_a_soft_prompt_of_another_mechanism_is_warned_of(configured, adapter, tiny_lm_folder, capsys):
    folder = adapter(base_model_name_or_path=str(tiny_lm_folder))
    spec = load_configuration(configured(mu=5.0)).mechanism.spec()
    (folder / "card.json").write_text(json.dumps({"spec": spec.to_dict()}))
    load_assets(load_configuration(configured(mu=5.0, soft_prompt=str(folder))))
    assert "warning" not in capsys.readouterr().err
    load_assets(load_configuration(configured(mu=6.0, soft_prompt=str(folder))))
    printed = capsys.readouterr()
    assert f"del-audit: warning: soft_prompt={str(folder)!r} was trained for" in printed.err
    assert printed.out == ""


def test_the_sentence_encoder_is_loaded_where_the_language_model_is(configured, monkeypatch):
    asked = []
    monkeypatch.setattr("del_audit.service.assets.load_sentence_encoder", lambda *given: asked.append(given))
    configuration = load_configuration(configured())
    monkeypatch.setattr(LanguageModel, "device", property(lambda _self: "cpu:0"))
    load_assets(configuration)
    assert asked == [(configuration.sentence_encoder, "cpu:0")]


def test_a_soft_prompt_that_names_no_model_is_warned_of(configured, adapter, capsys):
    folder = adapter()
    load_assets(load_configuration(configured(soft_prompt=str(folder))))
    assert f"del-audit: warning: soft_prompt={str(folder)!r} does not say which model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "MULTITASK_PROMPT_TUNING"}, "got 'MULTITASK_PROMPT_TUNING'"),
        ({"base_model_name_or_path": "org/another"}, "got base_model_name_or_path='org/another'"),
    ],
)
def test_an_adapter_that_is_not_its_vectors_or_of_this_model_ends_with_code_2(
    configured, adapter, tmp_path, capsys, changes, reason
):
    path = configured(soft_prompt=str(adapter(**changes)))
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert reason in told
    assert "soft_prompt=" in told
    assert not (tmp_path / "out").exists()


def certified(path, out, code=0):
    """Returns the certificate that certifying a configuration makes."""
    assert main(["certify", str(path), "--out", str(out)]) == code
    return json.loads((out / "certificate.json").read_text())


def test_guarantees_and_attacks_are_taken_at_the_sends_of_the_policy(configured, tmp_path):
    """A text that is sent four times: four times the trials, and attacks that hold all four releases."""
    limits = {"attack_success_at_most": 0.999, "epsilon": {"at_most": 100.0}}
    one, four = (
        certified(
            configured(mu=3.0, policy={**limits, "sends": sends}, attribute=PROBES["attribute"], evaluation=SMALL),
            tmp_path / str(sends),
        )
        for sends in (1, 4)
    )
    for name in ("token", "phrase", "prompt"):
        (once,), (often,) = ([g for g in c["guarantees"] if g["unit"] == name] for c in (one, four))
        assert (once["sends"], often["sends"], often["trials"]) == (1, 4, 4 * once["trials"])
        assert often["epsilon"]["lower"] > once["epsilon"]["upper"]
    read = [
        {attack["key"]: attack["success"]["value"] for attack in certificate["inversion"]["attacks"]}
        for certificate in (one, four)
    ]
    assert read[1]["map"] > read[0]["map"]
    assert read[1]["adapted-beam"] > read[0]["adapted-beam"]
    assert four["inversion"]["sends"] == 4
    assert four["inversion"]["allowed"]["upper"] > one["inversion"]["allowed"]["upper"]
    assert one["curve"]["exact"][100] > four["curve"]["exact"][100]
    assert four["attribute"]["advantage"]["value"] >= 0
    assert main(["verify", str(tmp_path / "4" / "certificate.json")]) == 0


def test_the_worst_prompt_is_decided_by_repeated_releases(configured, tmp_path):
    """One release of a prompt could never pass below .975 where an attack reads contexts."""
    policy = {"attack_success_at_most": 0.999, "worst_prompt_success_at_most": 0.9}
    path = configured(mu=2.0, policy=policy)
    content = yaml.safe_load(path.read_text())
    content["evaluation"].update(worst_prompts=3, worst_releases=40, other_bits=[])
    path.write_text(yaml.safe_dump(content))
    certificate = certified(path, tmp_path / "out")
    for attack in certificate["inversion"]["attacks"]:
        worst = attack["worst_of_releases"]
        assert worst["success"]["sample"] == 40
        success = worst["success"]
        assert worst["above"] <= success["lower"] <= success["value"] <= success["upper"] < 0.975
    (check,) = (check for check in certificate["checks"] if check["limit"] == "worst prompt")
    assert check["status"] == "passed"


def test_nobody_of_the_private_split_is_in_the_public_one(configured, tmp_path, capsys):
    """Rows of one author: intervals count authors, and public rows of private authors are removed."""
    generator, path = simulation_generator(1, "authors"), tmp_path / "authors.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "split", "condition", "author"])
        for index in range(120):
            split, author = ("train", index % 40) if index < 80 else ("test", 30 + index % 20)
            writer.writerow([some_words(generator), split, ("sleep", "pain")[author % 2], f"a{author}"])
    data = {"corpus": str(path), "text_column": "text", "group_column": "author"}
    changed = configured(data=data, attribute=PROBES["attribute"])
    certificate = certified(changed, tmp_path / "out")
    assert "20 of 80 public rows removed" in capsys.readouterr().err
    assert certificate["configuration"]["data"]["group_column"] == "author"
    for attack in certificate["inversion"]["attacks"]:
        assert attack["success"]["documents"] == 20
    assert certificate["attribute"]["accuracy"]["sample"] == 20
    command = ["verify", str(tmp_path / "out" / "certificate.json"), "--against", str(changed)]
    assert main(command) == 0


def test_attempts_are_counted_whatever_the_configuration_and_chained(configured, tmp_path, monkeypatch):
    state = tmp_path / "state"
    monkeypatch.setenv("DEL_AUDIT_STATE", str(state))
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path / "config"))
    content = yaml.safe_load(configured().read_text())
    content["evaluation"].update(attacked_tokens=100, other_bits=[])
    found = []
    for run, mu in enumerate((5.0, 4.0)):
        content["mechanism"]["mu"] = mu
        (tmp_path / "few.yaml").write_text(yaml.safe_dump(content))
        main(["certify", str(tmp_path / "few.yaml"), "--out", str(tmp_path / str(run))])
        data = (tmp_path / str(run) / "certificate.json").read_bytes()
        found.append((json.loads(data)["attempts"], hashlib.sha256(data).hexdigest(), json.loads(data)["seed"]))
    (first, sha, seed), (second, _, again) = found
    assert (first["count"], first["previous"]) == (1, None)
    assert (second["count"], second["previous"]) == (2, sha)
    assert seed == again  # the policy and the people are the same
    (state / "attempts.sqlite").unlink()
    main(["certify", str(tmp_path / "few.yaml"), "--out", str(tmp_path / "third")])
    certificate = json.loads((tmp_path / "third" / "certificate.json").read_text())
    assert certificate["attempts"]["count"] is None
    assert certificate["error_rate"]["over_all_attempts_at_most"] is None


@pytest.mark.slow
def test_learned_codes_behind_the_language_prior_are_certified(configured, tmp_path):
    options = ("--steps", "2", "--window", "30", "--shortest-prompt", "8", "--shortest-response", "8")
    folder = tmp_path / "codes"
    assert main(["train", "codes", str(configured()), "--out", str(folder), *options, "--virtual-tokens", "3"]) == 0
    trained = {"encoder": {"codes": str(folder / "encoder.safetensors")}, "soft_prompt": str(folder)}
    config = configured(**trained, decoder="language-prior")
    assert main(["certify", str(config), "--out", str(tmp_path / "out")]) == 0
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert certificate["configuration"]["decoder"] == "language-prior"
    assert certificate["hashes"]["encoder"] == load_encoder(folder / "encoder.safetensors")[0].sha256


def test_one_run_reads_the_model_once_and_names_the_device(configured, tiny_lm_folder, tmp_path, monkeypatch, capsys):
    """Of an architecture whose embeddings have a scale, in another format than the configuration's."""
    from transformers import AutoModelForCausalLM

    asked, real = [], AutoModelForCausalLM.from_pretrained

    def counted(*args, **kinds):
        asked.append(kinds["dtype"])
        return real(*args, **kinds)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    folder = tiny_models.write("gemma2", tiny_lm_folder, tmp_path / "gemma")
    path = configured(model=str(folder), evaluation=QUICK, device="cpu")
    out, options = tmp_path / "out", ["--dtype", "bfloat16", "--device", "cpu"]
    assert main(["certify", str(path), "--out", str(out), *options]) == 3
    assert asked == [torch.bfloat16]
    certificate = json.loads((out / "certificate.json").read_text())
    wide = "" if has_products(torch.bfloat16) else " (16-bit products in float32)"
    assert certificate["versions"]["device"] == f"cpu{wide}"
    assert certificate["configuration"]["dtype"] == "bfloat16"
    assert not {"device", "device_map", "max_memory"} & set(certificate["configuration"])
    capsys.readouterr()
    found = []
    for given in ([], options):
        main(["verify", str(out / "certificate.json"), "--no-recompute", "--against", str(path), *given, "--json"])
        found.append({step["name"]: step["status"] for step in json.loads(capsys.readouterr().out)["steps"]})
    assert found[0]["configuration"] == "failed"
    assert {found[1][name] for name in ("configuration", "model", "tokenizer", "encoder")} == {"passed"}
