"""An evaluation's values prompt by prompt, as JSON lines that any tool reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.evaluation import Evaluation
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, PUBLIC, write_file
from mechanisms.private_folders import private_folder


def to_rows(evaluation: Evaluation, with_texts: bool = False) -> list[dict[str, Json]]:
    """Returns one row a prompt: what and who it is, its losses in nats a token, and its cosines, by condition.

    with_texts: what was written and the true response too; the prompts themselves are private text, and so is it.
    """
    texts = evaluation.texts if with_texts else {}
    return [
        {
            "mechanism": evaluation.name,
            "sample": evaluation.sample,
            "seed": evaluation.seed,
            "new_tokens": evaluation.new_tokens,
            "prompt": index,
            "document": document,
            "per_document": evaluation.per_document,
            "prompt_tokens": evaluation.prompt_tokens[index],
            "response_tokens": evaluation.response_tokens[index],
            "loss_nats_a_token": _at(evaluation.losses, index),
            "cosine": _at(evaluation.cosines, index),
            **({"text": {name: rows[index] for name, rows in texts.items()}} if texts else {}),
        }
        for index, document in enumerate(evaluation.documents)
    ]


def write_rows(evaluation: Evaluation, path: Path, with_texts: bool = False) -> None:
    """Writes to_rows as JSON lines, whole or not at all; numbers are written with all their digits.

    with_texts: texts are private or made from private ones, so the file's folder must be new, empty or one of
    mechanisms.private_folders, which it becomes. Raises UserError for another one, and where the file cannot be
    written.
    """
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in to_rows(evaluation, with_texts))
    if with_texts:
        private_folder(path.parent)
    write_file(path, lines.encode(), mode=PRIVATE if with_texts else PUBLIC)


def read_rows(path: Path) -> Evaluation:
    """Returns the evaluation that write_rows wrote: the same figures, without MAUVE, and texts only if they are there.

    Raises UserError for a file that cannot be read or was not written so.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
        first = rows[0]
        same = ("mechanism", "sample", "seed", "new_tokens", "per_document")
        if any(row[key] != first[key] for row in rows for key in same):
            raise ValueError("its rows are of several evaluations")
        return Evaluation(
            str(first["mechanism"]),
            str(first["sample"]),
            int(first["seed"]),
            int(first["new_tokens"]),
            tuple(int(row["document"]) for row in rows),
            tuple(int(row["prompt_tokens"]) for row in rows),
            tuple(int(row["response_tokens"]) for row in rows),
            _columns(rows, "loss_nats_a_token"),
            {name: tuple(row["text"][name] for row in rows) for name in first.get("text", {})},
            _columns(rows, "cosine"),
            {},
            int(first["per_document"]),
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"Expected {str(path)!r} to hold the rows of one evaluation: {error}.") from None


def _at(values: Mapping[str, NDArray[np.float64]], index: int) -> dict[str, float]:
    return {name: float(rows[index]) for name, rows in values.items()}


def _columns(rows: list[dict[str, Any]], key: str) -> dict[str, NDArray[np.float64]]:
    return {name: np.array([row[key][name] for row in rows], dtype=np.float64) for name in rows[0][key]}
