"""A user's own mechanism by its kind: what is found, and what each mistake is answered with."""

import sys
from importlib.metadata import distribution

import numpy as np
import pytest

from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, ObservableMechanism
from mechanisms.own_mechanisms import ClaimsEpsilon, built_in_kinds, own_class, own_mechanism
from mechanisms.public_words import PublicWords
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import MECHANISMS

TOY = "toy_own_mechanism"
KIND = f"{TOY}:Bins"


@pytest.fixture
def public():
    generator = np.random.default_rng(0)
    return PublicWords(generator.standard_normal((40, 6)).astype(np.float32), [list(range(40))])


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Returns what installs a distribution with entry points, name to value, until the test ends."""

    def installed(name, **entries):
        site = tmp_path / f"site-{name}"
        info = site / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = [f"{entry} = {value}" for entry, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[del_audit.mechanisms]", *lines]) + "\n")
        monkeypatch.syspath_prepend(site)
        assert distribution(name).version == "1.2"

    return installed


def refusal(kind, public=None, options=None):
    """Returns the one line with which a kind is refused, or with public words its making."""
    with pytest.raises(UserError) as refused:
        own_class(kind) if public is None else own_mechanism(kind, public, options)
    said = str(refused.value)
    assert "\n" not in said
    return said


def test_a_class_is_found_by_its_module_and_made_with_options(public):
    made = own_mechanism(KIND, public, {"bins": 8, "decay": 0.25})
    assert type(made) is own_class(KIND)
    assert isinstance(made, ObservableMechanism)
    assert isinstance(made, KnownChannel)
    assert isinstance(made, ClaimsEpsilon)
    assert (made.spec.bins, made.spec.decay, made.spec.words) == (8, 0.25, 40)
    assert len(made.observed(made.release([1, 2, 3], SimulatedRandomness(0)))) == 3
    assert own_mechanism(KIND, public).spec.bins == 5


def test_built_in_kinds_are_the_registrys_with_hyphens():
    assert [kind.replace("-", " ") for kind in built_in_kinds()] == list(MECHANISMS)
    assert "coarse-words" in built_in_kinds()


def test_a_class_is_found_by_an_entry_point(public, install):
    install("some-noise", bins=KIND, **{"more-bins": f"{TOY}:Bins"})
    assert own_mechanism("bins", public, {"bins": 4}).spec.bins == 4
    assert own_class("more-bins") is own_class(KIND)


def test_two_distributions_with_one_name_are_both_named(install):
    install("some-noise", bins=KIND)
    install("other-noise", bins=f"{TOY}:Other")
    said = refusal("bins")
    assert "one entry point 'bins' of the group del_audit.mechanisms, got 2" in said
    assert "some-noise 1.2" in said
    assert "other-noise 1.2" in said


def test_an_unknown_kind_is_answered_with_all_that_are_known(install):
    assert "(none is installed)" in refusal("bins")
    install("some-noise", bins=KIND)
    said = refusal("bin")
    assert ", ".join(built_in_kinds()) in said
    assert "(bins)" in said
    assert said.endswith("got kind='bin'. Did you mean 'bins'?")
    assert refusal("gausian").endswith("Did you mean 'gaussian'?")
    assert "Did you mean" not in refusal("something else")


def test_a_built_in_is_no_mechanism_of_ones_own():
    assert "got the built-in kind='coarse-words'" in refusal("coarse-words")


@pytest.mark.parametrize("kind", [":Bins", "toy_own_mechanism:", ":"])
def test_half_a_kind_is_refused(kind):
    assert refusal(kind) == f'Expected the kind of a mechanism as "package.module:Class", got {kind!r}.'


def test_a_module_that_cannot_be_imported_says_why_in_one_line(tmp_path, monkeypatch):
    assert "ModuleNotFoundError: No module named 'no_such_module'" in refusal("no_such_module:Bins")
    monkeypatch.syspath_prepend(tmp_path)
    for name, text, why in (
        ("broken_syntax", "def", "SyntaxError: "),
        ("broken_value", "raise ValueError('first\\nsecond')", "ValueError: first."),
        ("broken_exit", "raise SystemExit(0)", "SystemExit: 0."),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        said = refusal(f"{name}:Bins")
        assert f"Expected module '{name}' of mechanism '{name}:Bins' to be importable, got {why}" in said
        assert "Install its package" in said


def test_a_module_in_the_working_folder_is_found_and_the_path_stays(tmp_path, monkeypatch, public):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in_this_folder.py").write_text("from toy_own_mechanism import Bins as Mine\n")
    before = list(sys.path)
    assert own_mechanism("in_this_folder:Mine", public).name == "toy bins"
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Bin", f"Expected '{TOY}:Bin' to name what is in module '{TOY}', got no 'Bin' there. Did you mean 'Bins'?"),
        ("Bins.Inner", "got no 'Inner' there"),
        ("NOT_A_CLASS", f"Expected '{TOY}:NOT_A_CLASS' to name a class, got int."),
        ("Half", "to have the methods of, release, observed, embeddings, got none called observed"),
        ("BinsSpec", "got none called of:"),
        ("NoClassmethod", f"Expected NoClassmethod.of of mechanism '{TOY}:NoClassmethod' to be a classmethod"),
    ],
)
def test_what_is_no_mechanisms_class_is_refused(name, said):
    assert said in refusal(f"{TOY}:{name}")


def test_options_that_of_does_not_take_or_lacks_are_refused(public, tmp_path, monkeypatch):
    said = refusal(KIND, public, {"bin": 4})
    assert said == f"Expected options that mechanism '{KIND}' takes (bins, decay), got 'bin'. Did you mean 'bins'?"
    assert "got 'public'" in refusal(KIND, public, {"public": 1})
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "needs_more.py").write_text(
        "from toy_own_mechanism import Bins\n"
        "class Mine(Bins):\n    @classmethod\n    def of(cls, public, scale): return super().of(public)\n"
    )
    assert "takes (scale): missing a required argument: 'scale'." in refusal("needs_more:Mine", public)


def test_errors_of_the_class_are_told_in_one_line(public):
    assert refusal(KIND, public, {"decay": -1}) == f"Mechanism '{KIND}': Expected decay > 0, got decay=-1."
    said = refusal(f"{TOY}:Other", public, {"made": "error"})
    assert said.startswith(f"Expected Other.of to make mechanism '{TOY}:Other' from options={{'made': 'error'}}, got ")
    assert "KeyError: 'no such thing" in said
    assert "SystemExit: 0." in refusal(f"{TOY}:Other", public, {"made": "exit"})


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({}, "got int without name, spec, release, observed, embeddings"),
        ({"made": "nameless"}, "got name='', which is no text"),
        ({"made": "undescribed"}, "got spec=dict without to_dict, fingerprint"),
    ],
)
def test_what_is_made_must_be_a_mechanism(public, options, got):
    said = refusal(f"{TOY}:Other", public, options)
    assert said.startswith(f"Expected Other.of of '{TOY}:Other' to return a mechanism with name, spec, release")
    assert got in said
