import copy

import numpy as np
import pytest
import torch
from every_tokenizer import llama
from scipy.special import logsumexp

from attacks.base import AttackerKnowledge
from attacks.inversion import CosineNeighbour, MaximumAPosteriori
from attacks.inversion.causal_stand_in import CausalStandIn
from attacks.inversion.masked_lm import InputInference, MaskedFiller
from attacks.inversion.word_pieces import WordPieces
from attacks.outcome import invert
from mechanisms.errors import UserError
from mechanisms.masked_models import load_masked_lm
from mechanisms.models import LanguageModel, load_causal_lm, load_embedding_table
from mechanisms.pipeline import assemble
from mechanisms.placement import Placement
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec

TEXTS = [
    "The doctor told me to take one tablet a day, and the pain was gone within a week.",
    "I had no side effects at all, but my sister could not sleep while she was on it.",
    "It did not work for me: the headaches came back, and I felt tired all the time.",
]


def vocabulary(texts):
    words = sorted({word for text in texts for word in text.lower().replace(",", " , ").replace(".", " . ").split()})
    letters = [mark + chr(code) for code in range(ord("a"), ord("z") + 1) for mark in ("", "##")]
    marks = [":", ",", "."]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*marks, *letters, *words])]


@pytest.fixture(scope="module")
def masked_folder(tmp_path_factory):
    """Returns a folder with a small BERT that has learned three sentences by heart, one word masked at a time."""
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    folder = tmp_path_factory.mktemp("masked-lm")
    words = vocabulary(TEXTS)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    rows = [tokenizer(text).input_ids for text in TEXTS]
    places = [(row, place) for row in rows for place in range(1, len(row) - 1)]
    longest = max(map(len, rows))
    inputs = torch.tensor([[*row[:place], 4, *row[place + 1 :], *[0] * (longest - len(row))] for row, place in places])
    truth = torch.tensor([row[place] for row, place in places])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForMaskedLM(config)
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(60):
            logits = model(input_ids=inputs, attention_mask=(inputs != 0).long()).logits
            loss = torch.nn.functional.cross_entropy(logits[range(len(places)), [place for _, place in places]], truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert float(loss.detach()) < 0.1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def world(tiny_lm_folder):
    """Returns a maker of what is public of a DEL over the tiny model's words."""
    language, table = load_causal_lm(str(tiny_lm_folder)), load_embedding_table(str(tiny_lm_folder))
    documents = language.tokenizer(TEXTS, add_special_tokens=False).input_ids

    def make(mu):
        spec = QuantizerSpec.from_mu(4, 16, 0.05, mu)
        mechanism = assemble(table, documents, spec, EncoderSettings(fill=1.0), "posterior-mean-plain")
        return AttackerKnowledge(mechanism, table, mechanism.prior, documents, language)

    return make, documents


def released(public, documents, seed=1):
    source = SimulatedRandomness(seed, "prompts")
    return [public.mechanism.release(document, source) for document in documents]


def openings(public, documents):
    """Returns the places whose token is a whole word of the sentences: what a model of words can name."""
    tokenizer = public.language.tokenizer
    whole = {f" {word}" for word in " ".join(TEXTS).replace(",", " ,").replace(".", " .").replace(":", " :").split()}
    return np.concatenate([[tokenizer.decode([token]) in whole for token in document] for document in documents])


def test_from_a_clean_reconstruction_it_names_the_words_that_it_knows(world, masked_folder):
    make, documents = world
    public = make(1000.0)
    attack = InputInference(str(masked_folder), MaximumAPosteriori())
    outcome = invert(attack, attack.fit(public), released(public, documents), documents)
    chosen = outcome.where(openings(public, documents))
    assert len(chosen) > 20
    assert chosen.hits.mean() > 0.8


def test_it_does_not_look_at_the_masked_token(world, masked_folder):
    make, documents = world
    public = make(1000.0)
    for attack in (InputInference(str(masked_folder)), InputInference(candidates=4, right=3)):
        filler = attack.fit(public).filler
        tokens = np.array(documents[0])
        before = filler.fill(tokens)
        for place in (0, 5, len(tokens) - 1):
            changed = tokens.copy()
            changed[place] = 300
            after = filler.fill(changed)
            assert np.array_equal(after.words[place], before.words[place])
            assert after.scores[place] == pytest.approx(before.scores[place], abs=1e-5)
        neighbour = tokens.copy()
        neighbour[5] = 300
        assert not np.allclose(filler.fill(neighbour).scores[6], before.scores[6], atol=1e-6)


def test_scores_are_the_masked_models_log_probabilities_divided_over_words(world, masked_folder):
    """By hand: the text with [MASK] in it through the model, the piece of each word, and the prior's share."""
    make, documents = world
    public = make(50.0)
    model, tokenizer = load_masked_lm(str(masked_folder)), public.language.tokenizer
    pieces = WordPieces.of(model.tokenizer, tokenizer, public.prior)
    filler = MaskedFiller(model, tokenizer, pieces, depth=public.words, reach=64, batch=3)
    tokens = np.array(documents[1][:12])
    guesses = filler.fill(tokens)
    for place in (0, 4, 11):
        left, right = tokenizer.decode(tokens[:place]), tokenizer.decode(tokens[place + 1 :])
        encoded = model.tokenizer(f"{left} [MASK] {right}", return_tensors="pt")
        at = encoded.input_ids[0].tolist().index(model.mask)
        logs = torch.log_softmax(model.model(**encoded).logits[0, at], 0).numpy()
        opens = not left[-1:].isalnum()
        first = pieces.first[0 if opens else 1]
        scores = np.full(public.words, -np.inf)
        for piece in np.unique(first):
            words = np.flatnonzero(first == piece)
            share = np.log(public.prior[words])
            scores[words] = logs[piece] + share - logsumexp(share)
        assert guesses.scores[place] == pytest.approx(scores[guesses.words[place]], abs=1e-4)
        assert scores.max() == pytest.approx(float(guesses.scores[place, 0]), abs=1e-4)
        assert np.exp(guesses.scores[place].astype(np.float64)).sum() <= 1 + 1e-5


def test_a_word_without_a_space_continues_unless_a_word_opens(world, masked_folder):
    make, _ = world
    public = make(50.0)
    masked, tokenizer = load_masked_lm(str(masked_folder)).tokenizer, public.language.tokenizer
    pieces = WordPieces.of(masked, tokenizer, public.prior)
    names = masked.convert_ids_to_tokens
    letter = tokenizer("t", add_special_tokens=False).input_ids[0]
    spaced = tokenizer(" the", add_special_tokens=False).input_ids
    newline = tokenizer("\n", add_special_tokens=False).input_ids[0]
    assert names(pieces.first[:, letter].tolist()) == ["t", "##t"]
    assert len(spaced) == 1
    assert names(pieces.first[:, spaced[0]].tolist()) == ["the", "the"]
    assert names(pieces.first[:, newline].tolist()) == ["[UNK]", "[UNK]"]
    capital = tokenizer("T", add_special_tokens=False).input_ids[0]
    assert pieces.first[0, capital] == pieces.first[0, letter]  # an uncased model: cases share by their prior
    shares = np.exp(pieces.log_share[0, pieces.first[0] == pieces.first[0, letter]].astype(np.float64))
    assert len(shares) >= 2
    assert shares.sum() == pytest.approx(1, abs=1e-6)


def test_a_word_keeps_its_space_where_the_tokenizer_drops_the_first_of_a_text(masked_folder):
    """Decoded alone, `▁the` would be a word without a space in front, which continues: `##the`."""
    masked, tokenizer = load_masked_lm(str(masked_folder)).tokenizer, llama()
    pieces = WordPieces.of(masked, tokenizer, np.full(len(tokenizer), 1 / len(tokenizer)))
    spaced, letter = tokenizer.convert_tokens_to_ids(["▁a", "a"])
    names = masked.convert_ids_to_tokens
    assert names(pieces.first[:, spaced].tolist()) == ["a", "a"]
    assert names(pieces.first[:, letter].tolist()) == ["a", "##a"]


def test_a_mask_in_the_reconstructed_text_is_text(world, masked_folder):
    make, _ = world
    public = make(50.0)
    filler = InputInference(str(masked_folder)).fit(public).filler
    tokens = np.array(public.language.tokenizer("a [MASK] day", add_special_tokens=False).input_ids)
    assert len(filler.fill(tokens)) == len(tokens)


def test_a_prompt_longer_than_the_masked_models_context_is_cut_about_the_mask(world, masked_folder):
    make, documents = world
    public = make(50.0)
    filler = InputInference(str(masked_folder), reach=60).fit(public).filler
    tokens = np.array(documents[0] * 4)
    before = filler.fill(tokens)
    assert len(before) == len(tokens) == 80
    tokens[0] = 300
    after = filler.fill(tokens)
    assert not np.array_equal(after.scores[1], before.scores[1])
    assert np.array_equal(after.scores[70], before.scores[70])


def test_a_masked_model_of_the_same_pieces_gives_each_word_its_own(world):
    make, _ = world
    public = make(50.0)
    tokenizer = public.language.tokenizer
    masked = copy.deepcopy(tokenizer)
    masked.add_special_tokens({"mask_token": "<mask>", "unk_token": "<unk>"})
    pieces = WordPieces.of(masked, tokenizer, public.prior)
    readable = [word for word in range(1, len(tokenizer)) if tokenizer.decode([word]).isascii()]
    assert len(readable) > 200
    for form in (0, 1):
        assert np.array_equal(pieces.first[form, readable], readable)
    assert np.abs(pieces.log_share[:, readable]).max() < 1e-6


def test_the_stand_in_scores_candidates_by_both_sides(world):
    """By hand: the whole text through the model, once for each candidate, no cache."""
    make, documents = world
    language = make(50.0).language
    tokens = np.array(documents[2][:17])
    guesses = CausalStandIn(language, candidates=5, right=3, reach=8).fill(tokens)
    opening = language.tokenizer.eos_token_id

    def logs(row):
        with torch.no_grad():
            return torch.log_softmax(language.model(input_ids=torch.tensor([row])).logits[0].double(), 1).numpy()

    for place in (0, 7, 8, 15, 16):
        start = max(0, place // 8 * 8 - 8)
        left = [opening, *tokens[start:place].tolist()]
        after = logs(left)[-1]
        candidates = np.argsort(-after)[:5]
        assert set(guesses.words[place].tolist()) == set(candidates.tolist())
        for word, score in zip(guesses.words[place], guesses.scores[place], strict=True):
            right = tokens[place + 1 : place + 4].tolist()
            read = logs([*left, int(word), *right])
            expected = after[word] + sum(read[len(left) + k, token] for k, token in enumerate(right))
            assert float(score) == pytest.approx(expected, abs=1e-4)
        assert (np.diff(guesses.scores[place]) <= 0).all()


def test_the_name_says_who_reads():
    assert "causal LM stands in" in InputInference().name
    assert "stands in" in InputInference().note
    assert "stands in" not in InputInference("org/bert").name
    assert "org/bert" in InputInference("org/bert").note
    assert CosineNeighbour().name in InputInference().name


def test_guesses_depend_on_the_release_through_the_neighbours_alone(world):
    make, documents = world
    public = make(1000.0)
    attack = InputInference(reading=MaximumAPosteriori(), candidates=4, right=2)
    messages = released(public, documents)
    together = attack.fit(public).guess(messages)
    alone = attack.fit(public).guess(messages[1:2])[0]
    assert [len(guess) for guess in together] == [len(document) for document in documents]
    assert np.array_equal(together[1].words, alone.words)


def test_the_masked_model_reads_where_the_language_model_is(world, masked_folder, monkeypatch):
    make, documents = world
    public, attack = make(50.0), InputInference(str(masked_folder))
    messages = released(public, documents)
    wanted = attack.fit(public).guess(messages)
    monkeypatch.setattr(LanguageModel, "device", property(lambda _self: "cpu:0"))
    places = []
    monkeypatch.setattr("mechanisms.models.require_memory", lambda _asset, _dtype, place: places.append(place))
    attacker = attack.fit(public)
    assert places == [Placement("cpu:0")]
    for found, before in zip(attacker.guess(messages), wanted, strict=True):
        assert np.allclose(found.scores, before.scores, atol=1e-5)
        assert np.array_equal(found.best, before.best)
    with pytest.raises(UserError, match="got device='cuda:99'"):
        load_masked_lm(str(masked_folder), "cuda:99")


def test_models_of_another_kind_are_refused(tiny_lm_folder, tiny_bert_folder, masked_folder, tmp_path):
    from transformers import BertForMaskedLM, BertTokenizerFast

    with pytest.raises(UserError, match="without a mask token"):
        load_masked_lm(str(tiny_lm_folder))
    with pytest.raises(UserError, match="hold every weight of a BertForMaskedLM"):
        load_masked_lm(str(tiny_bert_folder))
    with pytest.raises(UserError, match="Expected a model name"):
        load_masked_lm("no such folder")
    BertForMaskedLM.from_pretrained(masked_folder).save_pretrained(tmp_path)
    BertTokenizerFast(vocab=str(masked_folder / "vocab.txt"), mask_token=None).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="without a mask token"):
        load_masked_lm(str(tmp_path))


def test_what_it_needs_is_asked_for(world, masked_folder):
    make, _ = world
    public = make(50.0)
    without = AttackerKnowledge(public.mechanism, public.table, public.prior, public.documents)
    for attack in (InputInference(), InputInference(str(masked_folder))):
        with pytest.raises(UserError, match="public language model"):
            attack.fit(without)
    with pytest.raises(UserError, match="the model's context"):
        InputInference(reach=200).fit(public)
    with pytest.raises(UserError, match="reach >= 1"):
        InputInference(reach=0)
