"""What holds of a certificate: step by step, from the bytes of its file to every figure that can be computed again."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from del_audit.certificate.attack_versions import require_current_attacks
from del_audit.certificate.checks import checks_of
from del_audit.certificate.claimed_text import CLAIMED_EPSILON, claimed_text
from del_audit.certificate.consistency import require_consistent
from del_audit.certificate.model import Body, Section
from del_audit.certificate.padding import padding_text
from del_audit.certificate.schema import FORMAT_2, require_schema
from del_audit.certificate.split_section import SPLIT, split_text
from del_audit.certificate.typed import typed_body
from del_audit.configuration.changed_file import ConfigurationFile
from mechanisms.canonical_json import Json
from mechanisms.client_certificate import WHAT, require_in_date, require_trusted
from mechanisms.errors import UserError
from mechanisms.padding import SECTION
from mechanisms.signed_document import SignedDocument, WrongSignatureError, open_signed

if TYPE_CHECKING:
    from del_audit.certificate.requirement import Requirement

StepStatus = Literal["passed", "failed", "skipped"]
LACKING_IN_FORMAT_2 = (
    "how often a text may be sent",
    "intervals that know the longest document beforehand",
    "a seed that nobody chose",
    "number of attempts",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at. skipped: it was not, and the reason says why."""

    name: str
    status: StepStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The steps in order, up to one that later ones rest on. certificate: None where its signature is wrong.

    body: what the certificate says; None where it is not of its format, or not to be believed.

    today: of a certificate of an older format, whether it would be given under today's rules, a step per rule. They do
    not make it invalid; clients refuse it where one of them did not pass.
    """

    steps: tuple[Step, ...]
    certificate: SignedDocument | None
    body: Body | None = None
    today: tuple[Step, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether no step failed: the certificate says what its signer measured, and it is in date."""
        return self.certificate is not None and all(step.status != "failed" for step in self.steps)

    @property
    def verdict(self) -> str | None:
        """The verdict of a valid certificate."""
        return self.body.verdict if self.valid and self.body is not None else None

    @property
    def assurance(self) -> str | None:
        """The level of assurance of a valid certificate; format 2 states none."""
        stated = self.valid and self.body is not None and self.body.format != FORMAT_2
        return self.body.assurance if stated and self.body is not None else None

    @property
    def failures(self) -> list[str]:
        """Reasons of the steps that failed."""
        return [f"{step.name}: {step.reason}" for step in self.steps if step.status == "failed"]

    def to_dict(self) -> dict[str, Json]:
        """Returns the contract of `del-audit verify --json`."""
        return {
            "valid": self.valid,
            "verdict": self.verdict,
            "assurance": self.assurance,
            "signed_by": self.certificate.fingerprint if self.certificate else None,
            "steps": [asdict(step) for step in self.steps],
            "today": [asdict(step) for step in self.today],
        }


def verify(
    data: bytes,
    trusted: Collection[bytes],
    now: datetime,
    recompute: bool = True,
    against: ConfigurationFile | None = None,
    require: "Requirement | None" = None,
    strict: bool = False,
) -> Verification:
    """Returns what holds of a certificate's file.

    trusted: public keys that may have signed it, 32 bytes each. now: with a zone. recompute: compute every proved
    figure again. against: a configuration's file, whose assets are loaded and hashed. require: limits of the verifier's
    own. strict: what could not be looked at fails, and so does an unknown number of attempts.
    Raises UserError for bytes that are no signed canonical JSON, and as load_configuration does for `against`.
    """
    try:
        certificate = open_signed(data, WHAT)
    except WrongSignatureError as error:
        return Verification((Step("signature", "failed", str(error)),), None)
    steps = [Step("signature", "passed", f"Ed25519, by {certificate.fingerprint}.")]
    steps.append(_step("trust", lambda: require_trusted(certificate, trusted), "The key is one that you trust."))
    body = None
    if steps[-1].status == "passed":  # whatever a stranger wrote is not worth reading
        body = _read(certificate, steps)
    today: list[Step] = []
    if body is not None:
        steps += _own_steps(body, certificate, now, recompute)
        if not any(step.name == "consistency" and step.status == "failed" for step in steps):
            today = list(_today(body))
            steps += _required(require, body) if require is not None else ()
            steps += _against(body, against) if against is not None else ()
    if strict:
        steps, today = ([_strict(step) for step in part] for part in (steps, today))
    return Verification(tuple(steps), certificate, body, tuple(today))


def _read(certificate: SignedDocument, steps: list[Step]) -> Body | None:
    """Returns what a certificate says, and adds the step; None where it is not of its format."""
    try:
        require_schema(certificate.whole)
        body = typed_body(certificate.body)
    except UserError as error:
        steps.append(Step("schema", "failed", str(error)))
        return None
    steps.append(Step("schema", "passed", "Every field is there, and no other."))
    return body


def _own_steps(body: Body, certificate: SignedDocument, now: datetime, recompute: bool) -> Iterator[Step]:
    written = certificate.body
    yield _step("date", lambda: require_in_date(written, now), f"Made {body.made}, expires {body.expires}.")
    yield _step("attacks", lambda: require_current_attacks(body), "None has become stronger since, and none was added.")
    consistent = _step(
        "consistency", lambda: require_consistent(body, written), "Checks, verdict and hashes follow from it."
    )
    yield consistent
    if consistent.status == "passed":
        yield _recomputed(body) if recompute else Step("proved figures", "skipped", "Not recomputed: asked not to.")
    if body.claim is not None and consistent.status == "passed":
        yield Step("claim", "passed", body.claim.says)
    yield from _attempts(body)
    yield from (_shown(name, section) for name, section in sorted(body.sections.items()))


def _against(body: Body, file: ConfigurationFile) -> Iterator[Step]:
    from del_audit.certificate.against import compare

    return (Step(*found) for found in compare(body, file))


def _attempts(body: Body) -> Iterator[Step]:
    """Yields how often the certificate's private split was tried; an unknown number is not looked at."""
    if body.format == FORMAT_2:
        return
    count, most = body.attempts.count, body.error_rate.over_all_attempts_at_most
    if count is None:
        yield Step("attempts", "skipped", "Unknown: the log of attempts did not know the key that signed.")
        return
    said = f"Attempt {count} on this private split: a false verdict of certified in any of them has a chance of at most"
    yield Step("attempts", "passed", f"{said} {most:.3g}.")


_SAID = {CLAIMED_EPSILON: claimed_text, SECTION: padding_text, SPLIT: split_text}
"""What is said of the sections that are known here."""


def _shown(name: str, section: Section) -> Step:
    said = _SAID[name](section) if name in _SAID else None
    unknown = f"Version {section.version}: unknown here, shown only; no limit rests on it."
    return Step(f"section {name}", "passed", said or unknown)


def _required(require: "Requirement", body: Body) -> Iterator[Step]:
    """Yields a step for each limit of the verifier's: what is not decided does not meet it."""
    for check in require.checks(body):
        status: StepStatus = "passed" if check.status == "passed" else "failed"
        yield Step(f"required: {check.limit}", status, f"Asked {check.asked}, found {check.found}. {check.reason}")


def _today(body: Body) -> Iterator[Step]:
    """Yields each of today's rules for a certificate of format 2: passed, failed, or unknown from its figures."""
    if body.format != FORMAT_2:
        return
    told: dict[str, StepStatus] = {"passed": "passed", "failed": "failed", "inconclusive": "skipped"}
    for check in checks_of(body):
        yield Step(check.limit, told[check.status], f"Asked {check.asked}, found {check.found}. {check.reason}")
    for rule in LACKING_IN_FORMAT_2:
        yield Step(rule, "skipped", "A certificate of format 2 does not say it.")


def _strict(step: Step) -> Step:
    return Step(step.name, "failed", f"{step.reason} (--strict)") if step.status == "skipped" else step


def _step(name: str, ask: Callable[[], object], passed: str) -> Step:
    try:
        ask()
    except UserError as error:
        return Step(name, "failed", str(error))
    return Step(name, "passed", passed)


def _recomputed(body: Body) -> Step:
    from del_audit.certificate.recompute import TOLERANCE, require_recomputed

    try:
        count = require_recomputed(body)
    except UserError as error:
        return Step("proved figures", "failed", str(error))
    return Step("proved figures", "passed", f"{count} numbers computed again agree within {TOLERANCE:g} relative.")
