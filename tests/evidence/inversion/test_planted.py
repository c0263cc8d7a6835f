"""Planted identifiers stand where their spans say, have valid check digits, and are nobody's."""

import copy
import re

import numpy as np
import pytest
from tokenizers import normalizers
from transformers import AutoTokenizer

from attacks.outcome import Outcome
from attacks.ranking import Guesses
from del_audit.evidence.inversion.planted import edits, identifier_figures, planted_slice, recovered, within_one_edit
from del_audit.service.identifiers import KINDS, iban_checks, luhn_digit
from del_audit.service.planting import PlantedTokens, plant, tokenized
from del_audit.statistics.intervals import clopper_pearson
from mechanisms.errors import UserError
from mechanisms.models import load_tokenizer

TEXTS = [
    "I took it for a week. The pain was gone! Was it the tablet? I do not know",
    "No side effects at all",
    "It did not work.  My doctor agreed. I stopped.",
]
PATTERNS = {
    "name": r"[A-Z][a-z]+ [A-Z][a-z]+",
    "e-mail": r"[a-z]+\.[a-z]+\d\d@example\.(com|org|net)",
    "phone number": r"\([2-9]\d\d\) 555-01\d\d",
    "street address": r"\d{1,3} [A-Z][a-z]+ (Street|Road|Lane|Avenue), [A-Z][a-z]+",
    "date of birth": r"[A-Z][a-z]+ \d{1,2}, (19[4-9]|200)\d",
    "card number": r"9999 \d{4} \d{4} \d{4}",
    "passport number": r"XX\d{7}",
    "account number": r"XX\d{20}",
}


@pytest.fixture(scope="module")
def tokenizer(tiny_lm_folder):
    return AutoTokenizer.from_pretrained(tiny_lm_folder)


@pytest.mark.parametrize("kind", KINDS)
def test_identifiers_have_their_form_and_their_check_digits(kind):
    values = [found.text for text in plant(TEXTS * 40, 0, kinds=[kind]) for found in text.identifiers]
    assert len(values) == 120
    assert len(set(values)) > 60
    for value in values:
        assert re.fullmatch(PATTERNS[kind], value)
        if kind == "card number":
            digits = value.replace(" ", "")
            assert luhn_digit(digits[:-1]) == digits[-1]
            assert sum(sum(divmod(int(d) * (1 + i % 2), 10)) for i, d in enumerate(reversed(digits))) % 10 == 0
        if kind == "account number":
            assert iban_checks(value)
            assert not iban_checks(value[:-2] + value[-1] + value[-2]) or value[-1] == value[-2]


def test_what_is_planted_stands_at_its_characters_and_the_rest_is_untouched():
    for original, planted in zip(TEXTS * 20, plant(TEXTS * 20, 3, each=3), strict=True):
        rest = planted.text
        assert len(planted.identifiers) == 3
        for found in reversed(planted.identifiers):
            assert planted.text[found.start : found.stop] == found.text
            start = max(
                rest.rfind(opening, 0, found.start) for opening in ("My ", "You ", "I live", "I was born", "I paid")
            )
            assert rest[found.stop :].startswith(". ")
            rest = rest[:start] + rest[found.stop + 2 :]
        assert rest == original


def test_identifiers_stand_at_sentence_boundaries():
    places = set()
    for planted in plant(TEXTS[:1] * 200, 1):
        (found,) = planted.identifiers
        before = planted.text[: found.start]
        opening = max(before.rfind(s) for s in ("My ", "You ", "I live", "I was born", "I paid"))
        places.add(before[:opening])
    assert places == {"", TEXTS[0][:22], TEXTS[0][:41], TEXTS[0][:60]}


def test_identifiers_stay_within_the_characters_asked_for():
    for planted in plant(TEXTS * 20, 1, within=23):
        assert planted.identifiers[0].start < 23 + 30
    assert {p.identifiers[0].start < 30 for p in plant(TEXTS[:1] * 50, 1)} == {True, False}


def test_planting_is_repeatable_and_kinds_are_as_frequent():
    assert plant(TEXTS, 5, each=2) == plant(TEXTS, 5, each=2)
    assert plant(TEXTS, 5) != plant(TEXTS, 6)
    assert plant(TEXTS, 5)[0] == plant(TEXTS[:1], 5)[0]
    kinds = [found.kind for planted in plant(TEXTS * 8, 0, each=2) for found in planted.identifiers]
    assert {kind: kinds.count(kind) for kind in KINDS} == dict.fromkeys(KINDS, 6)


def covered_exactly(planted, tokens, tokenizer):
    for found, span in zip(planted.identifiers, tokens.spans, strict=True):
        assert (found.kind, found.text) == (span.kind, span.text)
        yield tokenizer.decode(tokens.ids[span.start : span.stop]).strip() == found.text


def test_spans_are_the_identifiers_tokens(tokenizer):
    for planted in plant(TEXTS * 10, 2, each=2):
        tokens = tokenized(planted, tokenizer)
        assert tokens.ids == tuple(tokenizer(planted.text, add_special_tokens=False).input_ids)
        assert all(covered_exactly(planted, tokens, tokenizer))


@pytest.mark.assets
def test_spans_are_the_identifiers_tokens_through_a_real_tokenizer(packaged):
    packaged("package:smollm2-135m-instruct")
    tokenizer = load_tokenizer("package:smollm2-135m-instruct")
    for planted in plant(TEXTS * 30, 2, each=3):
        assert all(covered_exactly(planted, tokenized(planted, tokenizer), tokenizer))


def test_an_identifier_that_is_cut_is_not_counted(tokenizer):
    (planted,) = plant([TEXTS[1]], 0, kinds=["card number"])
    whole = tokenized(planted, tokenizer)
    (span,) = whole.spans
    assert tokenized(planted, tokenizer, span.stop).spans == (span,)
    cut = tokenized(planted, tokenizer, span.stop - 1)
    assert cut.spans == ()
    assert cut.ids == whole.ids[: span.stop - 1]


def attacked(prompts, wrong=(), documents=None, guess=None):
    """Returns an outcome in which all tokens are right, save those of the rows in wrong, where it guesses a token."""
    rows = np.concatenate([np.array(prompt.ids, dtype=np.int32) for prompt in prompts])
    rows[list(wrong)] = rows[list(wrong)] + 1 if guess is None else guess
    words = np.split(rows, np.cumsum([len(prompt.ids) for prompt in prompts])[:-1])
    guesses = [Guesses(part[:, None], np.zeros((len(part), 1), np.float32)) for part in words]

    class Named:
        name, version = "attack", 1

    return Outcome.of(Named, guesses, [prompt.ids for prompt in prompts], documents)


def test_an_identifier_is_read_where_all_of_its_tokens_are(tokenizer):
    prompts = [tokenized(planted, tokenizer) for planted in plant(TEXTS, 0, kinds=["name"])]
    first, second = len(prompts[0].ids) + prompts[1].spans[0].start, len(prompts[0].ids) + len(prompts[1].ids) - 1
    read, kinds, documents = recovered(attacked(prompts, [first, second], documents="xyz"), prompts)
    assert read.tolist() == [True, False, True]
    assert kinds.tolist() == ["name"] * 3
    assert documents.tolist() == ["x", "y", "z"]


def test_the_slice_is_the_identifiers_tokens(tokenizer):
    prompts = [tokenized(planted, tokenizer) for planted in plant(TEXTS, 0, each=2)]
    chosen = planted_slice(attacked(prompts), prompts).chosen
    expected = [
        any(span.start <= place < span.stop for span in prompt.spans)
        for prompt in prompts
        for place in range(len(prompt.ids))
    ]
    assert chosen.tolist() == expected
    assert 0 < chosen.sum() < len(chosen)


@pytest.mark.parametrize(
    ("text", "within", "fewest"),
    [
        ("XX1234567", "XX1234567", 0),
        ("XX1234567", "is XX1234567. I", 0),
        ("XX1234567", "is XX1239567. I", 1),
        ("XX1234567", "is XX123567. I", 1),
        ("XX1234567", "is XX12394567. I", 1),
        ("XX1234567", "X1234567", 1),
        ("XX1234567", "XX1243567", 2),
        ("XX1234567", "XX12 345 67", 2),
        ("XX1234567", "1234567", 2),
        ("XX1234567", "", 9),
        ("Ann", "ann", 1),
        ("", "anything", 0),
    ],
)
def test_edits_are_the_fewest_to_any_part_of_a_text(text, within, fewest):
    assert edits(text, within) == fewest


def plain(one, other):
    """Levenshtein's distance of two whole texts, by its definition."""
    if not one or not other:
        return len(one) + len(other)
    return min(plain(one[1:], other[1:]) + (one[0] != other[0]), plain(one[1:], other) + 1, plain(one, other[1:]) + 1)


@pytest.mark.parametrize("seed", range(20))
def test_edits_are_levenshteins_to_the_nearest_part(seed):
    generator = np.random.default_rng(seed)
    text, within = ("".join(generator.choice(list("ab1"), generator.integers(1, 6))) for _ in range(2))
    places = range(len(within) + 1)
    assert edits(text, within) == min(plain(text, within[i:j]) for i in places for j in places if i <= j)


@pytest.fixture
def passports(tokenizer):
    """Prompts with a passport number in each, and the rows of the outcome at which each number's tokens stand."""
    prompts = [tokenized(planted, tokenizer) for planted in plant(TEXTS * 4, 0, kinds=["passport number"])]
    starts = np.cumsum([0, *(len(prompt.ids) for prompt in prompts[:-1])])
    rows = [
        np.arange(start + span.start, start + span.stop)
        for start, prompt in zip(starts, prompts, strict=True)
        for span in prompt.spans
    ]
    return prompts, rows


def test_one_character_wrong_is_within_one_edit_and_two_are_not(passports, tokenizer):
    prompts, rows = passports
    (other,) = tokenizer("#", add_special_tokens=False).input_ids
    start = prompts[0].spans[0].start - rows[0][0]
    letters = [row for row in rows[0] if len(tokenizer.decode([prompts[0].ids[start + row]]).strip()) == 1]
    assert len(letters) > 2
    for wrong, exact, near in ((letters[:0], True, True), (letters[:1], False, True), (letters[:2], False, False)):
        outcome = attacked(prompts, wrong, guess=other)
        assert recovered(outcome, prompts)[0].tolist() == [exact] + [True] * 11
        assert within_one_edit(outcome, prompts, tokenizer).tolist() == [near] + [True] * 11


def test_an_attack_that_reads_nothing_is_not_near(passports, tokenizer):
    prompts, rows = passports
    (other,) = tokenizer("#", add_special_tokens=False).input_ids
    outcome = attacked(prompts, np.concatenate(rows), guess=other)
    assert not recovered(outcome, prompts)[0].any()
    assert not within_one_edit(outcome, prompts, tokenizer).any()


def test_what_is_read_exactly_is_within_one_edit_also_where_the_tokenizer_keeps_no_case(tokenizer):
    lower = copy.deepcopy(tokenizer)
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    prompts = [tokenized(planted, lower) for planted in plant(TEXTS * 8, 0)]
    assert {span.text == span.text.lower() for prompt in prompts for span in prompt.spans} == {True}
    assert within_one_edit(attacked(prompts), prompts, lower).all()


def figures_of(outcome, baseline, prompts, tokenizer, longest=1):
    found = identifier_figures(outcome, baseline, prompts, tokenizer, seed=0, longest=longest)
    assert len({figure.name for figure in found}) == len(found) == 2 * (1 + len(KINDS) + 1)
    return {figure.name.removeprefix("planted: "): figure for figure in found}


def test_figures_of_identifiers_say_where_there_are_too_few(tokenizer):
    prompts = [tokenized(planted, tokenizer) for planted in plant(TEXTS * 4, 0, kinds=["name", "e-mail"])]
    starts = np.cumsum([0, *(len(prompt.ids) for prompt in prompts[:-1])])
    wrong = [starts[i] + prompts[i].spans[0].start for i in range(3)]
    outcome, baseline = attacked(prompts, wrong), attacked(prompts, range(sum(len(p.ids) for p in prompts)))
    found = figures_of(outcome, baseline, prompts, tokenizer)
    together, name = found["identifiers"], found["name"]
    assert (together.tokens, together.documents) == (12, 12)
    assert together.success.value == 9 / 12
    assert together.baseline.value == 0
    assert together.baseline.upper > 0.2
    assert (name.success, name.tokens) == (None, 6)
    assert "too few: 6 of 6 documents" in name.why
    assert found["account number"].tokens == found["account number, within one edit"].tokens == 0


def test_figures_of_an_attack_that_reads_one_letter_wrong(passports, tokenizer):
    prompts, rows = passports
    (other,) = tokenizer("#", add_special_tokens=False).input_ids
    outcome = attacked(prompts, [row[-1] for row in rows[:5]], guess=other)
    nothing = attacked(prompts, range(len(outcome)), guess=other)
    found = figures_of(outcome, nothing, prompts, tokenizer)
    shares = {name: figure.success.value for name, figure in found.items() if figure.success}
    for name in ("identifiers", "passport number", "documents"):
        assert shares.pop(name) == 7 / 12
        assert shares.pop(f"{name}, within one edit") == 1
        assert found[f"{name}, within one edit"].baseline.value == 0
    assert shares == {}


def test_a_document_counts_once_however_many_of_its_identifiers_are_read(tokenizer):
    prompts = [tokenized(planted, tokenizer) for planted in plant(TEXTS * 8, 0, each=2, kinds=["passport number"])]
    (other,) = tokenizer("#", add_special_tokens=False).input_ids
    starts = np.cumsum([0, *(len(prompt.ids) for prompt in prompts[:-1])])
    documents = [f"d{index // 2}" for index in range(24)]
    spans = [
        (index // 2, start + span.start, start + span.stop)
        for index, (start, prompt) in enumerate(zip(starts, prompts, strict=True))
        for span in prompt.spans
    ]
    assert len(spans) == 48  # 4 in each of 12 documents
    whole = {0: 4, 1: 1, 2: 3}  # of these documents so many identifiers are read, of the others none
    wrong = []
    for document in range(12):
        rows = [np.arange(start, stop) for of, start, stop in spans if of == document]
        wrong += [row[-1] if document == 3 else row for row in rows[whole.get(document, 0) :]]
    wrong = np.concatenate([np.atleast_1d(row) for row in wrong])
    outcome = attacked(prompts, wrong, documents, other)
    found = figures_of(outcome, attacked(prompts, range(len(outcome)), documents, other), prompts, tokenizer, longest=4)
    assert found["identifiers"].success.value == 8 / 48
    assert found["identifiers, within one edit"].success.value == 12 / 48
    exact, near = found["documents"], found["documents, within one edit"]
    assert (exact.tokens, exact.documents) == (near.tokens, near.documents) == (12, 12)
    for figure, count in ((exact, 3), (near, 4)):
        ends = (figure.success.lower, figure.success.upper)
        assert figure.success.value == count / 12
        assert ends == pytest.approx(clopper_pearson(count, 12), rel=1e-12)
        assert figure.success.sample_unit == "documents"
        assert figure.success.unit.startswith("share of documents with an identifier read ")
        assert figure.baseline.value == 0


def test_planting_refuses(tokenizer):
    with pytest.raises(UserError, match="kinds among"):
        plant(TEXTS, 0, kinds=["shoe size"])
    for texts, each, within in (([], 1, None), (TEXTS, 0, None), (TEXTS, 1, 0)):
        with pytest.raises(UserError, match="Expected a text"):
            plant(texts, 0, each=each, within=within)
    with pytest.raises(UserError, match="fast tokenizer"):
        tokenized(plant(TEXTS, 0)[0], object())
    prompts = [tokenized(planted, tokenizer) for planted in plant(TEXTS, 0)]
    with pytest.raises(UserError, match="planted prompts"):
        planted_slice(attacked(prompts), prompts[:2])
    with pytest.raises(UserError, match="planted prompts"):
        within_one_edit(attacked(prompts), prompts[:2], tokenizer)
    with pytest.raises(UserError, match="planted prompts"):
        recovered(attacked(prompts), [PlantedTokens(prompts[0].ids, ()), *prompts[2:], prompts[1]])
