import json

import pytest
import torch
from safetensors.torch import save

from mechanisms.errors import UserError
from mechanisms.nlu import storage
from mechanisms.nlu.storage import digest_of_tensors, publish, read_folder
from mechanisms.training.checkpoint import CARD, RunFolder

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1])}


def write_folder(folder, tensors, card):
    with RunFolder(folder, {}) as run:
        publish(run, tensors, card)


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "deep" / "thing", TENSORS, {"kind": "thing", "words": 3})
    return tmp_path / "deep" / "thing"


def test_a_folder_is_read_as_it_was_written_and_nothing_is_beside_it(folder):
    tensors, card = read_folder(folder, "thing")
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert card["words"] == 3
    assert [path.name for path in folder.parent.iterdir()] == ["thing"]


def test_a_folder_is_never_overwritten(folder):
    with pytest.raises(UserError, match="does not exist yet"):
        write_folder(folder, {}, {"kind": "other"})
    assert read_folder(folder, "thing")[1]["words"] == 3


def test_a_card_that_an_earlier_version_wrote_is_read(folder):
    card = json.loads((folder / CARD).read_text())
    card["weights_sha256"] = card.pop("files")[storage.WEIGHTS_FILE]
    (folder / CARD).write_text(json.dumps(card))
    assert read_folder(folder, "thing")[1]["words"] == 3
    (folder / CARD).write_text(json.dumps({**card, "weights_sha256": "0"}))
    with pytest.raises(UserError, match="another sha256"):
        read_folder(folder, "thing")


def _another_kind(folder):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, "kind": "other"}))


def _changed_weights(folder):
    from safetensors.torch import save_file

    save_file({**TENSORS, "b": torch.tensor([2])}, folder / storage.WEIGHTS_FILE)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    write_folder(tmp_path / "thing", {**TENSORS, "c": torch.tensor([1.0, float("nan")])}, {"kind": "thing"})
    with pytest.raises(UserError, match=r"finite weights in .*got NaN or infinity in 'c'.*Train the thing again"):
        read_folder(tmp_path / "thing", "thing")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_another_kind, "another kind"),
        (_changed_weights, "another sha256"),
        (lambda folder: (folder / storage.WEIGHTS_FILE).unlink(), "Cannot read"),
        (lambda folder: (folder / storage.WEIGHTS_FILE).write_bytes(b"short"), "Cannot read"),
        (lambda folder: (folder / CARD).write_text("{"), "Cannot read"),
        (lambda folder: (folder / CARD).write_text("[]"), "another kind"),
    ],
)
def test_damage_is_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message):
        read_folder(folder, "thing")


def test_the_digest_is_of_names_values_and_shapes():
    digests = {
        digest_of_tensors(tensors)
        for tensors in (
            TENSORS,
            {**TENSORS, "b": torch.tensor([2])},
            {"a": TENSORS["a"], "c": TENSORS["b"]},
            {**TENSORS, "a": TENSORS["a"].reshape(3, 2)},
        )
    }
    assert len(digests) == 4
    assert digest_of_tensors(TENSORS) == digest_of_tensors({name: tensor.clone() for name, tensor in TENSORS.items()})


def test_the_hash_is_of_the_weights_that_were_read(folder, swapped):
    path = folder / storage.WEIGHTS_FILE
    first, later = path.read_bytes(), save({**TENSORS, "b": torch.tensor([2])})
    reads = swapped(path, first, later)
    assert read_folder(folder, "thing")[0]["b"].tolist() == [1]
    assert reads == [first]
