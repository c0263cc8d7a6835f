"""Training of what the server holds: one resumable loop, the paper's linear pair, the soft prompt."""

from mechanisms.training.loop import History, LoopPlan, perplexity, run
from mechanisms.training.projection import ProjectionTraining, train_projection
from mechanisms.training.prompt import PromptTraining, train_soft_prompt

__all__ = [
    "History",
    "LoopPlan",
    "ProjectionTraining",
    "PromptTraining",
    "perplexity",
    "run",
    "train_projection",
    "train_soft_prompt",
]
