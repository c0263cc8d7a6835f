import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mechanisms.encoder import Encoder
from mechanisms.encoder_file import EncoderCard, encoder_bytes, load_encoder, save_encoder
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec(bits=4, dim=5, clip=0.05, scale=0.1)
CARD = EncoderCard("some-model", "ab" * 32, SPEC, {"loss": 3.25, "seed": 7})


@pytest.fixture(scope="module")
def encoder():
    return Encoder(np.random.default_rng(0).integers(0, 255, (40, 5), dtype=np.uint8), SPEC.clip)


@pytest.fixture
def path(tmp_path, encoder):
    save_encoder(tmp_path / "encoder.safetensors", encoder, CARD)
    return tmp_path / "encoder.safetensors"


def test_what_is_saved_is_loaded(path, encoder):
    got, card = load_encoder(path, SPEC, 40, "ab" * 32)
    assert np.array_equal(got.levels, encoder.levels)
    assert (got.clip, got.sha256, card) == (encoder.clip, encoder.sha256, CARD)
    assert [file.name for file in path.parent.iterdir()] == ["encoder.safetensors"]


def test_the_table_is_a_plain_tensor_of_one_byte_a_coordinate(path, encoder):
    assert np.array_equal(load_file(path)["levels"], encoder.levels)
    assert path.stat().st_size < encoder.levels.nbytes + 1000


def test_a_spec_of_other_bits_and_scale_can_use_the_codes(path):
    assert load_encoder(path, replace(SPEC, bits=2, scale=0.3))[1].spec == SPEC


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"spec": replace(SPEC, dim=6)}, "dim=6, got dim=5"),
        ({"spec": replace(SPEC, clip=0.04)}, r"clip=0\.04, got clip=0\.05"),
        ({"words": 41}, "41 words, got 40"),
        ({"model_sha256": "cd" * 32}, "cdcdcdcdcdcd, got abababababab"),
    ],
)
def test_an_encoder_of_another_model_is_refused(path, asked, reason):
    with pytest.raises(UserError, match=rf"{reason}.*projection trained for another model, 'some-model'"):
        load_encoder(path, **asked)


def rewritten(path, **changes):
    """Writes the file anew with other tensors or other fields of its card."""
    tensors = changes.pop("tensors", load_file(path))
    data = path.read_bytes()
    card = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["card"])
    save_file(tensors, path, metadata={"card": json.dumps({**card, **changes})})


@pytest.mark.parametrize(
    "changes",
    [
        {"tensors": {"levels": np.zeros((40, 5), dtype=np.uint8)}},
        {"tensors": {"levels": np.full((40, 5), 255, dtype=np.uint8)}},
        {"tensors": {"levels": np.zeros((40, 5), dtype=np.float32)}},
        {"tensors": {"codes": np.zeros((40, 5), dtype=np.uint8)}},
        {"clip": 0.06},
        {"clip": "a"},
        {"format": "del-audit encoder 0"},
        {"spec": {"bits": 4}},
        {"spec": {**SPEC.to_dict(), "dim": 6}},
        {"spec": {**SPEC.to_dict(), "bits": 9}},
        {"table_sha256": ""},
    ],
)
def test_a_file_that_does_not_hold_what_its_card_says_is_refused(path, changes):
    rewritten(path, **changes)
    with pytest.raises(UserError, match=r"encoder"):
        load_encoder(path)


@pytest.mark.parametrize("cut", [0, 5, 9, 200, -1])
def test_a_truncated_file_is_refused(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"Expected .*encoder\.safetensors"):
        load_encoder(path)


def test_a_file_without_a_card_is_refused(path, encoder):
    save_file({"levels": encoder.levels}, path)
    with pytest.raises(UserError, match="card"):
        load_encoder(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        load_encoder(tmp_path / "none.safetensors")


def test_a_card_of_another_quantizer_is_not_written(tmp_path, encoder):
    with pytest.raises(UserError, match="dim=6"):
        save_encoder(tmp_path / "wrong", encoder, replace(CARD, spec=replace(SPEC, dim=6)))
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(path, encoder, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match="No space left"):
        save_encoder(path, Encoder.of(np.zeros((3, 5)), SPEC.clip), CARD)
    assert path.read_bytes() == before == encoder_bytes(encoder, CARD)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
