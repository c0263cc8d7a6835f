"""The two ends of training: initial values, drawn from the project's one source of randomness, and freezing."""

import torch
from torch import nn

from mechanisms.randomness import simulation_generator


def draw_parameters(module: nn.Module, seed: int, *purpose: str) -> None:
    """Sets a module's parameters: matrices normal with variance 1 / inputs, offsets 0, factors of norms 1.

    The same seed and purpose give the same values whatever torch drew before.
    """
    generator = simulation_generator(seed, "nlu initial values", *purpose)
    with torch.no_grad():
        for part in module.modules():
            for name, parameter in part.named_parameters(recurse=False):
                if parameter.ndim > 1:
                    values = generator.standard_normal(tuple(parameter.shape)) / parameter.shape[-1] ** 0.5
                    parameter.copy_(torch.from_numpy(values))
                else:
                    parameter.fill_(float(isinstance(part, nn.LayerNorm) and name == "weight"))


def freeze(module: nn.Module) -> None:
    """Ends training: no parameter takes gradients any more, and those that are left are dropped."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
