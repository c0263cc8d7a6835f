"""One row a decoder and one a mechanism: what makes it, what it needs, and the pages that list them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mechanisms.errors import UserError
from mechanisms.registry import (
    DECODERS,
    MECHANISMS,
    checked_decoder,
    decoder_names,
    decoders_that_train_codes,
    described,
    imported,
    mechanism_of,
)
from mechanisms.spec import QuantizerSpec

ROOT = Path(__file__).parents[2]


def test_every_row_names_a_maker_of_its_own():
    assert all(key == row.key and re.fullmatch(r"[a-z][a-z0-9-]{0,63}", key) for key, row in DECODERS.items())
    assert len({row.made_by for row in DECODERS.values()}) == len(DECODERS)
    assert all(callable(imported(row.made_by)) for row in DECODERS.values())


def test_only_the_rows_that_say_so_need_more_than_public_text():
    assert [key for key, row in DECODERS.items() if row.trained_projection] == ["trained-linear"]
    assert [key for key, row in DECODERS.items() if row.language_model] == ["language-prior"]
    assert decoders_that_train_codes() == ("posterior-mean", "most-likely")


def test_other_names_are_refused_with_the_nearest():
    assert checked_decoder("mixed") == "mixed"
    with pytest.raises(UserError, match=r"one of posterior-mean, .* got decoder='mixd'. Did you mean 'mixed'\?"):
        checked_decoder("mixd")


def test_the_page_of_settings_lists_the_rows():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf8")
    table = page.partition("| name | what the model reads |\n| --- | --- |\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| `{row.key}` | {row.reads} |" for row in DECODERS.values()]
    assert set(re.findall(r"^decoder: (\S+)", page, re.MULTILINE)) <= set(decoder_names())


def test_every_mechanism_is_named_once_and_described_once():
    assert all(key == row.key for key, row in MECHANISMS.items())
    for part in ("name", "made_by", "spec"):
        assert len({getattr(row, part) for row in MECHANISMS.values()}) == len(MECHANISMS), part
    assert mechanism_of(MECHANISMS["del"]) is None
    assert mechanism_of("del") is None


def test_names_cost_no_import():
    code = (
        "import sys, mechanisms.registry as r\nr.checked_decoder('linear')\n"
        "heavy = {'torch', 'numpy', 'mechanisms.decoding'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"kind": "telepathy"}, "kind of a mechanism among del"),
        ({"kind": ["del"]}, "kind of a mechanism among del"),
        ({"kind": "randomized response", "words": 4}, "the description of k-ary randomised response"),
        ({"kind": "randomized response", "words": 1, "weight": 1}, "words"),
        ({"kind": "coarse words", "words": 4, "symbols": "0" * 64, "inner_kind": "gaussian"}, "inner_kind"),
        ({"bits": 4}, "the description of DEL"),
    ],
)
def test_a_record_that_describes_no_mechanism_is_refused_by_what_is_wrong(record, told):
    with pytest.raises(UserError, match=told):
        described(record)


def test_a_record_without_a_kind_is_of_the_quantizer():
    spec = QuantizerSpec(bits=4, dim=18, clip=0.05, scale=0.2)
    assert described(spec.to_dict()) == spec
