"""What a generation table measures of one mechanism: coherence and perplexity, beside their controls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from del_audit.evidence.evaluation import ANSWERS, LOSSES, Metric, evaluate
from del_audit.evidence.utility import RELEASED, Answering
from del_audit.reproduce.bench import Bench
from del_audit.reproduce.contenders import Contender
from del_audit.reproduce.protocol import OTHER_MU, Row
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.mechanism import Mechanism
from mechanisms.pipeline import Pipeline
from mechanisms.progress import Progress
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals.inferdpt import InferDPT
from mechanisms.server import Server
from mechanisms.soft_prompt import load_soft_prompt
from mechanisms.text_pieces import text_of


def measure_generation(bench: Bench, row: Row, contender: Contender) -> dict[str, Json]:
    """Returns the figures of one cell, every condition, and each prompt's values, for paired differences.

    Perplexity is of the remote model: with local extraction there is none.
    """
    assert bench.cuts is not None
    assert bench.sentences is not None
    mechanism, source = contender.mechanism, SimulatedRandomness(bench.seed, "reproduce release")
    prompts = bench.cuts.released(lambda tokens: mechanism.release(tokens, source))
    folder = _soft_prompt(bench, row, mechanism)
    soft = None if folder is None else load_soft_prompt(folder, bench.table.shape[1], bench.language.record)
    remote = Server(bench.language, mechanism, soft)
    server: Answering = remote
    metrics: tuple[Metric, ...] = ("prediction", "coherence")
    if row.local:
        texts = [text_of(bench.language.tokenizer, tokens) for tokens in prompts.clean]
        local = InferDPT(bench.language.tokenizer, mechanism, bench.extractor, bench.language.context_tokens)
        server, metrics = WithExtraction(remote, local, dict(zip(prompts.messages, texts, strict=True))), ("coherence",)
    updates = (0 if row.local else LOSSES) + ANSWERS
    with tqdm(total=updates * len(prompts), desc=f"evaluating {row.name}", unit="text", leave=False) as bar:
        found = evaluate(
            row.name,
            bench.language,
            server,
            prompts,
            seed=bench.seed,
            progress=bar,
            sentences=bench.sentences,
            new_tokens=bench.sizes.new_tokens,
            metrics=metrics,
        )
    summary = found.to_dict()
    values = {"coherence": found.cosines[RELEASED].tolist()}
    if not row.local:
        values["perplexity"] = found.losses[RELEASED].tolist()
    sizes = [len(message) / len(tokens) for message, tokens in zip(prompts.messages, prompts.clean, strict=True)]
    figures = ("coherence", "coherence_gain", "perplexity", "prediction")
    return {
        **{name: summary[name] for name in figures if name in summary},
        "sample": found.sample,
        "documents": list(found.documents),
        "values": values,
        "bytes_a_token": float(np.mean(sizes)),
    }


def _soft_prompt(bench: Bench, row: Row, mechanism: Mechanism) -> str | None:
    """Returns the folder of the row's soft prompt, trained where it is not there yet."""
    if row.prompt is None:
        return None
    if row.prompt == "other mu":
        assert isinstance(mechanism, Pipeline)
        spec = mechanism.spec
        mechanism = bench.contenders.at("del", spec.bits, spec.dim, OTHER_MU).mechanism
    return str(bench.soft_prompt(mechanism, general=row.prompt == "general"))


@dataclass(frozen=True)
class WithExtraction:
    """InferDPT whole, as an evaluation sees it: the server's draft, and the local model's answer from it.

    prompts: the clean prompt behind each message, which the user who sent it knows. A request without a prompt has
    none, and its answer is the draft itself.
    """

    server: Server
    local: InferDPT
    prompts: dict[bytes, str]

    def answer(self, messages: Sequence[bytes | None], new_tokens: int, seed: int) -> list[str]:
        """Returns one answer a message; raises UserError as InferDPT.extract does."""
        drafts = self.server.answer(messages, new_tokens, seed)
        asked = [index for index, message in enumerate(messages) if message is not None]
        known = [self.prompts[message] for message in messages if message is not None]
        written = self.local.extract(known, [drafts[index] for index in asked], new_tokens, seed) if asked else []
        for index, text in zip(asked, written, strict=True):
            drafts[index] = text
        return drafts

    def losses(
        self, messages: Sequence[bytes | None], responses: Sequence[Sequence[int]], progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """Raises UserError: the answer is two models' work, and no one loss is its own."""
        raise UserError("Expected metric coherence for local extraction, got prediction.")
