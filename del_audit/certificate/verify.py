"""What holds of a certificate: step by step, from the bytes of its file to every figure that can be computed again."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from del_audit.certificate.consistency import require_consistent
from del_audit.certificate.currency import require_current_attacks
from del_audit.certificate.schema import require_schema
from mechanisms.client_certificate import WHAT, require_in_date, require_trusted
from mechanisms.errors import UserError
from mechanisms.signed_document import SignedDocument, WrongSignatureError, open_signed

StepStatus = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at. skipped: it was not, and the reason says why."""

    name: str
    status: StepStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The steps in order, up to one that later ones rest on. certificate: None where its signature is wrong."""

    steps: tuple[Step, ...]
    certificate: SignedDocument | None

    @property
    def valid(self) -> bool:
        """Whether no step failed: the certificate says what its signer measured, and it is in date."""
        return self.certificate is not None and all(step.status != "failed" for step in self.steps)

    @property
    def verdict(self) -> str | None:
        """The verdict of a valid certificate."""
        return self.certificate.body["verdict"] if self.valid and self.certificate is not None else None

    @property
    def failures(self) -> list[str]:
        """Reasons of the steps that failed."""
        return [f"{step.name}: {step.reason}" for step in self.steps if step.status == "failed"]

    def to_dict(self) -> dict[str, Any]:
        """Returns the contract of `del-audit verify --json`."""
        return {
            "valid": self.valid,
            "verdict": self.verdict,
            "signed_by": self.certificate.fingerprint if self.certificate else None,
            "steps": [asdict(step) for step in self.steps],
        }


def verify(
    data: bytes,
    trusted: Collection[bytes],
    now: datetime,
    recompute: bool = True,
    against: Path | None = None,
) -> Verification:
    """Returns what holds of a certificate's file.

    trusted: public keys that may have signed it, 32 bytes each. now: with a zone. recompute: compute every proved
    figure again. against: a configuration's file, whose assets are loaded and hashed.
    Raises UserError for bytes that are no signed canonical JSON, and as load_configuration does for `against`.
    """
    try:
        certificate = open_signed(data, WHAT)
    except WrongSignatureError as error:
        return Verification((Step("signature", "failed", str(error)),), None)
    signed = Step("signature", "passed", f"Ed25519, by {certificate.fingerprint}.")
    return Verification((signed, *_steps(certificate, trusted, now, recompute, against)), certificate)


def _steps(
    certificate: SignedDocument, trusted: Collection[bytes], now: datetime, recompute: bool, against: Path | None
) -> Iterator[Step]:
    trust = _step("trust", lambda: require_trusted(certificate, trusted), "The key is one that you trust.")
    yield trust
    if trust.status == "failed":
        return  # whatever a stranger wrote is not worth reading
    schema = _step("schema", lambda: require_schema(certificate.whole), "Every field is there, and no other.")
    yield schema
    if schema.status == "failed":
        return
    body = certificate.body
    yield _step("date", lambda: require_in_date(body, now), f"Made {body['made']}, expires {body['expires']}.")
    yield _step("attacks", lambda: require_current_attacks(body), "None has become stronger since.")
    consistent = _step("consistency", lambda: require_consistent(body), "Checks, verdict and hashes follow from it.")
    yield consistent
    if consistent.status == "passed":
        yield _recomputed(body) if recompute else Step("proved figures", "skipped", "Not computed again: asked not to.")
    if against is not None:
        from del_audit.certificate.against import compare

        yield from (Step(*found) for found in compare(body, against))


def _step(name: str, ask: Callable[[], object], passed: str) -> Step:
    try:
        ask()
    except UserError as error:
        return Step(name, "failed", str(error))
    return Step(name, "passed", passed)


def _recomputed(body: Mapping[str, Any]) -> Step:
    from del_audit.certificate.recompute import TOLERANCE, require_recomputed

    try:
        count = require_recomputed(body)
    except UserError as error:
        return Step("proved figures", "failed", str(error))
    return Step("proved figures", "passed", f"{count} numbers computed again agree within {TOLERANCE:g} relative.")
