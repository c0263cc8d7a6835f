"""The report's plots: what is read of them are the certificate's figures, and marks stand where the figures say."""

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from json_certificate import draw, render
from scipy.stats import norm

from del_audit.certificate.report.plots import PLOTS, Plot
from del_audit.certificate.report.plots.scale import apart, logarithmic, round_marks, round_powers
from del_audit.certificate.report.plots.trade_off import FLOOR, HIGH, LEAST, TOP

SVG = "{http://www.w3.org/2000/svg}"
NUMBER = r"(?<![\w.-])(-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?)(%?)"


def numbers(text: str) -> list[float]:
    """Returns the numbers in words, shares as shares."""
    found = re.findall(NUMBER, text)
    return [float(digits.replace(",", "")) / (100 if share else 1) for digits, share in found]


def means(text: str, figure: dict[str, Any], tolerance: float) -> bool:
    """Returns whether words are a figure with its interval, whose ends are rounded outwards."""
    value, low, high = numbers(text)[:3]
    near = abs(value - figure["value"]) <= tolerance / 2 + 1e-12
    return near and all(-1e-12 <= out <= tolerance + 1e-12 for out in (figure["lower"] - low, high - figure["upper"]))


def marks(plot: Plot, tag: str, style: str) -> list[ElementTree.Element]:
    found = ElementTree.fromstring(plot.svg).iter(f"{SVG}{tag}")
    return [element for element in found if set(style.split()) <= set(element.get("class", "").split())]


def share(element: ElementTree.Element, key: str) -> float:
    text = str(element.get(key))
    assert text.endswith("%")
    return float(text[:-1]) / 100


def test_what_is_read_of_an_attack_is_its_figure(certificate: dict[str, Any]) -> None:
    attacks = certificate["inversion"]["attacks"]
    (panel,) = draw(certificate)["attacks"].panels
    assert panel.texts[4] == "MAP, unigram prior: 11.5% [11.0%, 12.0%], 20,000 tokens; rarer words 1.7% [1.4%, 2.0%]"
    assert panel.start == 4
    for text, attack in zip(panel.texts, attacks, strict=True):
        name, said = text[: len(attack["name"])], text[len(attack["name"]) :]
        assert name == attack["name"]
        all_words, rarer = said.split("; rarer words ")
        assert means(all_words, attack["success"], 1e-3)
        assert numbers(all_words)[3] == attack["success"]["sample"]
        assert means(rarer, attack["rare"], 1e-3)


def test_what_is_read_of_a_slice_is_the_figure_of_its_strongest_attack(certificate: dict[str, Any]) -> None:
    inversion = certificate["inversion"]
    (panel,) = draw(certificate)["slices"].panels
    assert panel.start == 0
    assert panel.texts[0] == (
        "all tokens: 11.5% [11.0%, 12.0%] by MAP, unigram prior, 20,000 tokens; without the release 4.0% [3.6%, 4.3%]"
    )
    first, *others = inversion["attacks"]
    names = [part["name"] for part in first["slices"]]
    assert [text.split(": ")[0] for text in panel.texts] == ["all tokens", *names]
    for place, text in enumerate(panel.texts[1:]):
        parts = [(other["name"], other["slices"][place]["success"]) for other in others]
        name, success = max((part for part in parts if part[1]), key=lambda part: part[1]["upper"])
        read, guessed = text.split("; without the release ")
        assert means(read.split(": ")[1], success, 1e-3)
        assert f"] by {name}, {success['sample']:,} tokens" in read
        assert means(guessed, first["slices"][place]["baseline"], 1e-3)


def test_a_slice_without_a_figure_is_not_drawn_and_without_any_there_is_no_plot(certificate: dict[str, Any]) -> None:
    def without(place: int) -> None:
        for attack in certificate["inversion"]["attacks"]:
            attack["slices"][place].update(success=None, baseline=None, why="too few tokens: 9")

    without(1)
    texts = draw(certificate)["slices"].panels[0].texts
    assert [text.split(": ")[0] for text in texts] == ["all tokens", "words 1 to 100", "names", "numbers"]
    assert 'data-plot="slices"' in render(certificate)
    for place in (0, 2, 3):
        without(place)
    assert "slices" not in draw(certificate)
    html = render(certificate)
    assert 'data-plot="slices"' not in html
    assert "What each attack reads of each slice" in html
    for attack in certificate["inversion"]["attacks"]:
        attack["slices"] = []
    assert "slices" not in draw(certificate)


@pytest.mark.parametrize("largest", [0.004, 0.3, 1.0])
def test_bars_and_rings_of_slices_and_the_share_of_all_tokens_stand_where_the_figures_say(
    certificate: dict[str, Any], largest: float
) -> None:
    first, *others = certificate["inversion"]["attacks"]
    for attack in (first, *others):
        for figure in (attack["success"], *(part["success"] for part in attack["slices"] if part["success"])):
            figure.update(**{end: min(figure[end], largest) for end in ("value", "lower", "upper")})
    parts = [[other["slices"][place]["success"] for other in others] for place in range(4)]
    read = [max(filter(None, each), key=lambda figure: figure["upper"]) for each in parts]
    success = next(other["success"] for other in others if other["name"] == "MAP, unigram prior")
    guessed = [first["success"], *(part["baseline"] for part in first["slices"])]
    plot, high = draw(certificate)["slices"], min(1, 1.05 * max(f["upper"] for f in (success, *read, *guessed)))
    bars, whiskers, rings = marks(plot, "rect", "fill"), marks(plot, "line", "whisker"), marks(plot, "circle", "ring")
    assert [share(bar, "x") for bar in bars] == [0] * 5
    values = [figure["value"] for figure in (success, *read)]
    assert [high * share(bar, "width") for bar in bars] == pytest.approx(values, abs=1e-5)
    for along, figure in zip(whiskers[::3], (success, *read), strict=True):
        ends = [figure["lower"], figure["upper"]]
        assert [high * share(along, key) for key in ("x1", "x2")] == pytest.approx(ends, abs=1e-5)
    assert [high * share(ring, "cx") for ring in rings] == pytest.approx([f["value"] for f in guessed], abs=1e-5)
    lines = marks(plot, "line", "ruler")
    assert len(lines) == 5
    assert all(high * share(line, "x1") == pytest.approx(success["value"], abs=1e-5) for line in lines)


def test_what_is_read_of_the_curve_is_its_exact_value_from_the_safe_side(certificate: dict[str, Any]) -> None:
    panel, _ = draw(certificate)["trade_off"].panels
    curve = certificate["curve"]
    inside = [
        point
        for point in zip(curve["alpha"], curve["exact"], curve["gaussian_limit"], strict=True)
        if LEAST <= point[0] <= 1 - LEAST
    ]
    assert len(panel.texts) == len(inside) == 199
    for text, stop, (alpha, exact, limit) in zip(panel.texts, panel.stops, inside, strict=True):
        said_alpha, said_exact, said_limit = numbers(text)
        assert said_alpha == pytest.approx(alpha, rel=0.01)
        assert exact * 0.99 <= said_exact <= exact
        assert said_limit == pytest.approx(limit, rel=0.01)
        ends = norm.ppf([LEAST, 1 - LEAST])
        assert stop == pytest.approx((norm.ppf(alpha) - ends[0]) / (ends[1] - ends[0]), abs=1e-9)
    assert abs(inside[panel.start][0] - 0.05) < 0.003


def test_what_is_read_at_kappa_is_what_attacks_miss(certificate: dict[str, Any]) -> None:
    inversion = certificate["inversion"]
    _, panel = draw(certificate)["trade_off"].panels
    texts = dict(text.rsplit(": ", 1) for text in panel.texts)
    assert texts.pop("Fewest misses that theorem 6 allows at κ = 4.2%") == "4.2%"
    free = {a["name"]: a["success"] for a in inversion["attacks"] if a["context_free"]}
    assert set(texts) == set(free)
    for name, success in free.items():
        missed = {"value": 1 - success["value"], "lower": 1 - success["upper"], "upper": 1 - success["lower"]}
        assert means(texts[name].removeprefix("misses "), missed, 1e-3)
    assert list(panel.stops) == sorted(panel.stops)


@pytest.mark.parametrize(("name", "tolerance"), [("perplexity", 0.1), ("coherence", 1e-3)])
def test_what_is_read_of_a_condition_is_its_figure(certificate: dict[str, Any], name: str, tolerance: float) -> None:
    figures = certificate["utility"][name]
    (panel,) = draw(certificate)[name].panels
    texts = dict(text.split(": ", 1) for text in panel.texts)
    assert list(texts)[panel.start] == "released prompt"
    assert set(texts) == set(figures)
    for condition, figure in figures.items():
        assert means(texts[condition], figure, tolerance)
        assert texts[condition].endswith(f", {figure['sample']} prompts")


@pytest.mark.parametrize("name", ["attribute", "task"])
def test_what_is_read_of_a_probe_is_its_figure(certificate: dict[str, Any], name: str) -> None:
    probe = certificate["attribute"] if name == "attribute" else certificate["utility"]["task"]
    plot = draw(certificate)[name]
    kinds = ("other_users_release_balanced_accuracy", "balanced_accuracy", "clean_balanced_accuracy")
    for text, kind in zip(plot.panels[0].texts, kinds, strict=True):
        assert means(text.split(": ")[1], probe[kind], 1e-3)
    for ruler in marks(plot, "line", "ruler"):
        assert share(ruler, "x1") == share(ruler, "x2") == pytest.approx(probe["chance"], abs=1e-5)


def test_what_is_read_of_bits_is_gain_attack_and_epsilon(certificate: dict[str, Any]) -> None:
    (panel,) = draw(certificate)["bits"].panels
    assert panel.texts[panel.start] == (
        "9 bytes per token, 4 bits, this configuration: gain 0.182 [0.151, 0.212] nats per token, "
        "strongest on single tokens 11.5% [11.0%, 12.0%], ε of a token at most 51.38 nats"
    )
    others = [panel.texts[place] for place in range(4) if place != panel.start]
    for text, other in zip(others, certificate["utility"]["other_bits"], strict=True):
        size, rest = text.split(": gain ")
        gain, rest = rest.split(" nats per token, strongest on single tokens ")
        attack, epsilon = rest.split(", ε of a token at most ")
        assert numbers(size) == [other["spec"]["bits"] * 18 / 8, other["spec"]["bits"]]
        assert means(gain, other["paired_gain"], 1e-3)
        assert means(attack, other["strongest_attack"], 1e-3)
        assert 0 <= numbers(epsilon)[0] - other["epsilon"]["upper"] <= 0.01


def test_bars_whiskers_rings_and_limits_stand_where_the_figures_say(certificate: dict[str, Any]) -> None:
    plot = draw(certificate)["attacks"]
    attacks = certificate["inversion"]["attacks"]
    bars, whiskers, rings = marks(plot, "rect", "fill"), marks(plot, "line", "whisker"), marks(plot, "circle", "ring")
    assert [share(bar, "width") for bar in bars] == pytest.approx([a["success"]["value"] for a in attacks], abs=1e-5)
    assert [share(bar, "x") for bar in bars] == [0] * len(bars)
    assert ["other" in str(bar.get("class")) for bar in bars] == [True] + [False] * 5
    for (along, *caps), attack in zip(zip(*[iter(whiskers)] * 3, strict=True), attacks, strict=True):
        ends = [attack["success"][end] for end in ("lower", "upper")]
        assert [share(along, key) for key in ("x1", "x2")] == pytest.approx(ends, abs=1e-5)
        assert [share(cap, "x1") for cap in caps] == pytest.approx(ends, abs=1e-5)
    assert [share(ring, "cx") for ring in rings] == pytest.approx([a["rare"]["value"] for a in attacks], abs=1e-5)
    for style, value in (("solid", certificate["inversion"]["allowed"]["upper"]), ("dashed", 0.15)):
        lines = marks(plot, "line", f"ruler limit {style}")
        assert len(lines) == len(attacks)
        assert all(share(line, "x1") == pytest.approx(value, abs=1e-5) for line in lines)


def test_steps_of_a_slider_stand_on_the_marks(certificate: dict[str, Any]) -> None:
    for name, plot in draw(certificate).items():
        height = float(str(ElementTree.fromstring(plot.svg).get("height")))
        for panel in plot.panels:
            assert len(panel.stops) == len(panel.texts) > panel.start >= 0
            assert all(0 <= stop <= 1 for stop in panel.stops)
            assert list(panel.stops) == sorted(panel.stops)
        x, y, w, h = plot.panels[0].place
        assert 0 <= x < x + w <= 1, name
        assert 0 <= y < y + h <= 1, name
        if name in ("attribute", "perplexity", "coherence"):
            levels = [float(str(dot.get("cy"))) for dot in marks(plot, "circle", "fill")]
            rows = [(y + h * stop) * height for stop in plot.panels[0].stops]
            thick = plot.panels[0].thick
            assert all(abs(level - row) < thick / 2 - 4 for level, row in zip(levels, rows, strict=True))
        if name == "bits":
            dots = [share(dot, "cx") for dot in marks(plot, "circle", "fill")]
            assert dots == pytest.approx([*plot.panels[0].stops] * 2)


def test_the_curve_is_drawn_through_its_points(certificate: dict[str, Any]) -> None:
    plot = draw(certificate)["trade_off"]
    curve = certificate["curve"]
    path = next(element for element in marks(plot, "path", "thick main") if "," in str(element.get("d")))
    drawn = [tuple(map(float, pair.split(","))) for pair in str(path.get("d"))[1:].split(" ")]
    ends, up = norm.ppf([LEAST, 1 - LEAST]), norm.ppf([FLOOR, 1 - LEAST])
    inside = [(a, b) for a, b in zip(curve["alpha"], curve["exact"], strict=True) if LEAST <= a <= 1 - LEAST]
    for (x, y), (alpha, beta) in zip(drawn, inside, strict=False):
        assert x == pytest.approx(1000 * (norm.ppf(alpha) - ends[0]) / (ends[1] - ends[0]), abs=0.06)
        kept = norm.ppf(min(max(beta, FLOOR), 1 - LEAST))
        assert y == pytest.approx(HIGH * (1 - (kept - up[0]) / (up[1] - up[0])), abs=0.06)
    assert drawn[-1] == (1000, drawn[-2][1])
    assert TOP > 0


def test_perplexities_stand_on_a_logarithmic_scale(certificate: dict[str, Any]) -> None:
    figures = [certificate["utility"]["perplexity"][name] for name in ("released prompt", "no prompt", "clean prompt")]
    plot = draw(certificate)["perplexity"]
    texts = [text.split(":")[0] for text in plot.panels[0].texts]
    dots = [share(dot, "cx") for dot in marks(plot, "circle", "fill")]
    one, two, three = (dots[texts.index(name)] for name in ("released prompt", "no prompt", "clean prompt"))
    logs = [math.log(figure["value"]) for figure in figures]
    assert (two - one) / (two - three) == pytest.approx((logs[1] - logs[0]) / (logs[1] - logs[2]), rel=1e-3)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.1, 0.57), (-3e-9, 2e-9), (0, 12_345.6), (0.99, 1.01)])
def test_round_marks_are_few_even_and_inside(low: float, high: float) -> None:
    found = round_marks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-12 <= mark <= high + 1e-12 for mark in found)
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-6)


@pytest.mark.parametrize(("low", "high"), [(20, 110), (1.1, 4e9), (1e-3, 2e-3), (41, 42), (9e5, 3e6)])
def test_round_powers_are_few_and_inside(low: float, high: float) -> None:
    found = round_powers(low, high)
    assert len(found) <= 6
    assert all(low <= mark <= high for mark in found)
    assert found or high / low < 1.1
    scale = logarithmic(low, high)
    assert scale(low) == 0
    assert scale(high) == 1
    assert scale(high * 2) == 1


def test_labels_are_moved_apart_and_the_topmost_stays() -> None:
    assert apart([1.0, 1.1, 1.2, 5.0], 1) == pytest.approx([-0.8, 0.2, 1.2, 5.0])


def test_no_markup_of_a_certificate_becomes_markup(certificate: dict[str, Any]) -> None:
    link = '<a href="https://example.org">x</a> & <b>'
    for attack in certificate["inversion"]["attacks"]:
        attack["name"] = attack["success"]["sample_unit"] = link
    certificate["inversion"]["strongest"] = link
    certificate["attribute"]["column"] = link
    certificate["utility"]["perplexity"] = {link: certificate["utility"]["perplexity"]["no prompt"]}
    plots = draw(certificate)
    assert list(plots) == [name for name, _ in PLOTS]
    for plot in plots.values():
        tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(plot.svg).iter()}
        assert tags <= {"svg", "title", "desc", "text", "line", "circle", "rect", "path"}
    assert "&lt;a href" in plots["attacks"].svg
    assert plots["attacks"].panels[0].texts[1].startswith(link)
