"""Fixtures of the task tests: a synthetic task of two topics, and mechanisms of little and of much noise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mechanisms.nlu import LabelledTokens, Released

TOPICS = (range(260, 270), range(300, 310))
FILLER = range(65, 80)


@pytest.fixture(scope="session")
def own_language(tiny_lm_folder: Path) -> Any:
    """A model of these tests' own, in case training changes it."""
    import torch

    from mechanisms.models import load_causal_lm

    torch.set_num_threads(1)
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="session")
def make_task() -> Callable[..., LabelledTokens]:
    """Returns a maker of pairs whose class is the topic of the second text; all of one length, which tells nothing."""

    def make(examples: int, seed: int) -> LabelledTokens:
        generator = np.random.default_rng(seed)
        labels = generator.permutation(np.arange(examples) % 2)
        tokens = tuple(
            (*map(int, generator.choice(FILLER, 3)), 10, *map(int, generator.choice(TOPICS[label], 4)))
            for label in labels
        )
        return LabelledTokens(tokens, labels.astype(np.int64), ("body", "time"))

    return make


@pytest.fixture(scope="session")
def make_released(own_language: Any, public_documents: list[list[int]]) -> Callable[..., Released]:
    """Returns a maker of releases through DEL at a mu: 12 coordinates of 4 bits, linear decoding."""
    from mechanisms.pipeline import assemble
    from mechanisms.projection import EncoderSettings
    from mechanisms.spec import QuantizerSpec

    table = own_language.model.get_input_embeddings().weight.detach().numpy()

    def make(mu: float, seed: int = 0) -> Released:
        spec = QuantizerSpec.from_mu(4, 12, 0.05, mu)
        return Released(assemble(table, public_documents, spec, EncoderSettings(), "linear"), seed)

    return make


@pytest.fixture(scope="session")
def gentle(make_released: Callable[..., Released]) -> Released:
    return make_released(400.0)


@pytest.fixture(scope="session")
def harsh(make_released: Callable[..., Released]) -> Released:
    return make_released(0.01)
