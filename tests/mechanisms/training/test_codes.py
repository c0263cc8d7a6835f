from dataclasses import replace

import numpy as np
import pytest
import torch

from mechanisms.channel import Channel
from mechanisms.encoder_file import load_encoder
from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm
from mechanisms.prior import unigram_prior
from mechanisms.projection import EncoderSettings, fit_codes
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.soft_prompt import load_soft_prompt
from mechanisms.spec import QuantizerSpec
from mechanisms.training import codes as codes_module
from mechanisms.training import loop
from mechanisms.training.codes import CODES_FILE, CodesTraining, train_codes
from mechanisms.training.noisy_codes import Candidates, NoisyCodes

SPEC = QuantizerSpec.from_mu(4, 6, 0.05, 20)
SETTINGS = CodesTraining(
    steps=6,
    batch=2,
    window=24,
    shortest_prompt=6,
    shortest_response=6,
    warm_up=1,
    virtual_tokens=3,
    common=100,
    drawn=50,
    start=EncoderSettings(fill=2.0),
)


@pytest.fixture(scope="module")
def own_language(tiny_lm_folder):
    torch.set_num_threads(1)
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="module")
def train(own_language, public_documents):
    def run(folder, settings=SETTINGS, documents=public_documents, specs=(SPEC,), **options):
        return train_codes(own_language, specs, documents, settings, folder, {"data": "test"}, **options)

    return run


@pytest.fixture(scope="module")
def trained(own_language, train, tmp_path_factory):
    before = {name: tensor.clone() for name, tensor in own_language.model.state_dict().items()}
    folder = tmp_path_factory.mktemp("training") / "codes"
    return folder, train(folder), before


@pytest.fixture
def world(toy_world):
    made = toy_world(60, 12)
    return made, fit_codes(made.table, made.prior, SPEC, EncoderSettings(fill=2.0))


def posterior(codes, tokens, words, log_prior, seed=0):
    return codes.log_posterior(SPEC, tokens, words, log_prior, SimulatedRandomness(seed, "codes"))


def test_the_posterior_over_all_words_is_the_channels_own(world):
    made, start = world
    codes = NoisyCodes(start, SPEC.clip)
    tokens = made.draw(200, 1)
    words, log_prior = Candidates(made.prior, 60, 0).choose(tokens, np.random.default_rng(0))
    found = posterior(codes, tokens, words, log_prior).detach().numpy()
    encoder = codes.encoder()
    counts = StochasticQuantizer(SPEC).quantize(encoder.encode(tokens), SimulatedRandomness(0, "codes"))
    [(_, scores)] = list(Channel.of(SPEC, encoder.codes).scores(counts, np.log(made.prior)))
    exact = scores.astype(np.float64) - np.logaddexp.reduce(scores.astype(np.float64), axis=1)[:, None]
    assert words.tolist() == list(range(60))
    assert np.abs(np.exp(found) - np.exp(exact)).max() < 0.02  # the table's codes are rounded to levels


def test_gradients_are_those_of_the_mean_and_the_spread_of_the_counts(world):
    """The expected loss's slope, by many fresh releases on both sides of one code, agrees with the mean gradient."""
    made, start = world
    words, log_prior = Candidates(made.prior, 60, 0).choose(np.array([3]), np.random.default_rng(0))
    tokens = np.full(40_000, 3)

    def loss(shift):
        codes = NoisyCodes(start, SPEC.clip)
        with torch.no_grad():
            codes.parameters[3, 0] += shift
        found = -posterior(codes, tokens, words, log_prior, seed=7)[:, 3].mean()
        return codes, found

    step = 0.1
    slope = (loss(step)[1].item() - loss(-step)[1].item()) / (2 * step)
    codes, found = loss(0.0)
    found.backward()
    assert abs(slope) > 0.01
    assert float(codes.parameters.grad[3, 0]) == pytest.approx(slope, rel=0.15)


def test_drawn_candidates_stand_for_the_words_left_out(world):
    made, _ = world
    candidates, generator = Candidates(made.prior, 20, 10), np.random.default_rng(0)
    rest = np.sort(made.prior)[:40].sum()
    sums = []
    for _ in range(3000):
        words, log_prior = candidates.choose(np.array([], dtype=np.int64), generator)
        assert len(words) == 30
        drawn = ~np.isin(words.numpy(), np.argsort(-made.prior)[:20])
        sums.append(np.exp(log_prior.numpy()[drawn]).sum())
    assert np.mean(sums) == pytest.approx(rest, rel=0.02)


def test_only_codes_and_soft_prompt_are_trained(trained, own_language, public_documents):
    folder, history, before = trained
    after = own_language.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(history.losses) == SETTINGS.steps
    encoder, card = load_encoder(folder / CODES_FILE, SPEC, 384, own_language.record.sha256)
    start = fit_codes(
        own_language.model.get_input_embeddings().weight.detach().numpy(),
        unigram_prior(public_documents, 384),
        SPEC,
        SETTINGS.start,
    )
    moved = np.abs(encoder.codes - np.clip(start, -SPEC.clip, SPEC.clip)).max()
    assert moved > SPEC.clip / 127
    assert card.details["training"]["steps"] == SETTINGS.steps
    prompt = load_soft_prompt(str(folder), 32, own_language.record)
    assert prompt.vectors.shape == (3, 32)
    assert prompt.card["mechanisms"][0]["fingerprint"] == SPEC.fingerprint.hex()


def test_training_lowers_what_it_minimises(train, tmp_path):
    history = train(tmp_path / "codes", replace(SETTINGS, steps=150, learning_rate=0.05, information=3.0))
    assert np.mean(history.losses[-50:]) < np.mean(history.losses[:20]) - 0.3  # words get easier to tell apart


def test_an_interrupted_run_goes_on_to_the_same_codes(train, trained, tmp_path, monkeypatch):
    real, calls = codes_module.response_losses, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(codes_module, "response_losses", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "codes")
    assert not (tmp_path / "codes").exists()
    history = train(tmp_path / "codes")
    assert history.losses == trained[1].losses
    for file in (CODES_FILE, "adapter_model.safetensors"):
        assert (tmp_path / "codes" / file).read_bytes() == (trained[0] / file).read_bytes()


def test_several_levels_are_trained_for_and_named(train, tmp_path):
    specs = (SPEC, QuantizerSpec.from_mu(4, 6, 0.05, 5))
    train(tmp_path / "codes", replace(SETTINGS, steps=2), specs=specs)
    card = load_soft_prompt(str(tmp_path / "codes"), 32).card
    assert [one["spec"] for one in card["mechanisms"]] == [spec.to_dict() for spec in specs]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"specs": ()}, "at least one quantizer"),
        ({"specs": (SPEC, QuantizerSpec.from_mu(4, 5, 0.05, 20))}, "one dim, got dim in"),
        ({"specs": (SPEC, QuantizerSpec.from_mu(4, 6, 0.1, 20))}, "one clip, got clip in"),
        ({"documents": [[1, 2, 3], []]}, "1 empty ones"),
        ({"documents": [[1] * 12, [1] * 11]}, "2 documents of 12 tokens or more, got 1"),
        ({"settings": replace(SETTINGS, window=254)}, "window <= 253"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(train, tmp_path, options, reason):
    with pytest.raises(UserError, match=reason):
        train(tmp_path / "codes", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("batch", 0), ("common", 0), ("information", -1.0), ("squared_error", float("inf")), ("window", 11), ("steps", 0)],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(UserError, match=field):
        replace(SETTINGS, **{field: value})


def test_the_loop_is_the_one_of_all_training():
    assert codes_module.run is loop.run
