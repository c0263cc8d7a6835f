"""`del-audit reproduce` end to end on a tiny model: every table, both ways to match, resumption and errors."""

import json
import os
import signal
import subprocess
import sys

import pytest

from del_audit.accounting import Accountant
from del_audit.evidence.utility import OTHER, RELEASED
from del_audit.reproduce import cells as cells_module
from del_audit.reproduce.matching import resolution
from mechanisms.private_folders import MARKER, private_folder
from mechanisms.spec import QuantizerSpec

KILLED = """
import os, signal, sys
from del_audit.cli import main
from del_audit.reproduce import cells
measure, calls = cells.measure_generation, []
def killed(*parts):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(*parts)
cells.measure_generation = killed
main(sys.argv[1:])
"""


def read(out):
    return json.loads((out / "table.json").read_text())


def quantizer(cell):
    return QuantizerSpec(**cell["mechanism"])


def test_table_1_at_matched_attack_success(command, tmp_path, capsys):
    assert command(1, tmp_path / "out", "--targets", "0.1") == 0
    shown, found = capsys.readouterr().out, read(tmp_path / "out")
    assert shown.startswith("Table 1: open-ended generation, matched by attack success\n")
    assert "The paper's models" in shown
    assert "samples 5 (200)" in shown
    assert [cell["row"]["name"] for cell in found["cells"]] == ["DEL", "RANTEXT", "InferDPT, local extraction"]
    ours = found["cells"][0]
    assert ours["reached"]
    assert ours["tolerance"] == resolution(0.1, 120)
    assert abs(ours["searched"] - 0.1) <= ours["tolerance"]
    assert ours["asr"]["sample"] == 120
    assert ours["asr"]["lower"] <= ours["asr"]["value"] <= ours["asr"]["upper"]
    assert ours["asr_map"]["unit"] == "share of tokens"
    assert [cell["asr_map"] for cell in found["cells"][1:]] == [None, None], "RANTEXT's law has no closed form"
    assert quantizer(ours).mu == pytest.approx(ours["knob"], rel=1e-9)
    assert ours["epsilon"]["upper"] == Accountant(quantizer(ours)).epsilon(1e-5).upper
    assert ours["epsilon"]["unit"] == "nats a token"
    utility = ours["utility"]
    assert {RELEASED, OTHER} < set(utility["coherence"])
    assert {RELEASED, OTHER} < set(utility["perplexity"])
    assert utility["coherence"][RELEASED]["kind"] == "estimated, with interval"
    assert len(utility["values"]["coherence"]) == 5
    assert found["versions"]["torch"]
    assert found["seed"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_table_1_at_matched_epsilon_has_the_rivals_that_the_paper_lacks(command, tmp_path, capsys):
    assert command(1, tmp_path / "out", "--match", "epsilon", "--targets", "1,20") == 0
    shown, found = capsys.readouterr().out, read(tmp_path / "out")
    assert "exact token epsilon (not in the paper)" in shown
    for cell in found["cells"]:
        if cell["reached"]:
            assert cell["epsilon"]["upper"] <= cell["target"]
    low, high = (
        {cell["row"]["name"]: cell for cell in found["cells"] if cell["target"] == target} for target in (1.0, 20.0)
    )
    codes = {"randomized response", "subset selection", "projective geometry", "coarse words"}
    assert set(low) == {"DEL", "RANTEXT", "InferDPT, local extraction", *codes}
    for cells in (low, high):
        assert all(0.999 * cells[name]["target"] < cells[name]["epsilon"]["upper"] for name in codes)
        assert all(cells[name]["asr_map"] is not None for name in codes)
    assert not low["RANTEXT"]["reached"]
    assert "the least that this mechanism reaches" in low["RANTEXT"]["reason"]
    assert "RANTEXT, epsilon 1: not reached." in shown
    assert all(cell["reached"] for cell in high.values())
    assert high["DEL"]["epsilon"]["upper"] > 0.999 * 20
    assert "perplexity" not in high["InferDPT, local extraction"]["utility"]
    compared = next(one for one in found["differences"] if one["target"] == 20.0)
    assert len(compared["differences"]) == 6
    assert compared["value"] == "coherence"
    assert {one["second"] for one in compared["differences"]} == {"DEL, 4 bits, dim 6, epsilon 20"}
    perturbed = {high[name]["knob"] for name in ("RANTEXT", "InferDPT, local extraction")}
    assert len(perturbed) == 1, "both send what RANTEXT releases"


@pytest.mark.slow
@pytest.mark.parametrize(("table", "match"), [(3, "asr"), (4, "epsilon")])
def test_tables_of_pairs(command, tmp_path, capsys, table, match):
    target = "0.2" if match == "asr" else "20"
    assert command(table, tmp_path / "out", "--match", match, "--targets", target, "--bits", "2,4") == 0
    shown, found = capsys.readouterr().out, read(tmp_path / "out")
    assert shown.startswith(f"Table {table}: ")
    assert "AUC" in shown
    rows = [(cell["row"]["name"], cell["bits"]) for cell in found["cells"]]
    assert rows == [
        ("DEL parts", 2),
        ("DEL parts", 4),
        ("metric DP (Split-and-Denoise)", None),
        ("Gaussian, n bits", 2),
        ("Gaussian, n bits", 4),
        ("clean embeddings (ceiling)", None),
    ]
    for cell in found["cells"][:-1]:
        assert cell["reached"], cell
        assert set(cell["utility"]["controls"]) == {"released", "other", "length", "majority"}
        assert 0 <= cell["utility"]["auc"]["lower"] <= cell["utility"]["auc"]["value"] <= 1
        assert cell["asr_map"] is not None
        if match == "epsilon":
            assert 0.99 * 20 < cell["epsilon"]["upper"] <= 20
    assert found["cells"][-1]["target"] is None
    assert found["cells"][-1]["utility"]["accuracy"]["value"] <= 1


def test_table_6_trains_its_prompt_on_the_general_corpus(command, corpora, tmp_path, capsys):
    assert command(6, tmp_path / "none", "--targets", "0.1") == 2
    assert "--general-corpus for table 6" in capsys.readouterr().err
    options = ("--general-corpus", str(corpora["general"]), "--match", "epsilon", "--targets", "20")
    assert command(6, tmp_path / "out", *options) == 0
    found = read(tmp_path / "out")
    assert found["corpora"]["general"] != found["corpora"]["corpus"]
    cards = [json.loads(path.read_text()) for path in (tmp_path / "out" / "trained").glob("*/card.json")]
    prompts = [card for card in cards if "mechanisms" in card]
    assert sorted(card["data"] for card in prompts) == ["general corpus", *["the table's corpus"] * 5]
    transferred, own = found["cells"][:2]
    assert transferred["knob"] == own["knob"]
    assert transferred["utility"]["values"] != own["utility"]["values"]


def test_table_7_uses_the_prompt_of_another_mu(command, tmp_path, capsys):
    assert command(7, tmp_path / "out") == 0
    assert "prompt of mu 52 used at mu 40" in capsys.readouterr().out
    own, other = read(tmp_path / "out")["cells"]
    assert own["knob"] == other["knob"] == 40.0
    assert own["epsilon"] == other["epsilon"]
    cards = [json.loads(path.read_text()) for path in (tmp_path / "out" / "trained").glob("*/card.json")]
    levels = [QuantizerSpec(**card["mechanisms"][0]["spec"]).mu for card in cards if "mechanisms" in card]
    assert sorted(levels) == pytest.approx([40.0, 52.0])


def test_table_8_compares_coordinates(command, tmp_path, capsys):
    assert command(8, tmp_path / "out", "--dim", "4,8", "--targets", "20,60") == 0
    assert "d = 32 better at mu = 20" in capsys.readouterr().out
    found = read(tmp_path / "out")
    assert [(cell["dim"], cell["target"]) for cell in found["cells"]] == [(4, 20), (8, 20), (4, 60), (8, 60)]
    assert [one["target"] for one in found["differences"]] == [20, 60]


def test_a_rerun_computes_only_the_cells_that_are_not_there(command, tmp_path, monkeypatch, capsys):
    measure, calls = cells_module.measure_generation, []

    def counted(bench, row, contender):
        calls.append(row.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(bench, row, contender)

    monkeypatch.setattr(cells_module, "measure_generation", counted)
    assert command(7, tmp_path / "out") == 130
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial").is_dir()
    assert command(7, tmp_path / "out") == 0
    assert calls == ["DEL, own prompt", "DEL, prompt of the other mu", "DEL, prompt of the other mu"]
    monkeypatch.undo()
    assert command(7, tmp_path / "whole") == 0
    assert read(tmp_path / "out")["cells"] == read(tmp_path / "whole")["cells"]


def test_a_run_that_is_killed_between_cells_goes_on(command, arguments, tmp_path, monkeypatch, capsys):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as the tests have: others round the last digit otherwise
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments(7, tmp_path / "out")], env=environment, capture_output=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert not (tmp_path / "out").exists()
    measure, calls = cells_module.measure_generation, []

    def counted(bench, row, contender):
        calls.append(row.name)
        return measure(bench, row, contender)

    monkeypatch.setattr(cells_module, "measure_generation", counted)
    assert command(7, tmp_path / "out") == 0
    assert calls == ["DEL, prompt of the other mu"]
    assert command(7, tmp_path / "whole") == 0
    assert read(tmp_path / "out")["cells"] == read(tmp_path / "whole")["cells"]
    files = [{path.name for path in (tmp_path / out).iterdir()} for out in ("out", "whole")]
    assert files == 2 * [{MARKER, "table.json", "trained"}]


def test_two_workers_make_the_cells_that_one_makes(command, tmp_path, monkeypatch):
    assert command(7, tmp_path / "alone") == 0
    monkeypatch.setattr(cells_module, "measure_generation", lambda *_: pytest.fail("measured by the command itself"))
    assert command(7, tmp_path / "shared", "--workers", "2") == 0
    assert read(tmp_path / "shared")["cells"] == read(tmp_path / "alone")["cells"]
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {MARKER, "table.json", "trained"}


def test_a_run_that_an_earlier_version_left_is_refused(command, tmp_path, capsys):
    partial = private_folder(tmp_path / "out.partial")
    (partial / "cells").mkdir()
    assert command(7, tmp_path / "out") == 2
    found = capsys.readouterr().err
    assert f"Expected {partial} to be of this version" in found
    assert f"Delete {partial} to start again, or give another --out." in found


def test_other_settings_are_other_cells(command, tmp_path, monkeypatch, capsys):
    def interrupted(*_parts):
        raise KeyboardInterrupt

    monkeypatch.setattr(cells_module, "measure_generation", interrupted)
    for options in ((), ("--seed", "1"), ("--dtype", "bfloat16")):
        assert command(7, tmp_path / "out", *options) == 130
    names = [json.loads(path.read_text()) for path in (tmp_path / "out.partial" / "parts").iterdir()]
    found = sorted(tuple(name["settings"]["model_and_text"][key] for key in ("seed", "dtype")) for name in names)
    assert found == [
        (0, "bfloat16"),
        (0, "float32"),
        (1, "float32"),
    ]


@pytest.mark.parametrize(
    ("table", "options", "named"),
    [
        (1, ("--targets", "1.5"), "in (0, 1)"),
        (1, ("--targets", "0.1,0.1"), "different values"),
        (1, ("--match", "mu", "--targets", "40"), "its rivals have no mu"),
        (7, ("--match", "asr"), "--targets with --match asr"),
        (1, ("--samples", "1"), "samples >= 2"),
        (1, ("--tokens", "100000"), "--tokens of at most half"),
        (1, ("--private-split", "dev"), "a split of"),
        (1, ("--dim", "64", "--targets", "0.1"), "dim <= 32"),
        (7, ("--bits", "9"), "bits in 1..8"),
        (7, ("--bits", "2,x"), "whole number"),
        (7, ("--seed", "-1"), "seed >= 0"),
        (7, ("--device", "cuda:99"), "device to be one that torch can use here, got device='cuda:99'"),
        (7, ("--dtype", "int8"), "invalid choice: 'int8'"),
        (3, ("--label-column", "class"), "'class'"),
    ],
)
def test_what_a_user_can_mend_ends_with_code_2(command, tmp_path, capsys, table, options, named):
    assert command(table, tmp_path / "out", *options) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_table_and_a_folder_that_exists_are_refused(command, tmp_path, capsys):
    assert command(2, tmp_path / "out") == 2
    assert "invalid choice" in capsys.readouterr().err
    assert command(7, tmp_path) == 2
    assert "does not exist yet" in capsys.readouterr().err
