"""The command: claims, options, exit codes, the report, the table."""

import json
import subprocess
import sys

import pytest
import yaml

from del_audit.cli import main
from del_audit.evidence.verification.verification import TRIALS
from del_audit.verify_mechanism.audit import not_tested, with_connection
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)
KEYS = {
    *("format", "made", "client", "seed", "spec", "alpha", "trials", "calls", "rows", "passed", "p_value", "findings"),
    *("epsilon", "detects", "not_tested", "notes", "versions", "commit"),
}


def test_the_report_has_all_that_it_takes_to_judge_it(verify, tmp_path):
    path = tmp_path / "report.json"
    ran = verify("--out", path)
    assert ran.code == 0
    document = json.loads(path.read_text())
    assert document == ran.document
    assert set(document) == KEYS
    assert document["format"] == "del-audit verification 1"
    assert (document["seed"], document["trials"], document["alpha"]) == (1, 600, 1e-6)
    assert document["spec"] == SPEC.to_dict()
    assert document["rows"] > 600
    assert document["calls"] > 20
    assert document["versions"]["numpy"]
    fields = {"name", "group", "evidence", "p_value", "rejected", "meaning"}
    assert all(set(finding) == fields for finding in document["findings"])
    claimed = document["epsilon"]["claimed"]
    for limit in ("two_samples", "one_run"):
        assert 0 < document["epsilon"][limit]["value"] < claimed["upper"]
    assert 0 < document["detects"]["scale_error"] < 1
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_fault_is_reported_as_a_whole_too(functions, verify, tmp_path):
    path = tmp_path / "report.json"
    broken = functions("def broken(values):\n    return release(0.2 * values)")
    ran = verify("--python", f"{broken}:broken", "--out", path)
    assert ran.code == 1
    document = json.loads(path.read_text())
    assert document == ran.document
    assert document["passed"] is False
    assert 0 <= document["p_value"] < 1e-6


def test_the_same_seed_gives_the_same_inputs(functions, verify):
    """The client writes what it was given: a digest of all values."""
    source = "import hashlib\nH = hashlib.sha256()\n"
    source += "def told(values):\n    H.update(values.tobytes())\n    return release(values)\n"
    source += "def digest():\n    print(H.hexdigest(), flush=True)\n    return charged()\n"
    path = functions(source)
    said = [verify("--python", f"{path}:told", "--charged", "digest", "--seed", seed).error for seed in ("5", "5", "6")]
    last = [text.split()[-1] for text in said]
    assert last[0] == last[1] != last[2]


def test_a_seed_is_drawn_and_reported_where_none_is_given(capsys):
    seeds = set()
    for _ in range(2):
        claim = ["--bits", "1", "--dim", "2", "--clip", "1", "--mu", "1"]
        assert main(["verify-mechanism", *claim, "--trials", "200", "--alpha", "1e-6", "--json"]) == 0
        seeds.add(json.loads(capsys.readouterr().out)["seed"])
    assert len(seeds) == 2


def test_the_table_says_what_was_found_and_what_was_not_looked_at(functions, capsys):
    claim = ["--bits", "4", "--dim", "6", "--clip", "0.05", "--scale", "0.1", "--trials", "600", "--alpha", "1e-6"]
    path = functions("def broken(values):\n    return release(np.nan_to_num(values))")
    assert main(["verify-mechanism", *claim, "--python", f"{path}:release"]) == 0
    printed = capsys.readouterr().out
    for text in (
        "PASSED",
        "That is no proof",
        "at least",
        "at most 83.25 nats",
        "a scale that is",
        "- message: nothing",
    ):
        assert text in printed
    assert "REJECTED" not in printed
    assert main(["verify-mechanism", *claim, "--python", f"{path}:broken"]) == 1
    printed = capsys.readouterr().out
    for text in ("REJECTED", "FAULT: 1 of ", "- clipping, refused: Something that is no number was released", "1e-6"):
        assert text in printed
    assert "PASSED" not in printed


def test_nothing_at_all_released_is_a_table_and_a_fault(functions, capsys):
    claim = ["--bits", "4", "--dim", "6", "--clip", "0.05", "--scale", "0.1", "--trials", "200"]
    path = functions("def broken(values):\n    raise RuntimeError('\x1b[2Jno')")
    assert main(["verify-mechanism", *claim, "--python", f"{path}:broken"]) == 1
    printed = capsys.readouterr().out
    assert "Nothing was released." in printed
    assert "\x1b" not in printed


def test_the_claim_of_a_configuration(verify, tmp_path):
    path = tmp_path / "certify.yaml"
    data = {"corpus": "reviews.csv", "public_split": "train", "private_split": "test"}
    content = {
        "name": "tiny",
        "model": "m",
        "sentence_encoder": "s",
        "mechanism": {"bits": 4, "dim": 6, "clip": 0.05, "mu": 8.0},
        "data": data,
        "policy": {"epsilon": {"unit": "token", "delta": 1e-5, "at_most": 100.0}},
    }
    path.write_text(yaml.safe_dump(content))
    ran = verify("--config", path, claim=())
    assert ran.code == 0
    assert ran.document["spec"] == QuantizerSpec.from_mu(4, 6, 0.05, 8.0).to_dict()


@pytest.mark.parametrize(
    ("arguments", "claim", "says"),
    [
        ((), (), "Expected a claim: --bits, --dim, --clip and exactly one of --scale and --mu, or --config"),
        ((), ("--bits", "4", "--dim", "6", "--clip", "0.05"), "Expected a claim"),
        (("--mu", "3"), None, "exactly one of --scale and --mu"),
        (("--config", "c.yaml"), None, "--config or --bits, --dim, --clip and --scale or --mu, got both"),
        (("--python", "a:b", "--http", "http://h"), None, "at most one of --python, --command, --http, --bundle, got"),
        (("--message", "m"), None, "--message with --python only"),
        (("--command", "cat", "--charged", "c"), None, "--charged with --python only"),
        (("--time-out", "0"), None, "--time-out in (0, 3600] seconds, got time-out=0.0"),
        (("--time-out", "nan"), None, "time-out to be a finite number"),
        (("--trials", "10"), None, "trials to be a whole number >= 200, got trials=10"),
        (("--alpha", "1"), None, "alpha in (0, 1), got alpha=1.0"),
        (("--seed", "-1"), None, "seed to be a whole number >= 0, got seed=-1"),
        (("--scale", "0.01"), None, "scale > clip=0.05, got scale=0.01"),
        (("--bundle", "nowhere"), (), "Expected a client's folder, got 'nowhere'"),
    ],
)
def test_what_cannot_be_is_a_user_error(verify, arguments, claim, says):
    ran = verify(*arguments) if claim is None else verify(*arguments, claim=claim)
    assert ran.code == 2
    assert says in ran.error
    assert ran.document == {}


def test_a_report_is_not_written_over_and_not_where_it_cannot_be(verify, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("mine")
    assert "does not exist yet" in verify("--out", path).error
    assert path.read_text() == "mine"
    ran = verify("--out", tmp_path / "no" / "report.json")
    assert ran.code == 2
    assert "a file that can be written" in ran.error


def test_a_connection_that_failed_rejects_whatever_the_battery_says(verify):
    from del_audit.evidence.verification import verify_mechanism
    from del_audit.verify_mechanism.own_client import own_client
    from mechanisms.randomness import simulation_generator

    with own_client(SPEC) as target:
        rng = simulation_generator(0, "test")
        found = verify_mechanism(target.release, SPEC, trials=200, alpha=1e-6, rng=rng, processes=False)
    assert found.passed
    assert with_connection(found, [], 90).passed
    failed = with_connection(found, ["status 500"], 90)
    assert not failed.passed
    assert failed.p_value == 0.0
    assert [f.name for f in failed.rejected] == ["connection"]
    assert len(failed.findings) == len(found.findings) + 1


def test_a_connection_says_more_than_the_battery_of_what_was_not_tested():
    skipped = ["processes: not asked for", "message: none: given"]
    assert not_tested(skipped, {"processes": "over HTTP", "encoder": "x"}) == [
        {"what": "processes", "why": "over HTTP"},
        {"what": "message", "why": "none: given"},
        {"what": "encoder", "why": "x"},
    ]


def test_the_default_catches_a_scale_that_is_one_percent_off(capsys):
    """docs/verify-mechanism.md says so of 18 coordinates at 4 bits."""
    claim = ["--bits", "4", "--dim", "18", "--clip", "0.05", "--mu", "8", "--alpha", "1e-3", "--seed", "1"]
    main(["verify-mechanism", *claim, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["trials"] == TRIALS == 20_000
    assert document["detects"]["scale_error"] < 0.01


def test_help_and_options_import_no_torch():
    code = (
        "import sys\nfrom del_audit.cli import main\n"
        "try:\n    main(['verify-mechanism', '--help'])\nexcept SystemExit:\n    pass\n"
        "main(['verify-mechanism', '--bits', '4', '--dim', '2', '--clip', '1', '--mu', '1', '--trials', '200'])\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "--python FILE.py:NAME" in done.stdout
