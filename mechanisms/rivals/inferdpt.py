"""InferDPT (Tong et al., arXiv 2310.12214): a perturbed prompt to the server, a local model that mends the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mechanisms.client import Client
from mechanisms.description import Description
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.mechanism import Releaser
from mechanisms.models import LanguageModel
from mechanisms.randomness import RandomSource, SystemRandomness
from mechanisms.text_pieces import text_of

INSTRUCTION = (
    "Continue the prefix text. A draft of the continuation follows; it was written for a garbled copy of the prefix. "
    "Take from the draft what fits the prefix, stay coherent and consistent with it, and write the continuation only.\n"
    "Prefix text: {prompt}\nDraft: {draft}\nContinuation:"
)


@dataclass(frozen=True)
class InferDPT:
    """The user's side: what leaves it is the perturbation's message, so the perturbation's guarantee is all of it.

    tokenizer: that of the server's model. perturbation: RANTEXT in the paper; any releaser. extractor: the local model,
    which reads the clean prompt and the server's draft, and never sends anything. max_tokens: as of Client. source:
    where random words come from; leave it out, except to simulate a release of public text.
    """

    tokenizer: PreTrainedTokenizerBase
    perturbation: Releaser
    extractor: LanguageModel
    max_tokens: int
    source: RandomSource | None = None

    @property
    def spec(self) -> Description:
        """What the accountant bounds: the perturbation."""
        return self.perturbation.spec

    def release(self, prompt: str) -> bytes:
        """Returns the message for a prompt; raises UserError as Client does."""
        source = SystemRandomness() if self.source is None else self.source
        return Client(self.tokenizer, self.perturbation, self.max_tokens, source).release(prompt)

    def answer(self, prompt: str, server: Callable[[bytes], str], new_tokens: int, seed: int) -> str:
        """Returns the continuation of a prompt: at most new_tokens tokens, sampled from the local model.

        server: from a message to the draft that the remote model writes; it is called once, with the message alone.
        """
        return self.extract([prompt], [server(self.release(prompt))], new_tokens, seed)[0]

    def extract(self, prompts: Sequence[str], drafts: Sequence[str], new_tokens: int, seed: int) -> list[str]:
        """Returns what the local model makes of each clean prompt and draft, at most new_tokens tokens each.

        Raises UserError for an empty prompt, unequal numbers, and for more tokens than the local model's context holds.
        """
        from mechanisms.continuation import embed, generate

        if len(prompts) != len(drafts) or not all(prompts):
            raise UserError(f"Expected as many drafts as prompts, none empty, got {len(prompts)} and {len(drafts)}.")
        model, tokenizer = self.extractor.model, self.extractor.tokenizer
        inputs = [
            embed(model, _as_request(tokenizer, INSTRUCTION.format(prompt=prompt, draft=draft)))
            for prompt, draft in zip(prompts, drafts, strict=True)
        ]
        written = generate(model, inputs, new_tokens, seed)
        return [text_of(tokenizer, tokens).strip() for tokens in written]


def _as_request(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Returns the tokens of a user's request, in the chat form of a model that has one."""
    if getattr(tokenizer, "chat_template", None) is None:
        return list(tokenizer(text, add_special_tokens=False).input_ids)
    chat = [{"role": "user", "content": text}]
    written = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(written, add_special_tokens=False).input_ids)
