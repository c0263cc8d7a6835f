"""Settings that the tiny models of many families share: two layers, width 32, the tiny tokenizer's 384 words."""

WORDS = 384
WINDOW = 6
TURN = 14
"""Tokens beyond which a model reads all places another way: more than it is tried on, fewer than the tests read."""

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
FOUR_EXPERTS = {
    "num_local_experts": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}
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

LONG_TEXTS = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": TURN,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}
STRETCHED = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": TURN}
