"""`del-audit plan`: figures of the library, in JSON and as text; what does not fit ends with code 2."""

import json

import numpy as np
import pytest
import yaml

from del_audit.cli import main
from del_audit.statistics.intervals import clustered_rate
from del_audit.statistics.planning import Asked, Assumed, plan_documents, power_of

QUESTION = ("plan", "--attack-success", "0.3", "--expected", "0.15", "--tokens-a-document", "20")


def planned(capsys, *options):
    assert main([*QUESTION, *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_plan_is_the_librarys(capsys):
    found = planned(capsys, "--intracluster", "0.1", "--power", "0.8", "--documents", "60")
    assumed, asked = Assumed(0.15, 20, 0.1), Asked(0.3, power=0.8)
    for row in found["plans"]:
        assert row["documents"] == plan_documents(row["interval"], assumed, asked).documents
    first = found["plans"][0]
    assert first["interval"] == "unseen-document"
    assert found["evaluation"] == {
        "attacked_tokens": 20 * first["documents"],
        "context_prompts": first["documents"],
    }
    fixed = found["with_documents"][0]
    assert fixed["power"] == power_of("unseen-document", assumed, asked, 60)
    assert 0.15 < fixed["largest_share_certified"] < 0.3


def test_the_text_has_a_line_to_paste(capsys):
    assert main([*QUESTION]) == 0
    said = capsys.readouterr().out
    pasted = yaml.safe_load(said[said.index("evaluation:") :])
    assert pasted["policy"]["prompt_tokens"] == 20
    assert f"{pasted['evaluation']['attacked_tokens']:,}" in said


def certificate(tmp_path, gain=0.1):
    hits = Assumed(0.2, 30, 0.1).hits(60, 1, 4)[0]
    flags = np.concatenate([np.arange(30) < k for k in hits])
    success = clustered_rate(flags, np.repeat(np.arange(60), 30), 30, "share of tokens read", "tokens", 0)
    mean = {**success.to_dict(), "value": gain, "lower": gain - 0.1, "upper": gain + 0.1, "sample": 96}
    body = {
        "configuration": {"policy": {"attack_success_at_most": 0.3, "paired_gain_at_least": 0.02}},
        "inversion": {"attacks": [{"success": success.to_dict()}]},
        "utility": {"paired_gain": mean},
    }
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(body))
    return path, success


def test_a_certificate_says_what_to_assume(tmp_path, capsys):
    path, success = certificate(tmp_path)
    assert main(["plan", "--from", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["claim"]["attack_success_at_most"] == 0.3
    assert found["assumed"]["share_of_tokens_read"] == success.value
    assert found["assumed"]["tokens_a_document"] == 30
    assert found["assumed"]["intracluster"] == pytest.approx(0.1, rel=0.5)
    assert found["other_limits"]["prompts"] > 96
    assert main(["plan", "--from", str(path), "--expected", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["assumed"]["share_of_tokens_read"] == 0.1


def test_a_gain_below_its_limit_is_shown_by_no_prompts(tmp_path, capsys):
    path, _ = certificate(tmp_path, gain=0.0)
    assert main(["plan", "--from", str(path)]) == 0
    assert "no number of prompts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--attack-success", "0.2"], "--expected"),
        (["--expected", "0.2"], "--attack-success"),
        (["--attack-success", "0.2", "--expected", "0.2"], "no sample certifies"),
        (["--attack-success", "1.5", "--expected", "0.2"], "limit in"),
        (["--attack-success", "0.2", "--expected", "0.1", "--power", "1"], "power"),
        (["--attack-success", "0.2", "--expected", "0.1", "--intracluster", "2"], "intracluster"),
        (["--attack-success", "0.2", "--expected", "0.1", "--documents", "1"], "documents in 2"),
        (["--attack-success", "0.2", "--expected", "0.1", "--seed", "-1"], "seed"),
        (["--from", "none.json"], "none.json"),
    ],
)
def test_what_does_not_fit_ends_with_code_2(capsys, options, said):
    assert main(["plan", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"inversion": {"attacks": []}}', '{"inversion": {"attacks": [{"success": 3}]}}']
)
def test_a_file_that_is_no_certificate_ends_with_code_2(tmp_path, capsys, content):
    path = tmp_path / "certificate.json"
    path.write_text(content)
    assert main(["plan", "--from", str(path)]) == 2
    assert "to be a certificate" in capsys.readouterr().err
