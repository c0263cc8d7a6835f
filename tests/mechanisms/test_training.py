import json
import math

import pytest
import torch
from safetensors.torch import load_file

from mechanisms import training as training_module
from mechanisms.client import Client
from mechanisms.continuation import embed, response_losses
from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm
from mechanisms.server import Server
from mechanisms.soft_prompt import CARD_FILE, WEIGHTS_FILE, load_soft_prompt
from mechanisms.training import PromptTraining, train_soft_prompt

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own

SETTINGS = PromptTraining(
    steps=3, batch=2, virtual_tokens=7, window=40, shortest_prompt=5, shortest_response=5, warm_up=2
)


@pytest.fixture(scope="module")
def own_language(tiny_lm_folder):
    """A model of this module's own, in case training changes it."""
    torch.set_num_threads(1)
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="module")
def train(own_language, tiny_pipeline, public_documents):
    def run(folder, settings=SETTINGS, documents=public_documents):
        return train_soft_prompt(own_language, tiny_pipeline, documents, settings, folder, {"data": "test sentences"})

    return run


@pytest.fixture(scope="module")
def trained(own_language, train, tmp_path_factory):
    """What a run of three steps wrote and returned, and the model's weights before it."""
    before = {name: tensor.clone() for name, tensor in own_language.model.state_dict().items()}
    folder = tmp_path_factory.mktemp("training") / "deep" / "prompt"
    return folder, train(folder), before


def vectors_in(folder):
    return load_file(folder / WEIGHTS_FILE)["prompt_embeddings"]


def test_every_step_has_a_finite_loss_near_that_of_a_random_model(trained):
    _, losses, _ = trained
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert all(abs(loss - math.log(384)) < 1.5 for loss in losses)


def test_only_the_virtual_tokens_change(trained, own_language):
    folder, _, before = trained
    after = own_language.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in own_language.model.parameters())
    assert all(parameter.grad is None for parameter in own_language.model.parameters())
    assert not own_language.model.training
    tokens = own_language.tokenizer(SETTINGS.initial_text, add_special_tokens=False).input_ids[:7]
    start = embed(own_language.model, tokens)
    moved = (vectors_in(folder) - start).abs().sum(dim=1)
    assert (moved > 0).all()
    assert (vectors_in(folder) - start).abs().max() < 3.5 * SETTINGS.learning_rate  # Adam's steps are that long at most


def test_the_adapter_loads_here_and_in_plain_peft(trained, tiny_lm_folder, own_language):
    from peft import PeftModel

    folder, losses, _ = trained
    prompt = load_soft_prompt(str(folder), 32)
    assert torch.equal(prompt.vectors, vectors_in(folder))
    assert prompt.card["data"] == "test sentences"
    assert prompt.card["training"]["steps"] == 3
    assert prompt.card["loss_first_10"] == losses
    peft = PeftModel.from_pretrained(load_causal_lm(str(tiny_lm_folder)).model, folder)
    with torch.no_grad():
        theirs = peft(input_ids=torch.tensor([[5, 80, 81]])).logits
        inputs = torch.cat([prompt.vectors, embed(own_language.model, [5, 80, 81])])
        ours = own_language.model(inputs_embeds=inputs[None]).logits
    assert torch.allclose(theirs, ours, atol=1e-5)


def test_the_adapter_names_its_model_and_holds_three_files(trained, own_language):
    folder, _, _ = trained
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == own_language.record.name
    assert {path.name for path in folder.iterdir()} == {WEIGHTS_FILE, CARD_FILE, "adapter_config.json"}


def test_nothing_is_left_beside_the_folder(trained):
    folder, _, _ = trained
    assert [path.name for path in folder.parent.iterdir()] == ["prompt"]


def test_the_same_seed_gives_the_same_vectors(trained, train, tmp_path):
    folder, losses, _ = trained
    torch.manual_seed(123)
    assert train(tmp_path / "again") == losses
    assert torch.equal(vectors_in(tmp_path / "again"), vectors_in(folder))
    other = PromptTraining(**{**training_module.asdict(SETTINGS), "seed": 1})
    assert train(tmp_path / "other", other) != losses
    assert not torch.equal(vectors_in(tmp_path / "other"), vectors_in(folder))


def test_the_model_serves_after_training_as_before(trained, own_language, language, tiny_pipeline):
    folder, _, _ = trained
    message = Client(language.tokenizer, tiny_pipeline, 50).release("It did not work.")
    prompt = load_soft_prompt(str(folder), 32)
    used, fresh = (Server(lm, tiny_pipeline, prompt) for lm in (own_language, language))
    assert type(own_language.model) is type(language.model)
    assert used.losses([message, None], [[5, 9], [7]]).tolist() == fresh.losses([message, None], [[5, 9], [7]]).tolist()
    assert used.answer([message], 6, seed=0) == fresh.answer([message], 6, seed=0)


def test_every_step_releases_its_prompts_anew_through_the_client(train, tmp_path, monkeypatch):
    released = []
    real = Client.release_tokens

    def spy(client, tokens):
        message = real(client, tokens)
        released.append((tuple(tokens), message))
        return message

    monkeypatch.setattr(Client, "release_tokens", spy)
    train(tmp_path / "prompt")
    assert len(released) == SETTINGS.steps * SETTINGS.batch
    assert all(5 <= len(tokens) <= 35 for tokens, _ in released)
    assert len({message for _, message in released}) == len(released)


def test_a_broken_quantizer_trains_on_nothing(train, tmp_path, broken_quantizer):
    with pytest.raises(RuntimeError, match="the quantizer is broken"):
        train(tmp_path / "prompt")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_training_leaves_nothing(train, tmp_path, monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return response_losses(*arguments)

    monkeypatch.setattr(training_module, "response_losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "prompt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("culprit", ["json.dumps", "os.replace"])
def test_interrupted_writing_leaves_nothing(train, tmp_path, monkeypatch, culprit):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    module, name = culprit.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(getattr(training_module, module), name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "prompt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("filled", [False, True])
def test_a_folder_that_exists_is_refused_and_kept(train, tmp_path, filled):
    folder = tmp_path / "prompt"
    folder.mkdir()
    if filled:
        (folder / "mine").write_text("keep")
    with pytest.raises(UserError, match="does not exist yet"):
        train(folder)
    assert [path.name for path in folder.iterdir()] == (["mine"] if filled else [])


def test_too_few_long_documents_are_refused(train, tmp_path):
    with pytest.raises(UserError, match="2 documents of 10 tokens or more, got 1"):
        train(tmp_path / "prompt", documents=[list(range(10)), list(range(9)), [], [1]])
    assert not (tmp_path / "prompt").exists()


def test_a_document_just_long_enough_is_trained_on(train, tmp_path):
    assert len(train(tmp_path / "prompt", documents=[list(range(1, 11)), list(range(2, 12))])) == 3
