"""A configuration's pipeline on a tiny random model: trained encoders are loaded, decoders are made by name."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from del_audit.configuration.configuration import Configuration
from del_audit.service.pipelines import pipelines_of
from mechanisms.decoding.language import LanguagePosteriorDecoder
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import EncoderCard, save_encoder
from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256
from mechanisms.models import load_causal_lm, load_embedding_table
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.soft_prompt import SoftPrompt
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import CARD_FILE, PROJECTION_FILE, TrainedDecoder, table_sha256

SPECS = [QuantizerSpec.from_mu(4, 6, 0.05, mu) for mu in (10.0, 30.0)]


@pytest.fixture(scope="module")
def documents():
    return simulation_generator(0, "documents").integers(0, 384, (40, 30)).tolist()


@pytest.fixture(scope="module")
def language(tiny_lm_folder):
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="module")
def made(tiny_lm_folder, language, documents):
    def make(encoder=None, decoder="posterior-mean", soft_prompt=None, specs=SPECS):
        configuration = Configuration.model_validate(
            {
                "name": "tiny",
                "model": str(tiny_lm_folder),
                "mechanism": {"bits": 4, "dim": 6, "clip": 0.05, "mu": 10.0},
                "encoder": encoder or {},
                "decoder": decoder,
                "data": {"corpus": "c.csv"},
                "policy": {"attack_success_at_most": 0.2},
            }
        )
        return pipelines_of(configuration, language, documents, specs, soft_prompt)

    return make


@pytest.fixture
def codes(language, tmp_path):
    def write(model_sha256=None, dim=6):
        encoder = Encoder.of(simulation_generator(1, "codes").uniform(-0.05, 0.05, (384, dim)), 0.05)
        spec = QuantizerSpec.from_mu(4, dim, 0.05, 20.0)
        card = EncoderCard("tiny", language.record.sha256 if model_sha256 is None else model_sha256, spec)
        save_encoder(tmp_path / "encoder.safetensors", encoder, card)
        return encoder, str(tmp_path / "encoder.safetensors")

    return write


@pytest.fixture
def projection(tiny_lm_folder, tmp_path):
    """A folder as `train projection` writes it, and its matrices."""
    generator = simulation_generator(2, "projection")
    matrices = {
        name: generator.standard_normal(shape).astype(np.float32)
        for name, shape in (("encoder", (6, 32)), ("decoder", (32, 6)))
    }
    save_file(matrices, tmp_path / PROJECTION_FILE)
    card = {
        "table_sha256": table_sha256(load_embedding_table(str(tiny_lm_folder))),
        "files": {PROJECTION_FILE: file_sha256(tmp_path / PROJECTION_FILE)},
        "base_model": {"name": "tiny"},
    }
    (tmp_path / CARD_FILE).write_text(json.dumps(card))
    return matrices, str(tmp_path)


def test_there_is_one_pipeline_a_spec_and_the_seed_makes_it(made):
    pipelines = made({"seed": 3})
    assert [pipeline.spec for pipeline in pipelines] == SPECS
    assert made({"seed": 3})[0].encoder.sha256 == pipelines[0].encoder.sha256 != made({"seed": 4})[0].encoder.sha256


def test_codes_of_a_file_serve_every_level_of_noise(made, codes):
    encoder, path = codes()
    for pipeline in made({"codes": path}, "mixed"):
        assert pipeline.encoder.sha256 == encoder.sha256
        assert pipeline.channel.weights.shape == (6, 384)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"model_sha256": "0" * 64}, "trained for another model"), ({"dim": 5}, "dim=6, got dim=5")],
)
def test_codes_of_another_model_or_quantizer_are_refused(made, codes, change, reason):
    with pytest.raises(UserError, match=reason):
        made({"codes": codes(**change)[1]})


def test_what_is_not_there_is_refused(made, tmp_path):
    with pytest.raises(UserError, match="encoder's file"):
        made({"codes": str(tmp_path / "none.safetensors")})
    with pytest.raises(UserError, match="hold a trained projection"):
        made({"projection": str(tmp_path / "none")})


def test_a_trained_projection_is_loaded_for_each_spec(made, projection):
    matrices, folder = projection
    for pipeline in made({"projection": folder}, "trained-linear"):
        assert isinstance(pipeline.decoder, TrainedDecoder)
        assert np.array_equal(pipeline.decoder.matrix, matrices["decoder"])
        assert pipeline.decoder.quantizer.spec == pipeline.spec
        expected = Encoder.of(pipeline.table @ matrices["encoder"].T * np.float32(0.05), 0.05)
        assert pipeline.encoder.sha256 == expected.sha256


def test_the_language_prior_reads_what_the_server_puts_in_front(made, language):
    vectors = language.model.get_input_embeddings().weight.detach()[[5, 9]].clone()
    soft = SoftPrompt("tiny", vectors, {}, "")
    behind_prompt = made(decoder="language-prior", soft_prompt=soft, specs=SPECS[:1])[0]
    alone = made(decoder="language-prior", specs=SPECS[:1])[0]
    assert isinstance(alone.decoder, LanguagePosteriorDecoder)
    assert np.array_equal(behind_prompt.decoder.opening.numpy(), vectors.numpy())
    begin = language.model.config.bos_token_id
    assert len(alone.decoder.opening) == (begin is not None)
    assert alone.decoder.gain > 1
    messages = [alone.release(tokens, SimulatedRandomness(5)) for tokens in ([3, 1, 4], [1])]
    together = alone.embeddings_of(messages)
    assert [rows.shape for rows in together] == [(3, 32), (1, 32)]
    for rows, message in zip(together, messages, strict=True):
        assert np.allclose(rows, alone.embeddings(message), atol=1e-5)
