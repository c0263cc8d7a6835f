"""What plotly.js is given: the certificate's figures, and no markup from its text."""

import re
from typing import Any

import pytest
from scipy.stats import norm

from del_audit.certificate import plots
from del_audit.certificate.report.interactive import interactive


def test_interactive_points_are_the_certificates_figures(certificate: dict[str, Any]) -> None:
    found = interactive(certificate)
    attacks = certificate["inversion"]["attacks"]
    bars, rings, allowed, limit = found["attacks"]["data"]
    assert bars["x"] == [attack["success"]["value"] for attack in attacks]
    ends = zip(bars["x"], bars["error_x"]["array"], bars["error_x"]["arrayminus"], strict=True)
    for (value, above, below), attack in zip(ends, attacks, strict=True):
        assert value + above == pytest.approx(attack["success"]["upper"], rel=1e-12)
        assert value - below == pytest.approx(attack["success"]["lower"], rel=1e-12)
    assert rings["x"] == [attack["rare"]["value"] for attack in attacks]
    assert (allowed["x"], limit["x"]) == ([certificate["inversion"]["allowed"]["upper"]] * 2, [0.15] * 2)
    assert bars["text"][4] == "MAP, unigram prior<br>11.5% [11.0%, 12.0%], 20,000 tokens"
    exact = found["trade_off"]["data"][0]
    inside = [(a, b) for a, b in zip(*(certificate["curve"][k] for k in ("alpha", "exact")), strict=True) if 0 < a < 1]
    assert [norm.cdf(x) for x in exact["x"]] == pytest.approx([a for a, _ in inside], rel=1e-9)
    clipped = [min(max(b, plots.FLOOR), 1 - plots.LEAST) for _, b in inside]
    assert [norm.cdf(y) for y in exact["y"]] == pytest.approx(clipped, rel=1e-9)
    gain, read = found["bits"]["data"]
    assert gain["x"] == read["x"] == [2.25, 4.5, 9.0, 18.0]
    assert gain["y"][2] == certificate["utility"]["paired_gain"]["value"]


def test_plotly_gets_no_markup_from_a_certificate(certificate: dict[str, Any]) -> None:
    link = '<a href="https://example.org">x</a> %{x} <b>'
    for attack in certificate["inversion"]["attacks"]:
        attack["name"] = attack["success"]["sample_unit"] = link
    certificate["attribute"]["column"] = link
    certificate["utility"]["perplexity"] = {link: certificate["utility"]["perplexity"]["no prompt"]}

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.values() for text in texts(item)]
        return [text for item in value for text in texts(item)] if isinstance(value, list) else [value]

    for name, plot in interactive(certificate).items():
        found = [text for text in texts(plot) if isinstance(text, str)]
        assert found
        assert set(re.findall(r"<(.*?)>", " ".join(found))) <= {"br", "i", "/i"}
        assert not any("template" in key for trace in plot["data"] for key in trace), name
    assert "&lt;a href" in str(interactive(certificate)["attacks"])
