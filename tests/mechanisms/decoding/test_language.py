import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from scipy.stats import binom

from mechanisms.channel import Channel, most_likely, posterior_mean
from mechanisms.decoding import PromptDecoder, decode_prompts
from mechanisms.decoding.language import LanguagePosteriorDecoder, LanguagePrior
from mechanisms.errors import UserError
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec


@pytest.fixture(scope="module")
def lively(language):
    """The tiny model with larger weights: what it predicts depends on what it reads."""
    model = copy.deepcopy(language.model)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
        model.get_input_embeddings().weight.mul_(4)
    return replace(language, model=model)


@pytest.fixture(scope="module")
def make(lively, tiny_pipeline):
    """Returns a maker of decoders of the tiny pipeline's mechanism at much noise."""
    table = lively.model.get_input_embeddings().weight.detach().numpy()
    channel = Channel.of(QuantizerSpec.from_mu(4, 6, 0.05, 6), tiny_pipeline.encoder.codes)
    opening = torch.from_numpy(table[[0, 7]].copy())

    def build(opening=opening, gain=1.0, **settings):
        return LanguagePosteriorDecoder(
            lively, channel, np.log(tiny_pipeline.prior), table, opening, LanguagePrior(**settings), gain
        )

    return build


@pytest.fixture(scope="module")
def prompts(make, tiny_pipeline, public_documents):
    """Simulated releases of five prompts of unequal length."""
    quantizer = StochasticQuantizer(make().channel.spec)
    words = SimulatedRandomness(1, "prompts")
    cuts = [document[:length] for document, length in zip(public_documents * 2, (7, 19, 1, 12, 19), strict=False)]
    return [quantizer.sample(tiny_pipeline.encoder.levels_of(np.array(cut)), words) for cut in cuts]


def recursion(decoder, counts, codes):
    """Returns the stated recursion's embeddings: a whole forward pass a token, and the binomial law in float64."""
    settings, spec, table = decoder.settings, decoder.channel.spec, decoder.table.astype(np.float64)
    success = StochasticQuantizer(spec).thresholds(codes) / 2**32
    read, decoded = [row.numpy().astype(np.float64) for row in decoder.opening], []
    for released in counts:
        log_prior = decoder.log_prior
        if read:
            with torch.no_grad():
                inputs = torch.from_numpy(np.array(read)[None].astype(np.float32))
                logits = decoder.language.model(inputs_embeds=inputs).logits[0, -1].double().numpy()
            model = np.exp(log_softmax(settings.temper * logits))
            share = settings.unigram_share
            log_prior = np.log((1 - share) * model + share * np.exp(decoder.log_prior))
        joint = log_prior + binom.logpmf(released, spec.trials, success).sum(axis=1)
        posterior = np.exp(joint - logsumexp(joint))
        mean = np.exp(decoder.log_prior) @ table
        estimates = {"mean": mean + decoder.gain * (posterior @ table - mean), "most-likely": table[posterior.argmax()]}
        decoded.append(estimates[settings.output])
        read.append(estimates[settings.feedback])
    return np.array(decoded)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temper": 0.5, "unigram_share": 0.3},
        {"unigram_share": 0.0},
        {"gain": 1.7},
        {"feedback": "most-likely"},
        {"feedback": "most-likely", "output": "most-likely"},
    ],
    ids=str,
)
def test_the_decoder_is_the_stated_recursion(make, prompts, tiny_pipeline, settings):
    decoder = make(**settings)
    for counts, decoded in zip(prompts, decoder.decode_prompts(prompts), strict=True):
        assert decoded.dtype == np.float32
        expected = recursion(decoder, counts, tiny_pipeline.encoder.codes)
        assert np.abs(decoded - expected).max() < 1e-6


def test_without_an_opening_the_first_token_has_the_unigram_prior(make, prompts, tiny_pipeline):
    decoder = make(opening=torch.zeros(0, 32))
    decoded = decoder.decode(prompts[0])
    assert np.abs(decoded - recursion(decoder, prompts[0], tiny_pipeline.encoder.codes)).max() < 1e-6
    alone = posterior_mean(decoder.channel, prompts[0][:1], decoder.log_prior, decoder.table)
    assert np.abs(decoded[:1] - alone).max() < 1e-6


def test_unigrams_alone_are_the_posterior_mean_and_the_most_likely_word(make, prompts):
    decoder = make(unigram_share=1.0)
    for counts in prompts:
        expected = posterior_mean(decoder.channel, counts, decoder.log_prior, decoder.table)
        assert np.abs(decoder.decode(counts) - expected).max() < 1e-6
    likely = make(unigram_share=1.0, output="most-likely")
    words = most_likely(likely.channel, prompts[1], likely.log_prior)
    assert np.array_equal(likely.decode(prompts[1]), likely.table[words])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_prompts_embeddings_do_not_depend_on_its_neighbours(make, prompts, batch):
    together = make(batch=batch).decode_prompts(prompts)
    assert [len(decoded) for decoded in together] == [7, 19, 1, 12, 19]
    for counts, decoded in zip(prompts, together, strict=True):
        assert np.abs(decoded - make().decode(counts)).max() < 1e-6
    assert make().decode_prompts([]) == []


def test_the_models_prior_matters_and_a_token_knows_the_ones_before_only(make, prompts):
    decoder = make()
    whole = decoder.decode(prompts[1])
    assert np.abs(whole - make(unigram_share=1.0).decode(prompts[1])).max() > 1e-2
    changed = prompts[1].copy()
    changed[10] = 15 - changed[10]
    again = decoder.decode(changed)
    assert np.abs(again[:10] - whole[:10]).max() < 1e-6
    assert (np.abs(again[11:] - whole[11:]).max(axis=1) > 1e-6).all()


def test_a_memory_limit_cuts_the_batch_and_changes_nothing(make, prompts):
    decoder = make()
    small = replace(decoder, memory_limit=2 * 16 * len(decoder.table))
    for one, other in zip(decoder.decode_prompts(prompts), small.decode_prompts(prompts), strict=True):
        assert np.abs(one - other).max() < 1e-6


def test_gain_gives_decoded_prompts_the_spread_of_the_true_ones(make, prompts, public_documents):
    decoder = make()
    true = [np.array(public_documents[index % 4][: len(counts)]) for index, counts in enumerate(prompts)]
    mean = np.exp(decoder.log_prior) @ decoder.table
    wanted = ((decoder.table[np.concatenate(true)] - mean) ** 2).sum()

    def spread(decoder):
        return ((np.concatenate(decoder.decode_prompts(prompts)) - mean) ** 2).sum()

    fitted = decoder.fit_gain(prompts, true)
    assert fitted.gain > 1
    assert spread(fitted) == pytest.approx(wanted, rel=0.05)
    assert spread(decoder) < 0.9 * wanted
    assert decoder.fit_gain(prompts, true, rounds=1).gain == pytest.approx(np.sqrt(wanted / spread(decoder)))


def test_decoders_of_tokens_and_of_prompts_are_called_alike(make, prompts, tiny_pipeline):
    decoder = make()
    assert isinstance(decoder, PromptDecoder)
    assert not isinstance(tiny_pipeline.decoder, PromptDecoder)
    for one, other in zip(decode_prompts(decoder, prompts), decoder.decode_prompts(prompts), strict=True):
        assert np.array_equal(one, other)
    for counts, decoded in zip(prompts, decode_prompts(tiny_pipeline.decoder, prompts), strict=True):
        assert np.abs(decoded - tiny_pipeline.decoder.decode(counts)).max() < 1e-6
    assert decode_prompts(tiny_pipeline.decoder, []) == []


def test_a_bfloat16_model_decodes_nearly_alike(make, prompts, lively):
    half = replace(lively, model=copy.deepcopy(lively.model).to(torch.bfloat16))
    decoder = make()
    decoded = replace(decoder, language=half).decode(prompts[1])
    assert decoded.dtype == np.float32
    exact = decoder.decode(prompts[1])
    error = ((decoded - exact) ** 2).sum() / ((exact - exact.mean(axis=0)) ** 2).sum()
    assert error < 0.05


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"temper": -0.1}, r"temper in \[0, 10\]"),
        ({"temper": float("nan")}, "temper"),
        ({"unigram_share": 1.5}, r"unigram_share in \[0, 1\]"),
        ({"feedback": "clean"}, "feedback to be mean or most-likely, got feedback='clean'"),
        ({"output": "both"}, "output"),
        ({"batch": 0}, "batch >= 1"),
    ],
)
def test_settings_out_of_range_are_refused(values, reason):
    with pytest.raises(UserError, match=reason):
        LanguagePrior(**values)


def test_what_does_not_fit_is_refused(make):
    decoder = make()
    with pytest.raises(UserError, match=r"dim=6\), got shape \(3, 5\)"):
        decoder.decode(np.zeros((3, 5), dtype=np.uint8))
    with pytest.raises(UserError, match=r"at most 256 tokens, the model's context, got 2 \+ 255"):
        decoder.decode(np.zeros((255, 6), dtype=np.uint8))
    with pytest.raises(UserError, match="prior over 383 words"):
        replace(decoder, table=decoder.table[1:])
    smaller = replace(decoder, table=decoder.table[1:], log_prior=decoder.log_prior[1:])
    with pytest.raises(UserError, match="law over 383 words, the table's, got 384"):
        smaller.decode(np.zeros((3, 6), dtype=np.uint8))
    with pytest.raises(UserError, match="prior over 384 words"):
        replace(decoder, log_prior=decoder.log_prior[1:])
