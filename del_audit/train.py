"""`del-audit train prompt`: trains the soft prompt of a configuration on its public text."""

from pathlib import Path

from del_audit.certificate.config import load_configuration
from del_audit.quiet import silence_libraries
from mechanisms.corpora import load_corpus
from mechanisms.models import load_causal_lm, load_embedding_table
from mechanisms.pipeline import assemble
from mechanisms.training import PromptTraining, train_soft_prompt


def train_prompt(config_path: Path, out: Path, steps: int) -> int:
    """Trains on the configuration's public split, writes a PEFT adapter with a card to out, and returns 0.

    The private split is never read. Raises UserError as load_configuration and train_soft_prompt do.
    """
    configuration = load_configuration(config_path)
    silence_libraries()
    public = load_corpus(configuration.data.corpus, configuration.data.text_column).subset(
        configuration.data.public_split
    )
    language = load_causal_lm(configuration.model)
    rows = language.tokenizer(public.texts, add_special_tokens=False).input_ids
    documents = [list(row[: language.context_tokens]) for row in rows]
    spec = configuration.mechanism.spec()
    table = load_embedding_table(configuration.model)
    pipeline = assemble(table, documents, spec, configuration.encoder.settings(), configuration.decoder)
    about = {
        "base_model": language.record.to_dict(),
        "data": {**public.record.to_dict(), "split": configuration.data.public_split, "documents": len(public)},
        "spec": spec.to_dict(),
        "encoder": {**configuration.encoder.model_dump(), "sha256": pipeline.encoder.sha256},
        "decoder": configuration.decoder,
    }
    history = train_soft_prompt(language, pipeline, documents, PromptTraining(steps=steps), out, about)
    last = sum(history.losses[-10:]) / len(history.losses[-10:])
    print(f"Written: {out} (mean loss of the last steps: {last:.3f} nats a token)")
    return 0
