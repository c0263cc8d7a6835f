"""A certificate as JUnit XML: one test case a check, so that a gate that reads test results reads a policy."""

import re
from xml.etree import ElementTree

from del_audit.certificate.model import Body
from del_audit.configuration.verdict import Check
from mechanisms.client_certificate import date

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


def junit(body: Body, fingerprint: str) -> bytes:
    """Returns JUnit XML, UTF-8: a failed check is a failure, one that is not decided an error, as both stop a gate.

    body: of a certificate that verifies. fingerprint: of the key that signed it.
    """
    checks = body.checks
    counts = {status: sum(check.status == status for check in checks) for status in ("failed", "inconclusive")}
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name=_text(f"del-audit {body.name}"),
        package="del-audit",
        id="0",
        hostname="localhost",
        timestamp=f"{date(body.made, 'made'):%Y-%m-%dT%H:%M:%S}",
        time=f"{body.seconds:.1f}",
        tests=str(len(checks)),
        failures=str(counts["failed"]),
        errors=str(counts["inconclusive"]),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(body, fingerprint).items():
        ElementTree.SubElement(properties, "property", name=name, value=_text(value))
    for check in checks:
        _case(suite, body.name, check)
    ElementTree.SubElement(suite, "system-out").text = _text(f"Verdict: {body.verdict}")
    ElementTree.SubElement(suite, "system-err")
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _properties(body: Body, fingerprint: str) -> dict[str, str]:
    hashes = {f"sha256.{name}": getattr(body.hashes, name) for name in ("configuration", "spec", "encoder", "model")}
    plain = {name: getattr(body, name) for name in ("verdict", "format", "made", "expires", "commit")}
    return {**plain, "signed_by": fingerprint, **hashes}


def _case(suite: ElementTree.Element, name: str, check: Check) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=_text(f"del-audit.{name}"), name=_text(check.limit), time="0"
    )
    tags = {"failed": "failure", "inconclusive": "error"}
    if (tag := tags.get(check.status)) is not None:
        found = ElementTree.SubElement(case, tag, type=check.status, message=_text(check.reason))
        found.text = _text(f"asked: {check.asked}\nfound: {check.found}\n{check.reason}")


def _text(value: str) -> str:
    return _NOT_XML.sub("�", value)
