"""What `del-audit bundle` does: a configuration in, its client's folder out. The language model is not in it."""

from collections.abc import Sequence
from pathlib import Path

from del_audit.certificate.attack_versions import require_current_attacks
from del_audit.certificate.schema import require_schema
from del_audit.certificate.typed import typed_body
from del_audit.configuration.configuration import load_configuration
from del_audit.process.quiet import silence_libraries
from del_audit.service.pipelines import pipelines_of
from del_audit.service.splits import read_splits
from mechanisms.canonical_json import LARGEST
from mechanisms.client_bundle import save_client_bundle
from mechanisms.client_certificate import WHAT
from mechanisms.encoder_file import EncoderCard
from mechanisms.errors import UserError
from mechanisms.keyring import trusted_keys
from mechanisms.models import load_causal_lm
from mechanisms.signed_document import open_signed
from mechanisms.small_file import read_small
from mechanisms.soft_prompt import load_soft_prompt
from mechanisms.tokens import tokenized


def bundle(
    config_path: Path,
    out: Path,
    max_tokens: int | None = None,
    certificate: Path | None = None,
    trust: Sequence[str] = (),
) -> int:
    """Writes the client's folder of a configuration, whole or not at all; returns exit code 0.

    No private text is read, only whose it is, where data.group_column says so. max_tokens: the longest prompt; where it
    is None, the model's context less the soft prompt and the most new tokens that the evaluation asks for. certificate:
    put into the folder, where it holds for what is in it. trust: public keys that may have signed it, as
    mechanisms.keyring.public_key takes them.
    Raises UserError as load_configuration, pipelines_of and save_client_bundle do, for a max_tokens over the context
    less the soft prompt, and for a certificate that does not hold.
    """
    configuration = load_configuration(config_path)
    if out.exists():
        raise UserError(f"Expected a folder that does not exist yet, got {str(out)!r}.")
    vouched = _checked(certificate) if certificate is not None else None
    keys = trusted_keys(trust) if certificate is not None else frozenset()
    silence_libraries()
    language = load_causal_lm(configuration.model)
    prompt = configuration.soft_prompt
    width = language.width
    virtual = len(load_soft_prompt(prompt, width, language.record).vectors) if prompt else 1  # an opening token
    room, plan = language.context_tokens - virtual, configuration.evaluation
    longest = room - max(plan.response_tokens, plan.generated_tokens) if max_tokens is None else max_tokens
    if not 1 <= longest < room:
        raise UserError(f"Expected max_tokens in 1..{room - 1}, what the model's context holds, got {longest}.")
    data, spec = configuration.data, configuration.mechanism.spec()
    documents = tokenized(language.tokenizer, read_splits(data).public.texts, language.context_tokens)
    encoding = configuration.model_copy(update={"decoder": "linear"})  # the cheapest: the client has no decoder
    encoder = pipelines_of(encoding, language, documents, [spec])[0].encoder
    details = {"configuration": configuration.name, **configuration.encoder.model_dump(exclude_none=True)}
    card = EncoderCard(language.record.name, language.record.sha256, spec, details)
    save_client_bundle(out, encoder, card, language.tokenizer, longest, vouched, keys)
    print(f"Written: {out} (prompts of up to {longest} tokens, {encoder.dim} coordinates a token)")
    return 0


def _checked(certificate: Path) -> bytes:
    """Returns a certificate's file; raises UserError before any model is loaded, as far as that is possible."""
    data = read_small(certificate, LARGEST, WHAT)
    signed = open_signed(data, WHAT)
    require_schema(signed.whole)
    require_current_attacks(typed_body(signed.body))
    return data
