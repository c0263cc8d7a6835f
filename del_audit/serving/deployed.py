"""What the server runs: model, mechanism and soft prompt of a configuration, and whether a certificate names them."""

from dataclasses import dataclass

from del_audit.certificate.model import Body
from del_audit.configuration.configuration import Configuration
from del_audit.service.language import language_of
from del_audit.service.pipelines import AnyPipeline, pipeline_of, public_file_sha256
from del_audit.service.splits import read_splits
from mechanisms.canonical_json import canonical_sha256
from mechanisms.errors import UserError
from mechanisms.hashes import texts_sha256
from mechanisms.models import LanguageModel
from mechanisms.soft_prompt import SoftPrompt, load_soft_prompt
from mechanisms.tokens import tokenized, tokenizer_sha256


@dataclass(frozen=True, slots=True)
class Deployed:
    """All of it, loaded. public_texts: sha256 of the public text, which the decoder's prior is of."""

    configuration: Configuration
    language: LanguageModel
    pipeline: AnyPipeline
    soft_prompt: SoftPrompt | None
    public_texts: str

    @classmethod
    def of(cls, configuration: Configuration) -> "Deployed":
        """Returns what a configuration names; no private text is tokenized. Raises UserError as its loaders do."""
        texts = read_splits(configuration.data).public.texts
        language = language_of(configuration)
        name = configuration.soft_prompt
        soft = load_soft_prompt(name, language.width, language.record) if name else None
        documents = tokenized(language.tokenizer, texts, language.context_tokens)
        pipeline = pipeline_of(configuration, language, documents, soft)
        return cls(configuration, language, pipeline, soft, texts_sha256(texts))

    def require_named_by(self, body: Body) -> None:
        """Raises UserError for a certificate of anything else than what is loaded.

        Decoder and prior follow from what is compared; another machine may round their last digit otherwise.
        """
        here = {
            "configuration": canonical_sha256(self.configuration.model_dump(mode="json")),
            "spec": self.pipeline.spec.fingerprint.hex(),
            "model": self.language.record.sha256,
            "tokenizer": tokenizer_sha256(self.language.tokenizer),
            "soft_prompt": self.soft_prompt.sha256 if self.soft_prompt else "none",
            "encoder": public_file_sha256(self.pipeline),
            "public_texts": self.public_texts,
        }
        for name, own in here.items():
            certified = str(getattr(body.hashes, name))
            if own != certified:
                raise UserError(
                    f"Expected a certificate of the {name.replace('_', ' ')} that is served, {own[:12]}, got one of "
                    f"{certified[:12]}: certify this configuration, or serve the one that was certified."
                )
