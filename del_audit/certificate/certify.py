"""`del-audit certify`: configuration in, certificate and report out."""

import hashlib
import os
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from attacks.registry import required_by
from del_audit.certificate.attempts import begin, finish
from del_audit.certificate.claimed import claimed_sections
from del_audit.certificate.document import body_of
from del_audit.certificate.gather import Gathering
from del_audit.certificate.model import Certificate
from del_audit.certificate.padding import padding_sections
from del_audit.certificate.proved import guarantees_of
from del_audit.certificate.report import render
from del_audit.certificate.signing_keys import own_signing_key
from del_audit.certificate.split_section import split_sections
from del_audit.certificate.summary import print_summary
from del_audit.certificate.typed import typed
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.configuration.mechanisms import DelMechanism
from del_audit.configuration.verdict import Verdict
from del_audit.evidence.readiness import require_ready
from del_audit.process.exit_codes import DONE, INCONCLUSIVE, REFUSED
from del_audit.process.quiet import silence_libraries
from del_audit.runs import Parts
from del_audit.service.asset_hashes import hashes
from del_audit.service.assets import Assets, build, load_assets
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.provenance import commit, versions
from del_audit.workers.filling import Workers, filling
from del_audit.workers.work import Work
from mechanisms.canonical_json import Json, canonical, parse_canonical
from mechanisms.client_certificate import WHAT
from mechanisms.errors import UserError
from mechanisms.files import write_files
from mechanisms.hashes import texts_sha256
from mechanisms.keyring import load_private_key, require_not_revoked
from mechanisms.pipeline import Pipeline
from mechanisms.shield import shielded
from mechanisms.signed_document import fingerprint, raw_public_key, sign, signed_bytes
from mechanisms.soft_prompt import mechanism_warning

EXIT_CODES: dict[Verdict, int] = {"certified": DONE, "refused": REFUSED, "inconclusive": INCONCLUSIVE}


def certify(
    config_file: ConfigurationFile, out: Path | None, key: Path | None = None, workers: Workers | None = None
) -> int:
    """Certifies a configuration, writes certificate.json and report.html to out, and returns the exit code.

    out: a folder, `out/NAME` where it is None. Both files are complete or not there: written beside, then renamed.
    What is measured is kept in OUT.partial until then, so that a run that was cut off goes on.
    key: file of the private key that signs; None for the user's own (mechanisms.keyring), made at its first use.
    workers: who shares the measuring; None for this process alone.
    Returns 0 for certified, 1 for refused, 3 for inconclusive. Raises UserError for what a user can mend.
    """
    started = time.monotonic()
    configuration = load_configuration(config_file)
    _require_privacy(configuration)
    folder = out if out is not None else Path("out") / configuration.name
    _prepare(folder)
    signer = _signer(key)
    _warn_of_attacks(configuration)
    canonical(configuration.model_dump(mode="json"))  # fails now, not after minutes, where it cannot be signed
    if isinstance(configuration.mechanism, DelMechanism):
        guarantees_of(configuration.mechanism.spec(), configuration.policy)  # the same, where none is proved
    silence_libraries()
    assets = load_assets(configuration)
    require_ready(configuration, assets)
    pipeline = build(configuration, assets)
    guarantees_of(pipeline.spec, configuration.policy)  # the same for a mechanism that the vocabulary decides
    sections = {
        **claimed_sections(pipeline, configuration.policy.quoted_delta),  # the same: it may be out of range
        **padding_sections(configuration.pad_to, assets.language.tokenizer),
        **split_sections(configuration.data),
    }
    _warn_of_prompt(assets, pipeline)
    attempt = begin(texts_sha256(assets.private_corpus.texts), fingerprint(raw_public_key(signer)))
    run = Parts(folder, _identity(configuration, assets, pipeline), renew=True)
    gathering = Gathering(configuration, assets, pipeline, run)
    with filling(workers or Workers(), Work("del_audit.certificate.gather:bench_in", configuration), run) as others:
        others.fill(gathering.missing(), "part")
    evidence = gathering.evidence()
    seconds = time.monotonic() - started
    body = body_of(configuration, assets, pipeline, evidence, attempt, sections, seconds)
    signed = signed_bytes(sign(body.model_dump(mode="json"), signer))
    certificate = typed(Certificate, parse_canonical(signed, WHAT))  # what is shown is what the file says
    with shielded():  # a certificate that is there is in the log
        write_results(certificate, signed, folder)
        finish(attempt, hashlib.sha256(signed).hexdigest())
        run.remove()
    console = Console(force_jupyter=False)  # what is printed can be redirected, in a notebook too
    print_summary(certificate, console)
    console.print(f"\nWritten: {folder / 'certificate.json'}, {folder / 'report.html'} ({seconds:.0f} s)")
    console.print(f"Signed by {fingerprint(raw_public_key(signer))}")
    return EXIT_CODES[certificate.verdict]


def _identity(configuration: Configuration, assets: Assets, pipeline: AnyPipeline) -> dict[str, Json]:
    """Returns everything that decides a figure, for Parts to compare."""
    return {
        "command": "certify",
        "probe rows": configuration.evaluation.probe_rows,
        **{f"{name} hash": value for name, value in hashes(configuration, assets, pipeline).items()},
        "seed": assets.seed,
        "versions": dict[str, Json](versions(assets.language.model)),
        "commit": commit(),
    }


def _require_privacy(configuration: Configuration) -> None:
    """Raises UserError for a policy that limits bytes and utility alone: it would certify any leak."""
    policy = configuration.policy
    if not any(row.kind == "privacy" for row in policy.asked().values()):
        names = ", ".join(name for name, row in policy.limits().items() if row.kind == "privacy")
        raise UserError(
            f"Expected a policy that limits what is told, got none of {names}: it would certify any leak. Add "
            "policy.attack_success_at_most, for one."
        )


def _warn_of_attacks(configuration: Configuration) -> None:
    """Says now, not after minutes, that the verdict cannot be `certified`."""
    level, codes = configuration.policy.assurance, isinstance(configuration.mechanism, DelMechanism)
    if missing := [key for key in required_by(level, codes) if key not in configuration.evaluation.attacks]:
        print(
            f"del-audit: warning: evaluation.attacks lacks {', '.join(missing)}, which {level} assurance requires: the "
            "verdict will be inconclusive at best. Add them, or ask for `assurance: quick` in the policy.",
            file=sys.stderr,
        )


def _warn_of_prompt(assets: Assets, pipeline: AnyPipeline) -> None:
    """Says that the soft prompt was trained for another mechanism; of DEL load_assets has said it."""
    if assets.soft_prompt is None or isinstance(pipeline, Pipeline):
        return
    if warning := mechanism_warning(assets.soft_prompt, pipeline.spec):
        print(f"del-audit: warning: {warning}", file=sys.stderr)


def write_results(certificate: Certificate, signed: bytes, folder: Path) -> None:
    """Writes certificate.json, signed: its bytes, and report.html; raises UserError where they cannot be written."""
    write_files({folder / "report.html": render(certificate).encode(), folder / "certificate.json": signed})


def _signer(key: Path | None) -> Ed25519PrivateKey:
    """Returns the private key of a file, or the user's own; says where a new one lies.

    Raises UserError for a key that was revoked: nobody would trust what it signs.
    """
    if key is not None:
        given = load_private_key(key)
        require_not_revoked(raw_public_key(given))
        return given
    own = own_signing_key()
    if own.made:
        print(f"Made your own key, which signs: {own.path}; {own.path}.pub is for whoever verifies.", file=sys.stderr)
    require_not_revoked(raw_public_key(own.private))
    return own.private


def _prepare(folder: Path) -> None:
    """Makes the folder now, so that a wrong path is not found out after minutes of work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("not writable")
    except OSError as error:
        raise UserError(f"Expected --out to be a folder that can be written, got {str(folder)!r}: {error}.") from None
