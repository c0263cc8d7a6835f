import json
import math
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from mechanisms.continuation import embed
from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256
from mechanisms.models import load_causal_lm
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import (
    CARD_FILE,
    PROJECTION_FILE,
    bounded,
    load_projection,
    principal_pair,
    table_sha256,
)
from mechanisms.training import ProjectionTraining, projection, train_projection

SPEC = QuantizerSpec.from_mu(4, 6, 0.05, 30)
SETTINGS = ProjectionTraining(
    steps=4, batch=2, window=12, warm_up=1, validation_windows=3, validate_every=2, learning_rate=1e-3
)


@pytest.fixture(scope="module")
def own_language(tiny_lm_folder):
    torch.set_num_threads(1)
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="module")
def table(own_language):
    return own_language.model.get_input_embeddings().weight.detach().numpy()


@pytest.fixture(scope="module")
def train(own_language, public_documents):
    def run(folder, settings=SETTINGS, documents=public_documents, spec=SPEC, **options):
        return train_projection(own_language, spec, documents, settings, folder, {"data": "test"}, **options)

    return run


@pytest.fixture(scope="module")
def trained(own_language, train, tmp_path_factory):
    """What a run wrote and returned, and the model's weights before it."""
    before = {name: tensor.clone() for name, tensor in own_language.model.state_dict().items()}
    folder = tmp_path_factory.mktemp("training") / "projection"
    return folder, train(folder), before


def test_only_the_pair_is_trained(trained, own_language, table, public_documents):
    folder, _, before = trained
    after = own_language.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter.grad is None for parameter in own_language.model.parameters())
    assert {path.name for path in folder.iterdir()} == {PROJECTION_FILE, CARD_FILE}
    matrices = load_file(folder / PROJECTION_FILE)
    assert matrices["encoder"].shape == (6, 32)
    assert matrices["decoder"].shape == (32, 6)


def test_training_lowers_the_loss_on_held_out_text(train, tmp_path):
    history = train(tmp_path / "p", replace(SETTINGS, steps=60, learning_rate=5e-3, validate_every=20))
    first, last = history.validations[0][1], min(loss for _, loss in history.validations)
    assert last < first - 0.002
    assert all(abs(loss - math.log(384)) < 1.5 for loss in history.losses)


def test_the_card_says_what_was_trained(trained, own_language, table):
    folder, history, _ = trained
    card = json.loads((folder / CARD_FILE).read_text())
    assert card["base_model"] == own_language.record.to_dict()
    assert card["data"] == "test"
    assert card["table_sha256"] == table_sha256(table)
    assert len(card["documents_sha256"]) == 64
    assert card["training"]["seed"] == 0
    assert card["steps_done"] == 4
    assert card["loss_first_10"] == history.losses
    assert [one["step"] for one in card["validation"]] == [0, 2, 4]
    assert card["validation"][-1]["perplexity"] == math.exp(history.validations[-1][1])
    assert card["files"] == {PROJECTION_FILE: file_sha256(folder / PROJECTION_FILE)}


@pytest.mark.parametrize("noise", [False, True])
def test_an_interrupted_run_goes_on_to_the_same_pair(train, tmp_path, monkeypatch, noise):
    settings = replace(SETTINGS, noise=noise)
    whole = train(tmp_path / "whole", settings)
    for call in (1, 4, 5, 8, 11, 13):  # validations of two batches before, between and after the steps
        folder, calls = tmp_path / f"cut-{call}", []
        real = projection.next_token_loss

        def failing(*arguments, calls=calls, call=call, real=real):
            calls.append(arguments)
            if len(calls) == call:
                raise RuntimeError("cut")
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(projection, "next_token_loss", failing)
            if call <= 10:
                with pytest.raises(RuntimeError, match="cut"):
                    train(folder, settings)
                assert not folder.exists()
            else:
                train(folder, settings)
        if not folder.exists():
            assert train(folder, settings).losses == whole.losses
        for name in (PROJECTION_FILE, CARD_FILE):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert not (tmp_path / f"cut-{call}.partial").exists()


def test_the_start_is_the_best_linear_pair(toy_world):
    world = toy_world(200, 12)
    encoder, decoder = principal_pair(world.table, world.prior, QuantizerSpec.from_mu(4, 5, 0.05, 20), 0.01, False)
    _, axes = np.linalg.eigh((world.table * world.prior[:, None]).T.astype(float) @ world.table)
    onto = axes[:, -5:] @ axes[:, -5:].T
    assert decoder @ encoder == pytest.approx(onto, abs=1e-9)  # nothing is clipped at so small a fill
    codes = world.table @ encoder.T
    assert np.sqrt((world.prior @ codes**2).mean()) == pytest.approx(0.01, rel=1e-9)


def test_a_whitened_start_has_coordinates_of_equal_size(toy_world):
    world = toy_world(200, 12)
    spec = QuantizerSpec.from_mu(4, 5, 0.05, 20)
    encoder, _ = principal_pair(world.table, world.prior, spec, 0.3, False, whitening=1.0)
    assert world.prior @ (world.table @ encoder.T) ** 2 == pytest.approx(np.full(5, 0.09), rel=1e-9)


def test_the_start_knows_the_noise(toy_world):
    world = toy_world(300, 12)
    spec = QuantizerSpec.from_mu(4, 5, 0.05, 8)
    tokens = world.draw(20_000, 1)
    errors = []
    for noise in (False, True):
        encoder, decoder = principal_pair(world.table, world.prior, spec, 0.7, noise)
        counts = StochasticQuantizer(spec).quantize(world.table[tokens] @ encoder.T * 0.05, SimulatedRandomness(3))
        released = StochasticQuantizer(spec).dequantize(counts) / 0.05
        errors.append(((released @ decoder.T - world.table[tokens]) ** 2).sum(1).mean())
    assert errors[1] < 0.8 * errors[0]


def test_trained_codes_and_decoder_are_those_of_training(trained, own_language, table):
    folder, _, _ = trained
    found = load_projection(folder, table, SPEC)
    matrices = load_file(folder / PROJECTION_FILE)
    exact = np.clip(table.astype(float) @ matrices["encoder"].T.astype(float), -1, 1) * 0.05
    assert np.abs(found.encoder.codes - exact).max() <= 0.05 / 254 * 1.001  # half a level
    counts = StochasticQuantizer(SPEC).quantize(found.encoder.codes[:50], SimulatedRandomness(0))
    released = StochasticQuantizer(SPEC).dequantize(counts) / 0.05
    decoded = bounded(torch.from_numpy(released)) @ torch.from_numpy(matrices["decoder"]).T
    assert found.decoder.decode(counts) == pytest.approx(decoded.numpy(), abs=1e-6)
    assert found.sha256 == file_sha256(folder / PROJECTION_FILE)


def test_codes_keep_their_size_in_units_of_another_clip(trained, table):
    folder, _, _ = trained
    wide = QuantizerSpec(bits=4, dim=6, clip=1.0, scale=SPEC.scale / SPEC.clip)
    ours, theirs = load_projection(folder, table, SPEC), load_projection(folder, table, wide)
    assert np.array_equal(ours.encoder.levels, theirs.encoder.levels)
    counts = np.arange(12, dtype=np.uint8).reshape(2, 6)
    assert ours.decoder.decode(counts) == pytest.approx(theirs.decoder.decode(counts), rel=1e-5, abs=1e-8)


def test_rows_are_scaled_down_to_the_corner_and_never_up():
    rows = torch.tensor([[3.0, 4.0], [0.3, -0.4], [0.0, 0.0]], requires_grad=True)
    scaled = bounded(rows)
    assert scaled[0].norm().item() == pytest.approx(math.sqrt(2))
    assert torch.equal(scaled[1:], rows[1:])
    scaled.sum().backward()
    assert torch.isfinite(rows.grad).all()
    assert bounded(rows.detach().numpy()) == pytest.approx(scaled.detach().numpy())


def test_blocks_of_positions_give_the_loss_and_gradient_of_the_whole(own_language, monkeypatch):
    inputs = torch.linspace(-0.1, 0.1, 2 * 9 * 32).reshape(2, 9, 32)
    targets = torch.arange(18).reshape(2, 9)
    found = []
    for block in (1024, 4):
        monkeypatch.setattr(projection, "POSITIONS_AT_ONCE", block)
        leaf = inputs.clone().requires_grad_()
        loss = projection.next_token_loss(own_language.model, leaf, targets)
        loss.backward()
        found.append((loss.item(), leaf.grad))
    with torch.no_grad():
        logits = own_language.model(inputs_embeds=inputs).logits
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert found[0][0] == pytest.approx(float(expected), rel=1e-5)
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-7)


def test_noise_is_the_quantizers_and_its_gradient_passes_straight_through(own_language, public_documents):
    settings = replace(SETTINGS, noise=True)
    width = own_language.model.get_input_embeddings().weight.shape[1]
    encoder, decoder = np.full((6, width), 0.1), np.full((width, 6), 0.1)
    pair = projection._Pair(own_language.model, SPEC, settings, encoder, decoder)
    windows = np.array([public_documents[0][:12]])
    first, again, other = (pair.loss(windows, purpose).item() for purpose in ("1", "1", "2"))
    assert first == again != other
    pair.loss(windows, "1").backward()
    assert pair.encoder.grad.abs().sum() > 0
    assert pair.decoder.grad.abs().sum() > 0
    codes = embed(own_language.model, windows[0]).detach() @ pair.encoder.detach().T
    released = pair._released(codes, "3")
    grid = (released / (SPEC.scale / SPEC.clip) + 1) / 2 * SPEC.trials
    assert torch.allclose(grid, grid.round(), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 257}, "window <= 256"),
        ({"window": 200}, "at least window=200 tokens"),
    ],
)
def test_windows_that_do_not_fit_are_refused(train, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        train(tmp_path / "p", replace(SETTINGS, **change))
    assert list(tmp_path.iterdir()) == []


def test_documents_that_cannot_be_trained_on_are_refused(train, tmp_path, public_documents):
    with pytest.raises(UserError, match="1 empty ones, the first at 0"):
        train(tmp_path / "p", documents=[[], *public_documents])
    with pytest.raises(UserError, match="more than 1 documents"):
        train(tmp_path / "p", documents=public_documents[:1])
    with pytest.raises(UserError, match="dim <= 32"):
        train(tmp_path / "p", spec=QuantizerSpec.from_mu(4, 33, 0.05, 30))
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="does not exist yet"):
        train(tmp_path / "mine")


def test_a_projection_for_another_model_width_or_dim_is_refused(trained, table):
    folder, _, _ = trained
    with pytest.raises(UserError, match="trained for another model"):
        load_projection(folder, table[:, :31], SPEC)
    with pytest.raises(UserError, match="for this model's embeddings"):
        load_projection(folder, table + np.float32(1e-6), SPEC)
    with pytest.raises(UserError, match="for this model's embeddings"):
        load_projection(folder, table[:-1], SPEC)
    with pytest.raises(UserError, match="dim=7, got dim=6"):
        load_projection(folder, table, QuantizerSpec.from_mu(4, 7, 0.05, 30))


def test_the_hash_is_of_the_matrices_that_were_read(trained, table, tmp_path, swapped):
    folder, _, _ = trained
    (tmp_path / CARD_FILE).write_bytes((folder / CARD_FILE).read_bytes())
    matrices = load_file(folder / PROJECTION_FILE)
    save_file({name: 2 * matrix for name, matrix in matrices.items()}, tmp_path / "doubled")
    first, later = (folder / PROJECTION_FILE).read_bytes(), (tmp_path / "doubled").read_bytes()
    reads = swapped(tmp_path / PROJECTION_FILE, first, later)
    found = load_projection(tmp_path, table, SPEC)
    assert np.array_equal(found.decoder.matrix, matrices["decoder"])
    assert found.sha256 == file_sha256(folder / PROJECTION_FILE)
    assert reads == [first]


@pytest.mark.parametrize("damage", ["missing", "truncated", "other values", "card", "files", "NaN"])
def test_a_damaged_projection_is_refused(trained, table, tmp_path, damage):
    folder, _, _ = trained
    for name in (PROJECTION_FILE, CARD_FILE):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    path = tmp_path / PROJECTION_FILE
    match damage:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(path.read_bytes()[:-3])
        case "other values" | "NaN":
            added = np.float32(1.0 if damage == "other values" else np.nan)
            save_file({name: matrix + added for name, matrix in load_file(path).items()}, path)
        case "files":
            card = json.loads((folder / CARD_FILE).read_text())
            (tmp_path / CARD_FILE).write_text(json.dumps({**card, "files": []}))
        case _:
            (tmp_path / CARD_FILE).write_text("{}")
    with pytest.raises(UserError, match="projection"):
        load_projection(tmp_path, table, SPEC)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_values_that_are_not_finite_are_not_blamed_on_the_hash(trained, table, tmp_path, part):
    folder, _, _ = trained
    matrices = load_file(folder / PROJECTION_FILE)
    matrices[part][0, 0] = np.nan
    save_file(matrices, tmp_path / PROJECTION_FILE)
    card = json.loads((folder / CARD_FILE).read_text())
    card["files"][PROJECTION_FILE] = file_sha256(tmp_path / PROJECTION_FILE)
    (tmp_path / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(UserError, match=f"finite values.*got {part} .*in 1 of {6 * 32} values.*lower learning rate"):
        load_projection(tmp_path, table, SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"window": 1}, "window >= 2"),
        ({"batch": 0}, "batch >= 1"),
        ({"fill": 0.0}, "fill in"),
        ({"whitening": 1.5}, "whitening in"),
        ({"validation_share": 0.95}, "validation_share in"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        ProjectionTraining(**{**asdict(SETTINGS), **change})


def test_loading_a_projection_needs_no_torch():
    command = "import sys, mechanisms.trained_projection; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0
