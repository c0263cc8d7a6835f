"""The search on invented mechanisms, whose true figures are known: what it drops, what it chooses, what it never sees.

No model is loaded: a bench is invented.
"""

import math
import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from del_audit.configuration.configuration import EncoderChoice
from del_audit.configuration.mechanisms import CoarseWordsMechanism
from del_audit.configuration.policy import Policy
from del_audit.evidence.candidate_list import ListFigure
from del_audit.statistics.figure import Figure
from del_audit.tune.channels import DelChannel, WordChannel
from del_audit.tune.judge import Judge, Reading, certifiable
from del_audit.tune.proof import Edge
from del_audit.tune.search import QUIETEST, Effort, Search, nearest
from del_audit.tune.space import Candidate
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

CLIP, LEAST = 0.05, 0.1
EFFORT = Effort((4, 8, 16), 100, ("baseline", "map", "beam"), 60)


def figure(value, half=0.02, sample=4_000, documents=100, unit="share of tokens read"):
    return Figure(value, value - half, value + half, unit, sample, "tokens", "planted", documents=documents)


def candidate(seed, bits=4):
    channel = DelChannel.of(bits, 12, CLIP, EncoderChoice(kind="corners", seed=seed))
    return Candidate(channel, "posterior-mean", None)


def mu_of(asked):
    return asked.channel.spec().mu


@dataclass
class InventedBench:
    """Success grows with mu; the gain is a true one plus luck of the part and of the number of prompts."""

    part: str = "tuning"
    a_mu: float = 0.02
    beam: float = 1.0
    listed: float | None = None
    known: float | None = None
    gains: dict = field(default_factory=dict)
    luck: float = 0.0
    made: list = field(default_factory=list)
    broken: tuple = ()

    def read(self, asked, attacks, documents):
        if asked.channel.encoder.seed in self.broken:
            raise UserError("Expected another encoder.")
        self.made.append(("read", asked, tuple(attacks), documents))
        rate = min(0.99, self.a_mu * mu_of(asked))
        found = [Reading("MAP", True, figure(rate), figure(min(1.0, 2 * rate), 0.0))]
        if "beam" in attacks:
            read = min(0.99, self.beam * rate)
            found.append(Reading("beam", False, figure(read, documents=60), figure(min(1.0, 2 * read), 0.0)))
        return found

    def gain(self, asked, prompts):
        self.made.append(("gain", asked, prompts))
        noise = simulation_generator(asked.channel.encoder.seed, self.part, str(prompts)).standard_normal()
        value = self.gains.get(asked.channel.encoder.seed, 0.1) + self.luck * float(noise)
        return figure(value, 0.05, prompts, prompts, "nats a token")

    def lists(self, asked):
        if self.listed is None:
            return None
        self.made.append(("lists", asked))
        picked = figure(min(0.99, self.listed * mu_of(asked)), 0.01, 100, None, "share of texts picked out")
        return (ListFigure(8, 100, "the other private texts", "equal", picked, 0.01),)

    def contexts(self, asked):
        if self.known is None:
            return {}
        self.made.append(("contexts", asked))
        share = min(0.99, self.known * mu_of(asked))
        return {"left": figure(share, 0.01), "both sides": figure(1.1 * share, 0.03)}

    def others(self, asked):
        return {}


def searched(bench, candidates, policy, documents=200, least=LEAST, **changes):
    judge = Judge(policy, {True: documents, False: documents}, 0.8)
    scales = {each.channel.shape: Edge(least) for each in candidates}
    return Search(judge, bench, changes.pop("effort", EFFORT), scales, **changes).run(candidates)


def chosen(rows):
    (row,) = [row for row in rows if row.status == "chosen"]
    return row


ATTACKS = Policy(attack_success_at_most=0.2)


def test_of_candidates_within_the_limits_the_largest_gain_is_chosen():
    bench = InventedBench(gains={seed: 0.01 * seed for seed in range(8)}, a_mu=0.001)
    rows = searched(bench, [candidate(seed) for seed in range(8)], ATTACKS)
    assert chosen(rows).candidate == candidate(7).at(LEAST)
    assert sorted(row.candidate.channel.encoder.seed for row in rows if row.status == "outpaced") == [0, 1, 2, 3, 4, 5]
    counts = {
        seed: [asked[2] for asked in bench.made if asked[0] == "gain" and asked[1].channel.encoder.seed == seed]
        for seed in (0, 5, 7)
    }
    assert counts == {0: [4], 5: [4, 8], 7: [4, 8, 16]}  # halving: few prompts for the poor
    dear = [asked[1].channel.encoder.seed for asked in bench.made if asked[0] == "read" and "beam" in asked[2]]
    assert sorted(dear) == [6, 7]


def test_of_equal_gains_the_surer_one_is_chosen():
    class Scattered(InventedBench):
        def gain(self, asked, prompts):
            value = 0.1 + 0.02 * asked.channel.encoder.seed
            return figure(value, 0.05 + 0.3 * asked.channel.encoder.seed, prompts, prompts, "nats a token")

    rows = searched(Scattered(a_mu=0.001), [candidate(seed) for seed in range(3)], ATTACKS)
    assert chosen(rows).candidate.channel.encoder.seed == 0
    assert rows[2].status == "outpaced"


def test_the_scale_is_the_smallest_that_the_attack_allows_within_the_bisections_step():
    bench = InventedBench(a_mu=0.02)
    row = chosen(searched(bench, [candidate(0)], ATTACKS))
    loud = mu_of(candidate(0).at(LEAST))
    assert 0.02 * loud > 0.3  # at the proved scale the attack reads too much
    assert row.candidate.channel.level > LEAST
    read = 0.02 * mu_of(row.candidate)
    step = QUIETEST ** (1 / 16)
    judged = Judge(ATTACKS, {True: 200, False: 200}, 0.8)
    assert judged.attacks([Reading("MAP", True, figure(read), figure(read))]) is None
    assert judged.attacks([Reading("MAP", True, figure(read * step * 1.001), figure(read))]) is not None
    tried = [each["scale"] for each in row.tried]
    assert tried[0] == min(tried) == LEAST


def test_the_margin_is_what_the_certifier_needs():
    assert certifiable(figure(0.15), 0.2, 200, 0.8)
    assert not certifiable(figure(0.199), 0.2, 200, 0.8)
    assert not certifiable(figure(0.15), 0.2, 8, 0.8)  # so few documents cannot show it
    assert not certifiable(figure(0.2), 0.2, 10_000, 0.8)


def test_a_finalist_that_the_dear_attack_reads_gets_more_noise_and_is_measured_again():
    bench = InventedBench(a_mu=0.005, beam=2.6)
    row = chosen(searched(bench, [candidate(0)], ATTACKS))
    assert row.candidate.channel.level > LEAST
    assert mu_of(row.candidate) / mu_of(candidate(0).at(LEAST)) == pytest.approx(0.8 ** (len(row.tried) - 2), rel=1e-6)
    assert bench.made[-1] == ("gain", row.candidate, 16)


def test_where_none_meets_the_policy_the_nearest_and_its_limit_are_named():
    bench = InventedBench(a_mu=0.02, beam=8.0)
    rows = searched(bench, [candidate(0), candidate(1)], Policy(attack_success_at_most=0.05))
    assert not [row for row in rows if row.status == "chosen"]
    close = nearest(rows)
    assert "beam reads" in close.why
    assert "at most 0.05" in close.why
    everywhere = searched(InventedBench(a_mu=5.0), [candidate(0)], Policy(attack_success_at_most=0.05))
    assert nearest(everywhere).why.startswith("at every scale tried, MAP reads")


def test_candidates_outpaced_early_are_tried_where_the_finalists_fail():
    class Demanding(InventedBench):
        def read(self, asked, attacks, documents):
            found = super().read(asked, attacks, documents)
            if "beam" in attacks and asked.channel.encoder.seed > 1:
                found[-1] = Reading("beam", False, figure(0.9), figure(0.9))
            return found

    rows = searched(
        Demanding(gains={s: 0.1 * s for s in range(6)}, a_mu=0.001), [candidate(s) for s in range(6)], ATTACKS
    )
    assert chosen(rows).candidate.channel.encoder.seed == 1
    assert all(row.status == "dropped" and "beam" in row.why for row in rows if row.candidate.channel.encoder.seed > 1)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (
            Policy(attack_success_at_most=0.2, paired_gain_at_least=0.2),
            "gain over another user.*at least 20 are needed",
        ),
        (Policy(attack_success_at_most=0.2, worst_prompt_success_at_most=0.02), "no prompt was released repeatedly"),
        (
            Policy(attack_success_at_most=0.2, slice_success_at_most={"names": 0.1}),
            "slice: names: no fig.*too few tokens",
        ),
    ],
)
def test_other_limits_are_held_against_finalists(policy, said):
    rows = searched(InventedBench(a_mu=0.003), [candidate(0)], policy)
    assert rows[0].status == "dropped"
    assert re.search(said, rows[0].why)


KNOWING = Policy(attack_success_at_most=0.2, list_success_at_most=0.3, context_success_at_most=0.4)


def test_the_scale_is_sought_until_no_text_is_picked_out_of_a_list():
    bench = InventedBench(a_mu=0.001, listed=0.03, known=0.001)
    row = chosen(searched(bench, [candidate(0)], KNOWING))
    assert row.informed.lists[0].success.upper <= 0.3
    assert 0.03 * mu_of(candidate(0).at(LEAST)) > 0.4  # too often at the scale of the proof
    assert 0.03 * mu_of(row.candidate) > 0.29 / QUIETEST ** (1 / 16)  # and hardly more noise than is needed
    assert "texts picked out of a list" in row.tried[0]["over"]
    assert row.tried[-1]["over"] is None


def test_a_candidate_that_breaks_the_limit_of_lists_is_refused_before_anything_dearer():
    bench = InventedBench(a_mu=0.001, listed=10.0, known=0.001)
    (row,) = searched(bench, [candidate(0)], KNOWING)
    assert (row.status, row.stage) == ("dropped", "attack")
    assert row.why.startswith("at every scale tried, texts picked out of a list: out of 100 texts by 8 tokens")
    assert "at most 0.3 (share of texts picked out) is asked" in row.why
    assert {made[0] for made in bench.made} == {"read", "lists"}
    assert not [made for made in bench.made if made[0] == "read" and "beam" in made[2]]


def test_who_knows_the_context_is_measured_before_dear_attacks_and_gets_more_noise_too():
    loud = mu_of(candidate(0).at(LEAST))
    bench = InventedBench(a_mu=0.0005, listed=0.0001, known=0.5 / loud)
    row = chosen(searched(bench, [candidate(0)], KNOWING))
    steps = round(math.log(mu_of(row.candidate) / loud) / math.log(0.8))
    assert steps >= 1
    assert row.informed.contexts["both sides"].upper <= 0.4
    contexts = [made[1].channel.level for made in bench.made if made[0] == "contexts"]
    dear = [made[1].channel.level for made in bench.made if made[0] == "read" and "beam" in made[2]]
    assert len(contexts) == steps + 1
    assert dear == contexts[-1:]
    bench = InventedBench(a_mu=0.0005, listed=0.0001, known=1.0)
    (row,) = searched(bench, [candidate(0)], KNOWING)
    assert "tokens recovered by who knows the context" in row.why
    assert row.readings == []


def words(symbols, decoder="posterior-mean"):
    inner = {"kind": "randomized-response", "epsilon": 1.0}
    choice = CoarseWordsMechanism.model_validate({"kind": "coarse-words", "symbols": symbols, "inner": inner})
    return Candidate(WordChannel.of(choice, 500), decoder, None)


class WordBench(InventedBench):
    """Success grows with epsilon."""

    def read(self, asked, attacks, documents):
        self.made.append(("read", asked, tuple(attacks), documents))
        rate = min(0.99, self.a_mu * asked.channel.epsilon)
        beam = Reading("beam", False, figure(min(0.99, self.beam * rate), documents=60), figure(rate))
        return [Reading("MAP", True, figure(rate), figure(rate)), *([beam] if "beam" in attacks else [])]

    def gain(self, asked, prompts):
        return figure(0.01 * asked.channel.inputs, 0.05, prompts, prompts, "nats a token")


def test_epsilon_is_bisected_as_mu_is():
    row = chosen(searched(WordBench(a_mu=0.05), [words(8)], ATTACKS, least=16.0))
    epsilon = row.candidate.channel.epsilon
    judged = Judge(ATTACKS, {True: 200, False: 200}, 0.8)
    step = QUIETEST ** (1 / 16)
    assert judged.attacks([Reading("MAP", True, figure(0.05 * epsilon), figure(0.0))]) is None
    assert judged.attacks([Reading("MAP", True, figure(0.05 * epsilon * step * 1.001), figure(0.0))]) is not None
    assert [each["epsilon"] for each in row.tried][:3] == [16.0, 1.0, 4.0]


def test_only_epsilons_that_are_asked_for_are_tried_even_where_a_dear_attack_wants_more_noise():
    asked = (12.0, 5.0, 3.0, 2.0, 1.0)
    row = chosen(searched(WordBench(a_mu=0.03, beam=2.1), [words(8)], ATTACKS, least=12.0, epsilons=asked))
    assert row.candidate.channel.epsilon == 2.0  # at 5 MAP allows it; at 3 the beam reads 0.19, too near
    assert {each["epsilon"] for each in row.tried} <= set(asked)
    (none,) = searched(WordBench(a_mu=0.03, beam=9.0), [words(8)], ATTACKS, least=2.0, epsilons=(12.0, 2.0))
    assert (none.status, none.candidate.channel.epsilon) == ("dropped", 2.0)
    assert "beam reads" in none.why


def test_a_decoder_that_cannot_read_words_is_left_out_and_nothing_of_it_measured():
    bench = WordBench(a_mu=0.001)
    rows = searched(bench, [words(8), words(9, "linear")], ATTACKS, least=4.0)
    assert chosen(rows).candidate.channel.inputs == 8
    assert rows[1].why == "left out: decoder linear reads DEL's codes, which coarse-words:9 has none of"
    assert {made[1].channel.inputs for made in bench.made} == {8}


def test_the_mechanism_of_largest_gain_is_chosen():
    rows = searched(WordBench(a_mu=0.001), [words(8), words(32), words(16)], ATTACKS, least=4.0)
    assert chosen(rows).candidate.channel.name == "coarse-words:32"


def test_what_no_limit_asks_for_is_not_measured():
    bench = InventedBench(a_mu=0.001)
    row = chosen(searched(bench, [candidate(0)], ATTACKS))
    assert (row.informed.lists, row.informed.contexts) == (None, {})


def test_what_is_refused_by_proof_or_cannot_be_built_is_not_measured():
    bench, wanted = InventedBench(a_mu=0.001, broken=(1,)), [candidate(0), candidate(1), candidate(2, bits=5)]
    judge = Judge(ATTACKS, {True: 200, False: 200}, 0.8)
    scales = {(4, 12): Edge(LEAST), (5, 12): Edge(None, "7.5 bytes a token")}
    rows = Search(judge, bench, EFFORT, scales).run(wanted)
    assert [row.status for row in rows] == ["chosen", "dropped", "dropped"]
    assert "cannot be built: Expected another encoder." in rows[1].why
    assert rows[2].why == "refused by proof: 7.5 bytes a token"
    assert {asked[1].channel.encoder.seed for asked in bench.made} == {0}
    assert {asked[1].channel.quantizer.bits for asked in bench.made} == {4}


def test_out_of_time_the_best_so_far_is_examined_and_the_others_are_not():
    bench, asked = InventedBench(gains={s: 0.1 * s for s in range(4)}, a_mu=0.001), []

    def out_of_time():
        asked.append(1)
        return len(asked) > 4  # after the four channels were attacked

    rows = searched(bench, [candidate(s) for s in range(4)], ATTACKS, out_of_time=out_of_time)
    assert chosen(rows).candidate.channel.encoder.seed == 3
    assert sum("out of time" in row.why for row in rows) == 1  # the other finalist; two were outpaced


def test_a_candidate_that_is_lucky_where_it_is_chosen_is_reported_where_it_is_not():
    """Forty equal candidates: the best of them has luck alone, which the report on other documents must not show."""
    seen, told = [], []
    for run in range(60):
        wanted = [candidate(40 * run + seed) for seed in range(40)]
        bench = InventedBench(gains=dict.fromkeys(range(10_000), 0.0), a_mu=0.001, luck=1.0)
        row = chosen(searched(bench, wanted, Policy(epsilon=[{"at_most": 40.0}])))
        seen.append(row.gain.value)
        told.append(InventedBench("held-out", gains=bench.gains, luck=1.0).gain(row.candidate, 16).value)
    assert np.mean(seen) > 0.4  # what it was chosen by flatters it
    assert abs(np.mean(told)) < 4 / math.sqrt(60)  # the truth is 0
    assert np.mean(seen) - np.mean(told) > 0.3
