"""A model in bfloat16 on this CPU: with products in float32, beside torch's own layers and beside a float32 model.

They take turns; the ratio to torch's own layers is what counts. Where the CPU has instructions for bfloat16, the first
two are the same.
"""

import copy
import statistics
import time

import torch

from mechanisms.models import load_causal_lm
from mechanisms.wide_products import WideLinear, has_products, widen

MODEL, SHAPES, RUNS = "package:smollm2-135m-instruct", ((1, 1), (16, 1), (64, 1), (4, 96)), 3
OWN = "torch's own"


def seconds(model: torch.nn.Module, tokens: torch.Tensor) -> float:
    """Returns how long one forward pass takes."""
    begun = time.perf_counter()
    with torch.no_grad():
        model(tokens)
    return time.perf_counter() - begun


if __name__ == "__main__":
    own = load_causal_lm(MODEL, dtype="bfloat16").model
    for layer in [layer for layer in own.modules() if isinstance(layer, WideLinear)]:
        layer.__class__ = torch.nn.Linear
    wide = copy.deepcopy(own)
    widen(wide)
    models = {OWN: own, "wide": wide, "float32": copy.deepcopy(own).float()}
    print(f"bfloat16 products by instructions of this CPU: {has_products(torch.bfloat16)}; {RUNS} runs, taking turns")
    for rows, length in SHAPES:
        tokens = torch.randint(0, 49_152, (rows, length), generator=torch.Generator().manual_seed(0))
        for model in models.values():
            seconds(model, tokens)
        taken = {name: [] for name in models}
        for _ in range(RUNS):
            for name, model in models.items():
                taken[name].append(seconds(model, tokens))
        median = {name: statistics.median(times) for name, times in taken.items()}
        told = ", ".join(f"{name} {1e3 * each:7.1f} ms" for name, each in median.items())
        print(f"{rows:>3} x {length:<3} tokens: {told}; wide is {median[OWN] / median['wide']:.2f}x")
