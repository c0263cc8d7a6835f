"""Clients that are Python functions: right ones pass, broken ones fail, and none can end or muddle the audit."""

import sys

import pytest

WIRE = """
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

SPEC = QuantizerSpec(4, 6, 0.05, 0.1)


def message(values):
    return pack(release(values), SPEC)


def replay(values, source):
    return StochasticQuantizer(SPEC).quantize(values, source)


class Wrapped:
    @staticmethod
    def release(values):
        return release(values)
"""


def test_a_right_client_passes_every_group(functions, verify):
    path = functions(WIRE)
    ran = verify("--python", f"{path}:release", "--message", "message", "--charged", "charged", "--replay", "replay")
    assert ran.code == 0
    assert ran.document["passed"]
    groups = {"contract", "law", "independence", "guarantee", "clipping", "batch", "message", "resending"}
    assert {finding["group"] for finding in ran.document["findings"]} == groups | {"known answers"}
    assert ran.not_tested == {}
    assert ran.document["client"] == {"kind": "python", "name": f"{path}:release"}


@pytest.mark.parametrize(
    ("source", "group"),
    [
        ("def broken(values):\n    return np.random.default_rng(7).binomial(15, probabilities(values))", "resending"),
        ("def broken(values):\n    return release(np.nan_to_num(values))", "clipping"),
        (
            "def broken(values):\n    release(values)\n    inside = np.clip(values, -0.05, 0.05)\n"
            "    return release(inside - inside.mean(axis=0))",
            "batch",
        ),
        (
            "def broken(values):\n    return np.random.default_rng().binomial(15, probabilities(values, scale=0.12))",
            "law",
        ),
        (
            "R = np.random.default_rng(3)\ndef broken(values):\n    return R.binomial(15, probabilities(values))",
            "independence",
        ),
        ("def broken(values):\n    return release(values).tolist()", "contract"),
        ("def broken(values):\n    raise RuntimeError('no noise today')", "contract"),
    ],
    ids=["same noise", "NaN", "batch", "scale", "forked noise", "a list", "raises"],
)
def test_a_broken_client_is_a_fault_in_its_group(functions, verify, source, group):
    ran = verify("--python", f"{functions(source)}:broken")
    assert ran.code == 1
    assert not ran.document["passed"]
    assert group in {name.split(":")[0] for name in ran.rejected}


def test_what_is_not_given_is_not_tested(functions, verify):
    ran = verify("--python", f"{functions()}:release")
    assert ran.code == 0
    assert set(ran.not_tested) == {"message", "resending, charged", "known answers"}


def test_a_message_of_other_counts_is_a_fault(functions, verify):
    padded = "def padded(values):\n    return message(values) + bytes(len(values) % 2)"
    ran = verify("--python", f"{functions(WIRE + padded)}:release", "--message", "padded")
    assert ran.code == 1
    assert ran.rejected == {"message: length"}


def test_a_charge_that_leaves_out_resent_tokens_is_a_fault(functions, verify):
    cached = "SEEN = set()\ndef cached():\n    return len(SEEN)\ndef seen(values):\n"
    cached += "    SEEN.update(map(bytes, values))\n    return release(values)"
    ran = verify("--python", f"{functions(cached)}:seen", "--charged", "cached")
    assert ran.code == 1
    assert ran.rejected == {"resending: charged"}


def test_probabilities_in_float32_are_seen_on_chosen_words_alone(functions, verify):
    single = """
def single(values, source):
    words = source.words(values.size * 15).reshape(*values.shape, 15)
    return (words < np.float32(probabilities(values))[..., None] * 2.0**32).sum(axis=-1)
"""
    path = functions(single)
    assert verify("--python", f"{path}:release").code == 0
    ran = verify("--python", f"{path}:release", "--replay", "single")
    assert ran.code == 1
    assert {name.split(":")[0] for name in ran.rejected} == {"known answers"}


@pytest.mark.parametrize("code", ["0", "None", "'done'"])
def test_a_client_that_ends_python_is_a_fault_and_no_pass(functions, verify, code):
    ran = verify("--python", f"{functions(f'import sys; quit_ = lambda values: sys.exit({code})')}:quit_")
    assert ran.code == 1
    assert "contract: answers" in ran.rejected


def test_what_a_client_prints_does_not_reach_the_report(functions, verify):
    loud = "def loud(values):\n    print(1)\n    return release(values)"
    ran = verify("--python", f"{functions(loud)}:loud")
    assert ran.code == 0
    assert ran.error.startswith("1\n")


def test_a_module_of_the_working_folder_and_a_sibling_of_a_file(functions, verify, tmp_path, monkeypatch):
    functions(name="sibling_of_client.py")
    path = functions("from sibling_of_client import release as other\n")
    before = list(sys.path)
    monkeypatch.chdir(tmp_path)
    assert verify("--python", f"{path}:other").code == 0
    assert verify("--python", "sibling_of_client:release", "--charged", "sibling_of_client:charged").code == 0
    assert sys.path == before
    monkeypatch.delitem(sys.modules, "sibling_of_client")


def test_a_dotted_name(functions, verify):
    assert verify("--python", f"{functions(WIRE)}:Wrapped.release").code == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("client.py", "FILE.py:NAME or MODULE:NAME"),
        (":release", "FILE.py:NAME or MODULE:NAME"),
        ("nowhere.py:release", "a file that exists, got 'nowhere.py'"),
        ("no_such_module_at_all:release", "import 'no_such_module_at_all', got ModuleNotFoundError"),
        ("json:nothing", "'json:nothing' to name a function of json, got NoneType"),
        ("json:__name__", "got str"),
    ],
)
def test_what_names_no_function_is_a_user_error(verify, name, says):
    ran = verify("--python", name)
    assert ran.code == 2
    assert says in ran.error


@pytest.mark.parametrize("source", ["1 / 0", "import sys; sys.exit(0)", "def broken(:"])
def test_a_file_that_cannot_be_imported_is_a_user_error(functions, verify, source):
    ran = verify("--python", f"{functions(source)}:release")
    assert ran.code == 2
    assert "Expected to import" in ran.error
