"""The page on one's own mechanism: its code as a module that its kind finds, and its tests, run as written."""

import ast

import pytest
from markdown_pages import DOCS, fenced

from del_audit.testing import check_mechanism
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel
from mechanisms.own_mechanisms import ClaimsEpsilon, own_mechanism

PAGE = (DOCS / "how-to" / "own-mechanism.md").read_text(encoding="utf8")
MODULE, TESTS = (block.text for block in fenced(PAGE) if block.language == "python")
KIND = "noisy_bins:NoisyBins"


@pytest.fixture
def tests(tmp_path, monkeypatch):
    """Returns what the page's tests define, where its module lies in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noisy_bins.py").write_text(MODULE)
    names = {"__name__": "page"}
    exec(compile(MODULE + TESTS, "own-mechanism.md", "exec"), names)
    return names


def test_the_pages_own_tests_pass(tests):
    found = [name for name in tests if name.startswith("test_")]
    assert len(found) == 2
    for name in found:
        tests[name]()


def test_the_module_is_found_by_the_kind_that_the_page_names(tests):
    assert f'mechanism: {{kind: "{KIND}", options: {{bins: 16, decay: 0.5}}}}' in PAGE
    made = own_mechanism(KIND, tests["PUBLIC"], {"bins": 16, "decay": 0.5})
    assert isinstance(made, KnownChannel)
    assert isinstance(made, ClaimsEpsilon)
    assert check_mechanism(made, tests["PUBLIC"]).passed
    with pytest.raises(UserError, match=r"got 'bin'\. Did you mean 'bins'\?"):
        own_mechanism(KIND, tests["PUBLIC"], {"bin": 16})
    with pytest.raises(UserError, match=r"Expected bins in 2\.\.64 .*got bins=65"):
        own_mechanism(KIND, tests["PUBLIC"], {"bins": 65, "decay": 0.1})


def test_the_class_is_short_enough_to_be_read():
    (whole,) = [node for node in ast.parse(MODULE).body if isinstance(node, ast.ClassDef) and node.name == "NoisyBins"]
    assert whole.end_lineno - whole.lineno <= 40


def test_the_table_of_the_contract_names_every_part():
    for part in ("of(public, **options)", "name", "spec", "release(", "observed(", "embeddings(", "scores("):
        assert f"`{part}" in PAGE
    assert "`token_epsilon(delta)` | optional" in PAGE
    assert "`token_bits` | optional" in PAGE
