"""`del-audit frontier` on a tiny model: what is written, that it resumes, and what is refused."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from pyarrow import parquet
from tqdm import tqdm

from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from del_audit.configuration.mechanisms import DelMechanism, RandomizedResponseMechanism
from del_audit.evidence.inversion.readers import AttackReader
from del_audit.evidence.system import System
from del_audit.evidence.utility import OTHER, RELEASED, released_losses
from del_audit.frontier.bench import NAME, FrontierBench
from del_audit.frontier.document import FORMAT
from del_audit.runs import Run
from del_audit.service.assets import build, load_assets
from mechanisms.private_folders import MARKER
from mechanisms.server import Server
from mechanisms.soft_prompt import load_soft_prompt

KINDS = ["del", "randomized-response", "coarse-words:32:projective-geometry"]
EPSILONS = [4.0, 8.0]
FILES = [MARKER, "frontier.html", "frontier.json", "frontier.parquet", "frontier.svg"]
PARTS = ("_first", "_attacks", "_contexts", "_lists", "_released", "_attribute")


def run(configured, out, *options, mechanisms=KINDS, epsilons="4,8"):
    given = ["--mechanisms", ",".join(mechanisms), "--epsilons", epsilons, *options]
    return main(["frontier", str(configured), "--out", str(out), *given])


@pytest.fixture
def counted(monkeypatch):
    """Lists the measurements as they are made."""
    made = []
    for part in PARTS:
        real = getattr(FrontierBench, part)

        def counting(self, point, real=real, part=part):
            made.append((part, point.name))
            return real(self, point)

        monkeypatch.setattr(FrontierBench, part, counting)
    return made


@pytest.fixture(scope="module")
def quick(configured, tmp_path_factory):
    """Returns the folder of a quick run of three kinds at two epsilons."""
    out = tmp_path_factory.mktemp("quick") / "out"
    assert run(configured, out, "--quick") == 0
    return out


@pytest.fixture(scope="module")
def document(quick):
    return json.loads((quick / "frontier.json").read_text())


@pytest.fixture(scope="module")
def points(document):
    return {point["point"]: point for point in document["points"]}


def test_every_point_has_the_epsilon_that_was_asked_for(points):
    assert list(points) == [f"{kind}@{epsilon:g}" for epsilon in EPSILONS for kind in KINDS]
    for point in points.values():
        epsilon = point["first"]["epsilon"]
        assert point["epsilon"] - 1e-6 < epsilon["lower"] <= epsilon["upper"] <= point["epsilon"] + 1e-12
        assert epsilon["kind"] == "proved"
        assert point["first"]["at_delta"]["upper"] <= point["epsilon"] + 1e-12
        assert point["first"]["prompt"]["upper"] > point["epsilon"]


def test_more_epsilon_is_read_better_and_tells_more(points):
    for kind in KINDS:
        less, more = (points[f"{kind}@{epsilon:g}"]["first"] for epsilon in EPSILONS)
        assert less["map"]["value"] < more["map"]["value"]
        assert less["information"]["value"] < more["information"]["value"]


def test_randomized_response_tells_no_more_than_its_capacity(points, configured):
    words = 384
    for epsilon in EPSILONS:
        spec = RandomizedResponseMechanism(kind="randomized-response", epsilon=epsilon).over(words)
        assert points[f"randomized-response@{epsilon:g}"]["first"]["information"]["lower"] < spec.capacity


def test_every_figure_states_what_it_is(document, points, configured):
    assert (document["format"], document["stage"], document["assurance"]) == (FORMAT, "quick", "quick")
    assert (document["delta"], document["prompt_tokens"], document["sends"]) == (1e-6, 12, 1)
    assert load_configuration(configured).policy.quoted_delta == 1e-6
    assert {"python", "torch", "numpy"} <= set(document["versions"])
    for point in points.values():
        for name in ("map", "baseline", "information"):
            figure = point["first"][name]
            assert figure["lower"] <= figure["value"] <= figure["upper"]
            assert figure["kind"] == "estimated, with interval"
            assert figure["seed"] == document["seed"]
            assert figure["documents"] > 1
        assert point["second"] is None
    assert points["randomized-response@4"]["first"]["map"]["sample"] > 250


def test_each_mechanism_sends_what_its_format_says(points):
    assert points["del@4"]["first"]["bytes_per_token"] == 4 * 12 / 8
    assert points["randomized-response@4"]["first"]["bytes_per_token"] == 9 / 8  # 384 words
    assert points["coarse-words:32:projective-geometry@4"]["first"]["bytes_per_token"] < 9 / 8


def test_the_table_has_a_row_a_point(quick, points):
    rows = parquet.read_table(quick / "frontier.parquet").to_pylist()
    assert [row["point"] for row in rows] == list(points)
    for row in rows:
        assert row["map_value"] == points[row["point"]]["first"]["map"]["value"]
        assert row["epsilon_proved"] == points[row["point"]]["first"]["epsilon"]["upper"]
        assert row["strongest_value"] is None
        assert row["seed"] > 0


def test_only_the_results_are_left_and_only_their_owner_enters(quick):
    assert sorted(path.name for path in quick.iterdir()) == FILES
    assert quick.stat().st_mode & 0o777 == 0o700


def test_the_picture_is_an_svg_of_its_own_with_a_mark_a_point(quick):
    text = (quick / "frontier.svg").read_text()
    drawn = ElementTree.fromstring(text)
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    marks = [each for each in drawn.iter("{http://www.w3.org/2000/svg}path") if "mark" in each.get("class")]
    assert len(marks) == len(KINDS) * len(EPSILONS) + len(KINDS)  # and one a mechanism in the legend
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme: dark" in text
    words = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"DEL", "32 coarse words, projective geometry response", "response 8"} <= set(words)


def test_the_page_needs_no_network_and_reads_every_point_out(quick, points):
    text = (quick / "frontier.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=", text)
    (panel,) = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    assert len(panel["grid"]) == len(points)
    assert panel["stops"] == sorted(panel["stops"])
    assert text.count("<tr>") == 1 + len(points)
    body = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.S)
    opened = [tag for tag in re.findall(r"<([a-z0-9]+)", body) if tag not in ("meta", "input")]
    assert sorted(opened) == sorted(re.findall(r"</([a-z0-9]+)>", body))


def test_a_killed_run_goes_on_and_measures_nothing_twice(quick, configured, tmp_path, monkeypatch, counted, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(Run, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(configured, out, "--quick") == 130
    assert len(counted) == len(KINDS) * len(EPSILONS)
    assert not out.exists()
    counted.clear()
    assert run(configured, out, "--quick") == 0
    assert counted == []
    assert (out / "frontier.json").read_text() == (quick / "frontier.json").read_text()
    assert (out / "frontier.html").read_text() == (quick / "frontier.html").read_text()
    said = capsys.readouterr().out
    assert "What every point sends" in said
    assert "randomized-response" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mechanisms", "dell"], "Did you mean 'del'?"),
        (["--mechanisms", ""], "got none"),
        (["--epsilons", "0"], "Expected --epsilons in [0.01, 1000]"),
        (["--epsilons", "four"], "Expected epsilons to be a finite number"),
        (["--epsilons", "4,4"], "Expected each of --epsilons once"),
        (["--delta", "0.5"], "Expected --delta in (0, 0.01], got 0.5"),
        (["--points", "0"], "Expected points >= 1"),
        (["--full", "del@5"], "got 'del@5'"),
        (["--full", "del@4", "--quick"], "Expected --full or --quick, got both"),
        (["--decoders", "linear", "--quick"], "Expected --decoders or --quick, got both"),
        (["--decoders", "linear,liner"], "among posterior-mean, posterior-mean-plain"),
        (["--decoders", "linear,linear"], "each once"),
        (["--decoders", "trained-linear"], "encoder.projection"),
        (["--decoders", "language-prior", "--train-steps", "2"], "decoder: posterior-mean"),
        (["--train-steps", "3", "--quick"], "Expected --train-steps or --quick, got both"),
        (["--train-steps", "-1"], "Expected train-steps >= 0, got train-steps=-1"),
        (["--mechanisms", "coarse-words:500"], "in 2..384, the model's vocabulary, got 'coarse-words:500'"),
        (["--mechanisms", "subset-selection", "--epsilons", "64"], "Expected a point that can be measured, got none"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(configured, tmp_path, options, said, capsys):
    given = {"--mechanisms": "del,randomized-response", "--epsilons": "4"}
    flags = [option for option in options if option == "--quick"]
    given |= dict(zip(options[::2], options[1::2], strict=False))
    pairs = [text for name, value in given.items() if name != "--quick" for text in (name, value)]
    assert main(["frontier", str(configured), "--out", str(tmp_path / "out"), *pairs, *flags]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_out_that_exists_is_refused(configured, quick, capsys):
    assert run(configured, quick, "--quick") == 2
    assert "out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_is_killed_between_two_attacks_goes_on_behind_the_first(configured, tmp_path, monkeypatch):
    whole, out, options = tmp_path / "whole", tmp_path / "out", ("--points", "1", "--full", "del@8")
    assert run(configured, whole, *options) == 0
    read, reads = AttackReader.read, []

    def killed(reader, sent):
        reads.append(reader.attack.name)
        if len(reads) == 15:  # six points with two attacks each, then two of four
            raise KeyboardInterrupt
        return read(reader, sent)

    monkeypatch.setattr(AttackReader, "read", killed)
    assert run(configured, out, *options) == 130
    assert run(configured, out, *options) == 0
    assert len(reads) == 12 + 3 + 2
    assert reads[14] == reads[15]
    assert (out / "frontier.json").read_text() == (whole / "frontier.json").read_text()


def test_a_point_has_a_soft_prompt_of_its_own_that_is_no_worse_on_held_out_text(configured, tmp_path):
    given, out = tmp_path / "given", tmp_path / "out"
    content = yaml.safe_load(configured.read_text())
    base = tmp_path / "tiny.yaml"
    base.write_text(yaml.safe_dump(content))
    assert main(["train", "prompt", str(base), "--out", str(given), "--steps", "2", "--virtual-tokens", "3"]) == 0
    content["soft_prompt"] = str(given)
    base.write_text(yaml.safe_dump(content))
    options = ("--points", "1", "--full", "del@8", "--train-steps", "6", "--decoders", "linear,most-likely,mixed")
    assert run(base, out, *options, mechanisms=["del"], epsilons="8") == 0
    (point,) = json.loads((out / "frontier.json").read_text())["points"]
    trained = point["second"]["soft_prompt"]
    soft, start = load_soft_prompt(str(out / trained["folder"]), 32), load_soft_prompt(str(given), 32)
    assert trained["sha256"] == soft.sha256 != start.sha256
    assert soft.card["start"] == start.sha256
    assert soft.vectors.shape == start.vectors.shape
    assert trained["steps_done"] == 6
    assert {soft.card["training"][name] for name in ("shortest_prompt", "shortest_response")} == {12, 8}
    losses = {each["step"]: each["loss"] for each in trained["validation"]}
    assert losses[trained["best_step"]] == min(losses.values()) <= losses[0]
    configuration = load_configuration(base)
    assets = load_assets(configuration.model_copy(update={"soft_prompt": str(out / trained["folder"])}))
    by_loss = point["second"]["decoder_losses"]
    assert set(by_loss) == {"linear", "most-likely", "mixed"}
    assert len(set(by_loss.values())) == 3
    assert point["decoder"] == point["second"]["decoder"] == min(by_loss, key=by_loss.get)
    assert losses[0] == pytest.approx(by_loss[point["decoder"]], rel=1e-6)  # the start is the configuration's
    changed = {"mechanism": DelMechanism(**point["configured"]), "decoder": point["decoder"]}
    calibrated = configuration.model_copy(update=changed)
    system = System(calibrated, assets, build(calibrated, assets), NAME)
    prompts = system.prompts(configuration.evaluation.prompts)
    server = Server(assets.language, system.pipeline, assets.soft_prompt)
    found = released_losses(server, prompts, tqdm(disable=True))
    assert point["second"]["gain"]["value"] == pytest.approx(float((found[OTHER] - found[RELEASED]).mean()))


def test_a_decoder_that_reads_with_the_soft_prompt_is_refused_for_training(configured, tmp_path, capsys):
    content = yaml.safe_load(configured.read_text())
    base = tmp_path / "tiny.yaml"
    base.write_text(yaml.safe_dump({**content, "decoder": "language-prior"}))
    assert run(base, tmp_path / "out", "--train-steps", "2", mechanisms=["randomized-response"]) == 2
    assert "decoder: posterior-mean" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.slow
def test_the_best_points_are_attacked_in_full_once(configured, tmp_path, monkeypatch, counted, capsys):
    out = tmp_path / "out"
    options = ("--points", "3", "--full", "del@8")
    with monkeypatch.context() as patched:
        patched.setattr(Run, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(configured, out, *options) == 130
    parts = [part for part, _ in counted]
    assert parts.count("_first") == 6
    assert {parts.count(part) for part in PARTS[1:]} == {3}
    counted.clear()
    assert run(configured, out, *options) == 0
    assert counted == []
    document = json.loads((out / "frontier.json").read_text())
    done = {point["point"]: point["second"] for point in document["points"] if point["second"]}
    assert len(done) == 3
    assert "del@8" in done
    assert [each["key"] for each in done["del@8"]["attacks"]] == ["baseline", "cosine", "code", "map"]
    for name, second in done.items():
        if name != "del@8":
            assert [each["key"] for each in second["attacks"]] == ["baseline", "cosine", "map"]
        assert [each["context"] for each in second["contexts"]] == ["left", "both sides"]
        assert second["lists"]
        assert second["gain"]["sample"] == 20
        assert 0 <= second["attribute"]["value"] <= 1
        assert second["above"] <= max(each["success"]["value"] for each in second["attacks"])
    pairs = document["relations"]["attacks_and_gain"]
    assert len(pairs) == 3
    assert {each["says"] for each in pairs} == {"not told apart"}  # a random model gains nothing
    rows = {row["point"]: row for row in parquet.read_table(out / "frontier.parquet").to_pylist()}
    assert rows["del@8"]["strongest_value"] > 0
    assert rows["del@8"]["lift_left_lower"] is not None
    assert rows["del@4"]["gain_value"] is None
    marks = (out / "frontier.svg").read_text().count('class="mark')
    assert marks == 3 + len({name.rpartition("@")[0] for name in done})
    assert "What all attacks recover" in capsys.readouterr().out


def test_two_workers_find_what_one_finds(quick, configured, tmp_path, counted):
    out = tmp_path / "out"
    assert run(configured, out, "--quick", "--workers", "2") == 0
    assert counted == []  # all of it was measured elsewhere
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert (out / "frontier.json").read_text() == (quick / "frontier.json").read_text()


@pytest.mark.slow
def test_workers_attack_and_train_as_the_command_does(configured, tmp_path, counted):
    options = ("--points", "2", "--full", "del@8", "--decoders", "linear,most-likely", "--train-steps", "2")
    assert run(configured, tmp_path / "alone", *options) == 0
    counted.clear()
    assert run(configured, tmp_path / "shared", *options, "--workers", "2") == 0
    assert counted == []
    alone, shared = (json.loads((tmp_path / name / "frontier.json").read_text()) for name in ("alone", "shared"))
    assert alone == shared
    trained = [point["second"]["soft_prompt"] for point in shared["points"] if point["second"]]
    assert len(trained) == 2
    for each in trained:
        assert load_soft_prompt(str(tmp_path / "shared" / each["folder"]), 32).sha256 == each["sha256"]
