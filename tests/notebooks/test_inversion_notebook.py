"""The inversion notebook's stored figures agree with one another, and its conclusions with its figures."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra `notebooks` is not installed: nbformat is missing")

PATH = Path(__file__).parents[2] / "notebooks" / "03-inversion.ipynb"
LEVELS = (4, 10, 30)
FREE = ("commonest word", "cosine", "MAP")
CONTEXT = ("LM beam", "forward-backward")
SHARE = r"(-?[\d.]+)% +\[(-?[\d.]+)%, (-?[\d.]+)%\]"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(PATH, 4)


@pytest.fixture(scope="module")
def stored(notebook):
    """What each code cell printed or displayed as text, in order."""
    return [_text(cell) for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def rates(stored):
    """(level, attack) -> (share, lower, upper, allowed), in percent; allowed is None where nothing bounds it."""
    row = re.compile(rf"^mu +(\d+)  (.+?) +{SHARE} +allowed (?:([\d.]+)%|not bounded)$", re.M)
    return {
        (int(mu), name): (float(value), float(low), float(high), float(allowed) if allowed else None)
        for text in stored
        for mu, name, value, low, high, allowed in row.findall(text)
    }


def _text(cell):
    return "".join(output.get("text", output.get("data", {}).get("text/plain", "")) for output in cell.outputs)


def test_it_is_small_and_trains_nothing_unless_asked(notebook):
    assert PATH.stat().st_size < 300_000
    (guarded,) = [cell for cell in notebook.cells if "ContextualInverter(" in cell.source]
    assert re.search(r"^TRAIN = False\b", guarded.source, re.M)
    assert "not trained" in _text(guarded)


def test_no_figure_is_written_by_hand(notebook):
    """Only the confidence of the intervals stands in a text or a source as a percentage."""
    for cell in notebook.cells:
        assert set(re.findall(r"[\d.]+ ?%", cell.source)) <= {"95%"}


def test_the_bytes_that_are_shown_hold_the_counts_that_are_shown(stored):
    (text,) = [text for text in stored if "first bytes" in text]
    sizes = re.findall(r"mu +(\d+): (\d+) bytes = (\d+) of header \+ 9 x (\d+) tokens", text)
    assert [int(mu) for mu, *_ in sizes] == list(LEVELS)
    for _, size, header, tokens in sizes:
        assert int(size) == int(header) + 9 * int(tokens)
    hexes, counts = re.findall(r"in hex ([0-9a-f ]+)", text), re.findall(r"counts \[([\d ]+)\]", text)
    assert len(hexes) == len(counts) == len(LEVELS)
    for sent, shown in zip(hexes, counts, strict=True):
        assert [int(digit, 16) for digit in sent.replace(" ", "")] == [int(count) for count in shown.split()]


def test_every_reading_marks_as_many_words_as_it_counts(stored):
    readings = [line for text in stored for line in text.splitlines() if re.match(r".*: \d+ of \d+ ", line)]
    readings = [line for line in readings if "[" in line or ": 0 of" in line]
    assert len(readings) == 5 * len(LEVELS) + 3 * 4 + 3 * 2
    for line in readings:
        title, right = re.match(r"(.*?): (\d+) of \d+ ", line).groups()
        assert len(re.findall(r"\[[^\[\]]+\]", line)) == int(right), title


def test_wrong_and_right_words_are_told_apart_without_colour(notebook):
    shown = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    assert len(shown) == len(LEVELS) + 1 + 2
    for table in shown:
        for title, words in re.findall(r"<tr><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td></tr>", table, re.S):
            right = re.search(r": (\d+) of (\d+)$", title)
            bold, grey = words.count("<b>"), words.count("<span")
            assert (bold, grey) == ((int(right[1]), int(right[2]) - int(right[1])) if right else (bold, 0))


def test_each_rate_has_an_interval_and_none_is_above_its_bound(rates):
    assert set(rates) == {(mu, name) for mu in LEVELS for name in FREE + CONTEXT}
    for (_, name), (value, low, high, allowed) in rates.items():
        assert 0 <= low <= value <= high <= 100
        assert low < high
        assert (allowed is not None) == (name in FREE)
        assert allowed is None or value <= allowed <= 100


def test_the_conclusions_are_those_of_the_figures(stored, rates):
    gaps = {
        int(mu): tuple(map(float, found))
        for mu, *found in re.findall(rf"mu +(\d+)  MAP less cosine +{SHARE}", "".join(stored))
    }
    said = re.findall(
        r"mu +(\d+): the paper's attack says ([\d.]+)%; the exact posterior reads ([\d.]+)% \(([\d.]+) times; "
        r"95% interval of the difference: (more|less|not shown to differ)\); "
        r"strongest: ([\w -]+), ([\d.]+)% of tokens\.",
        stored[-1],
    )
    assert [int(mu) for mu, *_ in said] == list(LEVELS)
    for level, papers, exact, times, verdict, strongest, value in said:
        mu = int(level)
        assert (float(papers), float(exact)) == (rates[mu, "cosine"][0], rates[mu, "MAP"][0])
        assert float(times) == pytest.approx(float(exact) / float(papers), abs=0.1)
        _, low, high = gaps[mu]
        assert verdict == ("more" if low > 0 else "less" if high < 0 else "not shown to differ")
        assert float(value) == rates[mu, strongest][0] == max(rates[mu, name][0] for name in FREE[1:] + CONTEXT)


def test_what_is_said_of_identifiers_is_what_was_counted(stored):
    rows = re.findall(r"mu (\d+)  (\S+(?: \S+)?) +digits .* whole +(\d+) of (\d+) ", "".join(stored))
    assert len(rows) == 6
    said = re.findall(
        r"At mu = (\d+) the best reading has (\d+) of (\d+) made-up identifiers whole(?: \((.+?)\)|, by any)",
        stored[-1],
    )
    assert [level for level, *_ in said] == ["10", "30"]
    for level, count, of, name in said:
        at_level = {row[1]: int(row[2]) for row in rows if row[0] == level}
        assert int(count) == max(at_level.values())
        assert at_level[name] == int(count) if name else int(count) == 0
        assert {row[3] for row in rows} == {of}
