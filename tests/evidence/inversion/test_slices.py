"""Slices hold the tokens that their rule says, and have a figure beside the baseline."""

import numpy as np
import pytest
from every_tokenizer import llama
from transformers import AutoTokenizer

from attacks.outcome import Outcome
from del_audit.evidence.inversion.slices import (
    Slice,
    frequency_slices,
    measure_slice,
    measure_slices,
    name_spans,
    spread_of_each,
    text_slices,
)
from del_audit.statistics.intervals import clustered_rate
from mechanisms.errors import UserError
from mechanisms.text_pieces import token_texts

PUBLIC = ["Doctors say that one tablet a day is enough, and that the pain on Mondays will go."]


def outcome_of(prompts, hits=None, documents=None, attack="attack"):
    """Returns the outcome of prompts of true tokens, of which the ones where hits are right."""
    truth = np.concatenate([np.asarray(prompt, dtype=np.int32) for prompt in prompts])
    right = np.zeros(len(truth), dtype=bool) if hits is None else np.asarray(hits)
    lengths = [len(prompt) for prompt in prompts]
    return Outcome(
        attack,
        1,
        3,
        tuple(map(str, range(len(prompts)) if documents is None else documents)),
        np.repeat(np.arange(len(prompts), dtype=np.int32), lengths),
        np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        truth,
        np.where(right, truth, truth + 1).astype(np.int32),
        right.astype(np.int32),
        np.zeros(len(truth), np.float32),
        np.where(right, 0.0, np.nan).astype(np.float32),
    )


@pytest.fixture(scope="module")
def tokenizer(tiny_lm_folder):
    return AutoTokenizer.from_pretrained(tiny_lm_folder)


def chosen_text(part, outcome, tokenizer):
    pieces = token_texts(tokenizer, outcome.truth.tolist())
    return [pieces[row] for row in np.flatnonzero(part.chosen)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Today I met Anna Berg. She knows Tom's sister; Lena is her name.", ["Anna", "Berg", "Tom's"]),
        ("We flew to Oslo on\nFriday, and “Nobody” saw O’Neil.", ["Oslo", "Nobody", "O’Neil"]),
        ("It was NOT good! And I'm told that the FDA says: Never.", []),
        ("so Monday it is, Émile", ["Émile"]),
        ("he said. “Then go, Ola”", ["Ola"]),
    ],
)
def test_names_follow_the_rule(text, names):
    assert [text[low:high] for low, high in name_spans(text, frozenset({"monday"}))] == names


def test_names_and_numbers_take_all_of_their_tokens(tokenizer):
    text = "The tablet that Annika Berg took was 250 mg, in 2019."
    outcome = outcome_of([tokenizer(text, add_special_tokens=False).input_ids])
    names, numbers = text_slices(outcome, tokenizer, PUBLIC)
    assert "".join(chosen_text(names, outcome, tokenizer)).replace(" ", "") == "AnnikaBerg"
    assert "".join(chosen_text(numbers, outcome, tokenizer)).replace(" ", "") == "2502019"
    assert names.chosen.sum() > 2  # a tiny vocabulary splits them


def test_a_digit_in_byte_tokens_counts_once():
    """Decoded eight tokens at a time, the bytes before it were shown as other characters, and a digit came twice."""
    tokenizer = llama()
    names = ["▁a", "<0xC3>", "<0xA9>", "<0x32>", "<0xE2>", "<0x82>", "<0xAC>", "b", "▁", "1", "a", "<0x35>", "b", "▁a"]
    numbers = text_slices(outcome_of([tokenizer.convert_tokens_to_ids(names)]), tokenizer, PUBLIC)[1]
    assert np.flatnonzero(numbers.chosen).tolist() == [3, 9, 11]


def test_frequency_bands_follow_the_prior():
    prior = np.full(20_000, 1e-6)
    prior[5], prior[7], prior[9] = 0.5, 0.2, 0.1
    prior[10:300] = 1e-4
    first, second, third, rest, rare = frequency_slices(np.array([5, 7, 9, 10, 250, 299, 500, 19_999]), prior)
    assert first.name == "words 1 to 100"
    assert first.chosen.tolist() == [True] * 4 + [False] * 4
    assert second.chosen.tolist() == [False] * 4 + [True] * 3 + [False]
    assert not third.chosen.any()
    assert rest.chosen.tolist() == [False] * 7 + [True]
    assert rare.chosen.tolist() == [False] * 6 + [True] * 2
    assert np.sum([part.chosen for part in (first, second, third, rest)], axis=0).tolist() == [1] * 8


def test_a_small_vocabulary_has_fewer_bands():
    bands = frequency_slices(np.array([0, 199]), np.linspace(2, 1, 200) / 300)
    assert [part.name for part in bands] == ["words 1 to 100", "words 101 to 200", "rare words"]
    with pytest.raises(UserError, match=r"in 0\.\.199, got 0\.\.200"):
        frequency_slices(np.array([0, 200]), np.full(200, 1 / 200))


def test_a_slice_has_a_figure_beside_the_baseline():
    prompts = [[1] * 20] * 4
    hits = np.arange(80) % 4 == 0
    outcome, baseline = outcome_of(prompts, hits), outcome_of(prompts, attack="baseline")
    part = Slice("every second", "by position", np.arange(80) % 2 == 0)
    figure = measure_slice(part, outcome, baseline, seed=0, longest=20)
    expected = clustered_rate(
        hits[part.chosen], outcome.clusters[part.chosen], 20, "share of every second recovered", "tokens", 0
    )
    found, wanted = ((each.value, each.lower, each.upper) for each in (figure.success, expected))
    assert found == pytest.approx(wanted, rel=1e-12)
    assert (figure.success.value, figure.tokens, figure.documents) == (0.5, 40, 4)
    assert figure.baseline.value == 0
    assert figure.baseline.upper > 0


@pytest.mark.parametrize("chosen", [np.arange(80) < 29, np.arange(80) < 0])
def test_a_slice_of_too_few_tokens_says_so(chosen):
    outcome = outcome_of([[1] * 20] * 4)
    figure = measure_slice(Slice("few", "rule", chosen), outcome, outcome, seed=0, longest=20)
    assert figure.success is None
    assert f"too few tokens: {chosen.sum()} of " in figure.why


def test_a_slice_is_thinned_to_a_length_that_is_known_evenly_over_each_document():
    outcome = outcome_of([[1] * 6, [1] * 6, [1] * 6], np.arange(18) < 6, documents="aab")
    part = Slice("even", "by position", np.arange(18) % 2 == 0)
    first = spread_of_each(part, outcome, 4)
    assert np.flatnonzero(first.chosen).tolist() == [0, 4, 6, 10, 12, 14, 16]
    assert first.rule == "by position; at most 4 per document, evenly spread"
    assert np.flatnonzero(spread_of_each(part, outcome, 1).chosen).tolist() == [6, 14]  # the middle of each
    capped, whole = (
        measure_slice(each, outcome, outcome, 0, fewest=1, longest=n) for each, n in ((first, 4), (part, 12))
    )
    assert capped.success.upper - capped.success.lower < whole.success.upper - whole.success.lower
    for count, slice_ in ((0, part), (1, Slice("s", "r", np.ones(3, bool)))):
        with pytest.raises(UserError, match="Expected"):
            spread_of_each(slice_, outcome, count)


def test_thinning_is_blind_to_what_was_recovered_and_keeps_the_rate():
    """An attack that recovers late tokens better must not look weaker: no end of a document is favoured."""
    tokens, documents = 40, 200
    late = np.tile(np.arange(tokens) / tokens, documents) > np.random.default_rng(0).random(tokens * documents)
    outcomes = [outcome_of([[1] * tokens] * documents, hits) for hits in (late, ~late)]
    part = Slice("all", "every token", np.ones(tokens * documents, bool))
    thinned = [spread_of_each(part, outcome, 8) for outcome in outcomes]
    assert np.array_equal(thinned[0].chosen, thinned[1].chosen)
    assert thinned[0].chosen.sum() == 8 * documents
    rates = [measure_slice(thinned[0], outcomes[0], outcomes[0], 0, longest=8).success, late.mean()]
    assert rates[0].lower < rates[1] < rates[0].upper
    assert rates[0].value == pytest.approx(rates[1], abs=0.04)


def test_attacks_measured_together_have_the_figures_that_each_has_alone():
    hits = np.random.default_rng(1).random((3, 60)) < 0.4
    outcomes = [outcome_of([[1] * 6] * 10, row) for row in hits]
    part = Slice("some", "by position", np.arange(60) % 3 != 0)
    together = measure_slices(part, outcomes, outcomes[0], 0, longest=6, together=3)
    for outcome, figure in zip(outcomes, together, strict=True):
        assert figure == measure_slice(part, outcome, outcomes[0], 0, longest=6, together=3)
        assert figure.above <= figure.success.lower


def test_a_slice_of_one_document_says_so():
    outcome = outcome_of([[1] * 40, [1] * 40])
    figure = measure_slice(Slice("first", "rule", np.arange(80) < 40), outcome, outcome, seed=0, longest=40)
    assert (figure.success, figure.documents) == (None, 1)


def test_slices_refuse(tokenizer):
    outcome = outcome_of([[1, 2], [3]])
    with pytest.raises(UserError, match="same prompts"):
        measure_slice(Slice("s", "r", np.ones(3, bool)), outcome, outcome_of([[1, 2], [4]]), seed=0, longest=20)
    with pytest.raises(UserError, match="same prompts"):
        measure_slice(
            Slice("s", "r", np.ones(3, bool)), outcome, outcome_of([[1, 2], [3]], documents="aa"), seed=0, longest=20
        )
    with pytest.raises(UserError, match="of 3 tokens"):
        measure_slice(Slice("s", "r", np.ones(2, bool)), outcome, outcome, seed=0, longest=20)
    for kept in ([False, True, True], [False, True, False], [True, True, False], [False] * 3):
        with pytest.raises(UserError, match="whole prompts"):
            text_slices(outcome.where(np.array(kept)), tokenizer, PUBLIC)
    with pytest.raises(UserError, match="public text"):
        text_slices(outcome, tokenizer, ["..."])
    with pytest.raises(UserError, match="more than longest=1 trials"):
        measure_slice(Slice("s", "r", np.ones(80, bool)), *[outcome_of([[1] * 40] * 2)] * 2, seed=0, longest=1)
