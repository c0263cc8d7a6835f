"""GGUF to safetensors, once: later loads take a second, and no quantized weights are unpacked again."""

import sys
from pathlib import Path


def convert_gguf(folder: Path, gguf: str, target: Path) -> None:
    """Writes the causal LM in folder/gguf to target: config, tokenizer, weights in float32 safetensors.

    float32 is exact. A Q4_1 weight is scale * q + offset with float16 scale and offset: its product and sum need
    more than 11 bits, and 42% of SmolLM2's weights change in float16 (by 2e-3 at most), 79% in bfloat16.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print(f"converting {gguf} to safetensors, once (about 20 s)", file=sys.stderr)
    loaded = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=gguf, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf, local_files_only=True, trust_remote_code=False)
    # A model read from GGUF counts as quantized and refuses to save itself: its weights move to a fresh one.
    fields = {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    model = AutoModelForCausalLM.from_config(type(loaded.config)(**fields), trust_remote_code=False)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
