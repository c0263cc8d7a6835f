"""Training of what the server holds: one resumable loop, the paper's linear pair, learned codes, the soft prompt."""

from mechanisms.training.codes import CodesTraining, train_codes
from mechanisms.training.loop import History, LoopPlan, perplexity, run
from mechanisms.training.projection import ProjectionTraining, train_projection
from mechanisms.training.prompt import train_soft_prompt
from mechanisms.training.prompt_settings import PromptTraining

__all__ = [
    "CodesTraining",
    "History",
    "LoopPlan",
    "ProjectionTraining",
    "PromptTraining",
    "perplexity",
    "run",
    "train_codes",
    "train_projection",
    "train_soft_prompt",
]
