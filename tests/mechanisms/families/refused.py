"""Families that are refused when they are loaded."""

from typing import Any

from families.settings import FOUR_EXPERTS, GEMMA, MIXED_LAYERS, PER_LAYER, PLAIN, TOKENS, WINDOW, WORDS

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
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
    "bert": ("bert", PLAIN),
    "t5": (
        "t5",
        {**TOKENS, "vocab_size": WORDS, "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4},
    ),
    "deepseek-v4": (
        "deepseek_v4",
        {
            **PLAIN,
            **FOUR_EXPERTS,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "q_lora_rank": 8,
            "o_groups": 2,
            "o_lora_rank": 8,
            "n_routed_experts": 4,
            "sliding_window": WINDOW,
            "index_n_heads": 2,
            "index_head_dim": 8,
            "layer_types": ["sliding_attention", "sliding_attention"],
            "mlp_layer_types": ["hash_moe", "moe"],
        },
    ),
    "reformer": (
        "reformer",
        {
            **TOKENS,
            "vocab_size": WORDS,
            "hidden_size": 32,
            "axial_pos_embds_dim": [16, 16],
            "axial_pos_shape": [16, 16],
            "attn_layers": ["local", "lsh"],
            "num_hidden_layers": 2,
            "feed_forward_size": 64,
            "attention_head_size": 8,
            "lsh_attn_chunk_length": 4,
            "local_attn_chunk_length": 4,
            "num_buckets": 4,
            "is_decoder": True,
            "max_position_embeddings": 256,
        },
    ),
    "xlnet": ("xlnet", {**TOKENS, "vocab_size": WORDS, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}),
    "cpm-ant": (
        "cpmant",
        {
            **TOKENS,
            "vocab_size": WORDS,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "dim_head": 8,
            "dim_ff": 64,
            "prompt_types": 4,
            "prompt_length": 2,
            "segment_types": 4,
        },
    ),
}

REASONS = {
    "gemma3n": "every layer looks tokens up again (hidden_size_per_layer_input=8)",
    "gemma4": "every layer looks tokens up again (hidden_size_per_layer_input=8)",
    "deepseek-v4": "inputs_embeds fails",
    "cpm-ant": "inputs_embeds fails",
    "reformer": "logits differ",
    "xlnet": "whose tokens see those that follow",
    "bert": "whose tokens see those that follow",
    "t5": "expected a causal language model, got model_type 't5'",
}
"""What each is refused with, as the error says it."""
