"""The page in words and in a browser: nothing of a name becomes markup, and it reads on a phone."""

import shutil

import numpy as np
import pytest

from del_audit.configuration.named import DEFAULTS, parse_all
from del_audit.frontier.page import page
from del_audit.frontier.picture import STAGES, picture, standalone
from del_audit.frontier.result_tables import first_columns, second_columns
from tests.frontier.made import first, row, second

HOSTILE = "</script><script>document.title='owned'</script>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@pytest.fixture(scope="module")
def rows():
    """Returns every default mechanism at four epsilons, every third attacked in full."""
    made = []
    for place, name in enumerate(DEFAULTS):
        for step, epsilon in enumerate((4.0, 6.0, 8.0, 16.0)):
            read = min(0.9, 0.05 + 0.06 * step**2 * (1 + 0.12 * place))
            one = row(name, None, epsilon, first=first(read, 0.2 + 0.9 * step))
            if (place + step) % 3 == 0:
                one.second = second(read, np.full(20, 0.05 * step))
            made.append(one)
    return sorted(made, key=lambda each: each.point.epsilon)


def document(name):
    return {
        "name": name,
        "delta": 1e-5,
        "assurance": "full",
        "stage": "full",
        "seed": 0,
        "commit": HOSTILE,
        "versions": {"python": HOSTILE},
    }


@pytest.fixture(scope="module")
def written(rows):
    named, none = parse_all(DEFAULTS), {each.point.name: [] for each in rows}
    plots = [picture(rows, stage, named) for stage in STAGES]
    tables = [second_columns(rows, none, HOSTILE), first_columns(rows, none, 64)]
    return page(document(HOSTILE), plots, tables)


def test_no_text_becomes_markup(written):
    assert written.count("<script") == 2  # the data and the reader
    assert HOSTILE not in written


def test_the_same_figures_are_drawn_the_same(rows):
    named = parse_all(DEFAULTS)
    assert standalone(picture(rows, "second", named)) == standalone(picture(rows, "second", named))


def test_a_mechanism_has_one_colour_in_both_pictures(rows):
    both = [picture(rows, stage, parse_all(DEFAULTS)).inline for stage in STAGES]
    legend = [text.rpartition("tokens that")[2] for text in both]
    for place in range(len(DEFAULTS)):
        assert all(f'class="mark m{place}"' in text for text in legend)


def test_there_is_no_picture_of_what_was_not_measured(rows):
    bare = [row(DEFAULTS[0], None, first=first(0.1, 1.0))]
    assert picture(bare, "second", parse_all(DEFAULTS)) is None
    assert picture(bare, "first", parse_all(DEFAULTS)) is not None


@pytest.mark.parametrize(
    "view",
    [{"viewport": {"width": 1000, "height": 900}}, {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}],
    ids=["desktop", "dark phone"],
)
def test_it_fits_its_screen_and_the_keyboard_reads_every_point(written, view, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed: `make browser` says how")
    (tmp_path / "frontier.html").write_text(written, encoding="utf8")
    asked, said = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        shown = browser.new_page(**view)
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: said.append(message.text))
        shown.goto((tmp_path / "frontier.html").as_uri())
        assert shown.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert shown.title().startswith(HOSTILE)
        output, slider = shown.locator("output").last, shown.locator("input").last
        before = output.text_content()
        slider.focus()
        shown.keyboard.press("ArrowRight")
        assert output.text_content() != before
        box = shown.locator(".plot > svg").last.bounding_box()
        shown.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 100)
        assert "epsilon 4.000" in output.text_content()
        browser.close()
    assert len(asked) == 1
    assert said == []


def test_a_table_names_one_dominating_point_and_counts_the_others(rows):
    name = rows[0].point.name
    for dominating, said in (([], "-"), (["del@8"], "del@8"), (["del@8", "del@16", "del@32"], "del@8 and 2 more")):
        columns = first_columns(rows[:1], {name: dominating}, 64)
        assert columns.lines[0][columns.heads.index("dominated by")] == said
        assert columns.heads[2] == "epsilon of 64 tokens"
