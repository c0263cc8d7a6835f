import json
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mechanisms.embedding_file import empty_model, stored_table
from mechanisms.errors import UserError
from mechanisms.gguf_conversion import convert_gguf
from mechanisms.model_sources import model_asset
from mechanisms.models import load_causal_lm, load_embedding_table, load_sentence_encoder, load_tokenizer, words_in
from mechanisms.own_forward import embedding_table
from mechanisms.placement import Placement

sys.path.insert(0, str(Path(__file__).parent))
from families import tiny_models

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def lm_copy(tiny_lm_folder, tmp_path):
    return shutil.copytree(tiny_lm_folder, tmp_path / "lm")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args):
        raise AssertionError("no connection may be made")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def hub_cache(tiny_lm_folder, tmp_path, monkeypatch, no_network):
    """A hub cache as the hub's client lays it out, with one model in it, and no hub behind it."""
    from huggingface_hub import constants

    repository = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(tiny_lm_folder, repository / "snapshots" / COMMIT)
    (repository / "snapshots" / COMMIT / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_folder_gives_a_frozen_float32_model(tiny_lm_folder, no_network):
    lm = load_causal_lm(str(tiny_lm_folder))
    assert not lm.model.training
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())
    assert lm.context_tokens == 256
    text = "The pain was gone; naïve 🙂."
    assert lm.tokenizer.decode(lm.tokenizer(text)["input_ids"]) == text
    assert lm.record.kind == "folder"
    assert lm.record.origin == str(tiny_lm_folder)


def test_weights_are_held_in_the_format_and_on_the_device_that_are_asked_for(tiny_lm_folder):
    model = load_causal_lm(str(tiny_lm_folder), device="cpu", dtype="bfloat16").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.device == torch.device("cpu")
    with pytest.raises(UserError, match="float32, bfloat16, float16, got dtype='int8'"):
        load_causal_lm(str(tiny_lm_folder), dtype="int8")
    for device in ("abacus", "cuda:99"):
        with pytest.raises(UserError, match=f"device to be one that torch can use here, got device='{device}'"):
            load_causal_lm(str(tiny_lm_folder), device=device)


def test_half_precision_weights_become_float32(lm_copy):
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(lm_copy).to(torch.bfloat16).save_pretrained(lm_copy)
    lm = load_causal_lm(str(lm_copy))
    assert next(lm.model.parameters()).dtype == torch.float32
    table = load_embedding_table(str(lm_copy))
    assert table.dtype == np.float32
    assert np.array_equal(table, lm.model.get_input_embeddings().weight.numpy())


def test_record_follows_the_content_not_the_place(tiny_lm_folder, lm_copy):
    here, there = model_asset(str(tiny_lm_folder)).record, model_asset(str(lm_copy)).record
    assert here.sha256 == there.sha256
    weights = bytearray((lm_copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (lm_copy / "model.safetensors").write_bytes(weights)
    assert model_asset(str(lm_copy)).record.sha256 != here.sha256


def test_tokenizer_alone_is_the_models(tiny_lm_folder):
    text = "I could not sleep."
    tokenizer = load_tokenizer(str(tiny_lm_folder))
    assert tokenizer(text)["input_ids"] == load_causal_lm(str(tiny_lm_folder)).tokenizer(text)["input_ids"]


@pytest.mark.parametrize("shard_size", ["5GB", "20KB"])
def test_embedding_table_is_the_models_from_one_file_or_shards(lm_copy, shard_size):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(lm_copy)
    (lm_copy / "model.safetensors").unlink()
    model.save_pretrained(lm_copy, max_shard_size=shard_size)
    assert (lm_copy / "model.safetensors.index.json").exists() == (shard_size == "20KB")
    table = load_embedding_table(str(lm_copy))
    assert table.shape == (384, 32)
    assert np.array_equal(table, model.get_input_embeddings().weight.detach().numpy())


def test_embedding_table_of_an_architecture_with_a_factor_is_what_the_model_looks_up(tmp_path, tiny_lm_folder):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=384,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    model = Gemma3ForCausalLM(config)
    shutil.copytree(tiny_lm_folder, tmp_path / "gemma", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    model.save_pretrained(tmp_path / "gemma")
    stored = model.get_input_embeddings().weight.detach().numpy()
    assert np.allclose(load_embedding_table(str(tmp_path / "gemma")), stored * np.sqrt(32), rtol=1e-6)


FAMILIES = (
    "llama",
    "gpt2",
    "gemma2",
    "gemma3",
    "gemma3, images",
    "opt",
    "opt, projected embeddings",
    "minicpm3",
    "bart",
)


@pytest.mark.parametrize("shard_size", ["5GB", "20KB"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", [*FAMILIES, "granite", "falcon-h1"])
def test_embedding_table_alone_is_what_the_model_looks_up(family, tied, shard_size, tiny_lm_folder, tmp_path):
    folder = tiny_models.write(family, tiny_lm_folder, tmp_path, tie_word_embeddings=tied)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    tiny_models.make(family, tie_word_embeddings=tied).save_pretrained(folder, max_shard_size=shard_size)
    language = load_causal_lm(str(folder))
    wanted = embedding_table(language.model)
    for known in (None, language):
        table = load_embedding_table(str(folder), known)
        assert table.dtype == np.float32
        assert np.array_equal(table, wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_embedding_table_alone_reads_no_model(family, tiny_lm_folder, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    folder = tiny_models.write(family, tiny_lm_folder, tmp_path)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_args, **_kinds: pytest.fail("it was read"))
    assert load_embedding_table(str(folder)).shape[0] == tiny_models.WORDS


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_counted_without_a_weight(family, tiny_lm_folder, tmp_path):
    folder = tiny_models.write(family, tiny_lm_folder, tmp_path)
    assert words_in(str(folder)) == tiny_models.WORDS
    with pytest.raises(UserError, match="to be a folder with config"):
        words_in(str(tmp_path.parent))


def test_embedding_table_of_a_rounded_model_is_that_of_the_files(tiny_lm_folder):
    rounded = load_causal_lm(str(tiny_lm_folder), dtype="bfloat16")
    table = load_embedding_table(str(tiny_lm_folder), rounded)
    assert np.array_equal(table, load_embedding_table(str(tiny_lm_folder)))
    assert not np.array_equal(table, embedding_table(rounded.model))


@pytest.mark.parametrize("name", ["wte.weight", "lm_head.weight", "some.other.path.wte.weight"])
def test_embedding_table_under_another_name_is_found(name, tiny_lm_folder, tmp_path, monkeypatch):
    """As base models, models whose tied head alone was stored, and models of several parts have it."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    folder = tiny_models.write("gpt2", tiny_lm_folder, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    wanted = tensors.pop("transformer.wte.weight")
    save_file({**tensors, name: wanted}, folder / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_args, **_kinds: pytest.fail("it was read"))
    assert np.array_equal(load_embedding_table(str(folder)), wanted.numpy())


@pytest.mark.parametrize("change", ["shape", "kind", "shard outside"])
def test_a_tensor_that_is_not_the_table_is_not_taken_for_it(change, lm_copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(lm_copy / "model.safetensors")
    table = tensors["model.embed_tokens.weight"]
    tensors["model.embed_tokens.weight"] = table[:-1].clone() if change == "shape" else table.to(torch.int32)
    if change == "shard outside":
        save_file({"model.embed_tokens.weight": table}, lm_copy.parent / "model.safetensors")
        (lm_copy / "model.safetensors").rename(lm_copy / "part.safetensors")
        index = {"weight_map": {"model.embed_tokens.weight": "../model.safetensors"}}
        (lm_copy / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        save_file(tensors, lm_copy / "model.safetensors", metadata={"format": "pt"})
    empty = empty_model(lm_copy)
    assert {weights.device.type for weights in empty.parameters()} == {"meta"}
    assert stored_table(lm_copy, empty) is None


def test_pickled_weights_are_refused(lm_copy):
    (lm_copy / "model.safetensors").unlink()
    torch.save({}, lm_copy / "pytorch_model.bin")
    for load in (load_causal_lm, load_tokenizer, load_embedding_table, load_sentence_encoder):
        with pytest.raises(UserError, match=r"only pickled weights \(pytorch_model\.bin\)"):
            load(str(lm_copy))


def test_missing_weights_are_refused_not_made_up(lm_copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(lm_copy / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, lm_copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 missing or of another shape, the first 'model\.layers\.1\.mlp\.up_proj"):
        load_causal_lm(str(lm_copy))


def test_remote_code_is_never_run(lm_copy, tmp_path):
    config = json.loads((lm_copy / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (lm_copy / "config.json").write_text(json.dumps(config))
    (lm_copy / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(UserError, match="Cannot load"):
        load_causal_lm(str(lm_copy))
    assert not (tmp_path / "ran").exists()


def test_truncated_weights_are_a_user_error(lm_copy):
    content = (lm_copy / "model.safetensors").read_bytes()
    (lm_copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    for load in (load_causal_lm, load_embedding_table):
        with pytest.raises(UserError, match="Cannot load"):
            load(str(lm_copy))


@pytest.mark.parametrize("name", ["", "no such folder", "a/b/c", "../x/y", "package:nothing", None])
def test_bad_name_lists_what_is_allowed(name):
    with pytest.raises(UserError, match="package:smollm2-135m-instruct"):
        load_causal_lm(name)


def test_folder_that_is_no_model(tmp_path):
    with pytest.raises(UserError, match=r"to be a folder with config\.json"):
        load_causal_lm(str(tmp_path))


@pytest.mark.assets
def test_package_that_is_no_model(packaged):
    packaged("package:drug-reviews")
    with pytest.raises(UserError, match=r"to be a folder with config\.json"):
        load_causal_lm("package:drug-reviews")


@pytest.mark.parametrize("name", ["someone/tiny", f"someone/tiny@{COMMIT}", "someone/tiny@main"])
def test_hub_name_loads_from_the_hubs_cache(hub_cache, tiny_lm_folder, name, capsys):
    lm = load_causal_lm(name)
    local = load_causal_lm(str(tiny_lm_folder))
    ids = torch.arange(12).reshape(1, 12)
    assert torch.equal(lm.model(ids).logits, local.model(ids).logits)
    assert lm.record.to_dict() == {
        "name": name,
        "kind": "hub",
        "version": COMMIT,
        "sha256": local.record.sha256,
        "licence": "apache-2.0",
        "terms": "",
        "origin": "hub repository someone/tiny",
    }
    assert "someone/tiny: from" not in capsys.readouterr().err  # it was there before


def test_first_use_of_a_hub_model_prints_its_source(hub_cache, monkeypatch, capsys):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_args, **_kwargs: None)
    model_asset("someone/tiny")
    assert "someone/tiny: from hub repository someone/tiny. Licence: apache-2.0." in capsys.readouterr().err


def test_hub_out_of_reach(hub_cache):
    with pytest.raises(UserError, match=r"'someone/other' from the hub.*HF_HUB_OFFLINE"):
        load_causal_lm("someone/other")


def test_sentence_encoder_is_a_masked_mean_of_unit_length(tiny_bert_folder, no_network):
    encoder = load_sentence_encoder(str(tiny_bert_folder))
    texts = ["a cat sat", "a dog ran far", "cat"]
    vectors = encoder.embed(texts)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for text, vector in zip(texts, vectors, strict=True):  # alone: no padding, a plain mean
        with torch.no_grad():
            state = encoder.model(**encoder.tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert np.allclose(vector, (state / state.norm()).numpy(), atol=1e-6)


def test_sentence_encoder_keeps_the_order_over_batches_and_cuts_long_texts(tiny_bert_folder):
    encoder = load_sentence_encoder(str(tiny_bert_folder))
    texts = ["cat " * 100, "a dog", "far", "a cat sat far", "dog"]
    assert np.allclose(encoder.embed(texts, batch_size=2), encoder.embed(texts), atol=1e-6)
    assert encoder.embed([]).shape == (0, 16)
    assert encoder.max_tokens == 32


def test_a_sentence_encoder_is_read_straight_to_its_device(tiny_bert_folder, monkeypatch):
    places = []
    monkeypatch.setattr("mechanisms.models.require_memory", lambda _asset, _dtype, place: places.append(place))
    texts = ["a cat sat", "a dog ran far"]
    placed = load_sentence_encoder(str(tiny_bert_folder), "cpu:0")
    assert places == [Placement("cpu:0")]
    assert np.allclose(placed.embed(texts), load_sentence_encoder(str(tiny_bert_folder)).embed(texts), atol=1e-6)
    with pytest.raises(UserError, match="got device='cuda:99'"):
        load_sentence_encoder(str(tiny_bert_folder), "cuda:99")


@pytest.mark.parametrize(("texts", "batch_size"), [("one string", 8), (["a", None], 8), (["a"], 0)])
def test_sentence_encoder_refuses(tiny_bert_folder, texts, batch_size):
    with pytest.raises(UserError, match="Expected"):
        load_sentence_encoder(str(tiny_bert_folder)).embed(texts, batch_size=batch_size)


def test_sentence_encoder_that_pools_otherwise_is_refused(tiny_bert_folder, tmp_path):
    folder = shutil.copytree(tiny_bert_folder, tmp_path / "cls")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    with pytest.raises(UserError, match="by a mean over tokens, got pooling_mode_cls_token"):
        load_sentence_encoder(str(folder))


def write_gguf(folder, path):
    """Writes the tiny model as a float32 GGUF file, in the layout of llama.cpp: rotary halves interleaved."""
    import gguf

    lm = load_causal_lm(str(folder))
    config, state = lm.model.config, {key: value.numpy() for key, value in lm.model.state_dict().items()}
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    described = json.loads(lm.tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(described["vocab"], key=described["vocab"].get)
    tokens += [f"<unused{index}>" for index in range(config.vocab_size - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(tokens) - 1))
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in described["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)

    def interleaved(matrix, heads):
        return matrix.reshape(heads, 2, -1, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)

    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    names = {"self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm"}
    names |= {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    names |= {"post_attention_layernorm": "ffn_norm"}
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        for ours, theirs in names.items():
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", state[f"{prefix}{ours}.weight"])
        for ours, heads in (("q", config.num_attention_heads), ("k", config.num_key_value_heads)):
            matrix = interleaved(state[f"{prefix}self_attn.{ours}_proj.weight"], heads)
            writer.add_tensor(f"blk.{layer}.attn_{ours}.weight", matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_conversion_gives_the_same_model(tiny_lm_folder, tmp_path, no_network):
    target = tmp_path / "converted"
    target.mkdir()
    write_gguf(tiny_lm_folder, tmp_path / "tiny.gguf")
    convert_gguf(tmp_path, "tiny.gguf", target)
    assert sorted(path.suffix for path in target.iterdir()).count(".safetensors") == 1
    original, converted = load_causal_lm(str(tiny_lm_folder)), load_causal_lm(str(target))
    ids = torch.arange(60).reshape(2, 30)
    assert torch.equal(converted.model(ids).logits, original.model(ids).logits)
    text = "The doctor told me: 2 tablets, naïve."
    assert converted.tokenizer(text)["input_ids"] == original.tokenizer(text)["input_ids"]


@pytest.mark.assets
@pytest.mark.slow
def test_packaged_model_speaks_english(packaged):
    packaged("package:smollm2-135m-instruct")
    lm = load_causal_lm("package:smollm2-135m-instruct")
    ids = lm.tokenizer("It was the best of times, it was the worst of times", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.exp(lm.model(ids, labels=ids).loss) < 20  # a random model is at about 49,152
    assert load_embedding_table("package:smollm2-135m-instruct").shape == (49152, 576)


@pytest.mark.assets
@pytest.mark.slow
def test_packaged_encoder_tells_meanings_apart(packaged):
    packaged("package:minilm-l6-v2")
    vectors = load_sentence_encoder("package:minilm-l6-v2").embed(
        ["a cat sat down", "the kitten was sitting", "stock markets fell"]
    )
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > 0.5 > 0.3 > vectors[0] @ vectors[2]
