"""Families that carry a state from token to token, alone or beside attention."""

from typing import Any

from families.settings import FOUR_EXPERTS, MAMBA2, PLAIN, TOKENS, WINDOW, WORDS

LINEAR = {
    **PLAIN,
    "head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

STATES: dict[str, tuple[str, dict[str, Any]]] = {
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
            **FOUR_EXPERTS,
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
            **FOUR_EXPERTS,
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
            **FOUR_EXPERTS,
            "head_dim": 8,
            "shared_expert_intermediate_size": 16,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
    "qwen3.5": ("qwen3_5_text", LINEAR),
    "qwen3.5-moe": (
        "qwen3_5_moe_text",
        {**LINEAR, **FOUR_EXPERTS, "shared_expert_intermediate_size": 16},
    ),
    "nemotron-h": (
        "nemotron_h",
        {
            **PLAIN,
            **FOUR_EXPERTS,
            "layer_types": ["mamba", "attention"],
            "head_dim": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "ssm_state_size": 8,
            "n_groups": 1,
            "chunk_size": 4,
        },
    ),
    "lfm2-moe": (
        "lfm2_moe",
        {
            **PLAIN,
            **FOUR_EXPERTS,
            "num_dense_layers": 1,
            "moe_intermediate_size": 16,
            "layer_types": ["conv", "full_attention"],
        },
    ),
    "minimax": (
        "minimax",
        {
            **PLAIN,
            **FOUR_EXPERTS,
            "head_dim": 8,
            "block_size": 8,
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
    "olmo-hybrid": ("olmo_hybrid", LINEAR),
    "rwkv": ("rwkv", {**TOKENS, "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 256}),
    "xlstm": (
        "xlstm",
        {**TOKENS, "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_heads": 4, "chunk_size": 4},
    ),
}
