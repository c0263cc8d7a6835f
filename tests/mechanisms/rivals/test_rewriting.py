"""DP-Prompt and DP-MLM over tiny random models: the law of whole documents by enumeration, and the bound on it."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from del_audit.accounting.rivals import rival_guarantee
from mechanisms.assets import AssetRecord
from mechanisms.errors import UserError
from mechanisms.masked_models import MaskedLanguageModel
from mechanisms.models import LanguageModel
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals import DpMlm, DpMlmSpec, DpPrompt, DpPromptSpec
from mechanisms.rivals.dp_mlm import CausalReader, MaskedReader
from mechanisms.rivals.dp_prompt import LanguageWriter

ROOT = Path(__file__).parents[3]
FALSE_ALARM = 1e-6
WORDS, END, CONTEXT = 6, 0, 24
TEXT = ("</s>", "a", "b", "c", "d", "e")
LOW, HIGH, TEMPERATURE = -0.7, 0.8, 1.3
DOCUMENTS = [list(document) for document in itertools.product(range(WORDS), repeat=2)]
TABLE = np.random.default_rng(1).standard_normal((WORDS, 4)).astype(np.float32)
RECORD = AssetRecord("tiny", "folder", "", "1" * 64, "", "", "")


def tokenizer_of(*more, pair=False):
    """A tokenizer of whole words, the server's first, then more; pair: a mask joins two texts by the end word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*TEXT, *more))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if not pair:
        return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")
    inner.post_processor = processors.TemplateProcessing(
        single="</s> $A </s>", pair="</s> $A </s> $B:1 </s>:1", special_tokens=[("</s>", 0)]
    )
    named = {"eos_token": "</s>", "mask_token": "<mask>", "model_input_names": ["input_ids", "token_type_ids"]}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=CONTEXT, **named)


def enlarged(make, config):
    """A random model whose logits reach well beyond the clip, and which looks at all places about alike."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make(config).eval().requires_grad_(False)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                looks = any(part in name for part in ("q_proj", "k_proj", "query", "key"))
                parameter.normal_(std=0.01 if looks else 1.0)
    return model


@pytest.fixture(scope="module")
def causal():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=WORDS, max_position_embeddings=CONTEXT, bos_token_id=END, eos_token_id=END, **sizes)
    return LanguageModel(enlarged(LlamaForCausalLM, config), tokenizer_of(), RECORD)


@pytest.fixture(scope="module")
def masked():
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=WORDS + 1, max_position_embeddings=CONTEXT, **sizes)
    model = enlarged(BertForMaskedLM, config)
    return MaskedLanguageModel(model, tokenizer_of("<mask>", pair=True), RECORD)


class Remembered:
    """A model that is asked once about each document and each beginning: many releases cost few passes."""

    def __init__(self, model):
        self.model, self.words, self.longest = model, model.words, model.longest
        self.sha256, self.possible, self.known = model.sha256, model.possible, {}

    def logits(self, document):
        key = tuple(document.tolist())
        if key not in self.known:
            self.known[key] = np.concatenate(list(self.model.logits(document)))
        yield self.known[key]

    def begin(self, document):
        return Remembered.Begun(self, document)

    class Begun:
        def __init__(self, whole, document):
            self.whole, self.document, self.written = whole, document, []

        def logits(self):
            key = (tuple(self.document.tolist()), tuple(self.written))
            if key not in self.whole.known:
                writing = self.whole.model.begin(self.document)
                for word in self.written:
                    writing.write(word)
                self.whole.known[key] = writing.logits().copy()
            return self.whole.known[key]

        def write(self, word):
            self.written.append(word)


def described(kind, model, tokens=2, **changes):
    fields = {"low": LOW, "high": HIGH, "temperature": TEMPERATURE, **changes}
    return kind(WORDS, tokens, model=model.sha256, **fields)


@pytest.fixture(scope="module")
def made(causal, masked):
    """The three mechanisms: a writer, a masked reader and a causal one in its place."""
    writer = Remembered(LanguageWriter.of(causal, tokenizer_of(), WORDS, "a b {document} c"))
    readers = [MaskedReader.of(masked, tokenizer_of(), WORDS), CausalReader.of(causal, tokenizer_of(), WORDS, "d")]
    found = {"dp prompt": DpPrompt(described(DpPromptSpec, writer), writer, TABLE)}
    for name, reader in zip(("masked", "causal"), map(Remembered, readers), strict=True):
        found[name] = DpMlm(described(DpMlmSpec, reader), reader, TABLE)
    return found


NAMES = ["dp prompt", "masked", "causal"]
every = pytest.mark.parametrize("name", NAMES)


def clipped_law(logits):
    """By hand: the law of a word of these logits, the end left out."""
    weights = np.exp(np.clip(logits.double().numpy(), LOW, HIGH) / TEMPERATURE)
    weights[END] = 0
    return weights / weights.sum()


def laws_by_hand(name, causal, masked, document):
    """The law of both words, shape (words, words), by plain passes over tokens: no cache, no embeddings, no batch."""
    a, b, c, d = 1, 2, 3, 4

    def said(row, place=-1):
        return causal.model(input_ids=torch.tensor([row])).logits[0, place]

    if name == "dp prompt":
        before = [END, a, b, *document, c]
        first = clipped_law(said(before))
        return first[:, None] * np.stack([clipped_law(said([*before, word])) for word in range(WORDS)])
    if name == "causal":
        before = [END, *document, d]
        return np.outer(clipped_law(said(before)), clipped_law(said([*before, document[0]])))
    laws = []
    for place in range(2):
        text = [masked.mask if at == place else token for at, token in enumerate(document)]
        row, kinds = [END, *document, END, *text, END], [0, 0, 0, 0, 1, 1, 1]
        logits = masked.model(input_ids=torch.tensor([row]), token_type_ids=torch.tensor([kinds])).logits[0, 4 + place]
        laws.append(clipped_law(logits[:WORDS]))
    return np.outer(*laws)


def law_of(mechanism, document):
    """The law of both words by the whole weights themselves, shape (words, words)."""
    document, model = np.array(document), mechanism.model

    def shares(logits):
        weights = mechanism.weights(logits).astype(np.float64)
        return weights / weights.sum(axis=-1, keepdims=True)

    if isinstance(mechanism, DpMlm):
        return np.outer(*shares(np.concatenate(list(model.logits(document)))))
    first = shares(model.begin(document).logits())
    second = []
    for word in range(WORDS):
        writing = model.begin(document)
        writing.write(word)
        second.append(shares(writing.logits()))
    return first[:, None] * np.stack(second)


class Unclipped:
    """Mixed in: the planted fault."""

    def weights(self, logits):
        scaled = np.exp((np.asarray(logits, dtype=np.float64) - np.max(logits)) / self.spec.temperature)
        return np.where(self.model.possible, np.rint(scaled * 2.0**40) + 1, 0).astype(np.uint64)


def unclipped(mechanism):
    kind = type("Faulty", (Unclipped, type(mechanism)), {})
    return kind(mechanism.spec, mechanism.model, TABLE)


@every
def test_the_weights_are_the_law_by_hand(made, causal, masked, name):
    for document in DOCUMENTS[::5]:
        by_hand = laws_by_hand(name, causal, masked, document)
        assert law_of(made[name], document) == pytest.approx(by_hand, rel=1e-4, abs=1e-12)


@every
def test_whole_documents_are_released_with_the_law(made, causal, masked, name):
    """Chi-square over both words at 1e-6; without the clip the same test rejects."""
    document, count = [3, 5], 8_000
    law = laws_by_hand(name, causal, masked, document).ravel()

    def p_value(mechanism):
        source = SimulatedRandomness(0, "rewriting", name)
        words = np.stack([mechanism.replace(np.array(document), source) for _ in range(count)])
        found = np.bincount(words @ [WORDS, 1], minlength=WORDS**2)
        assert not found[law == 0].any()
        return chisquare(found[law > 0], count * law[law > 0] / law.sum()).pvalue

    assert p_value(made[name]) > FALSE_ALARM
    assert p_value(unclipped(made[name])) < FALSE_ALARM


@every
def test_theorem_25_holds_for_all_pairs_of_documents(made, name):
    """Two tokens of six words; without the clip a pair exceeds the pure epsilon."""
    mechanism = made[name]
    written = np.outer(mechanism.model.possible, mechanism.model.possible)
    laws = np.stack([law_of(mechanism, document)[written] for document in DOCUMENTS])
    assert laws.shape == (36, 25)
    found = rival_guarantee(mechanism, unit="prompt", tokens=2)
    ratios = np.log(laws).max(axis=0) - np.log(laws).min(axis=0)
    assert 0.3 * found.pure_epsilon.upper < ratios.max() <= found.pure_epsilon.upper
    for delta in (0.1, 1e-2, 1e-4):
        epsilon = rival_guarantee(mechanism, delta, "prompt", 2).epsilon.upper
        for p in laws:
            assert np.maximum(p - np.exp(epsilon) * laws, 0).sum(axis=1).max() <= delta
    variations = [np.abs(p - laws).sum(axis=1).max() / 2 for p in laws]
    assert max(variations) <= found.total_variation.upper
    wrong = np.log(np.stack([law_of(unclipped(mechanism), document)[written] for document in DOCUMENTS]))
    assert (wrong.max(axis=0) - wrong.min(axis=0)).max() > found.pure_epsilon.upper


@every
@pytest.mark.parametrize("changed", [0, 1])
def test_one_token_changes_the_law_of_every_place(made, name, changed):
    """DP-MLM's places are drawn on their own, and still each of them reads the whole document."""
    laws = np.stack([law_of(made[name], document) for document in DOCUMENTS])
    kept = np.array(DOCUMENTS)[:, 1 - changed]
    for place in (0, 1):
        of_place = laws.sum(axis=2 - place)
        apart = [np.ptp(of_place[kept == token], axis=0).max() for token in range(WORDS)]
        assert max(apart) > 0.01


@every
def test_the_output_is_as_long_as_the_document_and_its_end_is_never_written(made, name):
    mechanism = made[name]
    for document in ([4], [2, 0]):
        message = mechanism.release(document, SimulatedRandomness(0))
        words = mechanism.observed(message)
        assert len(words) == len(document)
        assert len(message) == mechanism.format.length(len(document))
        assert (words != END).all()
        assert np.array_equal(mechanism.embeddings(message), TABLE[words])


@every
def test_a_logit_that_is_no_number_counts_as_low_and_none_leaves_the_clip(made, name):
    mechanism = made[name]
    weights = mechanism.weights(np.array([0.0, np.nan, -np.inf, np.inf, LOW - 1, HIGH + 1]))
    least, most = mechanism.spec.least_weight, mechanism.spec.most_weight
    lowest = weights[[1, 2, 4]].astype(object)  # exp of an array may round another way than exp of a number
    assert all(least <= weight <= least * (1 + 1e-15) for weight in lowest)
    assert weights[[0, 3, 5]].tolist() == [0, most, most]
    assert least == pytest.approx(most * np.exp((LOW - HIGH) / TEMPERATURE))


@every
def test_a_document_that_is_too_long_is_refused_and_nothing_is_drawn(made, name, no_words):
    with pytest.raises(UserError, match=r"at most 2 tokens, .*, got 3: shorten it"):
        made[name].release([1, 2, 3], no_words)


def test_the_halves_need_their_own_part_only(made, no_words):
    for mechanism in made.values():
        server = type(mechanism)(mechanism.spec, table=TABLE)
        client = type(mechanism)(mechanism.spec, mechanism.model)
        message = client.release([1, 2], SimulatedRandomness(0))
        assert server.embeddings(message).shape == (2, 4)
        with pytest.raises(UserError, match="table=None"):
            client.embeddings(message)
        with pytest.raises(UserError, match="language model at the client"):
            server.release([1, 2], no_words)


def test_longer_documents_are_read_in_batches_as_one_by_one(masked):
    whole, single = (MaskedReader.of(masked, tokenizer_of(), WORDS, batch) for batch in (3, 1))
    document = np.array([1, 5, 2, 2, 4, 0, 3, 1])
    blocks = list(whole.logits(document))
    assert [len(block) for block in blocks] == [3, 3, 2]
    assert np.concatenate(blocks) == pytest.approx(np.concatenate(list(single.logits(document))), abs=1e-5)
    assert whole.sha256 == single.sha256


def test_the_context_bounds_the_document(causal, masked):
    writer = LanguageWriter.of(causal, tokenizer_of(), WORDS, "a b {document} c")
    reader, stand_in = (
        MaskedReader.of(masked, tokenizer_of(), WORDS),
        CausalReader.of(causal, tokenizer_of(), WORDS, "d"),
    )
    assert [model.longest for model in (writer, reader, stand_in)] == [10, 10, 11]
    for kind, spec, model in (
        (DpPrompt, DpPromptSpec, writer),
        (DpMlm, DpMlmSpec, reader),
        (DpMlm, DpMlmSpec, stand_in),
    ):
        mechanism = kind(described(spec, model, model.longest), model)
        assert mechanism.release([1] * model.longest, SimulatedRandomness(0))
        with pytest.raises(UserError, match=f"tokens <= {model.longest}"):
            kind(described(spec, model, model.longest + 1), model)


def test_a_server_with_more_rows_than_the_model_has_words_gets_none_of_them(causal, masked):
    table = np.zeros((WORDS + 3, 4), dtype=np.float32)
    for kind, spec, model in (
        (DpPrompt, DpPromptSpec, LanguageWriter.of(causal, tokenizer_of(), WORDS + 3, "{document} c")),
        (DpMlm, DpMlmSpec, MaskedReader.of(masked, tokenizer_of(), WORDS + 3)),
        (DpMlm, DpMlmSpec, CausalReader.of(causal, tokenizer_of(), WORDS + 3, "d")),
    ):
        assert model.possible.tolist() == [False] + [True] * 5 + [False] * 3
        mechanism = kind(spec(WORDS + 3, 10, -1.0, 1.0, 1.0, model.sha256), model, table)
        words = mechanism.observed(mechanism.release([WORDS + 1 - 2] * 10, SimulatedRandomness(3)))
        assert words.max() < WORDS


def test_what_the_model_reads_beside_the_document_is_part_of_its_hash(causal, masked):
    templates = ("{document} c", "{document} d", "c {document}")
    hashes = [LanguageWriter.of(causal, tokenizer_of(), WORDS, template).sha256 for template in templates]
    hashes += [CausalReader.of(causal, tokenizer_of(), WORDS, between).sha256 for between in "cd"]
    hashes.append(MaskedReader.of(masked, tokenizer_of(), WORDS).sha256)
    assert len(set(hashes)) == len(hashes)
    other = LanguageModel(causal.model, causal.tokenizer, dataclasses.replace(RECORD, sha256="2" * 64))
    assert LanguageWriter.of(other, tokenizer_of(), WORDS, templates[0]).sha256 != hashes[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"words": 1}, "words"),
        ({"tokens": 0}, "tokens"),
        ({"low": HIGH}, "low < high=0.8"),
        ({"low": float("nan")}, "low"),
        ({"high": float("inf")}, "high"),
        ({"high": "1"}, "high"),
        ({"temperature": 0.0}, "temperature"),
        ({"model": "1" * 63}, "model"),
        ({"model": 7}, "model"),
    ],
)
def test_descriptions_out_of_range_are_refused(changes, told):
    fields = {"words": 6, "tokens": 2, "low": LOW, "high": HIGH, "temperature": 1.0, "model": "1" * 64}
    for spec in (DpPromptSpec, DpMlmSpec):
        with pytest.raises(UserError, match=told):
            spec(**{**fields, **changes})


def test_models_that_do_not_fit_are_refused(causal, masked, made):
    model = made["dp prompt"].model
    spec = described(DpPromptSpec, model)
    with pytest.raises(UserError, match="language model of hash"):
        DpPrompt(dataclasses.replace(spec, model="3" * 64), model)
    with pytest.raises(UserError, match="model over 7 words, got one over 6"):
        DpPrompt(dataclasses.replace(spec, words=7), model)
    with pytest.raises(UserError, match="table of 6 words"):
        DpPrompt(spec, model, TABLE[:5])
    with pytest.raises(UserError, match="in it once"):
        LanguageWriter.of(causal, tokenizer_of(), WORDS, "no document")
    with pytest.raises(UserError, match="at least one token"):
        CausalReader.of(causal, tokenizer_of(), WORDS, "")
    server = tokenizer_of("f")
    for make in (MaskedReader.of, LanguageWriter.of, CausalReader.of):
        with pytest.raises(UserError, match=r"for 'f' in place of 6.*CausalReader"):
            make(masked if make == MaskedReader.of else causal, server, WORDS + 1)


def test_a_mechanism_that_writes_nothing_is_refused(made):
    class Mute:
        words, longest, sha256, possible = WORDS, 9, "1" * 64, np.zeros(WORDS, dtype=bool)

    with pytest.raises(UserError, match="words that may be written"):
        DpMlm(DpMlmSpec(WORDS, 2, LOW, HIGH, 1.0, "1" * 64), Mute())


def test_the_tiny_model_rewrites_text(language, public_documents):
    """The packaged shape: a byte-level tokenizer, the papers' template, a prompt of 30 tokens."""
    table = language.model.get_input_embeddings().weight.detach().numpy()
    document = public_documents[0][:30]
    for kind, spec, model in (
        (DpPrompt, DpPromptSpec, LanguageWriter.of(language, language.tokenizer, len(table))),
        (DpMlm, DpMlmSpec, CausalReader.of(language, language.tokenizer, len(table))),
    ):
        mechanism = kind(spec(len(table), 30, -1.0, 1.0, 1.0, model.sha256), model, table)
        messages = [mechanism.release(document, SimulatedRandomness(seed)) for seed in (0, 0, 1)]
        assert messages[0] == messages[1] != messages[2]
        assert mechanism.embeddings(messages[0]).shape == (30, table.shape[1])


def test_descriptions_and_servers_need_no_torch():
    code = (
        "import sys, mechanisms.rivals, mechanisms.rivals.dp_prompt, mechanisms.rivals.dp_mlm\n"
        "import del_audit.accounting.rivals.dp_prompt, del_audit.accounting.rivals.dp_mlm\n"
        "heavy = {'torch', 'transformers'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
