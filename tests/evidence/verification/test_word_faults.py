"""Planted faults of word mechanisms are caught by the right finding, and the right client is not accused.

All clients draw seeded words, so that each test is the same every time.
"""

import numpy as np
import pytest
from word_clients import LAWS, MAP, POINTS, RESPONSE, SUBSETS, checked, replaced, right

from del_audit.evidence.verification import Verification
from del_audit.evidence.verification.words import WordLaw, verify_words
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness, simulation_generator, wide_words
from mechanisms.rivals import CoarseWordsSpec, RandomizedResponseSpec, SubsetSelectionSpec
from mechanisms.rivals._draws import uniform_below
from mechanisms.rivals.subset_selection import sorted_samples

SETS, WORDS, PLANES = LAWS["subset selection"], LAWS["randomized response"], LAWS["projective geometry"]
COARSE = LAWS["coarse words over randomized response"]


def verified(release, law: WordLaw, seed: int = 0, trials: int = 1500, **more) -> Verification:
    """Returns what a battery of few rows finds."""
    rng = simulation_generator(seed, "word faults")
    return verify_words(release, law, trials=trials, rng=rng, **{"processes": False, **more})


def rejected(release, law: WordLaw, **more) -> set[str]:
    """Returns the findings that reject, as `group: name`."""
    return {f"{finding.group}: {finding.name}" for finding in verified(release, law, **more).rejected}


@pytest.mark.parametrize("law", LAWS.values(), ids=list(LAWS))
def test_the_right_client_is_not_accused(law):
    """Of 20 seeds at alpha 0.001 more than one is accused with a chance of 0.0002."""
    runs = []
    for seed in range(20):
        client = right(law, seed)
        source = SimulatedRandomness(seed, "messages")

        def message(tokens, source=source):
            return law.mechanism.release(tokens, source)

        runs.append(verified(client, law, seed, trials=400, message=message))
    assert sum(not run.passed for run in runs) <= 1
    assert sum(run.p_value <= 0.1 for run in runs) <= 8
    assert sum(run.epsilon.two_samples.value > run.epsilon.claimed.upper for run in runs) <= 6
    assert sum(run.epsilon.one_run.value > run.epsilon.claimed.upper for run in runs) <= 6


@pytest.mark.parametrize(
    "spec",
    [
        RandomizedResponseSpec.from_epsilon(2, 1.0),
        RandomizedResponseSpec.from_epsilon(3, 60.0),
        RandomizedResponseSpec(40, (1 << 64) // 40),
        SubsetSelectionSpec.from_epsilon(2, 1.0),
        SubsetSelectionSpec(10, 3, (1 << 64) - 1),
        POINTS.from_epsilon(2, 1.0, order=2, dimension=2),
        POINTS.from_epsilon(100_000, 2.0, order=3, dimension=12),
    ],
    ids=["two words", "no noise", "all noise", "two sets", "full sets", "three points", "many points"],
)
def test_the_ends_of_what_a_claim_can_be(spec):
    law = WordLaw.of(spec)
    found = verified(right(law), law, trials=400)
    assert found.p_value > 1e-3
    assert np.isfinite(found.detects.epsilon_error)


@pytest.mark.parametrize("name", ["randomized response", "subset selection", "projective geometry"])
def test_an_epsilon_that_is_a_fifth_larger(name):
    more = {
        "randomized response": RandomizedResponseSpec.from_epsilon(40, 3.6),
        "subset selection": SubsetSelectionSpec.from_epsilon(60, 3.6, size=SUBSETS.size),
        "projective geometry": POINTS.from_epsilon(100, 3.0, order=5, dimension=4),
    }[name]
    assert {"law: chance"} <= rejected(right(WordLaw.of(more)), LAWS[name])


def test_a_far_larger_epsilon_is_proved_by_the_game():
    more = WordLaw.of(RandomizedResponseSpec.from_epsilon(40, 6.0))
    found = verified(right(more), WORDS, trials=4000)
    assert {"one run of tokens", "chance"} <= {finding.name for finding in found.rejected}
    assert found.epsilon.one_run.value > found.epsilon.claimed.upper


def test_the_true_word_is_never_sent():
    source = SimulatedRandomness(0, "never")

    def release(tokens):
        checked(tokens, WORDS)
        other = source.words(len(tokens)).astype(np.int64) % 39
        return other + (other >= tokens)

    assert {"law: chance", "law: chance by part"} <= rejected(release, WORDS)


def test_sets_that_always_hold_the_true_word():
    always = WordLaw.of(SubsetSelectionSpec(60, SUBSETS.size, (1 << 64) - 1))
    assert {"law: chance", "guarantee: one run of tokens"} <= rejected(right(always), SETS)


@pytest.mark.parametrize("law", [WORDS, SETS, PLANES, COARSE], ids=["words", "sets", "points", "symbols"])
def test_noise_that_tokens_share(law):
    source = SimulatedRandomness(0, "tokens")

    def release(tokens):
        seed = int(source.words(1)[0])
        rows = [replaced(law, tokens[at : at + 1], SimulatedRandomness(seed)) for at in range(len(tokens))]
        return np.concatenate(rows) if rows else checked(tokens, law)

    assert "independence: tokens" in rejected(release, law)


@pytest.mark.parametrize("law", [WORDS, SETS, PLANES, COARSE], ids=["words", "sets", "points", "symbols"])
def test_noise_that_calls_share(law):
    found = rejected(lambda tokens: replaced(law, tokens, SimulatedRandomness(7)), law)
    assert {"independence: calls", "independence: any two calls", "resending: fresh noise"} <= found


def test_the_same_prompt_gets_the_same_noise():
    def release(tokens):
        return replaced(SETS, tokens, SimulatedRandomness(hash(tokens.tobytes()) & 0xFFFF_FFFF))

    assert {"resending: fresh noise", "independence: any two calls"} <= rejected(release, SETS)


def test_noise_that_forked_processes_share():
    found = rejected(right(SETS), SETS, processes=True)
    assert "independence: processes" in found


def test_a_map_that_differs_in_a_few_common_words():
    other = MAP.copy()
    other[:3] = (other[:3] + 5) % 16
    spec = CoarseWordsSpec.over(RandomizedResponseSpec.from_epsilon(16, 2.0), other)
    found = verified(right(WordLaw.of(spec, other)), COARSE, trials=3000)
    assert {finding.name for finding in found.rejected} == {"words"}
    assert "the word 0 is the likeliest" in found.rejected[0].evidence or "the word 1 " in found.rejected[0].evidence


def test_an_off_by_one_step_over_the_true_word():
    source = SimulatedRandomness(0, "off by one")

    def words(tokens):
        checked(tokens, WORDS)
        kept = source.words(len(tokens)) < float(RESPONSE.chance) * 2**32
        other = np.floor(source.words(len(tokens)) * 2.0**-32 * 39).astype(np.int64)
        return np.where(kept, tokens, other + (other > tokens))

    def sets(tokens):
        drawn = wide_words(len(checked(tokens, SETS)), source)
        found = sorted_samples(59, SUBSETS.size, len(tokens), source).astype(np.int64)
        places = np.arange(len(tokens)), uniform_below(SUBSETS.size, len(tokens), source)
        found += found > tokens[:, None]
        found[places] = np.where(drawn < np.uint64(SUBSETS.inside), tokens, found[places])
        return np.sort(found, axis=1)

    assert "law: outside the support" in rejected(words, WORDS, trials=4000)
    found = verified(sets, SETS)
    assert found.rejected[0].name == "answers"
    assert "do not rise" in found.rejected[0].evidence


def test_words_that_are_the_remainder_of_sixteen_bits():
    law = WordLaw.of(RandomizedResponseSpec.from_epsilon(49152, 8.0))
    source = SimulatedRandomness(0, "modulo")

    def release(tokens):
        checked(tokens, law)
        kept = source.words(len(tokens)) < law.chance * 2**32
        other = (source.words(len(tokens)).astype(np.int64) >> 16) % 49151
        return np.where(kept, tokens, other + (other >= tokens))

    assert rejected(release, law) == {"law: outside the support"}


def test_sets_that_are_runs_of_words():
    """Every word is in them as often as it should be."""
    source = SimulatedRandomness(0, "runs")

    def release(tokens):
        checked(tokens, SETS)
        kept = source.words(len(tokens)) < SETS.chance * 2**32
        size = np.where(kept, SUBSETS.size - 1, SUBSETS.size)
        starts = (source.words(len(tokens)).astype(np.int64)) % 59
        rows = []
        for token, start, length, keep in zip(tokens, starts, size, kept, strict=True):
            others = (start + np.arange(length)) % 59
            rows.append(np.sort(np.append(others + (others >= token), [token] if keep else [])))
        return np.array(rows, dtype=np.int64)

    assert {"law: within the support", "law: outside the support"} <= rejected(release, SETS)


def test_outputs_in_another_order():
    source = SimulatedRandomness(0, "order")
    found = rejected(lambda tokens: replaced(WORDS, tokens, source)[::-1].copy(), WORDS)
    assert {"law: chance", "law: chance by part"} <= found
    swapped = rejected(lambda tokens: np.sort(replaced(WORDS, tokens, source)), WORDS)
    assert "law: chance" in swapped


def test_outputs_of_the_word_before():
    source = SimulatedRandomness(0, "before")
    found = rejected(lambda tokens: np.roll(replaced(WORDS, tokens, source), 1), WORDS)
    assert "batch: neighbours" in found


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda outputs: outputs.astype(float), "an array of float64"),
        (lambda outputs: outputs[:, 0], "shape"),
        (lambda outputs: outputs[:, ::-1].copy(), "sets whose numbers do not rise"),
        (lambda outputs: np.repeat(outputs[:, :1], SUBSETS.size, axis=1), "sets whose numbers do not rise"),
        (lambda outputs: outputs + 1, "outside 0..59"),
        (lambda outputs: outputs.tolist(), "list instead of an array"),
    ],
)
def test_answers_that_are_none(spoil, says):
    client = right(SETS)
    found = verified(lambda tokens: spoil(client(tokens)), SETS, trials=200)
    (finding,) = [finding for finding in found.findings if finding.name == "answers"]
    assert finding.rejected
    assert says in finding.evidence


def test_one_array_for_all_answers():
    kept, client = np.zeros((64, SUBSETS.size), dtype=np.int64), right(SETS)

    def release(tokens):
        kept[: len(tokens)] = client(tokens)
        return kept[: len(tokens)]

    assert "contract: answers" in rejected(release, SETS)


@pytest.mark.parametrize("bad", ["empty", "outside"])
def test_what_is_no_prompt_must_be_refused(bad):
    source = SimulatedRandomness(0, "refused")

    def release(tokens):
        if bad == "empty" and not len(tokens):
            return tokens
        return replaced(WORDS, np.clip(tokens, 0, 39) if bad == "outside" else tokens, source)

    found = verified(release, WORDS)
    assert [finding.name for finding in found.rejected] == ["refused"]
    assert ("an empty prompt" if bad == "empty" else "the word -1 in one of 1 tokens") in found.rejected[0].evidence


def test_charges_that_leave_out_what_was_sent_before():
    charged, seen, client = [0], set(), right(WORDS)

    def release(tokens):
        answer = client(tokens)
        charged[0] += 0 if tokens.tobytes() in seen else len(tokens)
        seen.add(tokens.tobytes())
        return answer

    assert "resending: charged" in rejected(release, WORDS, charged=lambda: charged[0])


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (lambda message: message + b"\0", "message: form"),
        (lambda message: b"SET1" + message[4:], "message: form"),
        (lambda message: message[:4] + bytes(8) + message[12:], "message: form"),
        (lambda message: list(message), "message: form"),
    ],
)
def test_messages_of_another_form(spoil, finding):
    source = SimulatedRandomness(0, "form")

    def message(tokens):
        return spoil(WORDS.mechanism.release(tokens, source))

    assert finding in rejected(right(WORDS), WORDS, message=message)


def test_messages_of_another_law_and_of_stale_noise():
    loud = WordLaw.of(SubsetSelectionSpec(60, SUBSETS.size, (1 << 64) - 1)).mechanism
    source = SimulatedRandomness(0, "messages")

    def message(tokens):
        return SETS.mechanism.format.pack(loud.replace(tokens, source))

    def stale(tokens):
        return SETS.mechanism.release(tokens, SimulatedRandomness(3))

    assert "message: outputs" in rejected(right(SETS), SETS, message=message)
    assert rejected(right(SETS), SETS, message=stale) >= {"message: fresh noise"}


def test_a_client_that_never_answers_is_given_up():
    calls = []

    def release(tokens):
        calls.append(tokens)
        raise RuntimeError("no")

    found = verified(release, WORDS, trials=20_000)
    assert not found.passed
    assert found.epsilon is None
    assert found.detects is None
    assert len(calls) < 100


def test_arguments_out_of_range():
    with pytest.raises(UserError, match="trials to be a whole number >= 200, got trials=10"):
        verified(right(WORDS), WORDS, trials=10)
    with pytest.raises(UserError, match="Expected alpha"):
        verified(right(WORDS), WORDS, alpha=1.0)
    with pytest.raises(UserError, match="release to be a function"):
        verified(None, WORDS)


def test_a_whole_vocabulary_of_one_symbol_has_no_game():
    symbols = np.zeros(20, dtype=np.int64)
    spec = CoarseWordsSpec.over(RandomizedResponseSpec.from_epsilon(16, 2.0), symbols)
    law = WordLaw.of(spec, symbols)
    found = verified(right(law), law)
    assert found.passed
    assert found.epsilon.two_samples.value == found.epsilon.one_run.value == 0.0


def test_what_is_reported_are_plain_values():
    document = verified(right(SETS), SETS).to_dict()
    assert document["spec"] == SUBSETS.to_dict()
    assert document["passed"] is True
    assert document["detects"]["swept"] == 60
    assert 0 < document["detects"]["epsilon_error"] < 1
