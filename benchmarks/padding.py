"""What filling prompts up costs: the loss of the true response, bytes and epsilon, beside the same prompts unfilled.

Prompts are 40 tokens of public drug reviews that no part is fitted on beyond the prior, sent as they are and filled up
to 64 and 128 tokens, by both examples. --prompts N takes fewer of them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # `attacks` is a package

from del_audit.accounting.any_mechanism import proved_guarantee
from del_audit.certificate.padding import PADDING, padding_of, padding_sections
from del_audit.configuration.configuration import load_configuration
from del_audit.process.quiet import silence_libraries
from del_audit.service.assets import build, load_assets
from del_audit.service.prompts import cut_prompts, strangers
from del_audit.statistics.gain_interval import gain_mean
from mechanisms.client import Client
from mechanisms.randomness import SimulatedRandomness
from mechanisms.server import Server

EXAMPLES = ("smollm2-reviews", "smollm2-reviews-words")
PROMPT, RESPONSE, LENGTHS, SEED = 40, 48, (40, 64, 128), 0


def measured(name: str, prompts: int) -> None:
    """Prints one line for each length."""
    configuration = load_configuration(Path("examples") / f"{name}.yaml")
    assets = load_assets(configuration)
    pipeline = build(configuration, assets)
    server = Server(assets.language, pipeline, assets.soft_prompt)
    tokenizer = assets.language.tokenizer
    cuts = cut_prompts(assets.public[::-1], PROMPT, RESPONSE, limit=prompts)
    plain = None
    for length in LENGTHS:
        padding = padding_of(padding_sections((length,), tokenizer)[PADDING])
        filled = [padding.filled(np.asarray(tokens)) if length > PROMPT else tokens for tokens in cuts.clean]
        client = Client(tokenizer, pipeline, LENGTHS[-1], SimulatedRandomness(SEED, f"benchmark padding {length}"))
        messages = [client.release_tokens(tokens) for tokens in filled]
        others = [messages[other] for other in strangers(cuts.documents)]
        own, other = server.losses(messages, cuts.responses), server.losses(others, cuts.responses)
        gain = gain_mean(other - own, SEED, cuts.documents)
        plain = own if plain is None else plain
        change = gain_mean(own - plain, SEED, cuts.documents)
        epsilon = proved_guarantee(pipeline.spec, "prompt", length, 1e-5).epsilon.upper
        print(
            f"{name:<22} {length:>4} tokens {len(messages[0]):>5} bytes, epsilon {epsilon:.1f}; loss {own.mean():.4f}, "
            f"beside 40's {change.value:+.4f} [{change.lower:+.4f}, {change.upper:+.4f}]; "
            f"gain over another's {gain.value:.4f} [{gain.lower:.4f}, {gain.upper:.4f}] nats per token"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=200)
    arguments = parser.parse_args()
    silence_libraries()
    for example in EXAMPLES:
        measured(example, arguments.prompts)
