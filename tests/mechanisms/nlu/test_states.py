import pytest
import torch

from mechanisms.continuation import embed
from mechanisms.errors import UserError
from mechanisms.nlu.states import by_length, cached_states, initial_soft_tokens, read_states


@pytest.fixture(scope="module")
def soft(own_language):
    return initial_soft_tokens(own_language, "the doctor", 5)


@pytest.fixture(scope="module")
def rows(own_language):
    return [embed(own_language.model, tokens).detach() for tokens in ([5], [70, 71, 72, 300], [80, 81])]


def test_soft_tokens_are_the_texts_embeddings_repeated(own_language):
    tokens = own_language.tokenizer("the doctor", add_special_tokens=False).input_ids
    soft = initial_soft_tokens(own_language, "the doctor", 2 * len(tokens) + 1)
    assert torch.equal(soft, embed(own_language.model, [*tokens, *tokens, tokens[0]]))
    with pytest.raises(UserError, match="at least one word"):
        initial_soft_tokens(own_language, "", 5)
    with pytest.raises(UserError, match="virtual_tokens >= 1"):
        initial_soft_tokens(own_language, "a", 0)


def test_states_are_the_models_over_each_row_alone(own_language, soft, rows):
    for states, row in zip(read_states(own_language.model, soft, rows), rows, strict=True):
        whole = own_language.model.base_model(inputs_embeds=torch.cat([soft, row])[None]).last_hidden_state[0]
        assert torch.allclose(states, whole[5:], atol=1e-5)


def test_cached_states_keep_the_order_of_rows(own_language, soft, rows):
    kept = cached_states(own_language.model, soft, rows, 2, "reading")
    for states, row in zip(kept, rows, strict=True):
        assert torch.allclose(states, read_states(own_language.model, soft, [row])[0], atol=1e-5)
        assert not states.requires_grad


def test_bfloat16_is_near_and_not_the_same(own_language, soft, rows):
    exact, coarse = (read_states(own_language.model, soft, rows, bfloat16)[1] for bfloat16 in (False, True))
    assert coarse.dtype == torch.float32
    assert not torch.equal(exact, coarse)
    assert torch.allclose(exact, coarse, atol=0.1)


def test_batches_are_of_like_length_and_miss_nobody():
    assert by_length(["aaa", "a", "aa", "aaaa", "b"], 2) == [[1, 4], [2, 0], [3]]
    assert by_length([], 2) == []


def test_rows_of_another_width_or_over_the_context_are_refused(own_language, soft, rows):
    with pytest.raises(UserError, match="width 32, got width 8"):
        read_states(own_language.model, soft, [rows[0], torch.zeros(3, 8)])
    assert len(read_states(own_language.model, soft, [torch.zeros(251, 32)])[0]) == 251
    with pytest.raises(UserError, match="at most 256 tokens"):
        read_states(own_language.model, soft, [torch.zeros(252, 32)])
