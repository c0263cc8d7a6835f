"""A tiny certified service: a model with a template for chats, its quick certificate, and its client's folder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from made_up import some_words, write_rows

from del_audit.cli import main
from mechanisms.randomness import simulation_generator

TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
)
SYSTEM = "You help the people of our clinic."
"""The operator's own text, which its bundle lists as public."""


@dataclass(frozen=True)
class Deployment:
    """Files of one service. state: the folders of keys and records that made them, as environment variables."""

    config: Path
    certificate: Path
    bundle: Path
    state: dict[str, str]


def certified_service(
    folder: Path,
    language_model: Path,
    sentence_encoder: Path,
    setenv: Callable[[str, str], None],
    sends: int,
    prompt_tokens: int = 48,
    session_tokens: int = 2_000,
    pad_to: tuple[int, ...] | None = None,
) -> Deployment:
    """Returns the service, made in a folder; setenv: sets the environment in which it is made."""
    model = folder / "model"
    model.mkdir()
    for path in language_model.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    generator, words = simulation_generator(0, "served"), prompt_tokens // 16
    rows = [
        (" ".join(some_words(generator) for _ in range(words)), "train" if row < 36 else "test") for row in range(60)
    ]
    content = {
        "name": "tiny",
        "model": str(model),
        "sentence_encoder": str(sentence_encoder),
        "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": 5.0},
        "data": {"corpus": str(write_rows(folder / "rows.csv", ("text", "split"), rows)), "text_column": "text"},
        "evaluation": {
            "attacks": ["baseline", "map"],
            "attacked_tokens": 1_000,
            "context_prompts": 6,
            "prompts": 6,
            "response_tokens": 4,
            "generations": 2,
            "generated_tokens": 3,
        },
        "policy": {
            "assurance": "quick",
            "prompt_tokens": prompt_tokens,
            "attack_success_at_most": 0.99,
            "sends": sends,
            "epsilon": {"at_most": 500.0 * session_tokens, "unit": "session", "tokens": session_tokens},
        },
    }
    if pad_to is not None:
        content["pad_to"] = list(pad_to)
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(content))
    (folder / "system.txt").write_text(SYSTEM + "\n")
    state = {"DEL_AUDIT_STATE": str(folder / "state"), "DEL_AUDIT_CONFIG": str(folder / "config")}
    for name, value in state.items():
        setenv(name, value)
    if main(["certify", str(config), "--out", str(folder / "out")]) != 0:
        raise AssertionError("the tiny service was not certified")
    certificate, client = folder / "out" / "certificate.json", folder / "client"
    options = ["--certificate", str(certificate), "--public-text", str(folder / "system.txt")]
    if main(["bundle", str(config), "--out", str(client), *options]) != 0:
        raise AssertionError("the tiny service has no bundle")
    return Deployment(config, certificate, client, state)
