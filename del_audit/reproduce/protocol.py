"""What each table of the paper measures (arXiv 2602.11513), as data. docs/reproduce.md says what was assumed."""

from dataclasses import dataclass
from typing import Final, Literal

from mechanisms.errors import UserError
from mechanisms.registry import MechanismName
from mechanisms.validation import at_least

MatchKind = Literal["asr", "mu", "epsilon"]
PromptSource = Literal["own", "general", "other mu"]

CLEAN: Final = "clean"
"""The ceiling's kind: no mechanism, the true embeddings."""
CLIP: Final = 0.05
DELTA: Final = 1e-5
OTHER_MU: Final = 52.0
"""Table 7's soft prompt is trained at this mu."""
LENGTHS: Final[dict[str, tuple[int, int]]] = {"wikitext2": (50, 100), "ptb": (20, 30)}
"""Words of a prompt, and of the shortest text that is cut."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    kind: a key of contenders.CONTENDERS, or CLEAN. prompt: what the server's soft prompt was trained on: the table's
    corpus with this mechanism, the general corpus with it, or the corpus with the mechanism of another mu; None where
    the paper has none. local: a local model writes the answer from the clean prompt and the server's draft (InferDPT).
    """

    name: str
    kind: MechanismName
    prompt: PromptSource | None = None
    local: bool = False


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is run.

    samples: prompts, or test pairs. tokens: of public text that the attack is measured on. new_tokens: written, and of
    the reference. documents: public texts read. pair_steps, prompt_steps, batch, window: of training the linear
    pair and the soft prompt. train: labelled pairs. denoise, epochs: texts and epochs of the denoiser and the task.
    """

    samples: int = 200
    tokens: int = 2000
    new_tokens: int = 200
    documents: int = 40_000
    pair_steps: int = 20_000
    prompt_steps: int = 4000
    batch: int = 4
    window: int = 1024
    virtual_tokens: int = 100
    train: int = 1_000_000
    denoise: int = 1_000_000
    epochs: int = 20

    def __post_init__(self) -> None:
        for name in self.__slots__:
            at_least(name, getattr(self, name), 1)
        at_least("samples", self.samples, 2)


@dataclass(frozen=True, slots=True)
class Protocol:
    """One table. match: what the paper holds equal between rows; targets: at which values; paper: its figures."""

    number: int
    title: str
    task: Literal["generation", "pairs"]
    rows: tuple[Row, ...]
    match: MatchKind
    targets: tuple[float, ...]
    headline: str
    paper: tuple[str, ...]
    bits: tuple[int, ...] = (4,)
    dims: tuple[int, ...] = (18,)
    new_at_epsilon: tuple[Row, ...] = ()
    general: bool = False

    def rows_for(self, match: MatchKind) -> tuple[Row, ...]:
        """Returns the paper's rows, and at matched epsilon those that it lacks; raises UserError for a match by mu."""
        if match == "mu" and any(row.kind not in ("del", CLEAN) for row in self.rows):
            raise UserError(f"Expected --match asr or epsilon for table {self.number}: its rivals have no mu.")
        return self.rows + (self.new_at_epsilon if match == "epsilon" else ())


EPSILONS: Final = (10.0, 20.0, 40.0, 80.0, 160.0)
"""Default targets of --match epsilon, nats a token."""
_ASR: Final = (0.02, 0.10, 0.15, 0.20)
_INFERDPT: Final = Row("InferDPT, local extraction", "rantext", local=True)
_WORD_CODES: Final = tuple(
    Row(kind, kind, "own")
    for kind in ("randomized response", "subset selection", "projective geometry", "coarse words")
)
_TASK_ROWS: Final = (
    Row("DEL parts", "del"),
    Row("metric DP (Split-and-Denoise)", "metric"),
    Row("Gaussian, n bits", "gaussian"),
    Row("clean embeddings (ceiling)", CLEAN),
)
PAPER: Final = {"generation": Sizes(), "pairs": Sizes(samples=1_000_000, virtual_tokens=20)}
QUICK: Final = {
    "generation": Sizes(8, 200, 12, 200, 2, 2, 2, 64, 4),
    "pairs": Sizes(24, 200, 1, 200, 2, 1, 2, 64, 4, train=24, denoise=12, epochs=1),
}

TABLES: Final[dict[int, Protocol]] = {
    protocol.number: protocol
    for protocol in (
        Protocol(
            1,
            "open-ended generation",
            "generation",
            (Row("DEL", "del", "own"), Row("RANTEXT", "rantext"), _INFERDPT),
            "asr",
            _ASR,
            "coherence",
            ("Llama, WikiText-2, ASR 0.02, COH: DEL 0.562; InferDPT with a local Llama 0.742",),
            new_at_epsilon=_WORD_CODES,
        ),
        Protocol(
            3,
            "paraphrase, MRPC",
            "pairs",
            _TASK_ROWS,
            "asr",
            _ASR,
            "auc",
            (
                "4 bits, ASR 0.02, AUC: DEL parts 0.590; metric DP 0.598",
                "2 bits, ASR 0.02, accuracy: DEL parts 0.703; metric DP 0.711",
            ),
            bits=(2, 4),
        ),
        Protocol(4, "duplicate questions, QQP", "pairs", _TASK_ROWS, "asr", _ASR, "auc", (), bits=(2, 4)),
        Protocol(
            6,
            "soft prompt trained on another corpus",
            "generation",
            (
                Row("DEL, prompt of the general corpus", "del", "general"),
                Row("DEL, own prompt", "del", "own"),
                _INFERDPT,
            ),
            "asr",
            _ASR,
            "coherence",
            ("C4 prompt, Llama, WikiText-2, ASR 0.02, COH: DEL 0.514; InferDPT with a local OPT 0.665",),
            new_at_epsilon=_WORD_CODES,
            general=True,
        ),
        Protocol(
            7,
            "soft prompt of another noise level",
            "generation",
            (Row("DEL, own prompt", "del", "own"), Row("DEL, prompt of the other mu", "del", "other mu")),
            "mu",
            (40.0,),
            "perplexity",
            ("prompt of mu 52 used at mu 40, PPL: 35.91; its own prompt 32.09",),
        ),
        Protocol(
            8,
            "coordinates a token",
            "generation",
            (Row("DEL", "del", "own"),),
            "mu",
            (20.0, 40.0, 60.0),
            "coherence",
            ("d = 32 better at mu = 20, d = 128 better at mu = 60",),
            dims=(32, 128),
        ),
    )
}
