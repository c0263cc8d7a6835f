"""Fixtures of the mechanism's tests: a tiny model, a toy world of words, and sources of chosen words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mechanisms.quantizer import StochasticQuantizer
from mechanisms.spec import QuantizerSpec

PUBLIC_TEXT = [
    "The doctor told me to take one tablet a day, and the pain was gone within a week. " * 2,
    "I had no side effects at all, but my sister could not sleep while she was on it. " * 2,
    "It did not work for me: the headaches came back, and I felt tired all the time. " * 2,
    "After a month my skin was clear, but my mouth was dry and I was hungry at night. " * 2,
]


@pytest.fixture(scope="session")
def language(tiny_lm_folder: Path) -> Any:
    """Returns the tiny language model, loaded as every model is."""
    import torch

    from mechanisms.models import load_causal_lm

    torch.set_num_threads(1)
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="session")
def public_documents(language: Any) -> list[list[int]]:
    return [language.tokenizer(text, add_special_tokens=False).input_ids for text in PUBLIC_TEXT]


@pytest.fixture(scope="session")
def tiny_pipeline(language: Any, public_documents: list[list[int]]) -> Any:
    """Returns the pipeline of the tiny model: 6 coordinates of 4 bits."""
    from mechanisms.pipeline import assemble
    from mechanisms.projection import EncoderSettings

    table = language.model.get_input_embeddings().weight.detach().numpy()
    return assemble(table, public_documents, QuantizerSpec.from_mu(4, 6, 0.05, 30), EncoderSettings())


@dataclass(frozen=True)
class ToyWorld:
    """A public vocabulary: table, float32, shape (words, width); prior, float64, shape (words,)."""

    table: NDArray[np.float32]
    prior: NDArray[np.float64]

    def draw(self, count: int, seed: int) -> NDArray[np.int64]:
        """Returns words drawn from the prior, int64, shape (count,)."""
        return np.random.default_rng(seed).choice(len(self.prior), count, p=self.prior)


@pytest.fixture(scope="session")
def toy_world() -> Callable[..., ToyWorld]:
    """Returns a maker of vocabularies with a Zipf prior and embeddings of unequal spread, off the origin."""

    def make(words: int, width: int, seed: int = 0) -> ToyWorld:
        generator = np.random.default_rng(seed)
        spread = 1 / np.sqrt(1 + np.arange(width))
        table = (generator.standard_normal((words, width)) * spread + 0.3).astype(np.float32)
        prior = 1 / (1 + generator.permutation(words).astype(np.float64))
        return ToyWorld(table, prior / prior.sum())

    return make


class NoWords:
    """A source that nothing may be drawn from."""

    def words(self, count: int) -> NDArray[np.uint32]:
        raise AssertionError(f"{count} words were drawn")


class ConstantWords:
    """A source whose every word is the same."""

    def __init__(self, word: int) -> None:
        self.word = word
        self.drawn = 0

    def words(self, count: int) -> NDArray[np.uint32]:
        self.drawn += count
        return np.full(count, self.word, dtype=np.uint32)


@pytest.fixture
def no_words() -> NoWords:
    return NoWords()


@pytest.fixture
def constant_words() -> type[ConstantWords]:
    return ConstantWords


@pytest.fixture
def broken_quantizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every quantizer raise: whoever still releases something has gone around it."""

    def refuse(*_args: object) -> None:
        raise RuntimeError("the quantizer is broken")

    monkeypatch.setattr(StochasticQuantizer, "sample", refuse)
