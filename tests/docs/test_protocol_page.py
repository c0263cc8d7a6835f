"""docs/protocol.md against the code of the wire: sizes, roles, fields and every code of a refusal."""

import ast
import re

from markdown_pages import DOCS, ROOT

from del_audit.serving import events, exchanges, protocol

PAGE = (DOCS / "protocol.md").read_text(encoding="utf8")
SERVING = sorted((ROOT / "del_audit" / "serving").glob("*.py"))


def refusals():
    """Returns (status, code) of each refusal that the code of proxy and server names."""
    names = {"CLOSED": "certificate_ended", "UNKNOWN": exchanges.UNKNOWN}
    for path in SERVING:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RefusalError":
                status, code = node.args[:2]
                name = names.get(code.id) if isinstance(code, ast.Name) else getattr(code, "value", None)
                if isinstance(status, ast.Constant) and isinstance(name, str):
                    yield status.value, name


def rows(heading):
    """Returns (statuses, codes) of each row of a section's table."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1:3] for line in section.splitlines() if re.match(r"\| \d", line)]
    return [({int(one) for one in re.findall(r"\d+", a)}, set(re.findall(r"`(\w+)`", b))) for a, b in cells]


def test_every_refusal_is_on_the_page_with_its_status():
    told = {
        (status, code)
        for heading in ("What the server refuses", "What the proxy refuses")
        for statuses, codes in rows(heading)
        for status in statuses
        for code in codes
    }
    found = set(refusals())
    assert len(found) > 25
    assert found <= told, sorted(found - told)


def test_every_code_on_the_page_is_one_of_the_code():
    code = "\n".join(path.read_text(encoding="utf8") for path in SERVING)
    named = {
        one for heading in ("server", "proxy") for _, codes in rows(f"What the {heading} refuses") for one in codes
    }
    assert all(f'"{one}"' in code for one in named)


def test_sizes_are_those_of_the_code():
    for text in (
        f"binary, {protocol.HASH_BYTES} bytes",
        f"binary, {protocol.ID_BYTES} bytes",
        f"1 to {protocol.MOST_SEGMENTS:,} arrays",
        f"integer, 1 to {protocol.MOST_CHOICES}",
        f"a multiple of {events.FRAME} bytes",
        f"every {events.TICK * 1000:.0f} ms",
        protocol.REQUEST_TYPE,
        protocol.CERTIFICATE_HEADER,
    ):
        assert text in PAGE, text
    assert protocol.LARGEST_REQUEST == 4 << 20
    assert protocol.ROLES == ("", "system", "user", "assistant")
