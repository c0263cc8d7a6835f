import json
import math
import os
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file

from mechanisms.client import Client
from mechanisms.continuation import embed
from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm
from mechanisms.server import Server
from mechanisms.soft_prompt import CARD_FILE, WEIGHTS_FILE, load_soft_prompt
from mechanisms.training import PromptTraining, prompt_examples, train_soft_prompt

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
    def run(folder, settings=SETTINGS, documents=public_documents, mechanisms=tiny_pipeline, **options):
        about = {"data": "test sentences"}
        return train_soft_prompt(own_language, mechanisms, documents, settings, folder, about, **options)

    return run


@pytest.fixture(scope="module")
def trained(own_language, train, tmp_path_factory):
    """What a run of three steps wrote and returned, and the model's weights before it."""
    before = {name: tensor.clone() for name, tensor in own_language.model.state_dict().items()}
    folder = tmp_path_factory.mktemp("training") / "deep" / "prompt"
    return folder, train(folder).losses, before


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
    assert train(tmp_path / "again").losses == losses
    assert torch.equal(vectors_in(tmp_path / "again"), vectors_in(folder))
    assert train(tmp_path / "other", replace(SETTINGS, seed=1)).losses != losses
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


def interrupted_at(monkeypatch, module, name, call):
    """Makes the module's function raise KeyboardInterrupt at its call-th call."""
    real, calls = getattr(module, name), []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, interrupted)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_interrupted_training_goes_on_to_the_same_result(trained, train, tmp_path, monkeypatch, step):
    whole, losses, _ = trained
    with monkeypatch.context() as patch:
        interrupted_at(patch, prompt_examples, "response_losses", step)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "prompt")
    assert [path.name for path in tmp_path.iterdir()] == ([] if step == 1 else ["prompt.partial"])
    assert train(tmp_path / "prompt").losses == losses
    assert torch.equal(vectors_in(tmp_path / "prompt"), vectors_in(whole))
    assert [path.name for path in tmp_path.iterdir()] == ["prompt"]
    assert (tmp_path / "prompt" / CARD_FILE).read_bytes() == (whole / CARD_FILE).read_bytes()


def test_interrupted_writing_leaves_no_result_and_the_run_goes_on(trained, train, tmp_path, monkeypatch):
    whole, losses, _ = trained
    with monkeypatch.context() as patch:
        real = os.replace

        def interrupted(source, target):
            if target == tmp_path / "prompt":
                raise KeyboardInterrupt
            real(source, target)

        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "prompt")
    assert [path.name for path in tmp_path.iterdir()] == ["prompt.partial"]
    assert {path.name.partition("-")[0] for path in (tmp_path / "prompt.partial").iterdir()} == {
        "checkpoint.json",
        "checkpoint",
    }
    assert train(tmp_path / "prompt").losses == losses
    assert torch.equal(vectors_in(tmp_path / "prompt"), vectors_in(whole))


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
        train(tmp_path / "prompt", documents=[list(range(10)), list(range(9)), [1]])
    with pytest.raises(UserError, match="4 documents of 10 tokens or more, got 2"):
        train(tmp_path / "prompt", replace(SETTINGS, validation_documents=2), [list(range(10))] * 2)
    assert not (tmp_path / "prompt").exists()


def test_a_corpus_with_empty_documents_is_refused(train, tmp_path, public_documents):
    with pytest.raises(UserError, match="1 empty ones, the first at 4"):
        train(tmp_path / "prompt", documents=[*public_documents, []])
    with pytest.raises(UserError, match="got none"):
        train(tmp_path / "prompt", documents=[])


def test_a_document_just_long_enough_is_trained_on(train, tmp_path):
    assert len(train(tmp_path / "prompt", documents=[list(range(1, 11)), list(range(2, 12))]).losses) == 3


def test_a_window_must_fit_the_context_behind_the_virtual_tokens(train, tmp_path):
    with pytest.raises(
        UserError, match=r"window <= 249, the model's context of 256 less 7 virtual tokens, got window=250"
    ):
        train(tmp_path / "prompt", replace(SETTINGS, window=250))
    assert len(train(tmp_path / "prompt", replace(SETTINGS, window=249, steps=1)).losses) == 1


def test_the_paper_cuts_a_small_share_off_for_the_prompt(train, tmp_path, monkeypatch):
    released = []
    real = Client.release_tokens
    monkeypatch.setattr(
        Client, "release_tokens", lambda client, tokens: released.append(len(tokens)) or real(client, tokens)
    )
    documents = [list(range(100))] * 4
    settings = replace(SETTINGS, steps=30, window=100, shortest_prompt=4, prompt_share=(0.03, 0.2))
    train(tmp_path / "prompt", settings, documents)
    assert len(released) == 60
    assert set(released) <= set(range(4, 21))  # 3% would be 3 tokens, below the shortest
    assert min(released) == 4
    assert max(released) >= 19
    assert len(set(released)) >= 12


def test_several_mechanisms_take_turns_and_stand_on_the_card(train, tmp_path, tiny_pipeline, monkeypatch):
    quieter = replace(tiny_pipeline, name="DEL at another level")
    seen = []
    real = type(tiny_pipeline).release
    monkeypatch.setattr(
        type(tiny_pipeline), "release", lambda pipeline, *rest: seen.append(pipeline.name) or real(pipeline, *rest)
    )
    train(tmp_path / "prompt", replace(SETTINGS, steps=12), mechanisms=[tiny_pipeline, quieter])
    assert [seen[step] == seen[step + 1] for step in range(0, 24, 2)] == [True] * 12  # one a step
    assert set(seen) == {"DEL", "DEL at another level"}
    card = load_soft_prompt(str(tmp_path / "prompt"), 32).card
    assert [one["name"] for one in card["mechanisms"]] == ["DEL", "DEL at another level"]
    assert {one["fingerprint"] for one in card["mechanisms"]} == {tiny_pipeline.spec.fingerprint.hex()}


def test_random_start_is_made_of_the_models_words(own_language):
    start = prompt_examples.initial_vectors(own_language, replace(SETTINGS, init="random"))
    table = own_language.model.get_input_embeddings().weight
    assert ((start[:, None] - table).abs().sum(-1).min(dim=1).values == 0).all()
    again = prompt_examples.initial_vectors(own_language, replace(SETTINGS, init="random"))
    assert torch.equal(start, again)
    other = prompt_examples.initial_vectors(own_language, replace(SETTINGS, init="random", seed=1))
    assert not torch.equal(start, other)
    assert not torch.equal(start, prompt_examples.initial_vectors(own_language, SETTINGS))


def test_training_goes_on_from_a_given_soft_prompt_and_the_card_names_it(train, tmp_path, own_language):
    train(tmp_path / "first", SETTINGS)
    start = load_soft_prompt(str(tmp_path / "first"), 32)
    further = replace(SETTINGS, init="configured", virtual_tokens=len(start.vectors))
    assert torch.equal(prompt_examples.initial_vectors(own_language, further, start), start.vectors)
    train(tmp_path / "second", further, start=start)
    second = load_soft_prompt(str(tmp_path / "second"), 32)
    assert second.card["start"] == start.sha256
    assert "start" not in start.card
    assert not torch.equal(second.vectors, start.vectors)
    with pytest.raises(UserError, match=r"none. Use init=text"):
        prompt_examples.initial_vectors(own_language, further)
    other = replace(further, virtual_tokens=len(start.vectors) + 1)
    with pytest.raises(UserError, match=f"virtual_tokens={len(start.vectors)}, those of"):
        prompt_examples.initial_vectors(own_language, other, start)


def test_validation_is_on_held_out_documents_and_the_best_prompt_is_kept(train, tmp_path, public_documents):
    settings = replace(SETTINGS, steps=6, learning_rate=0.3, validation_documents=2, validate_every=2, patience=1)
    history = train(tmp_path / "prompt", settings, public_documents * 2)
    steps = [step for step, _ in history.validations]
    assert steps == list(range(0, 2 * len(steps), 2))
    best = min(history.validations, key=lambda one: one[1])
    card = load_soft_prompt(str(tmp_path / "prompt"), 32).card
    assert card["best_step"] == history.best_step == best[0]
    assert card["validation"][0]["perplexity"] == pytest.approx(math.exp(history.validations[0][1]), rel=1e-12)
    assert history.step == 6 or steps[-1] == history.step > best[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"virtual_tokens": 0}, "virtual_tokens >= 1"),
        ({"window": 9}, "window >= 10"),
        ({"init": "zeros"}, "text, random or configured"),
        ({"initial_text": ""}, "at least one word"),
        ({"prompt_share": (0.2, 0.03)}, "least <= most"),
        ({"prompt_share": (0.0, 0.5)}, "0 < least"),
        ({"validation_documents": -1}, "validation_documents >= 0"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"learning_rate": math.nan}, "finite learning_rate"),
        ({"decay": "cosine"}, "linear or constant"),
        ({"patience": -1}, "patience >= 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        PromptTraining(**{**asdict(SETTINGS), **change})
