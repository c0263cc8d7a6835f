"""Figures that pages quote of the accounting, against the accounting: never below the bound, hardly above it."""

import re

import pytest
from markdown_pages import DOCS

from del_audit.accounting import Accountant, inversion_bound
from mechanisms import QuantizerSpec

CONCEPTS = (DOCS / "concepts.md").read_text(encoding="utf8")
ROWS = re.findall(r"^\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)% \|$", CONCEPTS, re.MULTILINE)


def spec_of(mu):
    return QuantizerSpec.from_mu(bits=4, dim=18, clip=0.05, mu=mu)


def require_rounded_up(shown, bound):
    step = 10.0 ** -len(shown.partition(".")[2])
    assert bound <= float(shown) < bound + step, f"{shown} is not {bound} rounded up"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"mu {row[0]}")
def test_the_table_of_noise_is_what_is_computed(row):
    mu, scale, epsilon, advantage, guessed = row
    spec = spec_of(float(mu))
    assert float(scale) == pytest.approx(spec.scale / spec.clip, rel=0.005)
    require_rounded_up(epsilon, Accountant(spec).epsilon(delta=1e-5).upper)
    require_rounded_up(advantage, Accountant(spec).total_variation().upper)
    require_rounded_up(guessed, 100 * inversion_bound(spec, kappa=0.05).upper)


def test_the_table_has_all_its_rows():
    assert [float(row[0]) for row in ROWS] == [0.25, 0.5, 1, 2, 4, 8, 40]


def test_a_prompt_beside_its_tokens():
    token, prompt = re.findall(r"^\| (?:token|prompt) \|.* epsilon ([\d.]+)", CONCEPTS, re.MULTILINE)
    require_rounded_up(token, Accountant(spec_of(2)).epsilon(delta=1e-5).upper)
    require_rounded_up(prompt, Accountant(spec_of(2)).epsilon(delta=1e-5, unit="prompt", tokens=64).upper)
    limits = (DOCS / "limits.md").read_text(encoding="utf8")
    assert f"epsilon {token} each and {prompt} together" in " ".join(limits.split())
