"""Families whose tokens are sent to experts, beside their attention."""

from typing import Any

from families.settings import FOUR_EXPERTS, LONG_TEXTS, MIXED_LAYERS, PLAIN, TURN, VISION

LLAMA4 = {
    **PLAIN,
    **FOUR_EXPERTS,
    "head_dim": 8,
    "intermediate_size_mlp": 64,
    "attention_chunk_size": 8,
    "layer_types": ["chunked_attention", "full_attention"],
    "num_experts_per_tok": 1,
}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
}
DEEPSEEK = {
    **FOUR_EXPERTS,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}

EXPERTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("mixtral", {**PLAIN, **FOUR_EXPERTS}),
    "gpt-oss": ("gpt_oss", {**PLAIN, **FOUR_EXPERTS, **MIXED_LAYERS, "head_dim": 8}),
    "llama4": ("llama4_text", LLAMA4),
    "qwen2-moe": ("qwen2_moe", {**PLAIN, **FOUR_EXPERTS, "shared_expert_intermediate_size": 16}),
    "qwen3-moe": ("qwen3_moe", {**PLAIN, **FOUR_EXPERTS, "head_dim": 8}),
    "olmoe": ("olmoe", {**PLAIN, **FOUR_EXPERTS}),
    "granite-moe": (
        "granitemoe",
        {**PLAIN, **FOUR_EXPERTS, "logits_scaling": 7.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    ),
    "deepseek-v2": ("deepseek_v2", {**PLAIN, **LATENT, **DEEPSEEK}),
    "deepseek-v3": ("deepseek_v3", {**PLAIN, **LATENT, **DEEPSEEK}),
    "deepseek-v3.2": (
        "deepseek_v32",
        {**PLAIN, **LATENT, **DEEPSEEK, "index_n_heads": 16, "index_head_dim": 16, "index_topk": 8},
    ),
    "glm4-moe": ("glm4_moe", {**PLAIN, **DEEPSEEK, "head_dim": 8}),
    "llama4, long texts": (
        "llama4_text",
        {
            **LLAMA4,
            "attention_chunk_size": 128,
            "attn_temperature_tuning": True,
            "floor_scale": TURN + 1,
            "attn_scale": 0.5,
            "no_rope_layers": [1, 0],
        },
    ),
    "llama4, images": (
        "llama4",
        {
            "text_config": {**LLAMA4, "model_type": "llama4_text"},
            "vision_config": {
                **VISION,
                "model_type": "llama4_vision_model",
                "vision_output_dim": 16,
                "projector_input_dim": 16,
                "projector_output_dim": 16,
            },
        },
    ),
    "phimoe, long texts": (
        "phimoe",
        {**PLAIN, **FOUR_EXPERTS, "rope_parameters": {**LONG_TEXTS, "short_mscale": 1.1, "long_mscale": 1.3}},
    ),
    "minimax-m2": ("minimax_m2", {**PLAIN, **FOUR_EXPERTS, "head_dim": 8, "rotary_dim": 4}),
    "ernie4.5-moe": (
        "ernie4_5_moe",
        {
            **PLAIN,
            "head_dim": 8,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 16,
            "moe_layer_start_index": 1,
        },
    ),
    "dots1": ("dots1", {**PLAIN, **DEEPSEEK, **MIXED_LAYERS, "head_dim": 8}),
    "flex-olmo": ("flex_olmo", {**PLAIN, **FOUR_EXPERTS}),
    "jetmoe": ("jetmoe", {**PLAIN, **FOUR_EXPERTS, "num_key_value_heads": 2, "kv_channels": 8}),
}
