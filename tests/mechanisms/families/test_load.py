"""What a loaded model is asked, and what is refused when it is loaded, on tiny models of several families."""

import json

import pytest
import torch
from families.tiny_models import make, write

from mechanisms.continuation import embed, response_losses
from mechanisms.errors import UserError
from mechanisms.model_facts import end_tokens, opening_token
from mechanisms.models import load_causal_lm


@pytest.mark.parametrize(
    ("family", "width", "context"),
    [
        ("opt, projected embeddings", 16, 256),
        ("bloom", 32, 1 << 20),
        ("mpt", 32, 256),
        ("mamba", 32, 1 << 20),
        ("gemma3, images", 32, 256),
        ("gpt2", 32, 256),
    ],
)
def test_width_and_context_are_the_models(loaded, family, width, context):
    language = loaded(family)
    assert language.width == width
    assert language.context_tokens == context


def test_a_model_that_states_no_context_has_the_tokenizers(loaded, tiny_lm_folder, tmp_path):
    folder = write("mamba", tiny_lm_folder, tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 77}))
    assert load_causal_lm(str(folder)).context_tokens == 77


def test_layers_that_multiply_embeddings_are_asked_what_they_read(loaded):
    model = loaded("falcon-h1").model
    assert torch.equal(embed(model, [5]), 3 * model.get_input_embeddings().weight[[5]])


@pytest.mark.parametrize("ends", [[1, 106], 106, None])
@pytest.mark.parametrize("begin", [0, None])
def test_opening_and_end_tokens(tiny_lm_folder, tmp_path, begin, ends):
    folder = write("llama", tiny_lm_folder, tmp_path, bos_token_id=begin, eos_token_id=ends)
    if begin is None and ends is None:
        with pytest.raises(UserError, match="a token that opens or ends a text, got neither bos_token_id nor eos"):
            load_causal_lm(str(folder))
        return
    model = load_causal_lm(str(folder)).model
    several = ends if isinstance(ends, list) else [] if ends is None else [ends]
    assert opening_token(model) == (several[0] if begin is None else begin)
    assert end_tokens(model) == set(several)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "expected config.json to hold JSON"),
        ("[]", "to hold an object, got list"),
        ("{}", "to name its model_type, got None"),
        ('{"model_type": 3}', "to name its model_type, got 3"),
        ('{"model_type": "lama"}', "knows, got 'lama': remote code is never run"),
        ('{"model_type": "vit"}', "expected a causal language model, got model_type 'vit'"),
        ('{"model_type": "bart", "is_encoder_decoder": true}', "got an encoder-decoder"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "Cannot load"),
        ('{"model_type": "llama", "num_attention_heads": 0}', "Cannot load"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(tiny_lm_folder, tmp_path, content, reason):
    folder = write("llama", tiny_lm_folder, tmp_path)
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match=reason) as refusal:
        load_causal_lm(str(folder))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tiny_lm_folder, tmp_path, value):
    model = make("llama")
    model.model.layers[1].mlp.up_proj.weight[3, 3] = value
    folder = write("llama", tiny_lm_folder, tmp_path)
    model.save_pretrained(folder)
    with pytest.raises(UserError, match=r"NaN or infinite ones in 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        load_causal_lm(str(folder))


def test_a_tokenizer_larger_than_the_table_is_refused_and_a_smaller_one_is_not(tiny_lm_folder, tmp_path):
    folder = write("llama", tiny_lm_folder, tmp_path / "small", vocab_size=300)
    with pytest.raises(UserError, match=r"tokens below 300, the rows of the model's embedding table, got \d+ beyond"):
        load_causal_lm(str(folder))
    folder = write("llama", tiny_lm_folder, tmp_path / "large", vocab_size=400)
    assert load_causal_lm(str(folder)).width == 32


def test_an_opening_token_beyond_the_table_is_refused(tiny_lm_folder, tmp_path):
    folder = write("gpt2", tiny_lm_folder, tmp_path, bos_token_id=50256)
    with pytest.raises(UserError, match=r"in 0\.\.383, the embeddings of .*, got 50256"):
        load_causal_lm(str(folder))


@pytest.mark.assets
@pytest.mark.slow
def test_packaged_gemma_speaks_english_and_scales_its_embeddings(packaged):
    packaged("package:gemma3-270m")
    language = load_causal_lm("package:gemma3-270m")
    text = "It was the best of times, it was the worst of times"
    tokens = language.tokenizer(text, add_special_tokens=False).input_ids
    with torch.no_grad():
        (losses,) = response_losses(language.model, [embed(language.model, [2])], [tokens])
        assert losses.mean().exp() < 8  # a random model is at about 262,144
    stored = language.model.get_input_embeddings().weight[[5]]
    assert stored.shape == (1, 640)
    assert torch.allclose(embed(language.model, [5]), stored * 640**0.5)
