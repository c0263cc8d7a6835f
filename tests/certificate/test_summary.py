"""The printed table: every figure, in plain text, within 100 columns, whatever the certificate's text holds."""

import io
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_certificate import print_summary
from rich.console import Console

from del_audit.show.numbers import interval, number, percent


def printed(certificate: dict[str, Any], width: int = 100, color: bool = False) -> str:
    stream = io.StringIO()
    system = "truecolor" if color else None
    print_summary(certificate, Console(file=stream, width=width, force_terminal=color, color_system=system))
    return stream.getvalue()


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_every_section_stands_in_order_and_the_verdict_near_the_end(certificate: dict[str, Any]) -> None:
    text = printed(certificate)
    heads = [
        "Exact guarantee",
        "Attacks:",
        "Slices of",
        "Attribute that",
        "Utility:",
        "Task of",
        "Other numbers",
        "Bytes on",
        "Checks of",
    ]
    places = [text.index(head) for head in [*heads, "Verdict: CERTIFIED", "Not protected"]]
    assert places == sorted(places)


def test_it_prints_the_figures_with_intervals_units_and_kinds(certificate: dict[str, Any]) -> None:
    text = squeezed(printed(certificate, 140))
    for expected in (
        "other controls: 0.490 [0.459, 0.520] over no prompt, 0.160 [0.130, 0.190] over soft prompt alone",
        "Holds for prompts of at most 48 tokens, each text sent once",
        "at most 2.5% in one attempt; over all 2 attempts on this private split at most 5.0% (estimate)",
        "Assurance: full (requires baseline, cosine, code, likelihood, map, beam).",
        "epsilon in nats at delta 1e-5 (proved)",
        "1 token 51.38 114.2 0.9995 none 0.036 53.58",
        "prompt, 48 tokens 1,342 5,481",
        "MAP, unigram prior 11.5% [11.0%, 12.0%] 16.1% [15.6%, 16.7%] 1.7% [1.4%, 2.0%] 20,000 strongest",
        "beam search, language model 10.2% [8.8%, 11.6%] 14.3% [12.7%, 15.9%] 1.8% [1.0%, 2.7%] 2,048",
        "Not run: two-sided, contextual-beam.",
        "commonest word (baseline) 4.0% [3.6%, 4.3%] 5.6% [5.2%, 5.9%] 0.0% [0.0%, 0.0%] 20,000 baseline",
        "at most 95.8% (theorem 6, commonest word 4.2%). Limit of the policy: 15.0%.",
        "another user's release 20.3% [15.3%, 25.3%]",
        "Advantage: 10.9% [4.8%, 16.9%]",
        "Utility: 0.182 [0.151, 0.212] nats per token",
        "24.9% [21.0%, 29.2%] of what the clean prompt gives",
        "soft prompt alone 59.7 [52.9, 67.4] 0.110 [0.070, 0.150]",
        "1 27.08 0.121 [0.071, 0.172] 8.7% [7.8%, 9.6%] 2.25",
        "4 51.38 0.182 [0.151, 0.212] 11.5% [11.0%, 12.0%] 9 this one",
        "9 per token and 16 per message: 448 per prompt",
    ):
        assert expected in text


def test_what_was_recovered_up_to_meaning_is_left_out_where_no_attack_has_it(certificate: dict[str, Any]) -> None:
    assert "Up to meaning: the guess is the word, another form of it" in squeezed(printed(certificate, 140))
    attacks = certificate["inversion"]["attacks"]
    attacks[5].update(meaning=None, meaning_above=None)  # it stopped early
    assert "beam search, language model 10.2% [8.8%, 11.6%] - 1.8% [1.0%, 2.7%]" in squeezed(printed(certificate, 140))
    for attack in attacks:  # as of format 4
        del attack["meaning"], attack["meaning_above"]
    certificate["format"] = "del-audit certificate 4"
    text = squeezed(printed(certificate, 140))
    assert "meaning" not in text
    assert "MAP, unigram prior 11.5% [11.0%, 12.0%] 1.7% [1.4%, 2.0%] 20,000 strongest" in text


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("color", [False, True])
def test_no_line_is_wider_than_the_console_and_no_figure_is_cut(
    certificate: dict[str, Any], width: int, color: bool
) -> None:
    lines = [Console(width=width).render_str(line) for line in printed(certificate, width).splitlines()]
    assert max(len(line) for line in lines) <= width
    assert "…" not in printed(certificate, width, color)


def test_without_colour_it_is_plain_text_that_an_old_terminal_can_show(certificate: dict[str, Any]) -> None:
    text = printed(certificate)
    assert "\x1b" not in text
    assert "\x1b" in printed(certificate, color=True)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_summary(certificate, Console(file=stream, width=100))
    stream.flush()


def test_refused_names_each_limit_that_does_not_hold(refused_certificate: dict[str, Any]) -> None:
    text = squeezed(printed(refused_certificate))
    assert "Verdict: REFUSED - strongest attack: The whole 95% interval is beyond the limit." in text
    assert "Every limit of the policy holds" not in text


def test_parts_that_are_left_out_are_not_named(bare_certificate: dict[str, Any]) -> None:
    text = printed(bare_certificate)
    assert not any(head in text for head in ("Slices", "Attribute", "Task of", "Other numbers", "Limit of the policy"))


def test_markup_and_control_codes_of_the_certificate_are_shown_not_obeyed(certificate: dict[str, Any]) -> None:
    certificate["inversion"]["attacks"][3]["name"] = certificate["inversion"]["strongest"] = "[blink]\x07[/nope]"
    certificate["checks"][0]["reason"] = certificate["checks"][0]["limit"] = "[/]\x1b]0;title\x07"
    certificate["not_protected"].append("[red]x[/red]\x1b[2J[bold]\rover")
    text = printed(certificate)
    assert "[red]x[/red]" in text
    assert "[blink]" in text
    assert not any(code in text for code in "\x1b\x07\r")


def test_slices_name_the_strongest_attack_on_them_and_say_where_there_is_no_figure(certificate: dict[str, Any]) -> None:
    policy = certificate["configuration"]["policy"]
    for attack in certificate["inversion"]["attacks"]:
        attack["slices"][3].update(success=None, baseline=None, why="too few tokens: 9")
    text = squeezed(printed(certificate, 140))
    assert "rare words 0.91% [0.0%, 2.8%] 0.0% [0.0%, 0.0%] 102 3.0% beam search, language model" in text
    assert "names 1.8% [0.0%, 6.0%] 0.0% [0.0%, 0.0%] 40 5.0% beam search, language model" in text
    assert "words 1 to 100 23.1% [22.2%, 23.9%] 8.0% [7.4%, 8.6%] 10,000 - MAP, unigram prior" in text
    assert "numbers no figure - - - too few tokens: 9" in text
    del policy["slice_success_at_most"]
    assert "102 - beam search" in squeezed(printed(certificate, 140))


def test_several_deltas_are_told_apart(certificate: dict[str, Any]) -> None:
    other = {**certificate["guarantees"][0], "delta": 1e-7}
    certificate["guarantees"].append(other)
    text = squeezed(printed(certificate, 140))
    assert "epsilon in nats at the delta named (proved)" in text
    assert "token, delta 1e-5 51.38" in text
    assert "token, delta 1e-7 51.38" in text


def test_a_certified_epsilon_of_the_theorem_is_shown(certificate: dict[str, Any]) -> None:
    certificate["guarantees"][0]["gaussian_limit"]["epsilon_certified"] = 55.5501
    assert "1 token 51.38 114.2 0.9995 55.56 0.036" in squeezed(printed(certificate, 140))


@given(st.floats(1e-12, 1e12))
def test_a_number_rounded_up_is_never_short_and_down_never_over(value: float) -> None:
    up, down = (float(number(value, 4, way).replace(",", "")) for way in (ROUND_CEILING, ROUND_FLOOR))
    assert down <= value <= up
    assert up - down <= max(2e-3 * value, 0 if value < 1e4 else 1)


@given(st.floats(0, 1))
def test_the_ends_of_an_interval_are_rounded_outwards(value: float) -> None:
    text = interval({"value": value, "lower": value, "upper": value, "unit": "share of tokens read"})
    low, high = (float(end.rstrip("%]")) / 100 for end in text.split("[")[1].split(", "))
    assert low <= value * (1 + 1e-15)
    assert high >= value * (1 - 1e-15)
    assert high - low <= 0.0011


def test_small_values_and_signs() -> None:
    assert [number(v) for v in (0.0, 1e-5, 2.5e-7, -3.14159, 1e6)] == [
        "0.000",
        "1e-5",
        "2.500e-7",
        "-3.142",
        "1,000,000",
    ]
    assert [percent(v) for v in (0.0, 0.00012, 1.0, -0.2)] == ["0.0%", "0.01%", "100.0%", "-20.0%"]
    assert percent(-1e-9) == "0.00%"
