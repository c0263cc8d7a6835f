"""Tasks on released text: the paper's Split-and-Denoise path, and the plain path without a denoiser (docs/nlu.md)."""

from mechanisms.nlu.controls import TaskScores, others, score_task
from mechanisms.nlu.denoiser import Denoiser, DenoiserShape
from mechanisms.nlu.denoiser_training import DenoiserTraining, SoftStart, load_denoiser, train_denoiser
from mechanisms.nlu.inputs import Clean, Inputs, Released
from mechanisms.nlu.pairs import LabelledTokens, label_corpus, label_tokens
from mechanisms.nlu.reader import PLAIN, SPLIT_AND_DENOISE, ClassifierShape, TaskReader, TaskServer
from mechanisms.nlu.task_settings import TaskTraining
from mechanisms.nlu.training import load_task, train_task

__all__ = [
    "PLAIN",
    "SPLIT_AND_DENOISE",
    "ClassifierShape",
    "Clean",
    "Denoiser",
    "DenoiserShape",
    "DenoiserTraining",
    "Inputs",
    "LabelledTokens",
    "Released",
    "SoftStart",
    "TaskReader",
    "TaskScores",
    "TaskServer",
    "TaskTraining",
    "label_corpus",
    "label_tokens",
    "load_denoiser",
    "load_task",
    "others",
    "score_task",
    "train_denoiser",
    "train_task",
]
