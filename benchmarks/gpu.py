"""What one GPU does beside this machine's CPU: MAP, the beam, a whole certificate, and a random model of 7 billion.

    python benchmarks/gpu.py                          # one GPU, under 8 minutes
    python benchmarks/gpu.py --device cpu --small     # the same steps, tiny, to see that they run

All models, texts and tokenizers are random and made here: it needs no network and no package beside del-audit's own.
Each figure of the device stands beside the CPU's in the same run, and what both compute is compared.
"""

import argparse
import contextlib
import io
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # `attacks` is a package

from attacks.base import AttackerKnowledge
from attacks.inversion import LanguageBeam
from del_audit.cli import main as del_audit
from del_audit.process.quiet import silence_libraries
from del_audit.service.provenance import versions
from mechanisms.device_channel import DeviceChannel
from mechanisms.models import LanguageModel, load_causal_lm, load_embedding_table
from mechanisms.pipeline import Pipeline, assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec

DIM, CLIP, MU = 18, 0.05, 10.0
NEAR = 1e-3
"""Nats between the best two words below which the CPU's and the device's float32 may disagree on the best."""
SEED = 0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done. hidden, layers, heads, inner: of the model of the example's shape; large: of the largest."""

    words: int = 49_152
    hidden: int = 576
    layers: int = 30
    heads: int = 9
    inner: int = 1_536
    tokens: int = 1_000_000
    compared: int = 2_000
    prompts: int = 16
    length: int = 32
    on_cpu: int = 1
    documents: int = 400
    large: tuple[int, int, int, int] = (4_096, 32, 32, 11_008)

    @classmethod
    def small(cls) -> "Sizes":
        """Returns sizes that a CPU does in a minute or two."""
        return cls(512, 36, 2, 3, 48, 4_000, 500, 4, 12, 1, 120, (64, 2, 4, 96))


def save_model(folder: Path, sizes: Sizes, shape: tuple[int, int, int, int], device: str) -> Path:
    """Writes a random Llama in bfloat16 with a tokenizer of whole words; returns the folder."""
    hidden, layers, heads, inner = shape
    vocabulary = {"<end>": 0, **{f"w{number}": number for number in range(1, sizes.words)}}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<end>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=sizes.words,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 3 if heads % 3 == 0 else heads,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(SEED)
    with torch.device(device):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(before)
    model.save_pretrained(folder, max_shard_size="2GB")
    return folder


def save_sentences(folder: Path, language: Path) -> Path:
    """Writes a small random sentence encoder with the language model's tokenizer; returns the folder."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(language)
    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        pad_token_id=0,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_corpus(path: Path, sizes: Sizes) -> Path:
    """Writes documents of 128 words each, drawn by Zipf's law, half public and half private; returns the path."""
    generator = simulation_generator(SEED, "corpus")
    lines = ["text,split"]
    for number in range(sizes.documents):
        drawn = np.minimum(generator.zipf(1.3, 128), sizes.words - 1)
        lines.append(f"{' '.join(f'w{word}' for word in drawn)},{'train' if number % 2 else 'test'}")
    path.write_text("\n".join(lines))
    return path


def timed(work: Callable[[], object], device: str) -> float:
    """Returns the seconds that some work takes, all that it put on the device included."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    """Waits until the device has done all that it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak(device: str) -> str:
    """Returns the most memory that was used so far: the device's, or this process's where that is the CPU."""
    if device.startswith("cuda"):
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB on the device"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB of the process"


def knowledge(language: LanguageModel, pipeline: Pipeline, documents: list[list[int]]) -> AttackerKnowledge:
    """Returns what an attacker knows of the pipeline, with this language model."""
    return AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, documents, language, SEED)


def check_map(pipeline: Pipeline, sizes: Sizes, device: str) -> None:
    """Times MAP on the device, and compares it with the CPU's; raises SystemExit where they differ."""
    drawn = simulation_generator(SEED, "tokens").choice(len(pipeline.prior), sizes.tokens, p=pipeline.prior)
    message = pipeline.release(drawn[: sizes.compared].tolist(), SimulatedRandomness(SEED, "release"))
    seen = pipeline.observed(message)
    log_prior = np.log(pipeline.prior)
    placed = DeviceChannel.of(pipeline.channel, log_prior, "cpu:0" if device == "cpu" else device)
    ours = placed.evidence(seen).cpu().numpy()
    reference = np.concatenate([block.copy() for _, block in pipeline.channel.scores(seen, log_prior)])
    two = np.sort(reference, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > NEAR
    apart = float(np.abs(ours - reference).max() / np.abs(reference).max())
    same = float((ours.argmax(1) == reference.argmax(1))[clear].mean())
    print(f"MAP: scores within {apart:.1e} of the CPU's, relative; of {clear.sum()} best words {same:.2%} are the same")
    if apart > 1e-5 or same < 1:
        raise SystemExit("gpu: the device's scores are not the CPU's")
    many = np.resize(seen, (sizes.tokens, seen.shape[1]))
    seconds = timed(lambda: placed.most_likely(many), device)
    part = many[: sizes.compared]
    on_cpu = timed(lambda: [block.argmax(1) for _, block in pipeline.channel.scores(part, log_prior)], "cpu")
    ratio = on_cpu * sizes.tokens / sizes.compared / seconds
    print(
        f"MAP of {sizes.tokens:,} tokens, {len(log_prior):,} words, d {DIM}: {seconds:.2f} s (target 5 s), "
        f"{ratio:.1f}x the CPU's rate on {sizes.compared:,} tokens"
    )


def check_beam(folder: Path, pipeline: Pipeline, documents: list[list[int]], sizes: Sizes, device: str) -> None:
    """Times the beam on the device and on the CPU, on the same messages, and says how alike the readings are."""
    texts = [document[: sizes.length] for document in documents[: sizes.prompts]]
    sent = [pipeline.release(text, SimulatedRandomness(SEED, f"beam {number}")) for number, text in enumerate(texts)]
    found, rates = [], []
    for where, messages in ((device, sent), ("cpu", sent[: sizes.on_cpu])):
        language = load_causal_lm(str(folder), device=where, dtype="float32")
        attacker = LanguageBeam().fit(knowledge(language, pipeline, documents))
        if where != "cpu":
            attacker.guess(messages[:1])  # kernels are chosen and compiled at their first use
        start = time.perf_counter()
        found.append([guesses.best for guesses in attacker.guess(messages)])
        wait(where)
        seconds = time.perf_counter() - start
        rates.append(len(messages) * sizes.length / seconds)
    alike = float(np.mean([np.mean(one == other) for one, other in zip(found[0], found[1], strict=False)]))
    print(
        f"Beam, {sizes.prompts} x {sizes.length} tokens: {rates[0]:.1f} a second, {rates[0] / rates[1]:.1f}x the CPU's "
        f"(target 30x); {100 * alike:.1f}% of {sizes.on_cpu * sizes.length} words read alike"
    )


def check_certificate(folder: Path, work: Path, device: str, name: str, target: str, brief: bool) -> None:
    """Certifies a random model through the command line, and prints seconds and memory; SystemExit where it fails."""
    content = {
        "name": name,
        "model": str(folder),
        "dtype": "bfloat16",
        "device": device,
        "sentence_encoder": str(work / "sentences"),
        "mechanism": {"bits": 4, "dim": DIM, "clip": CLIP, "mu": MU},
        "data": {"corpus": str(work / "corpus.csv"), "text_column": "text"},
        "evaluation": {
            "attacked_tokens": 2_000 if not brief else 400,
            "context_prompts": 32 if not brief else 8,
            "prompts": 32 if not brief else 8,
            "response_tokens": 16,
            "generations": 2,
            "generated_tokens": 8,
            "other_bits": [],
            **({"attacks": ["baseline", "map", "beam"]} if brief else {}),
        },
        "policy": {"assurance": "quick", "prompt_tokens": 32, "attack_success_at_most": 0.99},
    }
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    said, codes = io.StringIO(), list[int]()
    with contextlib.redirect_stdout(said):
        seconds = timed(lambda: codes.append(del_audit(["certify", str(path), "--out", str(work / name)])), device)
    if codes[0] not in (0, 1, 3):
        raise SystemExit(f"gpu: certify ended with exit code {codes[0]}\n{said.getvalue()}")
    print(f"Certificate of {name}: {seconds:.0f} s, {peak(device)} ({target})")


def main() -> None:
    """Prints every figure, with the machine and the versions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="of torch's (default: cuda)")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--work", type=Path, help="folder for what is made (default: a temporary one)")
    arguments = parser.parse_args()
    sizes, device = Sizes.small() if arguments.small else Sizes(), arguments.device
    silence_libraries()
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise SystemExit("gpu: torch sees no CUDA device here; --device cpu --small shows that the script runs")
        print(f"Device: {torch.cuda.get_device_name()}")
    print("Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions().items())))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=arguments.work) as made:
        work = Path(made)
        shape = sizes.hidden, sizes.layers, sizes.heads, sizes.inner
        folder = save_model(work / "model", sizes, shape, device)
        save_sentences(work / "sentences", folder)
        corpus = save_corpus(work / "corpus.csv", sizes).read_text().splitlines()[1:]
        documents = [[int(word[1:]) for word in line.split(",")[0].split()] for line in corpus]
        table = load_embedding_table(str(folder))
        spec = QuantizerSpec.from_mu(4, DIM, CLIP, MU)
        pipeline = assemble(table, documents, spec, EncoderSettings(), "posterior-mean", SEED)
        check_map(pipeline, sizes, device)
        check_beam(folder, pipeline, documents, sizes, device)
        check_certificate(folder, work, device, "example-shape", "target 30 s", brief=False)
        large = save_model(work / "large", sizes, sizes.large, device)
        parameters = sum(path.stat().st_size for path in large.glob("*.safetensors")) / 2e9
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        check_certificate(
            large, work, sizes, device, f"random-{parameters:.1f}b".replace(".", "-"), "target 40 GB", True
        )
    print(f"All of it: {time.perf_counter() - start:.0f} s (target 480 s)")


if __name__ == "__main__":
    main()
