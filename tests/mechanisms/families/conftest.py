"""Fixtures of the families' tests."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mechanisms.models import LanguageModel, load_causal_lm

sys.path.insert(0, str(Path(__file__).parents[1]))
from families.tiny_models import write


@pytest.fixture(scope="session")
def loaded(tiny_lm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LanguageModel]:
    """Returns a loader of families from local folders; each is loaded once."""
    known: dict[str, LanguageModel] = {}

    def load(family: str) -> LanguageModel:
        if family not in known:
            known[family] = load_causal_lm(str(write(family, tiny_lm_folder, tmp_path_factory.mktemp("model"))))
        return known[family]

    return load
