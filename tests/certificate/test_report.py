"""The page: whole, self-contained, escaped, the same every time, and the verdict first."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from json_certificate import draw, render

from del_audit.certificate.report.page import FOLDER

VOID = {"meta", "br", "hr", "img", "input", "link", "base"}
DATA = {"type": "application/json", "id": "data"}
LARGEST = 300_000
"""Bytes of a page: without a plotting library it has a third of that."""
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title></style></text></svg><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;$\\frac{"


class Page(HTMLParser):
    """Tags and attributes in order; fails on tags that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[str, str]] = []
        self.comments: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open and self.open[-1] not in ("style", "script"):
            self.words.append((self.open[-1], " ".join(data.split())))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    @property
    def text(self) -> str:
        return " ".join(words for _, words in self.words)


def scripts(html: str) -> list[tuple[str, str]]:
    """Returns attributes and content of each script, as a browser reads them."""
    return re.findall(r"<script([^>]*)>(.*?)</script", html, re.S)


def without_scripts(html: str) -> str:
    return re.sub(r"<script.*?</script>", "", html, flags=re.S)


@pytest.mark.parametrize("kind", ["certificate", "bare_certificate", "refused_certificate"])
def test_the_page_is_well_formed_and_needs_nothing_from_outside(request: pytest.FixtureRequest, kind: str) -> None:
    html = render(request.getfixturevalue(kind))
    page = Page(html)
    assert html.lstrip().startswith("<!doctype html>")
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "action", "xlink:href"):
                assert str(value).startswith("#")
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [DATA, {}, {}]
    shown = without_scripts(html)
    styles = " ".join(re.findall(r"<style>(.*?)</style>", shown, re.S) + re.findall(r'style="([^"]*)"', shown))
    assert "@import" not in styles
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", shown))


def test_the_policy_lets_the_two_scripts_run_by_their_hashes_and_nothing_else(certificate: dict[str, Any]) -> None:
    html = render(certificate)
    metas = [attributes for tag, attributes in Page(html).tags if tag == "meta"]
    policy = next(m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    hashes = [sha256(content.encode()).digest() for attributes, content in scripts(html) if not attributes]
    allowed = " ".join(f"'sha256-{b64encode(each).decode()}'" for each in hashes)
    assert len(hashes) == 2
    assert rules == {
        "default-src": "'none'",
        "script-src": allowed,
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.parametrize("kind", ["certificate", "bare_certificate", "refused_certificate"])
def test_the_page_is_small(request: pytest.FixtureRequest, kind: str) -> None:
    certificate = request.getfixturevalue(kind)
    html = render(certificate)
    assert len(html.encode()) < LARGEST / 2
    certificate["inversion"]["attacks"] *= 4
    assert len(html) < len(render(certificate)) < LARGEST
    assert sum(len(content) for attributes, content in scripts(html) if not attributes) < 4_000
    assert Page(html).comments == []


def test_ids_are_unique_and_references_lead_somewhere(certificate: dict[str, Any]) -> None:
    html = render(certificate)
    ids = [str(attributes["id"]) for _, attributes in Page(html).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    html = without_scripts(html)
    wanted = re.findall(r"url\(#(.*?)\)", html) + re.findall(r'href="#(.*?)"', html)
    wanted += [name for names in re.findall(r'aria-labelledby="(.*?)"', html) for name in names.split()]
    assert wanted
    assert set(wanted) <= set(ids)


@pytest.mark.parametrize(
    ("kind", "word", "sign"), [("certificate", "Certified", "✓"), ("refused_certificate", "Refused", "✕")]
)
def test_the_verdict_comes_first_as_word_and_sign(
    request: pytest.FixtureRequest, kind: str, word: str, sign: str
) -> None:
    page = Page(render(request.getfixturevalue(kind)))
    shown = [(tag, words) for tag, words in page.words if tag != "title"]
    assert shown[0] == ("a", "Skip to the reasons")  # off the screen until the keyboard reaches it
    assert shown[1] == ("span", sign)
    assert shown[2] == ("h1", word)


def test_inconclusive_says_how_many_more(certificate: dict[str, Any]) -> None:
    reason = "The 95% interval holds the limit: about 1,234 more tokens would decide, were the rate as measured."
    certificate.update(verdict="inconclusive", reasons=[f"strongest attack: {reason}"])
    certificate["checks"][3].update(status="inconclusive", reason=reason)
    text = Page(render(certificate)).text
    assert "Inconclusive" in text
    assert f"strongest attack: {reason}" in text


def test_every_figure_of_the_certificate_is_on_the_page(certificate: dict[str, Any]) -> None:
    text = Page(render(certificate)).text
    figures = [
        "≤ 51.38",
        "≤ 182.4",
        "≤ 1,342",
        "≤ 114.2",
        "≤ 5,481",
        "≤ 0.9995",
        "γ = 0.036",
        "53.58",
        "1,382",
        "95.8%",
    ]
    figures += [
        "4.0% [3.6%, 4.3%]",
        "1.3% [1.1%, 1.5%]",
        "2.9% [2.6%, 3.2%]",
        "11.5% [11.0%, 12.0%]",
        "1.7% [1.4%, 2.0%]",
    ]
    figures += ["28.7% [23.7%, 33.7%]", "66.1% [61.1%, 71.2%]", "51.0% [47.0%, 55.0%]", "10.9% [4.8%, 16.9%]"]
    figures += ["39.1% [34.1%, 44.1%]", "0.182 [0.151, 0.212]", "24.9% [21.0%, 29.2%]", "0.729 [0.699, 0.760]"]
    figures += [
        "50.9 [45.1, 57.4]",
        "3.930 [3.810, 4.050]",
        "0.530 [0.490, 0.571]",
        "≤ 27.08",
        "≤ 53.45",
        "8.7% [7.8%, 9.6%]",
    ]
    figures += ["448 bytes", "110,592", "6 of 20 tokens right", "44 45 4c 31", "9 bytes", "two prompts of equal length"]
    assert [figure for figure in figures if figure not in text] == []
    for line in [*certificate["not_protected"], *(check["found"] for check in certificate["checks"])]:
        assert line in text
    for value in [*certificate["hashes"].values(), *certificate["versions"].values(), certificate["commit"]]:
        assert value in text
    for asset in certificate["assets"]:
        assert all(part in text for part in (asset["licence"], asset["terms"], asset["sha256"], asset["origin"]))


def test_kinds_are_labelled_and_explained(certificate: dict[str, Any]) -> None:
    page = Page(render(certificate))
    kinds = [words for tag, words in page.words if tag == "span"]
    assert min(kinds.count(kind) for kind in ("proved", "estimate", "asymptotic", "counted")) >= 2
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", render(certificate), re.S)
    assert len(captions) == 8
    assert all('class="kind' in caption and "Unit" in caption for caption in captions)


def test_svgs_are_valid_xml_with_title_description_and_the_pages_colours(certificate: dict[str, Any]) -> None:
    style = (FOLDER / "report.css").read_text(encoding="utf8")
    plots = draw(certificate)
    assert len(plots) == 8
    for plot in plots.values():
        assert str(plot.svg) in render(certificate)
        root = ElementTree.fromstring(plot.svg)
        assert root.get("role") == "img"
        assert [child.tag for child in root[:2]] == [f"{SVG}title", f"{SVG}desc"]
        assert all(child.text for child in root[:2])
        used = {name for element in root.iter() for name in element.get("class", "").split()}
        assert "grid" in used
        assert used <= set(re.findall(r"\.([a-z]+)", style)) | {"start", "solid", "full", "wide"}
        assert not any({"style", "fill", "stroke", "font-family"} & set(element.attrib) for element in root.iter())
        assert not any(element.tag in (f"{SVG}style", f"{SVG}image", f"{SVG}defs") for element in root.iter())


def test_text_of_the_plots_is_text(certificate: dict[str, Any]) -> None:
    words = {"".join(e.itertext()) for p in draw(certificate).values() for e in ElementTree.fromstring(p.svg).iter()}
    assert {"MAP, unigram prior", "11.5% [11.0%, 12.0%]", "limit of the policy, 15.0%", "chance, 20.0%"} <= words
    assert {"perplexity per token, lower is better", "β: misses", "10⁻⁴", "another user's release"} <= words


def test_hostile_text_is_shown_and_never_obeyed(certificate: dict[str, Any]) -> None:
    certificate["commit"] = certificate["examples"]["source"] = HOSTILE
    certificate["examples"]["written"][3] = HOSTILE
    for reading in certificate["examples"]["readings"]:
        reading["read"][4] = reading["attack"] = HOSTILE
    certificate["reproduce"].update(command=HOSTILE, commit=HOSTILE)
    for attack in certificate["inversion"]["attacks"]:
        for part in attack["slices"]:
            part.update(name=HOSTILE, rule=HOSTILE, why=HOSTILE)
    certificate["inversion"]["attacks"][3]["name"] = certificate["inversion"]["strongest"] = HOSTILE
    certificate["inversion"]["allowed"]["source"] = HOSTILE
    certificate["attribute"].update(column=HOSTILE, features=HOSTILE)
    certificate["attribute"]["recalls"] = {HOSTILE: certificate["attribute"]["accuracy"]}
    certificate["utility"]["task"]["column"] = HOSTILE
    certificate["utility"]["coherence"][HOSTILE] = certificate["utility"]["coherence"]["no prompt"]
    certificate["configuration"]["model"] = certificate["soft_prompt"]["data"] = HOSTILE
    certificate["not_protected"] = certificate["reasons"] = [HOSTILE]
    for entry in (*certificate["checks"], *certificate["assets"]):
        entry.update({key: HOSTILE for key in entry if key not in ("status", "kind", "sha256")})
    certificate["versions"] = {HOSTILE: HOSTILE}
    html = render(certificate)
    page = Page(html)
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [DATA, {}, {}]
    assert not {tag for tag, _ in page.tags} & {"img"}
    data = scripts(html)[0][1]
    assert not set(data) & set("<>&'")
    panels = [panel for name, plot in draw(certificate).items() for panel in plot.panels]
    assert [panel["grid"] for panel in json.loads(data)] == [panel.texts for panel in panels]
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert ("code", " ".join(HOSTILE.split())) in page.words
    for plot in draw(certificate).values():
        ElementTree.fromstring(plot.svg)


def test_control_characters_do_not_break_the_figures(certificate: dict[str, Any]) -> None:
    certificate["inversion"]["attacks"][3]["name"] = certificate["inversion"]["strongest"] = "a\x00b\x1b"
    certificate["attribute"]["column"] = "c\x0bd"
    for plot in draw(certificate).values():
        assert ElementTree.fromstring(plot.svg.encode()).tag.endswith("svg")
        assert str(plot.panels).isprintable()


def test_parts_that_a_configuration_leaves_out_are_left_out(bare_certificate: dict[str, Any]) -> None:
    html = without_scripts(render(bare_certificate))
    assert len(re.findall(r"<svg [^>]*role=", html)) == 4
    left_out = (
        "What a whole text tells",
        "Whole texts",
        "Utility against by",
        "Soft prompt<",
        "None",
        "Slices",
        "Ed25519",
    )
    assert not any(head in html for head in left_out)
    assert "<strong>Not signed.</strong>" in html
    assert list(draw(bare_certificate)) == ["trade_off", "attacks", "perplexity", "coherence"]


def test_what_rests_on_measurement_is_said_beside_the_verdict(certificate: dict[str, Any]) -> None:
    text = Page(render(certificate)).text
    assert "An epsilon of 51.38 nats for one token is no strong promise by itself" in text
    assert "up to 95.8% of the tokens" in text
    assert "the policy sets no limit to that" in text


def test_caveats_are_not_said_where_they_are_not_so(refused_certificate: dict[str, Any]) -> None:
    refused_certificate["configuration"]["policy"]["attribute_advantage_at_most"] = 0.3
    refused_certificate["guarantees"][0]["epsilon"] = {"lower": 1.0, "estimate": 1.0, "upper": 1.0}
    text = Page(render(refused_certificate)).text
    assert not any(said in text for said in ("no strong promise", "stay within", "sets no limit"))


def test_the_same_certificate_gives_the_same_bytes(certificate: dict[str, Any]) -> None:
    before = json.dumps(certificate)
    first = render(certificate)
    assert render(json.loads(before)) == first
    assert json.dumps(certificate) == before


def test_the_order_of_the_files_keys_changes_no_figure(certificate: dict[str, Any]) -> None:
    ordered = json.loads(json.dumps(certificate, sort_keys=True))
    shown = [Page(render(each)).text.partition("Configuration name:")[0] for each in (certificate, ordered)]
    tables = [text.partition("The server sees Loss")[2][:900] for text in shown]
    assert tables[0].startswith(" Perplexity Coherence released prompt 3.930")
    assert tables[0] == tables[1]
    assert list(draw(ordered).items()) == list(draw(certificate).items())


def test_points_of_the_trade_off_figure_stand_where_the_figures_say(certificate: dict[str, Any]) -> None:
    root = ElementTree.fromstring(draw(certificate)["trade_off"].svg)
    desc = root.find(f"{SVG}desc")
    assert desc is not None
    assert "At kappa 4.2%: theorem 6 allows as few misses as 4.2%" in str(desc.text)
    assert "MAP, unigram prior misses 88.5%" in str(desc.text)
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert "MAP, unigram prior, 88.5%" in words
    assert "fewest misses that theorem 6 allows, 4.2%" in words


def test_a_curve_that_lies_on_the_axes_is_drawn(refused_certificate: dict[str, Any]) -> None:
    curve = refused_certificate["curve"]
    for key in ("exact", "gaussian_limit"):
        curve[key] = np.zeros(len(curve["alpha"])).tolist()
    plot = draw(refused_certificate)["trade_off"]
    assert "nan" not in (plot.svg + str(plot.panels)).lower()
    assert plot.panels[0].texts[0].startswith("α = 0.000100: β at least 0.00 (exact, computed)")


@pytest.mark.parametrize("library", ["torch", "matplotlib"])
def test_neither_models_nor_a_plotting_library_are_imported(library: str) -> None:
    code = f"import sys, del_audit.certificate.report; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_attack_reads_the_public_prompt_with_right_tokens_marked(certificate: dict[str, Any]) -> None:
    html = without_scripts(render(certificate))
    dds = re.findall(r'<dd class="tokens">(.*?)</dd>', html, re.S)
    assert dds[0] == "I was on this for two weeks &amp; the headaches got worse,↵so I stopped it."
    assert dds[3].startswith(" the<mark> was</mark> a<mark> this</mark> to")
    for shown, reading in zip(dds[1:], certificate["examples"]["readings"], strict=True):
        assert shown.count("<mark>") == reading["hits"].count("1")
        assert re.sub("</?mark>", "", shown).replace("&amp;", "&") == "".join(reading["read"])
    text = Page(html).text
    assert "cosine nearest neighbour (the paper's): 2 of 20 tokens right" in text
    assert "public split, released here for show" in text
    rows = re.findall(r"<tr><td>(\d+)</td><th scope=\"row\">(.*?)</th>(.*?)</tr>", html)
    assert [int(place) for place, *_ in rows] == list(range(1, 21))
    hits = [[int("✓" in cell) for cell in re.findall("<td.*?</td>", cells)] for *_, cells in rows]
    expected = [[int(hit) for hit in reading["hits"]] for reading in certificate["examples"]["readings"]]
    assert [list(column) for column in zip(*hits, strict=True)] == expected


def test_slices_stand_against_attacks_with_the_limits_of_the_policy(certificate: dict[str, Any]) -> None:
    text = Page(render(certificate)).text
    assert "rare words limit of the policy: 3.0% 0.0% [0.0%, 0.0%] 0.30% [0.0%, 0.65%] 1,000 tokens" in text
    assert "names limit of the policy: 5.0%" in text
    assert "too few tokens: 10 of 3 documents" in text
    assert f"names , {certificate['inversion']['attacks'][0]['slices'][2]['rule']}" in text
    bold = re.findall(r"<strong>([\d.]+%)<br>", render(certificate))
    assert bold == ["23.1%", "0.91%", "1.8%", "0.71%"]


def test_how_to_check_it_is_said_with_key_and_expiry(certificate: dict[str, Any]) -> None:
    text = Page(render(certificate)).text
    signature = certificate["signature"]
    for said in (
        "del-audit verify certificate.json",
        "del-audit certify smollm2-reviews.yaml",
        signature["key"],
        signature["value"],
        "valid until 2027-11-23",
        certificate["expires"],
    ):
        assert said in text
