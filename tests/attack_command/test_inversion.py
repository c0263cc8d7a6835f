"""`del-audit attack inversion` from the command line to its files: figures, resumption, refusals."""

import csv
import json

import numpy as np
import pytest
from transformers import AutoTokenizer

from attacks.inversion import CommonestWord, CosineNeighbour, MaximumAPosteriori
from attacks.inversion.language_prior import BeamAttacker
from attacks.outcome import Outcome
from del_audit.attack.scene import PLANTED_TOKENS, Scene
from del_audit.configuration.configuration import load_configuration
from del_audit.evidence.inversion import readers
from mechanisms.quantizer import StochasticQuantizer, level_thresholds


def read(folder):
    return json.loads((folder / "result.json").read_text())


def figures(value):
    """Yields every measured figure of a result."""
    if isinstance(value, dict):
        if {"value", "lower", "upper"} <= value.keys():
            yield value
        for part in value.values():
            yield from figures(part)
    elif isinstance(value, list):
        for part in value:
            yield from figures(part)


@pytest.fixture(scope="module")
def truths(tiny_lm_folder, reviews):
    """The first 16 tokens of the first 20 private reviews, read here from the file."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_lm_folder)
    with reviews.open() as stream:
        texts = [row["text"] for row in csv.DictReader(stream) if row["split"] == "test"]
    return [tokenizer(text).input_ids[:16] for text in texts[:20]]


def test_figures_outcomes_and_table(attack, tmp_path, truths, capsys):
    assert attack("inversion", "--plant") == 0
    printed = capsys.readouterr().out
    found = read(tmp_path / "out")
    assert [row["key"] for row in found["attacks"]] == ["baseline", "cosine", "map", "beam"]
    assert (found["prompts"], found["documents"]) == (20, 20)
    for figure in figures(found):
        assert figure["kind"] == "estimated, with interval"
        assert figure["lower"] <= figure["value"] <= figure["upper"]
        assert figure["unit"]
        assert figure["method"]
        assert figure["confidence"] == 0.95
    for row in found["attacks"]:
        outcome = Outcome.read(tmp_path / "out" / "outcomes" / f"{row['key']}.parquet")
        assert row["success"]["value"] == outcome.hits.mean()
        assert row["metrics"]["hit@10"]["attack"]["value"] == outcome.within(10).mean()
        assert row["worst_prompt"]["value"] == max(outcome.hits[outcome.prompt == i].mean() for i in range(20))
        assert {"names", "numbers", "planted identifiers", "rare words"} <= row["slices"].keys()
        assert row["identifiers"]["planted: identifiers"]["tokens"] == 20
        planted = [row["identifiers"][f"planted: {name}"] for name in ("identifiers", "documents")]
        near = [row["identifiers"][f"planted: {name}, within one edit"] for name in ("identifiers", "documents")]
        for exact, edited in zip(planted, near, strict=True):
            assert exact["success"]["value"] <= edited["success"]["value"]
            assert exact["documents"] == edited["documents"] == 20
        assert near[1]["success"]["sample_unit"] == "documents"
        assert {"ROUGE-L", "BLEU", "sentence cosine", "word cosine"} <= row["metrics"].keys()
        assert f"{row['success']['value']:.1%}" in printed
        assert row["name"] in printed
    assert found["strongest"]["figure"]["documents"] == 10
    assert found["strongest"]["method"] == "holdout"
    assert found["allowed"]["kind"] == "proved"
    assert found["broken"] == []
    assert set(found["self_tests"]) == {"cosine", "map", "beam"}
    assert len(found["hashes"]["encoder"]) == len(found["hashes"]["spec"]) == 64
    assert found["versions"]["torch"]
    assert found["commit"]
    passed = "Self-tests: 3 of 3 attacks passed"
    for said in ("(estimate)", "(proved)", "identifiers, whole", "one within one edit", passed, "Strongest"):
        assert said in printed
    assert not (tmp_path / "out.partial").exists()


def test_prompts_are_the_private_splits_own(attack, tmp_path, truths):
    assert attack("inversion", "--no-text-metrics", "--no-self-tests", "--attacks", "map") == 0
    outcome = Outcome.read(tmp_path / "out" / "outcomes" / "map.parquet")
    assert outcome.truth.tolist() == [token for prompt in truths for token in prompt]
    assert outcome.documents == tuple(str(36 + index) for index in range(20))
    found = read(tmp_path / "out")
    assert [row["key"] for row in found["attacks"]] == ["baseline", "map"]
    assert "BLEU" not in found["attacks"][1]["metrics"]
    assert found["self_tests"] == {}


@pytest.mark.parametrize(("count", "each"), [(None, 1), (24, 1), (25, 2), (50, 3)])
@pytest.mark.parametrize("planting", [False, True])
def test_how_long_a_document_can_be_is_known_before_its_length(configured, count, each, planting):
    sent = Scene.of(load_configuration(configured())).prompts(count, 8, planting)
    assert (sent.prompts_each, sent.longest) == (each, each * sent.prompt_tokens)
    assert sent.prompt_tokens == (8 + PLANTED_TOKENS if planting else 8)
    assert max(map(len, sent.prompts)) <= sent.prompt_tokens
    assert max(sent.units.count(name) for name in sent.units) <= each


def test_a_killed_run_goes_on_without_repeating(attack, tmp_path, monkeypatch, capsys):
    options = ("--no-text-metrics", "--no-self-tests", "--attacks", "map,beam")
    right, calls = BeamAttacker.guess, []

    def killed(self, messages):
        calls.append(len(messages))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return right(self, messages)

    monkeypatch.setattr(BeamAttacker, "guess", killed)
    assert attack("inversion", *options) == 130
    assert calls == [16, 4]
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()

    made, invert, fits, fit = [], readers.invert, [], MaximumAPosteriori.fit

    def counted(one, attacker, messages, *others):
        made.append((one.name, len(messages)))
        return invert(one, attacker, messages, *others)

    monkeypatch.setattr(readers, "invert", counted)
    monkeypatch.setattr(MaximumAPosteriori, "fit", lambda self, public: fits.append(self) or fit(self, public))
    assert attack("inversion", *options) == 0
    assert made == [("beam search, language model", 4)]
    assert fits == []
    monkeypatch.undo()
    assert attack("inversion", *options, out="whole") == 0
    assert read(tmp_path / "out") == read(tmp_path / "whole")
    for name in ("baseline", "map", "beam"):
        kept, whole = (Outcome.read(tmp_path / run / "outcomes" / f"{name}.parquet") for run in ("out", "whole"))
        assert kept.guess.tolist() == whole.guess.tolist()
        np.testing.assert_array_equal(kept.truth_score, whole.truth_score)


def test_two_workers_read_what_one_reads(attack, tmp_path, monkeypatch):
    options = ("--attacks", "map,beam", "--prompts", "20", "--no-text-metrics")
    assert attack("inversion", *options, out="alone") == 0
    monkeypatch.setattr(readers.AttackReader, "read", lambda *_: pytest.fail("read by the command itself"))
    assert attack("inversion", *options, "--workers", "2", out="shared") == 0
    alone, shared = (read(tmp_path / name) for name in ("alone", "shared"))
    assert shared["attacks"] == alone["attacks"]
    assert shared["self_tests"] == alone["self_tests"]
    files = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*"))
        for name in ("alone", "shared")
    ]
    assert files[0] == files[1]


def test_another_runs_partial_folder_is_refused(attack, configured, tmp_path, monkeypatch, capsys):
    def killed(self, messages):
        raise KeyboardInterrupt

    monkeypatch.setattr(BeamAttacker, "guess", killed)
    assert attack("inversion", "--no-self-tests") == 130
    monkeypatch.undo()
    left = sorted(path.name for path in (tmp_path / "out.partial").rglob("*"))
    for options, changes, named in [
        ((), {"mu": 6.0}, "spec hash"),
        (("--seed", "1"), {}, "seed"),
        (("--prompts", "10"), {}, "prompts"),
        (("--plant",), {}, "planted"),
        (("--attacks", "map"), {}, "attacks"),
    ]:
        assert attack("inversion", "--no-self-tests", *options, config=configured(**changes)) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert named in said
        assert "out.partial" in said
        assert "another --out" in said
    assert sorted(path.name for path in (tmp_path / "out.partial").rglob("*")) == left


def test_an_attack_that_fails_its_self_test_is_not_used(attack, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(CosineNeighbour, "fit", lambda self, public: CommonestWord().fit(public))
    assert attack("inversion", "--no-text-metrics", "--attacks", "cosine,map") == 0
    found = read(tmp_path / "out")
    assert [row["key"] for row in found["attacks"]] == ["baseline", "map"]
    assert [test["attack"] for test in found["unusable"]] == [CosineNeighbour().name]
    printed = capsys.readouterr().out
    assert f"Unusable: {CosineNeighbour().name}" in printed
    assert "without noise" in printed


def test_a_release_without_noise_is_called_broken(attack, configured, tmp_path, monkeypatch, capsys):
    def rounded(self, levels, source):
        return np.rint(level_thresholds(self.spec)[levels] / 2**32 * self.spec.trials).astype(np.uint8)

    monkeypatch.setattr(StochasticQuantizer, "sample", rounded)
    options = ("--no-text-metrics", "--no-self-tests", "--attacks", "map", "--prompt-tokens", "64")
    assert attack("inversion", *options, config=configured(mu=2.0)) == 1
    assert MaximumAPosteriori().name in read(tmp_path / "out")["broken"]
    assert "BROKEN" in capsys.readouterr().out


def test_a_model_that_sees_what_follows_is_refused(attack, configured, tiny_lm_folder, tmp_path, capsys):
    from transformers import BertConfig, BertLMHeadModel

    folder = tmp_path / "bert"
    AutoTokenizer.from_pretrained(tiny_lm_folder).save_pretrained(folder)
    small = {"vocab_size": 384, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(**small, intermediate_size=64, bos_token_id=0, max_position_embeddings=256)
    BertLMHeadModel(config).save_pretrained(folder)
    assert attack("inversion", "--attacks", "beam", config=configured(model=str(folder))) == 2
    assert "BertLMHeadModel, whose tokens see those that follow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--attacks", "map,telepathy"), "got 'telepathy'"),
        (("--attacks", "map,map"), "without repetition"),
        (("--attacks", "map", "--masked-lm", "some/model"), "--masked-lm with the attack inference only"),
        (("--prompts", "1"), "prompts >= 2"),
        (("--prompts", "100000"), "prompts <= "),
        (("--prompts", "many"), "whole number"),
        (("--prompt-tokens", "0"), "prompt-tokens >= 1"),
        (("--prompt-tokens", "256"), "prompt-tokens <= 255"),
        (("--seed", "-1"), "seed >= 0"),
        (("--turns", "3"), "unrecognized"),
    ],
)
def test_what_a_user_can_mend_ends_with_code_2_and_one_line(attack, tmp_path, capsys, options, said):
    assert attack("inversion", *options) == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_result_is_never_overwritten(attack, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert attack("inversion") == 2
    assert "does not exist yet" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_prompts_are_of_each_author_first_where_the_configuration_names_them(configured, reviews):
    data = {"corpus": str(reviews), "text_column": "text", "group_column": "author"}
    scene = Scene.of(load_configuration(configured(data=data)))
    sent = scene.prompts(24, None)
    assert len(set(sent.units)) == 12
    assert sent.units[:12] == sent.units[12:] == list(dict.fromkeys(scene.assets.private_groups))
    assert len(set(map(tuple, sent.prompts))) == 24
