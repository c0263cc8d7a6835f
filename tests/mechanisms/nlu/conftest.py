"""Fixtures of the task tests: a synthetic task of two topics, and mechanisms of little and of much noise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mechanisms.nlu import LabelledTokens, Released, label_tokens
from mechanisms.spec import QuantizerSpec

TOPICS = {
    "body": ["pain", "tablet", "doctor", "sleep", "effects"],
    "time": ["week", "month", "day", "night", "after"],
}
FILLER = ["the", "and", "was", "it", "my", "for"]


@pytest.fixture(scope="session")
def own_language(tiny_lm_folder: Path) -> Any:
    """A model of these tests' own, in case training changes it."""
    import torch

    from mechanisms.models import load_causal_lm

    torch.set_num_threads(1)
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="session")
def make_task(own_language: Any) -> Any:
    """Returns a maker of pairs whose class is the topic of their second text."""

    def make(examples: int, seed: int) -> LabelledTokens:
        generator = np.random.default_rng(seed)
        labels = [str(name) for name in generator.permutation([["body", "time"][i % 2] for i in range(examples)])]
        firsts = [" ".join(generator.choice(FILLER, 3)) for _ in labels]
        seconds = [" " + " ".join([*generator.choice(TOPICS[label], 3)]) for label in labels]
        return label_tokens(
            own_language.tokenizer, firsts, labels, pairs=seconds, context_tokens=256, virtual_tokens=4
        )

    return make


@pytest.fixture(scope="session")
def make_released(own_language: Any, public_documents: list[list[int]]) -> Any:
    """Returns a maker of releases through DEL at a mu: 12 coordinates of 4 bits, linear decoding."""
    from mechanisms.pipeline import assemble
    from mechanisms.projection import EncoderSettings

    table = own_language.model.get_input_embeddings().weight.detach().numpy()

    def make(mu: float, seed: int = 0) -> Released:
        spec = QuantizerSpec.from_mu(4, 12, 0.05, mu)
        return Released(assemble(table, public_documents, spec, EncoderSettings(), "linear"), seed)

    return make


@pytest.fixture(scope="session")
def gentle(make_released: Any) -> Released:
    return make_released(400.0)


@pytest.fixture(scope="session")
def harsh(make_released: Any) -> Released:
    return make_released(0.01)
