import copy
import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from mechanisms import soft_prompt as soft_prompt_module
from mechanisms.continuation import embed
from mechanisms.errors import UserError
from mechanisms.soft_prompt import CARD_FILE, WEIGHTS_FILE, load_soft_prompt, mechanism_warning, save_soft_prompt
from mechanisms.spec import QuantizerSpec

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own

WIDTH = 32
VIRTUAL = 5


@pytest.fixture
def adapter(language, tmp_path):
    """A prompt-tuning adapter as PEFT itself writes it, with vectors that are all its own."""
    from peft import PromptTuningConfig, TaskType, get_peft_model

    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=VIRTUAL)
    tuned = get_peft_model(copy.deepcopy(language.model), config)
    with torch.no_grad():
        tuned.prompt_encoder["default"].embedding.weight.normal_(generator=torch.Generator().manual_seed(0))
    tuned.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


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


def test_plain_peft_gives_the_logits_of_our_concatenation(language, adapter):
    from peft import PeftModel

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


def test_hash_follows_the_vectors(adapter):
    before = load_soft_prompt(str(adapter), WIDTH).sha256
    vectors = load_file(adapter / WEIGHTS_FILE)["prompt_embeddings"].clone()
    vectors[0, 0] += 1e-3
    save_file({"prompt_embeddings": vectors}, adapter / WEIGHTS_FILE)
    assert load_soft_prompt(str(adapter), WIDTH).sha256 != before


def test_half_precision_vectors_become_float32(adapter):
    save_file({"prompt_embeddings": torch.ones(2, WIDTH, dtype=torch.bfloat16)}, adapter / WEIGHTS_FILE)
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
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff" * 100),
        write({"other": torch.zeros(VIRTUAL, WIDTH)}),
        write({"prompt_embeddings": torch.zeros(WIDTH)}),
        write({"prompt_embeddings": torch.full((VIRTUAL, WIDTH), float("nan"))}),
        write({"prompt_embeddings": torch.full((VIRTUAL, WIDTH), float("inf"))}),
    ],
    ids=["truncated", "empty", "nonsense", "another tensor", "one vector", "NaN", "infinite"],
)
def test_corrupt_weights_are_refused(adapter, damage):
    damage(adapter / WEIGHTS_FILE)
    with pytest.raises(UserError, match="soft"):
        load_soft_prompt(str(adapter), WIDTH)


@pytest.mark.parametrize("text", ["{", "", "\xff"])
def test_a_corrupt_card_is_refused(adapter, text):
    (adapter / CARD_FILE).write_bytes(text.encode("latin1"))
    with pytest.raises(UserError, match=CARD_FILE):
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


def test_a_prompt_without_a_card_says_no_base_model(adapter, language):
    assert load_soft_prompt(str(adapter), WIDTH, language.record).card == {}


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
    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS_FILE, "adapter_config.json"}
    assert torch.equal(load_soft_prompt(str(tmp_path), WIDTH).vectors, vectors)
    peft = PeftModel.from_pretrained(copy.deepcopy(language.model), tmp_path)
    assert torch.equal(peft.get_prompt(1)[0], vectors)


def test_the_hash_is_of_the_vectors_that_were_read(adapter, swapped):
    first, later = (save({"prompt_embeddings": torch.full((2, WIDTH), value)}) for value in (1.0, 2.0))
    reads = swapped(adapter / WEIGHTS_FILE, first, later)
    prompt = load_soft_prompt(str(adapter), WIDTH)
    assert prompt.vectors.unique().tolist() == [1.0]
    assert prompt.sha256 == hashlib.sha256(first).hexdigest()
    assert reads == [first]
