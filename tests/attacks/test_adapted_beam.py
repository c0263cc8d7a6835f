"""The beam with an adapted language model: what it learns, that its adapter is kept whole, and that a bad one shows."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load, save
from torch.nn import functional

from attacks.base import AttackerKnowledge, Equipped
from attacks.inversion import AdaptedBeam, LanguageBeam, TwoSided
from attacks.inversion.adapted import Adaptation, Adapter, adapter, training
from attacks.inversion.adapted.adapter import WEIGHTS_FILE
from attacks.inversion.adapted.practice import drawn, read_loss, worlds
from attacks.inversion.adapted.training import loss_of, trained
from attacks.known_context import KnownContext
from attacks.outcome import invert
from attacks.self_test import References, self_test
from mechanisms.errors import UserError
from mechanisms.hashes import file_sha256
from mechanisms.models import load_causal_lm
from mechanisms.own_forward import embedding_table
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec

SMALL = Adaptation(
    rank=4, steps=60, short_steps=4, epochs=100, batch=8, window=16, learning_rate=2e-2, levels=(3.0, 6.0), truth=(0.3,)
)
BRIEF = replace(SMALL, steps=3)
ONE = TwoSided(depth=1)


def able(name):
    """Returns the tiny model with rows so large that what it says can be sure."""
    language = load_causal_lm(name)
    with torch.no_grad():
        for weight in {language.model.get_input_embeddings().weight, language.model.get_output_embeddings().weight}:
            weight.mul_(20)
    return language


@pytest.fixture(scope="module")
def public(tiny_lm_folder):
    """Text in which a word says which one follows, nine times of ten."""
    language = able(str(tiny_lm_folder))
    table = embedding_table(language.model)
    generator = simulation_generator(0, "adapted")
    documents = []
    for _ in range(60):
        words = [int(generator.integers(250, 290))]
        while len(words) < 30:
            jump = generator.random() < 0.1
            words.append(int(generator.integers(250, 290)) if jump else 250 + (7 * (words[-1] - 250) + 3) % 40)
        documents.append(words)
    pipeline = assemble(table, documents, QuantizerSpec.from_mu(4, 6, 0.05, 3.0), EncoderSettings())
    return AttackerKnowledge(pipeline, table, pipeline.prior, documents[:50], language), documents[50:]


@pytest.fixture(scope="module")
def ready(public, tmp_path_factory):
    """Returns an adapter of SMALL, trained once, and the folder that keeps it."""
    folder = tmp_path_factory.mktemp("adapters")
    return trained(public[0], SMALL, folder), folder


def test_the_loss_and_its_slope_are_those_of_cross_entropy():
    torch.manual_seed(0)
    said, scores, truth = torch.randn(5, 9, requires_grad=True), torch.randn(5, 9), torch.tensor([0, 8, 3, 3, 1])
    expected = functional.cross_entropy(scores + 0.6 * said, truth, reduction="sum")
    (slope,) = torch.autograd.grad(2 * expected, said)
    found = read_loss(said, scores.clone(), 0.6, truth)
    (2 * found).backward()
    assert_allclose(found.detach(), expected.detach(), rtol=1e-6)
    assert_allclose(said.grad, slope, atol=1e-6)


def test_wrong_words_are_drawn_by_the_sharpened_posterior():
    scores = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]])).expand(40_000, -1).contiguous()
    words = drawn(scores, 2.0, simulation_generator(0, "drawn"))
    shares = np.bincount(words.numpy(), minlength=4) / 40_000
    assert_allclose(shares, np.array([1, 4, 9, 16]) / 30, atol=0.01)


def test_it_reads_more_than_the_beam_without_an_adapter(public, ready):
    world, held = public
    messages = [world.mechanism.release(text, SimulatedRandomness(1, str(place))) for place, text in enumerate(held)]
    attack, plain = AdaptedBeam(ONE, SMALL, adapter=ready[0]), LanguageBeam(depth=1)
    attacker = attack.fit(world)
    read = invert(attack, attacker, messages, held).hits.mean()
    assert attacker.trained == ready[0].sha256
    assert read > 1.1 * invert(plain, plain.fit(world), messages, held).hits.mean()


def test_who_knows_the_words_to_the_left_reads_more_with_its_model_too(public, ready):
    world, held = public
    attacker = AdaptedBeam(ONE, SMALL, adapter=ready[0]).fit(world)
    assert isinstance(attacker, Equipped)
    messages = [world.mechanism.release(text, SimulatedRandomness(2, str(place))) for place, text in enumerate(held)]
    adapted, plain = (KnownContext().fit(each).read(messages, held) for each in (attacker.public, world))
    assert adapted.given.mean() > 1.1 * plain.given.mean()


def test_an_adapter_is_the_same_from_its_folder_and_afresh_whatever_is_attacked(public, tmp_path):
    world, _ = public
    louder = replace(world, mechanism=assemble(world.table, world.documents, QuantizerSpec(4, 3, 0.05, 0.1), CODES))
    first, afresh = trained(world, BRIEF, tmp_path), trained(louder, BRIEF, None)
    written = first.folder.stat().st_mtime_ns
    again = trained(replace(louder, seed=5), BRIEF, tmp_path)
    assert first.sha256 == afresh.sha256 == again.sha256 == file_sha256(first.folder / WEIGHTS_FILE)
    assert again.folder == first.folder
    assert again.folder.stat().st_mtime_ns == written
    assert len(list(tmp_path.iterdir())) == 1


CODES = EncoderSettings(seed=3)


def test_other_text_another_model_or_other_settings_are_another_adapter(public, tmp_path):
    world, _ = public
    first = trained(world, BRIEF, tmp_path)
    other = trained(replace(world, documents=world.documents[1:]), BRIEF, tmp_path)
    longer = trained(world, replace(BRIEF, steps=2), tmp_path)
    assert len({first.folder, other.folder, longer.folder}) == 3


def test_what_is_practised_does_not_depend_on_what_is_attacked(public):
    world, _ = public
    louder = replace(world, mechanism=assemble(world.table, world.documents, QuantizerSpec(4, 3, 0.05, 0.1), CODES))
    specs = [[one.mechanism.spec.fingerprint for one in worlds(each, Adaptation())] for each in (world, louder)]
    assert specs[0] == specs[1]
    assert len(set(specs[0])) == len(Adaptation().levels) + len(Adaptation().truth)


def test_peft_itself_loads_the_adapter(public, ready):
    from peft import PeftModel

    language, tokens = public[0].language, torch.tensor([[1, 255, 260, 270]])
    own = ready[0].applied(language).model(input_ids=tokens).logits
    theirs = PeftModel.from_pretrained(able(language.record.name).model, ready[0].folder)
    assert_allclose(own, theirs(input_ids=tokens).logits.detach(), atol=1e-4)
    assert not torch.allclose(own, language.model(input_ids=tokens).logits, atol=1e-2)


def test_an_adapter_of_wrong_noise_is_caught_and_the_beam_does_without_it(public, ready, monkeypatch):
    """Over a model that reads well, adapters that point anywhere."""
    world = replace(public[0], language=ready[0].applied(public[0].language))
    generator = torch.Generator().manual_seed(0)
    weak = save({name: torch.randn(rows.shape, generator=generator) for name, rows in load(ready[0].weights).items()})
    planted = replace(ready[0], weights=weak, sha256="0" * 64)
    attack = AdaptedBeam(ONE, SMALL, adapter=planted)
    monkeypatch.setattr("attacks.inversion.adapted_beam.trained", lambda *_: planted)
    assert AdaptedBeam(ONE, SMALL).fit(world).trained == ""
    assert attack.fit(world).trained == planted.sha256
    assert "reads held-out public text worse" in attack.complaint(world)
    test = self_test(attack, References.of(world))
    assert not test.passed
    assert "trained on other noise" in test.reason


def test_a_good_adapter_passes_the_self_test_without_further_training(public, ready, monkeypatch):
    world, folder = public[0], ready[1]
    monkeypatch.setattr(training, "train", None)  # whoever trains fails
    test = self_test(AdaptedBeam(ONE, SMALL, folder=folder), References.of(world))
    assert test.passed, test.reason


def test_a_shipped_adapter_is_taken_as_it_is_or_gone_on_from(public, ready, tmp_path, monkeypatch):
    world, _ = public
    place = tmp_path / "shipped"
    place.mkdir()
    (place / "one").symlink_to(ready[0].folder, target_is_directory=True)
    monkeypatch.setattr(adapter, "SHIPPED", place)
    assert trained(world, SMALL, tmp_path / "kept").folder == place / "one"
    other = replace(world, documents=world.documents[1:])
    further = trained(other, SMALL, tmp_path / "kept")
    assert further.card["start_sha256"] == ready[0].sha256
    assert further.card["steps_done"] == SMALL.short_steps
    assert loss_of(other, further.applied(other.language).model, SMALL) < loss_of(other, other.language.model, SMALL)


def test_an_adapter_that_is_not_what_its_card_says_is_refused(public, tmp_path):
    world, _ = public
    kept = trained(world, BRIEF, tmp_path).folder
    tensors = load((kept / WEIGHTS_FILE).read_bytes())
    (kept / WEIGHTS_FILE).write_bytes(save({**tensors, next(iter(tensors)): torch.full((2, 2), torch.nan)}))
    with pytest.raises(UserError, match="not those that its card names"):
        trained(world, BRIEF, tmp_path)
    card = json.loads((kept / "card.json").read_text())
    card["files"][WEIGHTS_FILE] = file_sha256(kept / WEIGHTS_FILE)
    (kept / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="another shape, or NaN or infinity"):
        Adapter.read(kept).applied(world.language)


def test_a_model_that_cannot_be_adapted_is_named(public, monkeypatch):
    def refuse(*_):
        raise ValueError("No modules were targeted for adaptation.")

    monkeypatch.setattr("peft.get_peft_model", refuse)
    with pytest.raises(UserError, match=r"LlamaForCausalLM: No modules were targeted.* with beam in the place"):
        trained(public[0], BRIEF, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"language": None}, "language model to attack with"),
        ({"documents": [[255] * 30]}, "Expected 2 public documents or more"),
        ({"documents": [[255] * 30, []]}, "every document to have a token"),
    ],
)
def test_what_is_missing_is_said_before_training(public, changes, message):
    with pytest.raises(UserError, match=message):
        AdaptedBeam(adaptation=BRIEF).fit(replace(public[0], **changes))


@pytest.mark.parametrize(
    ("field", "value"), [("rank", 0), ("window", 1), ("clean", 1.5), ("epochs", 0), ("say", 0.0), ("levels", ())]
)
def test_settings_out_of_range_are_refused(field, value):
    more = {"truth": ()} if field == "levels" else {}
    with pytest.raises(UserError, match=field):
        Adaptation(**{field: value, **more})


def test_little_text_is_trained_on_for_fewer_steps():
    assert Adaptation(epochs=5, batch=10, window=10).steps_for(200, short=False) == 10
    assert Adaptation().steps_for(10**9, short=True) == Adaptation().short_steps
