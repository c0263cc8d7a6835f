"""The page in a real browser, headless and without a network: it draws, it reads well everywhere, nothing leaves it."""

import itertools
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from json_certificate import render

from del_audit.curve.curves import Picture, Release
from del_audit.curve.page import page as curves_page
from del_audit.show import readout

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><a href=x>"
PLOTS = ["trade_off", "attacks", "slices", "attribute", "task", "perplexity", "coherence", "bits"]
DRAWN = ".plot > svg"
TEXTS = """() => [...document.querySelectorAll(".plot")].map(plot => [...plot.querySelectorAll("svg text")]
  .filter(text => text.checkVisibility()).map(text => [text.textContent, text.getBoundingClientRect().toJSON()]))"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
VIEWS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1000, "height": 900}},
    "dark": {"viewport": {"width": 1000, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
    "dark phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "color_scheme": "dark"},
    "no scripts": {"viewport": {"width": 1000, "height": 900}, "java_script_enabled": False},
    "phone, no scripts": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "java_script_enabled": False},
}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed: `make browser` says how")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@cache
def rendered(certificate: str) -> str:
    return render(json.loads(certificate))


def load(page: Any, certificate: dict[str, Any], folder: Path, scripts: bool = True) -> Any:
    path = folder / "report.html"
    path.write_text(rendered(json.dumps(certificate)), encoding="utf8")
    page.goto(path.as_uri())
    if scripts:
        page.locator(".readout:not([hidden])").nth(page.locator(".readout").count() - 1).wait_for()
    return page


def until(page: Any, expression: str) -> None:
    """Waits for an expression to be true: playwright's own way needs eval, which the page's policy forbids."""
    deadline = time.monotonic() + 10
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Returns a function that opens a certificate's page from its file, and after the test sees that it was quiet."""
    contexts, said, asked = [], [], []

    def open_page(certificate: dict[str, Any], view: str = "desktop") -> Any:
        contexts.append(browser.new_context(offline=True, **VIEWS[view]))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        return load(page, certificate, tmp_path, VIEWS[view].get("java_script_enabled", True))

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url.rpartition("/")[2] for url in asked} == {"report.html"}


@pytest.mark.parametrize("view", ["desktop", "dark", "phone", "dark phone"])
def test_every_plot_is_as_wide_as_its_place(opened: Open, certificate: dict[str, Any], view: str) -> None:
    page = opened(certificate, view)
    assert page.evaluate("[...document.querySelectorAll('[data-plot]')].map(plot => plot.dataset.plot)") == PLOTS
    for name in PLOTS:
        plot = page.locator(f"[data-plot={name}]")
        assert plot.locator("svg .grid").count() > 0
        drawn, place = plot.locator("> svg").bounding_box(), plot.bounding_box()
        gutter = 40 if name in ("trade_off", "bits") else 0
        assert drawn["height"] > 150
        assert 0 <= place["width"] - drawn["width"] - gutter <= 36
        assert plot.locator(".readout").count() == (2 if name == "trade_off" else 1)
        assert all(readout.is_visible() for readout in plot.locator(".readout").all())
    assert page.evaluate(OVERFLOW) <= 0


def check_texts(page: Any) -> None:
    """Fails where a plot's text leaves its card or lies on other text."""
    cards = page.evaluate("[...document.querySelectorAll('.plot')].map(plot => plot.getBoundingClientRect().toJSON())")
    for card, texts in zip(cards, page.evaluate(TEXTS), strict=True):
        assert len(texts) > 8
        for words, box in texts:
            assert box["width"] > 0, words
            assert card["left"] <= box["left"] < box["right"] <= card["right"], words
            assert card["top"] <= box["top"] < box["bottom"] <= card["bottom"], words
        for (one, a), (other, b) in itertools.combinations(texts, 2):
            beside = a["right"] <= b["left"] + 1 or b["right"] <= a["left"] + 1
            assert beside or a["bottom"] <= b["top"] + 3 or b["bottom"] <= a["top"] + 3, (one, other)


@pytest.mark.parametrize("kind", ["certificate", "refused_certificate"])
@pytest.mark.parametrize("view", ["desktop", "phone"])
def test_text_of_the_plots_stays_in_its_card_and_apart(
    opened: Open, request: pytest.FixtureRequest, kind: str, view: str
) -> None:
    check_texts(opened(request.getfixturevalue(kind), view))


@pytest.mark.parametrize("view", ["desktop", "phone"])
@pytest.mark.parametrize("share", [0.0, 0.004, 0.5, 1.0])
def test_so_does_text_of_slices_of_which_little_or_all_is_read(
    opened: Open, certificate: dict[str, Any], view: str, share: float
) -> None:
    certificate["inversion"]["attacks"][4]["success"].update(value=share, lower=share, upper=share)
    for attack in certificate["inversion"]["attacks"]:
        for part in attack["slices"]:
            part["name"] = part["name"].replace("words 1 to 100", "words 10001 to 49152")
            for figure in filter(None, (part["success"], part["baseline"])):
                figure.update(value=share, lower=share / 2, upper=max(share, 0.001))
    check_texts(opened(certificate, view))


@pytest.mark.parametrize("view", ["desktop", "phone"])
@pytest.mark.parametrize("kappa", [1e-5, 0.3, 0.9])
def test_so_does_text_of_many_bits_and_of_points_elsewhere(
    opened: Open, certificate: dict[str, Any], view: str, kappa: float
) -> None:
    one = certificate["utility"]["other_bits"][0]
    others = [{**one, "spec": {**one["spec"], "bits": bits}} for bits in (1, 2, 3, 5, 6, 7, 8)]
    certificate["utility"]["other_bits"] = others
    certificate["inversion"]["kappa"] = kappa
    check_texts(opened(certificate, view))


@pytest.mark.parametrize(
    ("kind", "expires", "expired"),
    [("bare_certificate", "2020-01-01T00:00:00+00:00", True), ("refused_certificate", "2999-12-31T00:00:00Z", False)],
)
def test_other_certificates_draw_and_say_whether_they_have_expired(
    opened: Open, request: pytest.FixtureRequest, kind: str, expires: str, expired: bool
) -> None:
    page = opened({**request.getfixturevalue(kind), "expires": expires})
    assert all(box["height"] > 150 for box in (svg.bounding_box() for svg in page.locator(DRAWN).all()))
    assert page.locator(".expired").is_visible() is expired


def output(page: Any, name: str, which: int = 0) -> str:
    return str(page.locator(f"[data-plot={name}] output").nth(which).text_content())


def test_pointing_at_a_bar_shows_its_interval(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate)
    for name, words in (("attacks", "maximum likelihood"), ("perplexity", "clean prompt")):
        page.locator(f"[data-plot={name}]").scroll_into_view_if_needed()
        label = page.locator(f"[data-plot={name}] svg text", has_text=re.compile(f"^{words}$")).bounding_box()
        page.mouse.move(label["x"] + 300, label["y"] + 30)
        assert output(page, name).startswith(f"{words}: ")
    assert (
        output(page, "attacks") == "maximum likelihood: 2.9% [2.6%, 3.2%], 20,000 tokens; rarer words 2.1% [1.8%, 2.5%]"
    )


def test_pointing_at_the_curve_reads_it_there_and_at_kappa_the_points(
    opened: Open, certificate: dict[str, Any]
) -> None:
    page = opened(certificate)
    data = {p["plot"]: p for p in reversed(json.loads(page.locator("#data").text_content()))}["trade_off"]
    svg = page.locator("[data-plot=trade_off] > svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    for at in (3, 77, 150, 198):
        page.mouse.move(box["x"] + box["width"] * data["stops"][at], box["y"] + box["height"] * 0.6)
        assert output(page, "trade_off") == data["grid"][at]
        guide = page.locator("[data-plot=trade_off] .guide").first.bounding_box()
        assert guide["x"] + guide["width"] / 2 == pytest.approx(box["x"] + box["width"] * data["stops"][at], abs=1)
    before, diamond = output(page, "trade_off"), page.locator("[data-plot=trade_off] path.limit").bounding_box()
    page.mouse.move(diamond["x"] + diamond["width"] / 2, diamond["y"] - 90)
    page.mouse.move(diamond["x"] + diamond["width"] / 2, diamond["y"] + 3)
    assert output(page, "trade_off", 1) == "Fewest misses that theorem 6 allows at κ = 4.2%: 4.2%"
    assert output(page, "trade_off") == before
    top = page.locator("[data-plot=trade_off] circle.attack").first.bounding_box()
    page.mouse.move(top["x"] + 2, top["y"] + 2)
    assert output(page, "trade_off", 1) == (
        "cosine nearest neighbour (the paper's): misses 98.7% [98.5%, 98.9%] at κ = 4.2%"
    )


def test_every_step_of_every_slider_is_shown_as_the_data_says(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate)
    data = json.loads(page.locator("#data").text_content())
    readouts = page.locator(".readout").all()
    assert len(readouts) == len(data) == 9
    for panel, shown in zip(data, readouts, strict=True):
        slider = shown.locator("input")
        for step in (0, len(panel["grid"]) // 2, len(panel["grid"]) - 1):
            slider.fill(str(step))
            assert shown.locator("output").text_content() == panel["grid"][step]
            assert slider.get_attribute("aria-valuetext") == panel["grid"][step]


def test_where_the_script_fails_the_plots_stay(browser: Any, certificate: dict[str, Any], tmp_path: Path) -> None:
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script("JSON.parse = () => { throw new Error('planted'); }")
    load(page, certificate, tmp_path, scripts=False)
    until(page, "document.readyState === 'complete'")
    assert errors == ["planted"]
    assert page.locator(".readout:visible").count() == 0
    for name in PLOTS:
        assert page.locator(f"[data-plot={name}] > svg").bounding_box()["height"] > 80
    page.close()


def test_a_finger_on_a_plot_scrolls_the_page(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate, "phone")
    devtools = page.context.new_cdp_session(page)
    for name in ("trade_off", "attacks"):
        page.evaluate("name => document.querySelector(`[data-plot=${name}]`).scrollIntoView()", name)
        before = page.evaluate("scrollY")
        for step in range(10):
            kind, finger = ("touchMove" if step else "touchStart"), {"x": 250, "y": 200 - 15 * step}
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [finger]})
            page.wait_for_timeout(20)
        devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        until(page, f"scrollY > {before + 80}")


@pytest.mark.parametrize("view", ["no scripts", "phone, no scripts"])
def test_without_scripts_the_plots_are_shown(opened: Open, certificate: dict[str, Any], view: str) -> None:
    page = opened(certificate, view)
    for name in PLOTS:
        box = page.locator(f"[data-plot={name}] > svg").bounding_box()
        assert box["width"] >= 240
        assert box["height"] >= 80
    assert page.locator(".readout:visible").count() == 0
    assert page.locator(".expired").is_hidden()


def test_a_page_wider_than_the_phone_would_be_noticed(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate, "phone")
    page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', '<div id=wide>x</div>')")
    page.evaluate("document.getElementById('wide').style.width = '500px'")
    assert page.evaluate("document.documentElement.scrollWidth") > 360


def test_colours_follow_the_scheme_while_the_page_is_open(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate)
    colours = """() => [...document.querySelectorAll(".plot")].map(plot => [getComputedStyle(plot).backgroundColor,
      ...["text", ".fill, .attack"].map(part => getComputedStyle(plot.querySelector(part)).fill),
      getComputedStyle(plot.querySelector(".grid")).stroke])"""
    light = page.evaluate(colours)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(colours)
    assert [plot[0] for plot in dark] == ["rgb(30, 30, 28)"] * len(PLOTS)
    for before, after in zip(light, dark, strict=True):
        assert all(one != other for one, other in zip(before, after, strict=True))
    page.emulate_media(color_scheme="light")
    assert page.evaluate(colours) == light


REACHABLE = "a[href], button, summary, input, select, textarea, [tabindex]:not([tabindex='-1'])"
FOCUS = f"""() => {{
  const all = [...document.querySelectorAll("{REACHABLE}")].filter(element => element.checkVisibility());
  const now = document.activeElement, style = getComputedStyle(now);
  return [now === document.body ? -1 : all.indexOf(now), all.length, style.outlineStyle !== "none", now.tagName];
}}"""


def test_the_keyboard_reaches_everything_in_order_and_leaves(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    reached, visible, total = [], [], page.evaluate(FOCUS)[1]
    for _ in range(total + 5):
        page.keyboard.press("Tab")
        place, _, outlined, tag = page.evaluate(FOCUS)
        if place in (-1, *reached):
            break
        reached.append(place)
        visible.append(outlined or tag == "BUTTON")
    assert reached == list(range(total))
    assert all(visible)
    assert page.locator(".readout input").count() == len(PLOTS) + 1
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(FOCUS)[0] in (total - 1, total - 2)


def test_the_skip_link_is_first_and_leads_to_the_reasons(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the reasons"
    assert page.locator(".skip").bounding_box()["width"] > 50
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('#why').getBoundingClientRect().top") < 100


def test_arrow_keys_read_the_points_aloud(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate)
    slider = page.get_by_role("slider", name="Attack", exact=True)
    slider.focus()
    for key in ("Home", "ArrowRight"):
        page.keyboard.press(key)
    said = "cosine nearest neighbour (the paper's): 1.3% [1.1%, 1.5%], 20,000 tokens; rarer words 0.61% [0.45%, 0.77%]"
    assert slider.get_attribute("aria-valuetext") == output(page, "attacks") == said
    page.keyboard.press("End")
    assert output(page, "attacks").startswith("beam search, language model: 10.2% ")
    page.get_by_role("slider", name="Bytes per token").focus()
    page.keyboard.press("Home")
    assert "strongest on single tokens 8.7%" in output(page, "bits")
    page.get_by_role("slider", name="α, false alarms").focus()
    before = output(page, "trade_off")
    page.keyboard.press("ArrowLeft")
    assert output(page, "trade_off") != before


@pytest.mark.parametrize("view", ["desktop", "dark phone"])
def test_an_accessibility_checker_finds_nothing(opened: Open, certificate: dict[str, Any], view: str) -> None:
    page = opened(certificate, view)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    response = axe.Axe().run(page, options={"runOnly": tags, "resultTypes": ["violations"]}).response
    found = [
        (v["id"], node["target"], node.get("failureSummary")) for v in response["violations"] for node in v["nodes"]
    ]
    assert found == []
    assert len(response["passes"]) > 20


def test_the_accessibility_checker_sees_a_planted_fault(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate)
    page.evaluate("document.documentElement.removeAttribute('lang')")
    page.evaluate("document.querySelector('h2').style.color = '#ddd'")
    response = (
        axe.Axe()
        .run(page, options={"runOnly": ["html-has-lang", "color-contrast"], "resultTypes": ["violations"]})
        .response
    )
    assert {"html-has-lang", "color-contrast"} <= {violation["id"] for violation in response["violations"]}


def test_a_screen_reader_gets_landmarks_headings_and_the_pictures_in_words(
    opened: Open, certificate: dict[str, Any]
) -> None:
    page = opened(certificate)
    tree = page.locator("body").aria_snapshot()
    for line in ("- banner:", "- navigation", "- main:", "- contentinfo", 'heading "Certified', '- table "'):
        assert line in tree
    for title in ("Trade-off curve of one token", "What each attack reads", "Perplexity of the true response"):
        assert f'img "{title}' in tree
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for table in page.locator("table").all():
        assert table.locator("caption").count() == 1
        assert table.locator("thead th[scope=col]").count() >= 2


def test_it_prints_with_plots_and_all_details(opened: Open, certificate: dict[str, Any]) -> None:
    page = opened(certificate, "dark")
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 4
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 680, "height": 900})
    for name in PLOTS:
        assert page.locator(f"[data-plot={name}] > svg").bounding_box()["height"] > 80
    assert page.locator(".readout:visible, .guide:visible").count() == 0
    closed = page.locator("details:not([open]) table").first
    assert closed.bounding_box()["height"] > 100
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    assert page.evaluate(OVERFLOW) <= 0


def test_the_curves_page_reads_its_values_with_the_same_script(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "curves.html"
    specs = ("bits=4,dim=18,clip=0.05,mu=2", "bits=1,dim=18,clip=0.05,mu=1")
    path.write_text(curves_page(Picture.of([Release.parse(spec) for spec in specs])), encoding="utf8")
    page, errors = browser.new_page(viewport={"width": 1100, "height": 1000}), []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    assert readout.script() in page.content()
    box = page.locator("figure svg").bounding_box()
    for index, panel in enumerate(json.loads(page.locator("#data").text_content())):
        (x, y, width, height), last = panel["place"], len(panel["grid"]) - 1
        shown = page.locator(".readout").nth(index)
        for at in (0, last // 3, last):
            across, down = x + width * min(max(at / last, 1e-4), 1 - 1e-4), y + height / 2
            page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
            assert shown.locator("output").text_content() == panel["grid"][at] + panel["unit"]
            cells = [row.locator("td").all_text_contents() for row in shown.locator("tbody tr").all()]
            assert cells == [[column[at] for column in columns] for columns in panel["columns"]]
    assert errors == []
    page.close()


def test_nothing_can_be_loaded_or_run_from_outside(browser: Any, certificate: dict[str, Any], tmp_path: Path) -> None:
    page = load(browser.new_page(), certificate, tmp_path)
    blocked = page.evaluate(
        """() => new Promise(resolve => {
          const found = [];
          document.addEventListener("securitypolicyviolation", event => found.push(event.effectiveDirective));
          const image = new Image();
          image.src = "https://example.org/x.png";
          fetch("https://example.org/").catch(() => null);
          const script = document.createElement("script");
          script.textContent = "document.title = 'owned'";
          document.body.append(script);
          setTimeout(() => resolve([found.sort(), document.title]), 300);
        })"""
    )
    assert blocked[0] == ["connect-src", "img-src", "script-src-elem"]
    assert blocked[1] == "Certified: smollm2-reviews"
    page.close()


def test_hostile_text_runs_nothing_and_makes_no_links(opened: Open, certificate: dict[str, Any]) -> None:
    certificate["commit"] = certificate["attribute"]["column"] = HOSTILE
    for attack in certificate["inversion"]["attacks"][1:]:
        attack["name"] = attack["success"]["sample_unit"] = HOSTILE
    certificate["inversion"]["strongest"] = HOSTILE
    certificate["utility"]["coherence"][HOSTILE] = certificate["utility"]["coherence"]["no prompt"]
    page = opened(certificate)
    assert page.title() == f"Certified: {certificate['name']}"
    assert page.get_by_text(HOSTILE).count() > 5
    assert page.locator("img[src], .plot a").count() == 0
    assert page.locator("script").count() == 3
    assert "<script>" in page.locator("[data-plot=attacks] svg text", has_text="</script>").first.text_content()
    page.get_by_role("slider", name="Attack", exact=True).fill("3")
    assert output(page, "attacks").startswith(HOSTILE)
