"""Tiny random models of many families, made in the tests: two layers, width 32, the tiny tokenizer's 384 words.

Soft caps and scales are strong (a cap of 2, a scale of 7), windows are shorter than the sequences that the tests read,
and the weights are large, so that a path that skips one of them is far off.
"""

from pathlib import Path
from shutil import copy
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

WORDS = 384
SPREAD = 0.3
WINDOW = 6

PLAIN = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
NAMED_AS_GPT2 = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 4}
GEMMA = {**PLAIN, "head_dim": 8}
MIXED_LAYERS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": WORDS}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", PLAIN),
    "llama, use_cache false": ("llama", {**PLAIN, "use_cache": False}),
    "qwen2": ("qwen2", PLAIN),
    "qwen3": ("qwen3", {**PLAIN, "head_dim": 8}),
    "phi3": ("phi3", PLAIN),
    "phi3, short window": ("phi3", {**PLAIN, "sliding_window": WINDOW}),
    "olmo2": ("olmo2", PLAIN),
    "olmo3": ("olmo3", {**PLAIN, **MIXED_LAYERS}),
    "stablelm": ("stablelm", PLAIN),
    "mistral, short window": ("mistral", {**PLAIN, "sliding_window": WINDOW}),
    "mixtral": ("mixtral", {**PLAIN, **EXPERTS}),
    "gpt-oss": ("gpt_oss", {**PLAIN, **EXPERTS, **MIXED_LAYERS, "head_dim": 8}),
    "gpt2": ("gpt2", {**NAMED_AS_GPT2, **TOKENS}),
    "gptj": ("gptj", {**NAMED_AS_GPT2, **TOKENS, "rotary_dim": 4}),
    "gpt-neo": (
        "gpt_neo",
        {
            **TOKENS,
            "vocab_size": WORDS,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "max_position_embeddings": 256,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
        },
    ),
    "gpt-neox": ("gpt_neox", PLAIN),
    "falcon, alibi": ("falcon", {**PLAIN, "alibi": True, "new_decoder_architecture": False, "multi_query": True}),
    "bloom": ("bloom", {**TOKENS, "vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("mpt", {**TOKENS, "vocab_size": WORDS, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256}),
    "opt": ("opt", {**PLAIN, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "opt, projected embeddings": (
        "opt",
        {**PLAIN, "ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    ),
    "gemma": ("gemma", GEMMA),
    "gemma2": (
        "gemma2",
        {
            **GEMMA,
            **MIXED_LAYERS,
            "final_logit_softcapping": 2.0,
            "attn_logit_softcapping": 2.0,
            "query_pre_attn_scalar": 8,
        },
    ),
    "gemma3": ("gemma3_text", {**GEMMA, **MIXED_LAYERS, "eos_token_id": [1, 106], "final_logit_softcapping": 2.0}),
    "gemma3, images": (
        "gemma3",
        {
            "text_config": {**GEMMA, **MIXED_LAYERS, "model_type": "gemma3_text"},
            "vision_config": {**VISION, "model_type": "siglip_vision_model"},
            "mm_tokens_per_image": 4,
            "image_token_index": 380,
            "boi_token_index": 381,
            "eoi_token_index": 382,
            "eos_token_id": [1, 106],
        },
    ),
    "gemma3n": (
        "gemma3n_text",
        {
            **GEMMA,
            **PER_LAYER,
            "laurel_rank": 4,
            "num_kv_shared_layers": 0,
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": WINDOW,
            "activation_sparsity_pattern": [0.0, 0.0],
            "intermediate_size": [64, 64],
        },
    ),
    "gemma4": (
        "gemma4_text",
        {
            **GEMMA,
            **PER_LAYER,
            **MIXED_LAYERS,
            "global_head_dim": 8,
            "num_kv_shared_layers": 0,
            "final_logit_softcapping": 2.0,
        },
    ),
    "gemma4, no per-layer inputs": (
        "gemma4_text",
        {
            **GEMMA,
            **MIXED_LAYERS,
            "hidden_size_per_layer_input": 0,
            "global_head_dim": 8,
            "num_kv_shared_layers": 0,
            "final_logit_softcapping": 2.0,
        },
    ),
    "granite": (
        "granite",
        {
            **PLAIN,
            "logits_scaling": 7.0,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.2,
        },
    ),
    "cohere": ("cohere", {**PLAIN, "logit_scale": 1 / 7}),
    "cohere2": ("cohere2", {**PLAIN, **MIXED_LAYERS, "logit_scale": 7.0}),
    "minicpm3": (
        "minicpm3",
        {
            **PLAIN,
            "num_key_value_heads": 4,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "scale_emb": 3,
            "scale_depth": 1.4,
            "dim_model_base": 4,
        },
    ),
    "nemotron": ("nemotron", PLAIN),
    "llama4": (
        "llama4_text",
        {
            **PLAIN,
            **EXPERTS,
            "head_dim": 8,
            "intermediate_size_mlp": 64,
            "attention_chunk_size": 8,
            "layer_types": ["chunked_attention", "full_attention"],
            "num_experts_per_tok": 1,
        },
    ),
    "mamba": ("mamba", {**TOKENS, "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
    "mamba2": (
        "mamba2",
        {
            **TOKENS,
            "vocab_size": WORDS,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "num_heads": 4,
            "head_dim": 16,
            "n_groups": 1,
            "chunk_size": 4,
        },
    ),
    "falcon-mamba": (
        "falcon_mamba",
        {**TOKENS, "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    ),
    "falcon-h1": (
        "falcon_h1",
        {**PLAIN, **MAMBA2, "mamba_d_ssm": 64, "lm_head_multiplier": 0.2, "embedding_multiplier": 3.0},
    ),
    "jamba": (
        "jamba",
        {
            **PLAIN,
            **EXPERTS,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
    ),
    "bamba": ("bamba", {**PLAIN, **MAMBA2, "attn_layer_indices": [1]}),
    "zamba": (
        "zamba",
        {
            **PLAIN,
            "num_hidden_layers": 3,
            "layers_block_type": ["mamba", "hybrid", "hybrid"],
            "n_mamba_heads": 2,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
    ),
    "zamba2": (
        "zamba2",
        {
            **PLAIN,
            "num_key_value_heads": 4,
            "layers_block_type": ["mamba", "hybrid"],
            "mamba_d_state": 8,
            "n_mamba_heads": 4,
            "mamba_headdim": 16,
            "mamba_ngroups": 1,
            "chunk_size": 4,
            "num_mem_blocks": 1,
            "use_mem_rope": True,
        },
    ),
    "granite-moe-hybrid": (
        "granitemoehybrid",
        {
            **PLAIN,
            **EXPERTS,
            **MAMBA2,
            "layer_types": ["mamba", "attention"],
            "shared_intermediate_size": 32,
            "logits_scaling": 7.0,
            "embedding_multiplier": 3.0,
        },
    ),
    "recurrent-gemma": (
        "recurrent_gemma",
        {
            **PLAIN,
            "lru_width": 32,
            "attention_window_size": WINDOW,
            "block_types": ["recurrent", "attention"],
            "logits_soft_cap": 2.0,
        },
    ),
    "lfm2": ("lfm2", {**PLAIN, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8}),
    "qwen3-next": (
        "qwen3_next",
        {
            **PLAIN,
            **EXPERTS,
            "head_dim": 8,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
    "bert, decoder": ("bert", {**PLAIN, "is_decoder": True}),
    "bert": ("bert", PLAIN),
    "t5": (
        "t5",
        {**TOKENS, "vocab_size": WORDS, "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4},
    ),
    "bart": (
        "bart",
        {
            **TOKENS,
            "vocab_size": WORDS,
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
        },
    ),
}
"""What a family is called here: its model type and its settings."""


def make(family: str, **changes: Any) -> Any:
    """Returns a random model of the family, with changes to its settings, in eval mode and without gradients."""
    kind, settings = FAMILIES[family]
    config = AutoConfig.for_model(kind, **{**settings, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "t5":
            from transformers import T5ForConditionalGeneration

            model = T5ForConditionalGeneration(config)
        else:
            model = AutoModelForCausalLM.from_config(config)
        _enlarge(model)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _enlarge(model: nn.Module) -> None:
    """Gives every matrix entries of spread SPREAD."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding | Conv1D):
            module.weight.normal_(std=SPREAD)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3 and "expert" in name:
            parameter.normal_(std=SPREAD)


def write(family: str, tokenizer_folder: Path, folder: Path, **changes: Any) -> Path:
    """Writes the family's model into folder with the tiny tokenizer, and returns the folder."""
    make(family, **changes).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer_folder / name).is_file():
            copy(tokenizer_folder / name, folder / name)
    return folder
