"""Fixtures for every test: a tiny model, and packaged assets that are skipped only where they cannot be had."""

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

from mechanisms.assets import Asset, package_asset
from mechanisms.package_sources import AssetUnavailableError
from mechanisms.randomness import simulation_generator

sys.path.append(str(Path(__file__).parent))  # helpers that several folders of tests import
from made_up import ABOUT, some_words, write_rows

collect_ignore_glob = ["toy_*.py"]
"""What a test adds to a registry: without its row it cannot be imported."""

settings.register_profile("del-audit", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("del-audit")

SENTENCES = [
    "The doctor told me to take one tablet a day, and the pain was gone within a week.",
    "I had no side effects at all, but my sister could not sleep while she was on it.",
    "It did not work for me: the headaches came back, and I felt tired all the time.",
]


def pytest_collection_finish() -> None:
    """What is imported lives as long as the process: no collection of garbage need walk its million objects again."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small matrix products on several threads wait for each other, seconds where the machine is shared."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_config_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test makes or reads the keys, or the records, of whoever runs it, or depends on the terminal's width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)  # the runner on both cores sets it
        patch.setenv("DEL_AUDIT_CONFIG", str(tmp_path_factory.mktemp("config")))
        state = tmp_path_factory.mktemp("state")
        state.chmod(0o700)
        patch.setenv("DEL_AUDIT_STATE", str(state))
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_attackers_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps what tests train for attacks out of the user's cache; one folder, so that it is trained once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attacks.ladder.cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="session")
def tiny_lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a random Llama (2 layers, hidden 32, context 256) and a byte-level BPE of 384 entries."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-lm")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=384, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a random BERT (1 layer, hidden 16) that knows a dozen words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "sat", "dog", "ran", "far"]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a file of sixty made-up reviews, 36 public: two conditions, two ratings, an author of every two rows."""
    generator, rows = simulation_generator(0, "reviews"), []
    for index in range(60):
        condition, rating = ("sleep", "pain")[index % 2], ("good", "bad")[index // 2 % 2]
        text, split = f"{ABOUT[condition]} {some_words(generator)}", "train" if index < 36 else "test"
        rows.append((text, split, condition, 20 + index % 40, f"a{index // 4}-{index % 2}", rating))
    columns = ("text", "split", "condition", "age", "author", "rating")
    return write_rows(tmp_path_factory.mktemp("reviews") / "reviews.csv", columns, rows)


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Asset]:
    """Returns package_asset; it skips the test where the asset is not cached and no package index can be reached."""

    def get(name: str) -> Asset:
        try:
            return package_asset(name)
        except AssetUnavailableError as error:
            if _index_reachable(tmp_path_factory.mktemp("probe")):
                raise
            pytest.skip(f"{name} is not in the cache, and no package index can be reached: {error}")

    return get


def _index_reachable(folder: Path) -> bool:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "iniconfig"]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


@pytest.fixture
def swapped(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, bytes, bytes], list[bytes]]:
    """A file that is another one for whoever reads it twice: the first reading of its bytes gets one, later ones not.

    Returns what was read, which a second reading makes longer.
    """

    def swap(path: Path, first: bytes, later: bytes) -> list[bytes]:
        reads: list[bytes] = []
        read = Path.read_bytes

        def read_bytes(asked: Path) -> bytes:
            if asked != path:
                return read(asked)
            path.write_bytes(later if reads else first)
            reads.append(read(path))
            path.write_bytes(later)
            return reads[-1]

        path.write_bytes(later)
        monkeypatch.setattr(Path, "read_bytes", read_bytes)
        return reads

    return swap


@pytest.fixture
def attacks_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the attacks required and as strong as when kept certificates were made: they are current then."""
    from dataclasses import replace

    from attacks.registry import ATTACKS, INFORMED_VERSIONS

    monkeypatch.setitem(ATTACKS, "adapted-beam", replace(ATTACKS["adapted-beam"], required_by=(), version=1))
    monkeypatch.setitem(INFORMED_VERSIONS, "known-context", 1)


@pytest.fixture
def one_thread(monkeypatch):
    """One thread here and in processes that start: with another number sums are rounded in another order."""
    import torch
    from threadpoolctl import threadpool_limits

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)
