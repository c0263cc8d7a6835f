"""README.md: short, and each part of it held against what it is about: registry, parsers, accountant, full output."""

import re
from itertools import pairwise

import pytest
import yaml
from command_line import _prose
from markdown_pages import DOCS, ROOT, fenced

from del_audit.accounting import Accountant
from del_audit.cli import _parser
from del_audit.commands import COMMANDS
from mechanisms import QuantizerSpec
from mechanisms.wire import HEADER_BYTES, MAGIC, message_bytes

README = (ROOT / "README.md").read_text(encoding="utf8")
QUICK_START = (DOCS / "quick-start.md").read_text(encoding="utf8")
EXAMPLE = yaml.safe_load((ROOT / "examples" / "smollm2-reviews.yaml").read_text(encoding="utf8"))
CUT = "[...]"


def texts(page):
    return [block.text for block in fenced(page) if block.language == "text"]


def output(page):
    """Returns the lines of the one block that shows what `make certify` prints."""
    (found,) = [text for text in texts(page) if "Verdict: CERTIFIED" in text]
    return found.splitlines()


def spec_of(bits):
    mechanism = EXAMPLE["mechanism"]
    return QuantizerSpec.from_mu(bits=bits, **{key: mechanism[key] for key in ("dim", "clip", "mu")})


def number(pattern):
    """Returns the one number that the README has where the pattern has its group."""
    (found,) = re.findall(pattern, " ".join(README.split()))
    return float(found.replace(",", ""))


def test_it_is_short():
    assert len(README.splitlines()) < 150


def test_the_table_of_commands_is_the_registry():
    """Names, order, links and what each one does, as the parsers say it."""
    table = README.partition("| command | purpose |")[2].partition("\n\n")[0]
    rows = re.findall(
        r"^\| \[`([a-z-]+)`\]\(docs/command-line\.md#del-audit-([a-z-]+)\) \| (.+) \|$", table, re.MULTILINE
    )
    assert [name for name, _, _ in rows] == [one.__name__.split(".")[-1].replace("_", "-") for one in COMMANDS]
    assert all(name == anchor for name, anchor, _ in rows)
    (commands,) = [action for action in _parser()._actions if action.dest == "==SUPPRESS==" and action.choices]
    helps = [_prose(choice.help or "") for choice in commands._choices_actions]
    assert [purpose for _, _, purpose in rows] == helps


def test_the_output_is_lines_of_the_whole_output_in_their_order():
    shown, whole = output(README), output(QUICK_START)
    assert len(shown) <= 20
    assert len(whole) > 100
    parts = "\n".join(shown).split(f"\n{CUT}\n")
    assert len(parts) > 2
    text = "\n".join(["", *whole, ""])
    places = [text.find(f"\n{part}\n") for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert all(before < after for before, after in pairwise(places))


def test_figures_in_the_text_are_those_of_the_whole_output():
    """Each share with its interval; the tables of the output may end an interval on one of the next two lines."""
    prose = " ".join(re.sub(r"```.*?```", "", README, flags=re.DOTALL).split())
    quoted = re.findall(r"([\d.]+%) \[([\d.]+%), ([\d.]+%)\]", prose)
    assert len(quoted) >= 8
    lines = [" ", *output(QUICK_START), " ", " "]
    parts = [[f"{line} " for line in three] for three in zip(lines, lines[1:], lines[2:], strict=False)]
    for value, lower, upper in quoted:
        found = [
            first
            for first, second, third in parts
            if f" {value} " in first and f"[{lower}," in first + second and f" {upper}]" in first + second + third
        ]
        assert found, f"{value} [{lower}, {upper}] is not in the quick start's output"


@pytest.mark.parametrize(
    ("pattern", "bits", "unit", "tokens", "step"),
    [
        (r"epsilon per token falls from ([\d.]+) to", 2, "token", 1, 0.01),
        (r"epsilon per token falls from [\d.]+ to ([\d.]+) nats", 1, "token", 1, 0.01),
        (r"In the example it is ([\d,]+) nats for 64 tokens", 2, "prompt", 64, 1),
    ],
)
def test_epsilons_are_those_of_the_example(pattern, bits, unit, tokens, step):
    bound = Accountant(spec_of(bits)).epsilon(delta=1e-5, unit=unit, tokens=tokens).upper
    assert bound <= number(pattern) < bound + step


def test_the_example_has_the_bits_and_the_length_that_are_quoted():
    assert (EXAMPLE["mechanism"]["bits"], EXAMPLE["policy"]["prompt_tokens"]) == (2, 64)


def test_the_message_is_one_of_the_example():
    """Its header names the example's quantizer and 40 tokens, and the length is that of such a message."""
    (example,) = [text for text in texts(README) if text.startswith("written ")]
    sent = bytes.fromhex("".join(re.findall(r"^(?:sent)? +([0-9a-f]{48})$", example, re.MULTILINE)))
    spec = spec_of(2)
    assert sent[:4] == MAGIC
    assert sent[4:12].hex() == spec.fingerprint[:8].hex()
    assert int.from_bytes(sent[12:HEADER_BYTES], "little") == 40
    assert number(r"the first (\d+) of the \d+ bytes") == len(sent)
    assert number(r"the first \d+ of the (\d+) bytes") == number(r"those (\d+) bytes") == message_bytes(spec, 40)


def test_the_recovered_tokens_are_as_many_as_are_marked():
    (example,) = [text for text in texts(README) if text.startswith("written ")]
    readings = re.split(r"^(\w+), (\d+) of 40 ", example, flags=re.MULTILINE)[1:]
    written = " ".join(example.partition("\nsent ")[0].split()[1:])
    assert readings[::3] == ["cosine", "MAP", "adapted"]
    for count, text in zip(readings[1::3], readings[2::3], strict=True):
        marked = re.findall(r"\[([^\]]+)\]", text)
        assert len(marked) == int(count)
        assert all(token in written for token in marked)


def test_the_configuration_has_ten_lines():
    (own,) = [block.text for block in fenced(README) if block.language == "yaml"]
    assert len(own.splitlines()) == 10
