import json
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from attacks.base import AttackerKnowledge
from attacks.inversion import CommonestWord, MaximumAPosteriori
from attacks.inversion.contextual import ContextualAttacker, ContextualInverter, ContextualTraining, NetworkShape
from attacks.inversion.contextual.loss import Negatives, sampled_loss
from attacks.inversion.contextual.reader import windows
from attacks.inversion.contextual.training import Fitting, Text
from mechanisms.channel import Channel
from mechanisms.decoding import LinearDecoder
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.rivals import Points, RanText, RanTextSpec
from mechanisms.spec import QuantizerSpec

WORDS = 32
SHAPE = NetworkShape(layers=1, heads=4, width=32, reach=4, rank=15)
TRAINING = ContextualTraining(
    steps=120,
    batch=16,
    window=16,
    learning_rate=1e-2,
    warm_up=10,
    common=20,
    drawn=8,
    validation_share=0.1,
    validation_windows=16,
    validate_every=40,
    patience=0,
    bfloat16=False,
)
SHORT = replace(TRAINING, steps=6, validate_every=3, checkpoint_every=2)


def chain(documents, length, seed):
    """Returns documents of a language where 19 tokens in 20 follow from the one before, and the rest are drawn."""
    generator = np.random.default_rng(seed)
    texts = generator.integers(0, WORDS, (documents, length))
    follows = generator.random((documents, length)) < 0.95
    for place in range(1, length):
        texts[:, place] = np.where(follows[:, place], (5 * texts[:, place - 1] + 3) % WORDS, texts[:, place])
    return [row.tolist() for row in texts]


def public(mu, documents=None, mechanism=None, seed=0, bits=4):
    """Returns what is known of a DEL of one corner of the cube a word, and of the language."""
    spec = QuantizerSpec.from_mu(bits, 5, 0.05, mu)
    encoder = Encoder.of(np.array(list(product([-1.0, 1.0], repeat=5))) * 0.05, 0.05)
    documents = chain(60, 40, 0) if documents is None else documents
    prior = np.bincount(np.concatenate(documents), minlength=WORDS) + 0.5
    prior = prior / prior.sum()
    table = np.random.default_rng(1).standard_normal((WORDS, 16)).astype(np.float32)
    linear = LinearDecoder.fit(StochasticQuantizer(spec), encoder, prior, table)
    pipeline = Pipeline(spec, table, prior, encoder, Channel.of(spec, encoder.codes), linear, linear)
    return AttackerKnowledge(pipeline if mechanism is None else mechanism(pipeline), table, prior, documents, seed=seed)


def messages_of(mechanism, prompts, seed=9):
    source = SimulatedRandomness(seed, "prompts")
    return [mechanism.release(prompt, source) for prompt in prompts]


def success(attacker, mechanism, prompts):
    guesses = attacker.guess(messages_of(mechanism, prompts))
    return float(np.mean([guess.best == prompt for guess, prompt in zip(guesses, prompts, strict=True)]))


@dataclass
class Hidden:
    """A mechanism that says nothing of its law, and remembers what it released."""

    inner: Any
    limit: int = 10**9

    def __post_init__(self):
        self.name, self.spec, self.released, self.sent = "hidden", self.inner.spec, [], []

    def release(self, tokens, source):
        if len(self.released) >= self.limit:
            raise KeyboardInterrupt
        self.released.append(list(tokens))
        self.sent.append(self.inner.release(tokens, source))
        return self.sent[-1]

    def observed(self, message):
        return self.inner.observed(message)

    def embeddings(self, message):
        return self.inner.embeddings(message)


def same(first, second):
    return all(
        np.array_equal(a.words, b.words) and np.array_equal(a.scores, b.scores)
        for a, b in zip(first, second, strict=True)
    )


PROMPTS = chain(40, 30, 5)


def untrained(known):
    fitting = Fitting.of(known, SHAPE, TRAINING, {})
    return ContextualAttacker(fitting.reader)


def test_untrained_it_is_map_and_its_scores_are_the_exact_log_posterior():
    known = public(3.0)
    messages = messages_of(known.mechanism, PROMPTS)
    for mine, exact in zip(
        untrained(known).guess(messages), MaximumAPosteriori().fit(known).guess(messages), strict=True
    ):
        assert np.array_equal(mine.words, exact.words)
        posterior = exact.scores - np.log(np.exp(exact.scores.astype(np.float64)).sum(axis=1, keepdims=True))
        assert mine.scores == pytest.approx(posterior, abs=2e-5)


def test_untrained_on_an_unknown_channel_it_is_the_baseline():
    known = public(3.0, mechanism=Hidden)
    messages = messages_of(known.mechanism, PROMPTS[:3])
    pairs = zip(untrained(known).guess(messages), CommonestWord().fit(known).guess(messages), strict=True)
    assert all(np.array_equal(mine.words, baseline.words) for mine, baseline in pairs)


def test_under_heavy_noise_it_reads_what_map_cannot():
    known = public(3.0)
    trained = ContextualInverter(shape=SHAPE, training=TRAINING).fit(known)
    by_map = success(MaximumAPosteriori().fit(known), known.mechanism, PROMPTS)
    assert by_map < 0.35
    assert success(trained, known.mechanism, PROMPTS) > by_map + 0.25


def test_it_reads_backwards_too():
    """A first token has neighbours to its right alone: to read it better than MAP is to read backwards."""
    known = public(3.0, chain(400, 5, 0))
    trained = ContextualInverter(shape=SHAPE, training=replace(TRAINING, batch=64, steps=200)).fit(known)
    prompts = chain(400, 5, 6)
    messages = messages_of(known.mechanism, prompts)
    by_map, mine = (
        np.mean([guess.best[0] == prompt[0] for guess, prompt in zip(attacker.guess(messages), prompts, strict=True)])
        for attacker in (MaximumAPosteriori().fit(known), trained)
    )
    assert mine > by_map + 0.08


def test_scores_are_log_probabilities_of_all_words():
    known = public(2.0)
    trained = ContextualInverter(shape=SHAPE, training=SHORT, depth=WORDS).fit(known)
    for guess in trained.guess(messages_of(known.mechanism, PROMPTS[:4])):
        assert np.exp(guess.scores.astype(np.float64)).sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert (np.sort(guess.words, axis=1) == np.arange(WORDS)).all()
        assert (np.diff(guess.scores, axis=1) <= 0).all()


@pytest.mark.parametrize("mechanism", [None, Hidden], ids=["known", "unknown"])
def test_with_the_noise_off_it_reads_everything(mechanism):
    known = public(1000.0, mechanism=mechanism)
    trained = ContextualInverter(shape=SHAPE, training=TRAINING).fit(known)
    assert success(trained, known.mechanism, PROMPTS) >= 0.99


def test_with_infinite_noise_it_is_the_baseline():
    known = public(1e-4)
    trained = ContextualInverter(shape=SHAPE, training=replace(TRAINING, steps=60)).fit(known)
    tokens = sum(map(len, PROMPTS))
    assert success(trained, known.mechanism, PROMPTS) < 1 / WORDS + 5 * (1 / WORDS / tokens) ** 0.5 + 0.02


def test_without_a_likelihood_it_learns_one_and_the_context_too():
    known = public(4.0, mechanism=Hidden)
    exact = success(MaximumAPosteriori().fit(public(4.0)), known.mechanism, PROMPTS)
    trained = ContextualInverter(shape=SHAPE, training=TRAINING).fit(known)
    assert success(trained, known.mechanism, PROMPTS) > exact + 0.05


def rantext(table):
    points = Points.of(np.random.default_rng(2).standard_normal((WORDS, 4)).astype(np.float32))
    return RanText(RanTextSpec.over(points, 4.0, rate=4.0), points, table)


def test_it_attacks_rantext_beyond_taking_the_released_word():
    rival = rantext(public(4.0).table)
    known = replace(public(4.0), mechanism=rival)
    literal = np.mean(
        [
            rival.observed(message) == prompt
            for message, prompt in zip(messages_of(rival, PROMPTS), PROMPTS, strict=True)
        ]
    )
    trained = ContextualInverter(shape=SHAPE, training=replace(TRAINING, steps=80)).fit(known)
    assert 0.2 < literal < 0.6
    assert success(trained, rival, PROMPTS) > literal + 0.15


def test_the_same_seed_gives_the_same_attacker_and_another_seed_another():
    messages = messages_of(public(3.0).mechanism, PROMPTS[:5])
    attack = ContextualInverter(shape=SHAPE, training=SHORT)
    first, again, other = (attack.fit(public(3.0, seed=seed)).guess(messages) for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_no_messages_guesses_depend_on_the_others():
    known = public(3.0)
    trained = ContextualInverter(shape=SHAPE, training=SHORT).fit(known)
    prompts = [PROMPTS[0], PROMPTS[1][:3], PROMPTS[2][:1], chain(1, 75, 8)[0]]
    messages = messages_of(known.mechanism, prompts)
    together = trained.guess(messages)
    assert [len(guess) for guess in together] == [30, 3, 1, 75]
    assert same(together, [trained.guess([message])[0] for message in messages])


def test_documents_kept_out_are_only_validated_on():
    """Each document has a word of its own: what is released while training shows which ones were read."""
    documents = [[word] * 20 for word in range(WORDS)]
    known = public(3.0, documents, Hidden)
    fitting = Fitting.of(known, SHAPE, replace(TRAINING, validation_share=0.3), {})
    aside = {int(word) for word in fitting.validation.tokens}
    assert len(aside) == 10
    assert aside.isdisjoint(fitting.training.tokens.tolist())
    known.mechanism.released.clear()
    for number in range(30):
        fitting.step(number)
    assert len(known.mechanism.released) == 30 * 16
    assert {word for prompt in known.mechanism.released for word in prompt} == set(range(WORDS)) - aside
    known.mechanism.released.clear()
    assert fitting.validate() == fitting.validate()
    assert {word for prompt in known.mechanism.released for word in prompt} <= aside


def test_each_steps_noise_is_fresh():
    """All text alike: only the noise can tell one step's messages from another's."""
    known = public(3.0, [[7] * 16] * 20, Hidden)
    fitting = Fitting.of(known, SHAPE, TRAINING, {})
    known.mechanism.sent.clear()
    for number in (0, 1, 0):
        fitting.step(number)
    first, second, again = (known.mechanism.sent[start : start + 16] for start in (0, 16, 32))
    assert len(set(first + second)) == 32
    assert again == first


@pytest.mark.parametrize("kind", ["DEL", "RANTEXT"])
@pytest.mark.parametrize(("common", "tolerance"), [(WORDS, 1e-5), (6, 0.02)])
def test_the_sampled_loss_is_the_loss_over_all_words(kind, common, tolerance):
    """Exactly with all words common; as the sample grows with most of them drawn. The network is not at its start."""
    known = public(3.0)
    if kind == "RANTEXT":
        known = replace(known, mechanism=rantext(known.table))
    settings = replace(SHORT, common=common, drawn=1 << 15, batch=2)
    reader = Fitting.of(known, SHAPE, settings, {}).reader
    network, generator = reader.network, np.random.default_rng(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.from_numpy(0.1 * generator.standard_normal(tuple(parameter.shape)).astype(np.float32))
    prompts = [np.array(prompt[:16]) for prompt in PROMPTS[:2]]
    observed = [
        known.mechanism.observed(message) for message in messages_of(known.mechanism, [p.tolist() for p in prompts])
    ]
    exact = []
    for prompt, seen in zip(prompts, observed, strict=True):
        scores = torch.cat([block for _, block in reader.blocks(seen)]).double()
        exact += (torch.logsumexp(scores, 1) - scores[range(len(prompt)), prompt]).tolist()
    negatives = Negatives.draw(reader.evidence, settings.drawn, simulation_generator(0, "test"))
    assert len(negatives.words) == (0 if common == WORDS else settings.drawn)
    assert float(sampled_loss(reader, prompts, observed, negatives).detach()) == pytest.approx(
        np.mean(exact), abs=tolerance
    )


def test_training_never_ends_worse_than_map_on_the_documents_kept_out():
    """A rate that ruins the network: what is kept is step 0, which is MAP."""
    known = public(3.0)
    ruinous = replace(SHORT, learning_rate=10.0, warm_up=0)
    messages = messages_of(known.mechanism, PROMPTS[:5])
    trained = ContextualInverter(shape=SHAPE, training=ruinous).fit(known)
    assert same(trained.guess(messages), untrained(known).guess(messages))


def test_a_killed_fit_goes_on_to_the_same_result_and_a_finished_one_is_read(tmp_path):
    attack = ContextualInverter(shape=SHAPE, training=SHORT, folder=tmp_path)
    messages = messages_of(public(3.0).mechanism, PROMPTS[:5])
    whole = replace(attack, folder=None).fit(public(3.0, mechanism=Hidden))
    killed = public(3.0, mechanism=lambda inner: Hidden(inner, limit=1 + 2 * 16 + 4 * 16 + 3))
    with pytest.raises(KeyboardInterrupt):
        attack.fit(killed)
    resumed = public(3.0, mechanism=Hidden)
    again = attack.fit(resumed)
    assert same(again.guess(messages), whole.guess(messages))
    assert len(resumed.mechanism.released) < 1 + 3 * 16 + 6 * 16
    finished = public(3.0, mechanism=Hidden)
    assert same(attack.fit(finished).guess(messages), whole.guess(messages))
    assert len(finished.mechanism.released) == 1


def test_a_kept_fit_serves_the_same_public_only(tmp_path):
    attack = ContextualInverter(shape=SHAPE, training=SHORT, folder=tmp_path)
    variants = [
        (attack, public(3.0)),
        (attack, public(3.1)),
        (attack, public(3.0, seed=1)),
        (attack, public(3.0, chain(60, 41, 0))),
        (replace(attack, training=replace(SHORT, steps=5)), public(3.0)),
        (replace(attack, shape=replace(SHAPE, width=16)), public(3.0)),
    ]
    for variant, known in variants:
        variant.fit(known)
    assert len(list(tmp_path.glob("contextual-*"))) == len(variants)


def test_a_damaged_fit_is_refused(tmp_path):
    attack = ContextualInverter(shape=SHAPE, training=SHORT, folder=tmp_path)
    attack.fit(public(3.0))
    path = next(tmp_path.glob("contextual-*/*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match="its content is not what its card says"):
        attack.fit(public(3.0))


def test_a_fit_that_is_not_finite_is_refused(tmp_path):
    attack = ContextualInverter(shape=SHAPE, training=SHORT, folder=tmp_path)
    attack.fit(public(3.0))
    path = next(tmp_path.glob("contextual-*/*.safetensors"))
    parameters = load_file(path)
    name = min(parameters)
    save_file({**parameters, name: torch.full_like(parameters[name], float("nan"))}, path)
    card_path = path.with_name("card.json")
    card = json.loads(card_path.read_text())
    card["files"][path.name] = file_sha256(path)
    card_path.write_text(json.dumps(card))
    with pytest.raises(UserError, match=f"NaN or infinity in {name}. Delete it."):
        attack.fit(public(3.0))


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 12, 13, 40, 41])
def test_windows_keep_each_token_once_with_text_on_both_sides(tokens):
    kept = [range(seen.start + part.start, seen.start + part.stop) for seen, part in windows(tokens, 8)]
    assert [place for part in kept for place in part] == list(range(tokens))
    for (seen, _), part in zip(windows(tokens, 8), kept, strict=True):
        assert seen.stop - seen.start == min(8, tokens)
        for place in part:
            assert place - seen.start >= min(2, place)
            assert seen.stop - 1 - place >= min(2, tokens - 1 - place) - 1


def test_windows_of_text_stay_within_a_document_and_start_where_it_does_often():
    documents = [list(range(100 * k, 100 * k + length)) for k, length in enumerate((3, 40, 90))]
    drawn = Text.of(documents).draw(16, 3000, simulation_generator(0, "test"))
    for window in drawn:
        document = documents[int(window[0]) // 100]
        start = document.index(int(window[0]))
        assert window.tolist() == document[start : start + 16]
    starts = np.mean([window[0] in (0, 100, 200) for window in drawn])
    assert starts == pytest.approx((3 + 9 + 9) / 133, abs=0.03)


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([], "two public documents or more"),
        ([[1, 2, 3]], "two public documents or more"),
        ([[1] * 30, [3] * 15], "of 16 tokens or more together beside the longest, .* got 15"),
    ],
)
def test_too_little_public_text_is_refused(documents, said):
    known = replace(public(3.0), documents=documents)
    with pytest.raises(UserError, match=said):
        ContextualInverter(shape=SHAPE, training=TRAINING).fit(known)


def test_an_empty_document_is_refused():
    with pytest.raises(UserError, match="every document to have a token"):
        ContextualInverter(shape=SHAPE, training=TRAINING).fit(replace(public(3.0), documents=[[1] * 30, []]))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NetworkShape(width=30, heads=4), "width to be a multiple of heads=4, got width=30"),
        (lambda: NetworkShape(layers=0), "layers >= 1"),
        (lambda: ContextualTraining(window=1), "window >= 2"),
        (lambda: ContextualTraining(validation_share=0.0), "validation_share"),
        (lambda: ContextualTraining(steps=0), "steps >= 1"),
        (lambda: ContextualTraining(common=0), "common >= 1"),
    ],
)
def test_settings_out_of_range_are_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()


def test_no_messages_and_another_specs_message_are_refused():
    known = public(3.0)
    attacker = untrained(known)
    with pytest.raises(UserError, match="at least one message"):
        attacker.guess([])
    with pytest.raises(UserError):
        attacker.guess(messages_of(public(3.0, bits=3).mechanism, PROMPTS[:1]))
