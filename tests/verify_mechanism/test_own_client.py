"""del-audit's own client and a client's folder: the path of an installed client, from values to a message."""

import numpy as np
import pytest
from tokenizers import Tokenizer

from del_audit.verify_mechanism.own_client import own_client
from mechanisms.client import ENCODER, CodeReleaser
from mechanisms.client_bundle import save_client_bundle
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.mechanism import ModelName
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import unpack

SPEC = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_lm_folder):
    folder = tmp_path_factory.mktemp("verify") / "client"
    encoder = Encoder.of(np.random.default_rng(0).uniform(-0.05, 0.05, (384, 6)), 0.05)
    tokenizer = Tokenizer.from_file(str(tiny_lm_folder / "tokenizer.json"))
    save_client_bundle(folder, CodeReleaser(encoder, SPEC), ModelName("tiny", ""), tokenizer, 60)
    return folder


def test_the_own_client_passes(verify):
    ran = verify()
    assert ran.code == 0
    assert set(ran.not_tested) == {"known answers", "encoder"}
    assert ran.finding("resending", "charged")["p_value"] == 1.0


def test_a_folder_is_held_to_its_own_claim(verify, bundle):
    ran = verify("--bundle", bundle, claim=())
    assert ran.code == 0
    assert ran.document["spec"] == SPEC.to_dict()
    assert ran.document["client"] == {"kind": "bundle", "name": str(bundle)}


def test_a_folder_that_is_held_to_another_claim_is_a_fault(verify, bundle):
    claim = ("--bits", "4", "--dim", "6", "--clip", "0.05", "--scale", "0.3")
    ran = verify("--bundle", bundle, claim=claim)
    assert ran.code == 1
    assert {"law: scale", "message: header", "guarantee: one run of coordinates"} <= ran.rejected


def test_a_damaged_folder_is_a_user_error(verify, bundle, tmp_path):
    damaged = tmp_path / "client"
    damaged.mkdir()
    for path in bundle.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    data = bytearray((damaged / ENCODER).read_bytes())
    data[-1] ^= 1
    (damaged / ENCODER).write_bytes(data)
    ran = verify("--bundle", damaged, claim=())
    assert ran.code == 2
    assert "it is damaged" in ran.error


def test_a_broken_quantizer_in_the_own_client_is_a_fault(verify, monkeypatch):
    """What is tested is the code that an installed client runs, not a copy."""
    right = StochasticQuantizer.sample
    monkeypatch.setattr(StochasticQuantizer, "sample", lambda self, levels, source: right(self, levels // 2, source))
    ran = verify()
    assert ran.code == 1
    assert "law: scale" in ran.rejected


def test_a_refused_call_is_not_charged():
    with own_client(SPEC) as target:
        message = target.message(np.zeros((3, 6)))
        assert unpack(message, SPEC).shape == (3, 6)
        with pytest.raises(UserError):
            target.release(np.full((2, 6), np.nan))
        assert target.charged() == 3
