"""What the server adds to the plain model: decoding, the soft prompt, the loop; the ratio is what counts."""

import statistics
import time

import numpy as np
import torch

from mechanisms.client import Client
from mechanisms.generation import GenerationSettings
from mechanisms.models import load_causal_lm
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.server import Server
from mechanisms.soft_prompt import SoftPrompt
from mechanisms.spec import QuantizerSpec

PROMPT, NEW, VIRTUAL, RUNS = 128, 64, 20, 7
MODEL = "package:smollm2-135m-instruct"

if __name__ == "__main__":
    language = load_causal_lm(MODEL)
    model = language.model
    model.config.eos_token_id = model.generation_config.eos_token_id = None  # both write to the end
    table = model.get_input_embeddings().weight.detach().numpy()
    tokens = simulation_generator(0, "benchmark").integers(100, len(table), 20_000)
    pipeline = assemble(table, [tokens.tolist()], QuantizerSpec.from_mu(4, 18, 0.05, 40.0), EncoderSettings())
    prompt = tokens[:PROMPT].tolist()
    message = Client(language.tokenizer, pipeline, PROMPT, SimulatedRandomness(0)).release_tokens(prompt)
    server = Server(language, pipeline, SoftPrompt("benchmark", torch.from_numpy(table[200 : 200 + VIRTUAL]), {}, ""))
    settings = GenerationSettings(NEW, greedy=True)
    inputs = torch.tensor([prompt])

    def plain() -> object:
        with torch.no_grad():
            return model.generate(
                inputs, attention_mask=torch.ones_like(inputs), do_sample=False, max_new_tokens=NEW, pad_token_id=0
            )

    works = {
        "plain model, transformers' generate": plain,
        "server, soft prompt, posterior mean": lambda: server.write([message], settings),
        "of it: decoding the message": lambda: pipeline.embeddings(message),
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(RUNS + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - start)
    paired = np.array(taken["server, soft prompt, posterior mean"][1:]) / np.array(next(iter(taken.values()))[1:])
    print(f"{MODEL}, {PROMPT} prompt tokens, {VIRTUAL} virtual, {NEW} new, greedy; median of {RUNS} runs, taking turns")
    bare = statistics.median(next(iter(taken.values()))[1:])
    for name, seconds in taken.items():
        print(f"{name:<38} {statistics.median(seconds[1:]):7.3f} s {statistics.median(seconds[1:]) / bare:6.3f}x")
    print(f"median of the paired ratios {np.median(paired):.3f}, from {paired.min():.3f} to {paired.max():.3f}")
