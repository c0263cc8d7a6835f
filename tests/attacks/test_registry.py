"""One row an attack: what is made of it, its version, and the pages that list attacks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from attacks.ladder import ladder, trained_attackers
from attacks.registry import (
    ATTACKS,
    always_run,
    attack_names,
    checked_names,
    current_name,
    default_attacks,
    required_by,
)
from mechanisms.errors import UserError

ROOT = Path(__file__).parents[2]


def page(name):
    return (ROOT / name).read_text(encoding="utf8")


def test_every_row_stands_for_an_attack_of_its_own():
    found = ladder(attack_names())
    assert tuple(found) == attack_names()
    attacks = found.values()
    assert len({attack.name for attack in attacks}) == len(attacks) == len(ATTACKS)
    free = [attack.name for attack in attacks if attack.context_free]
    assert len(free) == 5
    assert not [name for name in free if "language model" in name or "contextual" in name]


def test_a_version_is_stated_in_the_row_alone():
    assert {key: attack.version for key, attack in ladder(attack_names()).items()} == {
        key: row.version for key, row in ATTACKS.items()
    }
    for path in (ROOT / "attacks" / "inversion").rglob("*.py"):
        assert not re.search(r"version: .*= *\d", path.read_text(encoding="utf8")), path


def test_the_order_is_the_ladders_whatever_is_asked_first():
    found = ladder(("beam", "map", "baseline"))
    assert {key: attack.name for key, attack in found.items()} == {
        "baseline": "commonest word (baseline)",
        "map": "MAP, unigram prior",
        "beam": "beam search, language model",
    }
    assert list(found) == ["baseline", "map", "beam"]


def test_options_reach_the_attacks_that_have_a_use_for_them(tmp_path):
    found = ladder(attack_names(), "some/masked-model", tmp_path, depth=3)
    assert {key for key, attack in found.items() if getattr(attack, "depth", None) == 3} == {
        "cosine",
        "code",
        "likelihood",
        "map",
        "beam",
        "two-sided",
        "contextual",
    }
    assert found["inference"].masked_lm == "some/masked-model"
    assert found["contextual"].folder == tmp_path
    assert found["contextual-beam"].inverter == found["contextual"]
    assert (found["contextual-beam"].inverter.folder, found["contextual-beam"].beam.depth) == (tmp_path, 3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("baseline", "map", "magic"), "attacks among baseline, cosine, .* got 'magic'"),
        (("baseline", "map", "contextal"), "got 'contextal'. Did you mean 'contextual'?"),
        (("map",), "baseline and map among them"),
        (("baseline", "beam"), "baseline and map among them"),
        (("baseline", "map", "map"), "without repetition"),
        (("baseline", "map", "informed", "contextual-beam"), "without repetition"),
    ],
)
def test_other_names_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        checked_names(names)


def test_a_former_name_is_todays_attack():
    assert checked_names(("baseline", "map", "informed")) == ("baseline", "map", "contextual-beam")
    assert list(ladder(("informed", "map", "baseline"))) == ["baseline", "map", "contextual-beam"]
    assert current_name("a-later-one") == "a-later-one"
    every = [name for row in ATTACKS.values() for name in (row.key, *row.former)]
    assert len(set(every)) == len(every)


def test_only_attacks_that_train_have_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("attacks.ladder.cache_folder", lambda: tmp_path)
    assert trained_attackers(["baseline", "map", "beam"]) is None
    assert not (tmp_path / "attacks").exists()
    for name in ("contextual", "contextual-beam", "informed"):
        assert trained_attackers(["baseline", name]) == tmp_path / "attacks"
    assert (tmp_path / "attacks").stat().st_mode & 0o777 == 0o700


def test_the_levels_require_what_always_runs_and_full_what_is_default():
    assert required_by("quick") == always_run() == ("baseline", "map")
    assert required_by("full") == default_attacks()
    assert set(always_run()) <= set(default_attacks())


def test_names_cost_no_import():
    code = (
        "import sys, attacks.registry as r\nr.checked_names(r.attack_names())\n"
        "heavy = {'torch', 'numpy', 'scipy', 'attacks.inversion'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_page_of_attacks_lists_the_ladder():
    """Names, order, and which ones theorem 6 bounds; each has its class on the page of the interface."""
    table = page("docs/attacks.md").partition("| name | reads | by |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\| (yes|no) \|$", table, re.MULTILINE)
    found = ladder(attack_names())
    assert rows == [(key, "yes" if attack.context_free else "no") for key, attack in found.items()]
    interface = page("docs/api/attacks.md")
    assert all(f"::: attacks.inversion.{type(attack).__name__}\n" in interface for attack in found.values())


def test_the_pages_of_settings_list_the_defaults():
    always = " and ".join(f"`{name}`" for name in always_run())
    assert f"| `attacks` | {', '.join(default_attacks())} |" in page("docs/configuration.md")
    assert f"{always} are always among them" in page("docs/configuration.md")
    assert f"{always} always run." in page("docs/attacks.md")
    others = ", ".join(name for name in attack_names() if name not in default_attacks())
    assert f"Not run: {others}." in page("README.md")
