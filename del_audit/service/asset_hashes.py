"""One hash for each thing that decides what is released and served."""

import hashlib

from del_audit.configuration.configuration import Configuration
from del_audit.service.assets import Assets
from del_audit.service.pipelines import AnyPipeline, public_file_sha256
from del_audit.service.provenance import fingerprint, source_sha256
from mechanisms.canonical_json import canonical_sha256
from mechanisms.description import Description
from mechanisms.hashes import texts_sha256
from mechanisms.registry import mechanism_of
from mechanisms.tokens import tokenizer_sha256


def hashes(configuration: Configuration, assets: Assets, pipeline: AnyPipeline) -> dict[str, str]:
    """Returns the sha256 of everything that decides what is released and served."""
    texts = {"public": assets.public_corpus.texts, "private": assets.private_corpus.texts}
    return {
        "configuration": canonical_sha256(configuration.model_dump(mode="json")),
        "spec": _spec_sha256(pipeline.spec),
        "encoder": public_file_sha256(pipeline),
        "decoder": fingerprint(pipeline.decoder),
        "prior": hashlib.sha256(pipeline.prior.tobytes()).hexdigest(),
        "model": assets.language.record.sha256,
        "tokenizer": tokenizer_sha256(assets.language.tokenizer),
        "soft_prompt": assets.soft_prompt.sha256 if assets.soft_prompt else "none",
        "corpus": assets.corpus.record.sha256,
        "source": source_sha256(),
        **{f"{part}_texts": texts_sha256(rows) for part, rows in texts.items()},
    }


def _spec_sha256(spec: Description) -> str:
    """Returns a description's fingerprint; of one that no registry knows the hash of its record, as anyone reads it."""
    return canonical_sha256(spec.to_dict()) if mechanism_of(spec) is None else spec.fingerprint.hex()
