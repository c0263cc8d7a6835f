"""`del-audit train attacker`: adapts the language model that attackers read with to a configuration's public text."""

from pathlib import Path
from typing import Any

from attacks.base import AttackerKnowledge
from attacks.inversion.adapted.settings import Adaptation
from attacks.inversion.adapted.training import train
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import load_configuration
from del_audit.process.quiet import silence_libraries
from del_audit.service.language import language_of
from del_audit.service.pipelines import pipeline_of
from del_audit.service.splits import read_splits
from mechanisms.tokens import tokenized


def train_attacker(config_file: ConfigurationFile, out: Path, settings: dict[str, Any]) -> int:
    """Trains adapters on the configuration's public split, writes them with a card to out, and returns 0.

    settings: of Adaptation, those that are given. Of the configuration's private split only its groups are read, so
    that nobody in it is trained on. Raises UserError as load_configuration and attacks.inversion.adapted.training do.
    """
    configuration = load_configuration(config_file)
    silence_libraries()
    language = language_of(configuration)
    documents = tokenized(language.tokenizer, read_splits(configuration.data).public.texts, language.context_tokens)
    pipeline = pipeline_of(configuration, language, documents)
    public = AttackerKnowledge(pipeline, pipeline.table, pipeline.prior, documents, language)
    train(public, Adaptation(**settings), out)
    print(f"Written: {out}")
    return 0
