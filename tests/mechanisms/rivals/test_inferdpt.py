import pytest

from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals import Points, RanText, RanTextSpec
from mechanisms.rivals.inferdpt import INSTRUCTION, InferDPT, _as_request
from mechanisms.server import Server

PROMPT = "The doctor told me to take one tablet a day"


@pytest.fixture(scope="module")
def perturbation(language):
    table = language.model.get_input_embeddings().weight.detach().numpy()
    points = Points.of(table)
    return RanText(RanTextSpec.over(points, 6.0, rate=2.0), points, table)


@pytest.fixture(scope="module")
def client(language, perturbation):
    return InferDPT(language.tokenizer, perturbation, language, 64, SimulatedRandomness(0))


def test_only_the_perturbed_message_reaches_the_server(client, language, perturbation):
    seen = []

    def server(message):
        seen.append(message)
        return "and it went well"

    answer = client.answer(PROMPT, server, new_tokens=5, seed=1)
    assert isinstance(answer, str)
    assert len(seen) == 1
    tokens = language.tokenizer(PROMPT).input_ids
    assert len(seen[0]) == perturbation.format.length(len(tokens))
    assert perturbation.observed(seen[0]).tolist() != tokens


def test_the_real_server_writes_the_draft(client, language, perturbation):
    server = Server(language, perturbation, None)
    text = client.answer(PROMPT, lambda message: server.answer([message], 5, 0)[0], new_tokens=6, seed=1)
    assert isinstance(text, str)


def test_the_local_model_reads_the_clean_prompt_and_the_draft(client, monkeypatch):
    read = []

    def generate(model, inputs, new_tokens, seed):
        read.extend(inputs)
        return [[1, 2]]

    monkeypatch.setattr("mechanisms.continuation.generate", generate)
    client.extract([PROMPT], ["it went well"], 5, 0)
    text = INSTRUCTION.format(prompt=PROMPT, draft="it went well")
    assert len(read[0]) == len(client.extractor.tokenizer(text).input_ids)


def test_extraction_repeats_with_its_seed(client):
    first, second = (client.extract([PROMPT], ["it went well"], 8, 3) for _ in range(2))
    assert first == second


def test_the_guarantee_is_the_perturbations(client, perturbation):
    from del_audit.accounting.rivals import rival_guarantee

    assert client.spec is perturbation.spec
    assert rival_guarantee(client) == rival_guarantee(perturbation)


@pytest.mark.parametrize(("prompts", "drafts"), [(["a"], []), ([""], ["b"])])
def test_prompts_and_drafts_must_fit(client, prompts, drafts):
    with pytest.raises(UserError, match="as many drafts as prompts"):
        client.extract(prompts, drafts, 5, 0)


def test_a_prompt_that_is_too_long_is_not_sent(client):
    with pytest.raises(UserError, match="at most 64 tokens"):
        client.answer(PROMPT * 20, lambda message: pytest.fail("sent"), 5, 0)


def test_a_chat_model_is_asked_in_its_own_form():
    class Tokenizer:
        chat_template = "{{ messages }}"

        def apply_chat_template(self, chat, tokenize, add_generation_prompt):
            assert (tokenize, add_generation_prompt) == (False, True)
            return f"<user>{chat[0]['content']}<assistant>"

        def __call__(self, text, add_special_tokens):
            assert not add_special_tokens
            return type("Encoded", (), {"input_ids": [ord(letter) for letter in text]})

    assert "".join(map(chr, _as_request(Tokenizer(), "hello"))) == "<user>hello<assistant>"
