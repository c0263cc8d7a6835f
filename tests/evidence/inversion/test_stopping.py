"""Reading stops once the limit is decided, and not before."""

import numpy as np
import pytest

from attacks.base import AttackerKnowledge
from attacks.ranking import Guesses
from del_audit.evidence.inversion.readers import AttackReader
from del_audit.evidence.inversion.stopping import read_until_decided, stopped_rate
from del_audit.service.releases import Releases
from del_audit.statistics.sequential import decided, sequential_ends
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator


class Reader:
    """An attack that reads a message's bytes: the share of them that are right is in the messages alone."""

    name, version, context_free = "reader", 1, True

    def __init__(self):
        self.shown = []

    def fit(self, public):
        return self

    def guess(self, messages):
        self.shown += messages
        return [Guesses(np.frombuffer(m, np.uint8).astype(np.int32)[:, None], np.zeros((len(m), 1))) for m in messages]


def sent_with(share, documents=300, tokens=10, prompts_each=1):
    generator = simulation_generator(8, "sent", str(share))
    truths = [[1] * tokens for _ in range(documents * prompts_each)]
    messages = [bytes(generator.random(tokens) < share) for _ in truths]
    return Releases(messages, truths, [i % documents for i in range(len(truths))])


NOTHING = AttackerKnowledge.__new__(AttackerKnowledge)  # the reader asks for nothing


@pytest.mark.parametrize(("share", "limit", "decision"), [(0.1, 0.4, "passed"), (0.6, 0.3, "failed")])
def test_reading_stops_once_the_limit_is_decided(share, limit, decision):
    attack, sent = Reader(), sent_with(share)
    outcome = read_until_decided(AttackReader(attack, NOTHING), sent, limit, 10, batch=10)
    figure = stopped_rate(outcome, 300, 10)
    assert decided(figure, limit) == decision
    assert len(attack.shown) == len(outcome.documents) == figure.documents
    assert figure.documents in (20, 30, 40, 50, 60)
    again = read_until_decided(AttackReader(Reader(), NOTHING), sent, limit, 10, batch=10)
    assert again.documents == outcome.documents
    hits = outcome.hits.reshape(-1, 10).sum(axis=1).astype(float)
    earlier = sequential_ends(hits[:-10], np.full(len(hits) - 10, 10.0), 10, 300)
    assert earlier[0] <= limit < earlier[1]  # one batch fewer did not decide


def test_what_is_not_decided_is_read_to_the_end():
    sent = sent_with(0.2, documents=40, prompts_each=2)
    outcome = read_until_decided(AttackReader(Reader(), NOTHING), sent, 0.2, 20, batch=7)
    figure = stopped_rate(outcome, 40, 20)
    assert (len(outcome), figure.sample, figure.documents) == (800, 800, 40)
    assert decided(figure, 0.2) is None
    assert outcome.documents[0] == outcome.documents[1]  # a document's prompts are attacked together


def test_reading_refuses():
    sent = sent_with(0.2, documents=4)
    for limit, batch, said in ((0.0, 4, "limit"), (1.0, 4, "limit"), (0.5, 0, "batch")):
        with pytest.raises(UserError, match=said):
            read_until_decided(AttackReader(Reader(), NOTHING), sent, limit, 10, batch)
    with pytest.raises(UserError, match="two documents or more"):
        read_until_decided(AttackReader(Reader(), NOTHING), Releases([b"\0"], [[1]], ["a"]), 0.5, 1)
    with pytest.raises(UserError, match=r"longest=9 trials, got one of 10\. "):
        read_until_decided(AttackReader(Reader(), NOTHING), sent, 0.5, 9)
