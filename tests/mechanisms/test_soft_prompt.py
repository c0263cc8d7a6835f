import copy
import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from mechanisms import soft_prompt as soft_prompt_module
from mechanisms.adapter_config import CONFIG_FILE
from mechanisms.continuation import embed
from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256
from mechanisms.soft_prompt import (
    CARD_FILE,
    WEIGHTS_FILE,
    load_soft_prompt,
    mechanism_warning,
    model_warning,
    save_soft_prompt,
)
from mechanisms.spec import QuantizerSpec

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own

WIDTH = 32
VIRTUAL = 5
VIRTUAL_TOKENS = {"num_virtual_tokens": VIRTUAL}


@pytest.fixture
def made(language, tmp_path):
    """Makes an adapter as PEFT itself writes it, with numbers that are all its own: `made("LoraConfig", r=2)`."""
    import peft

    def make(kind, **settings):
        settings = {"task_type": "CAUSAL_LM", **settings}
        tuned = peft.get_peft_model(copy.deepcopy(language.model), getattr(peft, kind)(**settings))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in tuned.parameters():
                if parameter.requires_grad:
                    parameter.normal_(generator=generator)
        tuned.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter"

    return make


@pytest.fixture
def adapter(made):
    """A prompt-tuning adapter."""
    return made("PromptTuningConfig", **VIRTUAL_TOKENS)


def test_an_adapter_gives_its_vectors_card_and_hash(adapter):
    prompt = load_soft_prompt(str(adapter), WIDTH)
    assert prompt.name == str(adapter)
    assert prompt.vectors.dtype == torch.float32
    assert torch.equal(prompt.vectors, load_file(adapter / WEIGHTS_FILE)["prompt_embeddings"])
    assert prompt.vectors.shape == (VIRTUAL, WIDTH)
    assert prompt.card == {}
    (adapter / CARD_FILE).write_text(json.dumps({"data": "test"}))
    again = load_soft_prompt(str(adapter), WIDTH)
    assert again.card == {"data": "test"}
    assert again.sha256 == prompt.sha256


CPT = {"cpt_token_ids": [1, 2, 3, 4, 5], "cpt_mask": [1] * 5, "cpt_tokens_type_mask": [1, 2, 2, 3, 4]}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("PromptTuningConfig", VIRTUAL_TOKENS),
        ("PromptEncoderConfig", {**VIRTUAL_TOKENS, "encoder_hidden_size": 16}),
        ("CPTConfig", CPT),
    ],
)
def test_plain_peft_gives_the_logits_of_our_concatenation(language, made, kind, settings):
    from peft import PeftModel

    adapter = made(kind, **settings)
    tokens = [5, 80, 81, 200, 7]
    peft = PeftModel.from_pretrained(copy.deepcopy(language.model), adapter)
    vectors = load_soft_prompt(str(adapter), WIDTH).vectors
    with torch.no_grad():
        theirs = peft(input_ids=torch.tensor([tokens])).logits
        ours = language.model(inputs_embeds=torch.cat([vectors, embed(language.model, tokens)])[None]).logits
        without = language.model(input_ids=torch.tensor([tokens])).logits
    assert theirs.shape == ours.shape == (1, VIRTUAL + len(tokens), 384)
    assert torch.allclose(theirs, ours, atol=1e-5)
    assert (ours[:, VIRTUAL:] - without).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("MultitaskPromptTuningConfig", {**VIRTUAL_TOKENS, "num_tasks": 2}, "peft_type.*got 'MULTITASK_PROMPT_TUNING'"),
        ("PrefixTuningConfig", VIRTUAL_TOKENS, "peft_type.*got 'PREFIX_TUNING'"),
        ("LoraConfig", {"target_modules": ["q_proj"]}, "peft_type.*got 'LORA'"),
        ("IA3Config", {"target_modules": ["q_proj"], "feedforward_modules": []}, "peft_type.*got 'IA3'"),
        (
            "PromptTuningConfig",
            {**VIRTUAL_TOKENS, "task_type": "FEATURE_EXTRACTION"},
            "task_type.*'CAUSAL_LM', got 'FEATURE_EXTRACTION'",
        ),
        ("PromptTuningConfig", {**VIRTUAL_TOKENS, "num_transformer_submodules": 2}, "submodules.*1 or null, got 2"),
        (
            "PromptTuningConfig",
            {**VIRTUAL_TOKENS, "modules_to_save": ["lm_head"]},
            r"modules_to_save.*got \['lm_head'\]",
        ),
    ],
)
def test_an_adapter_of_which_peft_makes_something_else_is_refused(made, kind, settings, reason):
    adapter = made(kind, **settings)
    with pytest.raises(UserError, match=f"soft_prompt='{adapter}'.*{reason.split('.*', 1)[1]}.*Train a soft") as told:
        load_soft_prompt(str(adapter), WIDTH)
    assert reason.split(".*")[0] in str(told.value)
    assert "\n" not in str(told.value)


def test_a_multitask_adapter_is_not_its_stored_vectors_for_peft(language, made):
    from peft import PeftModel

    adapter = made("MultitaskPromptTuningConfig", **VIRTUAL_TOKENS, num_tasks=2)
    stored = load_file(adapter / WEIGHTS_FILE)["prompt_embeddings"]
    peft = PeftModel.from_pretrained(copy.deepcopy(language.model), adapter)
    with torch.no_grad():
        used = peft.get_prompt(1, task_ids=torch.tensor([0]))[0]
    assert used.shape == stored.shape
    assert (used - stored).abs().max() > 0.1


def test_tensors_that_peft_would_use_as_well_are_refused(language, adapter):
    from peft import PeftModel

    vectors, head = load_file(adapter / WEIGHTS_FILE)["prompt_embeddings"], language.model.lm_head.weight
    save_file(
        {"prompt_embeddings": vectors, "base_model.lm_head.weight": torch.zeros_like(head)}, adapter / WEIGHTS_FILE
    )
    peft = PeftModel.from_pretrained(copy.deepcopy(language.model), adapter)
    assert not peft.base_model.lm_head.weight.any()  # PEFT replaces the model's own
    with pytest.raises(UserError, match=r"prompt_embeddings and nothing else, got \['base_model\.lm_head\.weight'"):
        load_soft_prompt(str(adapter), WIDTH)


def test_hash_follows_the_vectors(adapter):
    before = load_soft_prompt(str(adapter), WIDTH).sha256
    vectors = load_file(adapter / WEIGHTS_FILE)["prompt_embeddings"].clone()
    vectors[0, 0] += 1e-3
    save_file({"prompt_embeddings": vectors}, adapter / WEIGHTS_FILE)
    assert load_soft_prompt(str(adapter), WIDTH).sha256 != before


def test_half_precision_vectors_become_float32(adapter):
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        save_file({"prompt_embeddings": torch.ones(VIRTUAL, WIDTH, dtype=dtype)}, adapter / WEIGHTS_FILE)
        assert load_soft_prompt(str(adapter), WIDTH).vectors.dtype == torch.float32


def test_a_shipped_prompt_is_found_by_name(adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(soft_prompt_module, "SHIPPED", tmp_path)
    assert load_soft_prompt("shipped:adapter", WIDTH).vectors.shape == (VIRTUAL, WIDTH)
    with pytest.raises(UserError, match=r"shipped:adapter.*got 'shipped:other'"):
        load_soft_prompt("shipped:other", WIDTH)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=WEIGHTS_FILE):
        load_soft_prompt(str(tmp_path / "none"), WIDTH)


@pytest.mark.parametrize("width", [31, 64])
def test_a_prompt_for_another_width_is_refused(adapter, width):
    with pytest.raises(UserError, match=rf"width {width}.*trained for another model"):
        load_soft_prompt(str(adapter), width)


def write(tensors):
    return lambda path: save_file(tensors, path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-7]), "to hold prompt_embeddings: .*Copy the adapter again"),
        (lambda path: path.write_bytes(b""), "to hold prompt_embeddings"),
        (lambda path: path.write_bytes(b"\xff" * 100), "to hold prompt_embeddings"),
        (write({"other": torch.zeros(VIRTUAL, WIDTH)}), r"nothing else, got \['other'\]"),
        (write({"prompt_embeddings": torch.zeros(WIDTH)}), rf"\({VIRTUAL}, {WIDTH}\).*got shape \({WIDTH},\)"),
        (write({"prompt_embeddings": torch.zeros(2, WIDTH)}), rf"\({VIRTUAL}, {WIDTH}\).*got shape \(2, {WIDTH}\)"),
        (write({"prompt_embeddings": torch.zeros(0, WIDTH)}), rf"got shape \(0, {WIDTH}\)"),
        (
            write({"prompt_embeddings": torch.ones(VIRTUAL, WIDTH, dtype=torch.int64)}),
            "floating-point.*got torch.int64",
        ),
    ],
    ids=["truncated", "empty", "nonsense", "another tensor", "one vector", "too few", "no vector", "whole numbers"],
)
def test_corrupt_weights_are_refused(adapter, damage, reason):
    damage(adapter / WEIGHTS_FILE)
    with pytest.raises(UserError, match=f"^Expected .*{reason}") as told:
        load_soft_prompt(str(adapter), WIDTH)
    assert f"soft_prompt='{adapter}'" in str(told.value)
    assert "another model" not in str(told.value)


@pytest.mark.parametrize(("value", "dtype"), [("nan", "float32"), ("-inf", "float16"), ("1e300", "float64")])
def test_vectors_that_are_not_finite_are_not_blamed_on_another_model(adapter, value, dtype):
    vectors = torch.zeros(VIRTUAL, WIDTH, dtype=getattr(torch, dtype))
    vectors[0, :3] = float(value)
    save_file({"prompt_embeddings": vectors}, adapter / WEIGHTS_FILE)
    with pytest.raises(UserError, match=f"in 3 of {VIRTUAL * WIDTH} values: the file is damaged.*train it") as told:
        load_soft_prompt(str(adapter), WIDTH)
    assert "another model" not in str(told.value)


@pytest.mark.parametrize("text", ["{", "", "\xff", "[]", '"card"', "[" * 100_000])
def test_a_corrupt_card_is_refused(adapter, text):
    (adapter / CARD_FILE).write_bytes(text.encode("latin1"))
    with pytest.raises(UserError, match=CARD_FILE):
        load_soft_prompt(str(adapter), WIDTH)


@pytest.mark.parametrize(
    "card",
    [
        {"base_model": "org/name"},
        {"base_model": {"sha256": 3}},
        {"files": ["a"]},
        {"mechanisms": "DEL"},
        {"mechanisms": [{"spec": {}}]},
    ],
)
def test_a_card_of_something_else_is_refused(adapter, card):
    (adapter / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(UserError, match=f"{CARD_FILE} of soft_prompt=.*as `del-audit train` writes them"):
        load_soft_prompt(str(adapter), WIDTH)


def test_a_card_of_other_vectors_is_refused(adapter):
    card = adapter / CARD_FILE
    card.write_text(json.dumps({"files": {WEIGHTS_FILE: "0" * 64}}))
    with pytest.raises(
        UserError, match=f"to have the hash in its {CARD_FILE}, got another content.*remove {CARD_FILE}"
    ):
        load_soft_prompt(str(adapter), WIDTH)
    card.write_text(json.dumps({"files": {WEIGHTS_FILE: file_sha256(adapter / WEIGHTS_FILE)}}))
    assert load_soft_prompt(str(adapter), WIDTH).card["files"]


def test_pickled_weights_alone_are_refused(adapter):
    (adapter / WEIGHTS_FILE).rename(adapter / "adapter_model.bin")
    with pytest.raises(UserError, match=r"only adapter_model\.bin, which is pickled and can run code.*save_pretrained"):
        load_soft_prompt(str(adapter), WIDTH)


@pytest.fixture
def carded(language, adapter):
    """The adapter with a card, as training writes it."""
    spec = QuantizerSpec.from_mu(4, 6, 0.05, 30)
    made_for = [{"name": "DEL", "fingerprint": spec.fingerprint.hex(), "spec": spec.to_dict()}]
    card = {"base_model": language.record.to_dict(), "mechanisms": made_for, "spec": spec.to_dict()}
    (adapter / CARD_FILE).write_text(json.dumps(card))
    return adapter


def test_a_prompt_for_another_base_model_is_refused(carded, language):
    assert load_soft_prompt(str(carded), WIDTH, language.record).card["base_model"] == language.record.to_dict()
    other = replace(language.record, name="another", sha256="0" * 64)
    with pytest.raises(UserError, match=r"soft prompt for 'another' \(sha256 000000000000\).*which was trained for"):
        load_soft_prompt(str(carded), WIDTH, other)


def renamed(adapter, base_model, revision=None):
    path = adapter / CONFIG_FILE
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "base_model_name_or_path": base_model, "revision": revision}))


def test_a_prompt_without_a_card_is_held_against_the_name_in_its_configuration(adapter, language):
    found = load_soft_prompt(str(adapter), WIDTH, language.record)
    assert (found.card, found.base_model) == ({}, language.record.name)
    assert model_warning(found) is None
    renamed(adapter, "org/another")
    with pytest.raises(
        UserError, match=f"for '{language.record.name}', got base_model_name_or_path='org/another'.*Train"
    ):
        load_soft_prompt(str(adapter), WIDTH, language.record)


@pytest.mark.parametrize("name", [None, ""])
def test_a_prompt_that_names_no_model_is_warned_of(adapter, language, name):
    renamed(adapter, name)
    found = load_soft_prompt(str(adapter), WIDTH, language.record)
    assert "only its width was compared. Write the model's name" in model_warning(found)


def test_the_hash_in_a_card_outranks_the_name(carded, language):
    renamed(carded, "where/it/was")
    found = load_soft_prompt(str(carded), WIDTH, language.record)
    assert model_warning(found) is None
    renamed(carded, None)
    assert model_warning(load_soft_prompt(str(carded), WIDTH, language.record)) is None


def test_a_prompt_trained_for_another_mechanism_is_warned_of(carded):
    prompt = load_soft_prompt(str(carded), WIDTH)
    trained, other = (QuantizerSpec.from_mu(4, 6, 0.05, mu) for mu in (30, 10))
    assert mechanism_warning(prompt, trained) is None
    assert "was trained for" in mechanism_warning(prompt, other)
    old = replace(prompt, card={"spec": trained.to_dict()})
    assert mechanism_warning(old, trained) is None
    assert str(other.scale) in mechanism_warning(old, other)
    assert mechanism_warning(replace(prompt, card={}), other) is None


def test_saved_vectors_load_here_and_in_plain_peft(language, tmp_path):
    from peft import PeftModel

    vectors = torch.linspace(-1, 1, VIRTUAL * WIDTH).reshape(VIRTUAL, WIDTH)
    save_soft_prompt(vectors, language, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS_FILE, CONFIG_FILE}
    assert torch.equal(load_soft_prompt(str(tmp_path), WIDTH).vectors, vectors)
    peft = PeftModel.from_pretrained(copy.deepcopy(language.model), tmp_path)
    assert torch.equal(peft.get_prompt(1)[0], vectors)


def test_the_hash_is_of_the_vectors_that_were_read(adapter, swapped):
    first, later = (save({"prompt_embeddings": torch.full((VIRTUAL, WIDTH), value)}) for value in (1.0, 2.0))
    reads = swapped(adapter / WEIGHTS_FILE, first, later)
    prompt = load_soft_prompt(str(adapter), WIDTH)
    assert prompt.vectors.unique().tolist() == [1.0]
    assert prompt.sha256 == hashlib.sha256(first).hexdigest()
    assert reads == [first]
