"""A certificate that fills prompts up: its figures, its client, and what a capture of requests tells of a length."""

import pytest
import yaml
from tiny_service import certified_service

from del_audit.certificate.document import FILLED_LENGTH, LENGTH
from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from del_audit.serving.deployed import Deployed
from mechanisms.client_bundle import load_client
from mechanisms.client_certificate import read_certificate

PAD_TO = (8, 16, 48)
TEXTS = ("the pain", "the pain was gone after a week or so of it and then came back")


@pytest.fixture(scope="module")
def deployment(tiny_lm_folder, tiny_bert_folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("padded")
        return certified_service(folder, tiny_lm_folder, tiny_bert_folder, patched.setenv, sends=3, pad_to=PAD_TO)


@pytest.fixture(scope="module")
def deployed(deployment):
    return Deployed.of(load_configuration(deployment.config))


def test_the_certificate_states_the_lengths_and_the_client_keeps_to_them(deployment, own_state):
    body = read_certificate(deployment.certificate).body
    assert body["sections"]["padding"]["lengths"] == list(PAD_TO)
    assert FILLED_LENGTH in body["not_protected"]
    assert LENGTH not in body["not_protected"]
    assert "pad_to" not in body["configuration"]
    client = load_client(deployment.bundle, accept_quick=True)
    assert client.terms.padding.lengths == PAD_TO
    client.release_tokens(range(9))
    assert client.charged == 16


def test_bytes_of_requests_tell_which_length_and_no_more(service):
    for count in range(1, 9):
        service.chat("w" * count)  # tokens are bytes, or a few of them
    sizes = {len(body) for body in service.bodies}
    assert len(sizes) == 1
    assert service.spent == 8 * PAD_TO[0]


def test_a_chat_of_filled_turns_costs_what_crossed_the_wire(service):
    answer = service.chat(TEXTS[0]).choices[0].message.content
    service.chat(TEXTS[0], ("assistant", answer), TEXTS[1])
    released = [segment.content for request in service.wire for segment in request.segments]
    assert all(isinstance(content, bytes) for content in released)
    assert len(released) == 2
    assert service.spent in {a + b for a in PAD_TO for b in PAD_TO}


def test_verify_says_the_lengths_and_finds_a_configuration_of_others(deployment, own_state, tmp_path, capsys):
    assert main(["verify", str(deployment.certificate), "--accept-quick"]) == 0
    assert "filled up to 8, 16 or 48 tokens" in " ".join(capsys.readouterr().out.split())
    content = yaml.safe_load(deployment.config.read_text())
    for changed, code, said in ((PAD_TO, 0, "It is 8, 16, 48 tokens"), ((48,), 1, "got pad_to: 48"), (None, 1, "none")):
        other = tmp_path / "other.yaml"
        given = {**content, "pad_to": list(changed)} if changed else {k: v for k, v in content.items() if k != "pad_to"}
        other.write_text(yaml.safe_dump(given))
        arguments = ["verify", str(deployment.certificate), "--accept-quick", "--against", str(other)]
        assert main(arguments) == code
        assert said in " ".join(capsys.readouterr().out.split())


def test_the_report_says_the_lengths(deployment):
    page = (deployment.certificate.parent / "report.html").read_text()
    assert "Every prompt is filled up to 8, 16 or 48 tokens" in page
