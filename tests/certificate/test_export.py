"""A certificate as JUnit XML and as a model card's section: whole, escaped, and only where it verifies."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from json_certificate import junit, model_card
from lxml import etree
from markdown_it import MarkdownIt

from del_audit.certificate.model_card import escaped
from del_audit.cli import main
from mechanisms.signed_document import raw_public_key, sign, signed_bytes

FIXTURES = Path(__file__).parents[1] / "fixtures" / "certificates"
WHOLE = json.loads((FIXTURES / "certificate-6.json").read_text(encoding="utf8"))
STRANGER = raw_public_key(Ed25519PrivateKey.from_private_bytes(bytes(32))).hex()
TRUST = ["--trust", str(FIXTURES / "certificate-6.pub"), "--at", "2026-12-31"]
JUNIT = etree.XMLSchema(etree.parse(FIXTURES / "junit.xsd"))
NASTY = "<script>&\"'|*_`#[x](y)\x00\x1b\ufffe]]>\n\nnew\ttab"


@pytest.fixture
def body():
    return {key: json.loads(json.dumps(value)) for key, value in WHOLE.items() if key != "signature"}


def test_both_are_written(tmp_path, capsys):
    card, xml = tmp_path / "card.md", tmp_path / "junit.xml"
    command = ["export", str(FIXTURES / "certificate-6.json"), "--model-card", str(card), "--junit", str(xml), *TRUST]
    assert main(command) == 0
    assert str(card) in capsys.readouterr().out
    JUNIT.assertValid(etree.parse(xml))
    assert "## Privacy of prompts: certified" in card.read_text(encoding="utf8")


@pytest.mark.parametrize("options", [[], ["--trust", STRANGER], ["--at", "2040-01-01", *TRUST[:2]]])
def test_nothing_is_written_of_one_that_does_not_verify(tmp_path, capsys, options):
    command = ["export", str(FIXTURES / "certificate-6.json"), "--junit", str(tmp_path / "x.xml"), *options]
    assert main(command) == 1
    assert "not exported" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_something_must_be_asked_for(capsys):
    assert main(["export", str(FIXTURES / "certificate-6.json"), *TRUST]) == 2
    assert "Expected --model-card, --junit or both, got neither" in capsys.readouterr().err


def test_a_refused_certificate_is_exported_and_stops_a_gate(body):
    body["checks"][1].update(status="failed", reason="over")
    body["checks"][2].update(status="inconclusive", reason="few")
    body.update(verdict="refused", reasons=["a: over"])
    tree = etree.fromstring(junit(body, "SHA256:x"))
    JUNIT.assertValid(tree)
    suite = tree.find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == (str(len(body["checks"])), "1", "1")
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [check["limit"] for check in body["checks"]]
    assert [len(case) for case in cases] == [0, 1, 1, *[0] * (len(cases) - 3)]
    assert (cases[1][0].tag, cases[1][0].get("message")) == ("failure", "over")
    assert (cases[2][0].tag, cases[2][0].get("type")) == ("error", "inconclusive")
    named = {each.get("name"): each.get("value") for each in suite.find("properties")}
    assert named["verdict"] == "refused"
    assert named["sha256.encoder"] == body["hashes"]["encoder"]


def test_xml_holds_any_text_of_a_certificate(body):
    for check in body["checks"]:
        check.update(limit=NASTY, asked=NASTY, found=NASTY, reason=NASTY, status="failed")
    tree = etree.fromstring(junit(body, "SHA256:x"))
    JUNIT.assertValid(tree)
    assert tree.find("testsuite/testcase/failure").text.startswith(
        "asked: <script>&\"'|*_`#[x](y)\ufffd\ufffd\ufffd]]>"
    )


@given(st.text())
def test_xml_holds_any_character(text):
    check = {"limit": text, "asked": text, "found": text, "status": "failed", "reason": text}
    body = {**WHOLE, "checks": [check, check]}
    JUNIT.assertValid(etree.fromstring(junit(body, "SHA256:x")))


def test_markdown_shows_any_text_and_obeys_none(body):
    for check in body["checks"]:
        check.update(limit=NASTY, found="![x](http://example.org/y.png) <img src=x onerror=y>")
    body["not_protected"] = [NASTY, "# head", "- list", "1. one", "[a]: http://example.org", "| a | b |"]
    body["reasons"] = [NASTY]
    text = model_card(body, "SHA256:x")
    assert not set("\x00\x1b") & set(text)
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    for tag in ("<script", "<img", "<a ", "<h1", "<ol", "<em>", "<blockquote"):
        assert tag not in page
    assert page.count("<table>") == 4
    rows = {len(row.split("<td>")) - 1 for row in page.split("<table>")[4].split("</table>")[0].split("<tr>")[2:]}
    assert rows == {4}


@given(st.text())
def test_escaped_text_is_shown_as_it_is(text):
    page = MarkdownIt("commonmark").render(f"x {escaped(text)} x")
    assert page.startswith("<p>x ")
    assert page.endswith(" x</p>\n")
    shown = page[3:-5].replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
    assert (
        "".join(shown.split()) == "x" + "".join(c if c.isprintable() else "\ufffd" for c in "".join(text.split())) + "x"
    )


def test_figures_are_rounded_outwards(body):
    text = model_card(body, "SHA256:x")
    token = body["guarantees"][0]["epsilon"]["upper"]
    line = next(line for line in text.splitlines() if line.startswith("| 1 token |"))
    assert float(line.split("|")[2].replace("\\", "")) >= token
    assert "Allowed by the guarantee" in text
    assert all(attack["name"].split(",")[0].split(" (")[0] in text for attack in body["inversion"]["attacks"])


def test_a_disk_that_fails_leaves_the_old_files(body, tmp_path, capsys, monkeypatch):
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    (tmp_path / "c.json").write_bytes(signed_bytes(sign(body, key)))
    (tmp_path / "x.xml").write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    command = ["export", str(tmp_path / "c.json"), "--junit", str(tmp_path / "x.xml"), "--at", "2026-12-31"]
    assert main([*command, "--trust", raw_public_key(key).hex()]) == 2
    assert "No space left" in capsys.readouterr().err
    assert (tmp_path / "x.xml").read_bytes() == b"old"
