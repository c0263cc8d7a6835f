"""The page's colours: enough contrast for text and graphics, as WCAG 2 measures it."""

import re
from typing import Any

import pytest
from json_certificate import render

COLOURS = re.compile(r"--(\w+): (#[0-9a-f]{3,6})")


def luminance(colour: str) -> float:
    """Returns WCAG 2's relative luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_as_wcag_does() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21, abs=1e-12)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_the_pages_colours_have_contrast(certificate: dict[str, Any], scheme: str) -> None:
    roots = re.findall(r":root \{(.*?)\}", render(certificate), re.S)
    colours = dict(COLOURS.findall(roots[("light", "dark", "print").index(scheme)]))
    assert len(roots) == 3
    for background in (colours["page"], colours["card"]):
        for text in ("ink", "muted", "main", "limit", "certified", "refused", "inconclusive"):
            assert contrast(colours[text], background) >= 4.5, (text, background)
        assert contrast(colours["other"], background) >= 3  # graphics only
