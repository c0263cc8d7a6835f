"""The points of a frontier: each mechanism at each epsilon, as a configuration that a certificate could be made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from del_audit.accounting import guarantee
from del_audit.accounting.calibration import Target, calibrate
from del_audit.configuration.configuration import Configuration
from del_audit.configuration.named import DEL, Named, too_large
from del_audit.configuration.other_mechanisms import content_over_words, own_quantizer
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.registry import DECODERS, DecoderName


@dataclass(frozen=True, slots=True)
class Point:
    """A mechanism at an epsilon of one token, nats. configuration: None for a point that is left out; why says so."""

    named: Named
    epsilon: float
    configuration: Configuration | None
    why: str = ""

    @property
    def name(self) -> str:
        """Its name on the command line and in results."""
        return f"{self.named.name}@{self.epsilon:g}"

    @property
    def measured(self) -> Configuration:
        """The configuration of a point that is not left out."""
        assert self.configuration is not None
        return self.configuration

    def takes(self, decoder: DecoderName) -> bool:
        """Returns whether a decoder reads what this mechanism sends: some read DEL's codes."""
        return self.named.kind == DEL or not DECODERS[decoder].codes

    def decoded_by(self, decoder: DecoderName) -> "Point":
        """Returns the point with another decoder; raises UserError for one that its configuration does not take."""
        content = {**_content(self.measured), "decoder": decoder}
        try:
            return replace(self, configuration=Configuration.model_validate(content))
        except ValidationError as error:
            said = "; ".join(each["msg"] for each in error.errors())
            raise UserError(f"Expected {self.named.name} to take the decoder {decoder!r}: {said}.") from None

    def mechanism(self) -> dict[str, Json]:
        """Returns the configuration's mechanism as JSON values."""
        return dict(self.measured.mechanism.model_dump(mode="json"))


def points_of(base: Configuration, named: Sequence[Named], epsilons: Sequence[float], delta: float) -> list[Point]:
    """Returns every point, one mechanism after the other, each at rising epsilons.

    DEL keeps the configuration's bits, dim, clip and encoder, with the smallest scale whose epsilon at delta is proved
    to be within the point's; the others have it as their pure epsilon. Raises UserError for DEL where the configuration
    has no quantizer, and where nothing can be proved.
    """
    if any(each.kind == DEL for each in named):
        guarantee(own_quantizer(base).spec(), proved=True)
    return [_point(base, each, epsilon, delta) for each in named for epsilon in epsilons]


def _point(base: Configuration, named: Named, epsilon: float, delta: float) -> Point:
    if why := too_large(named, epsilon):
        return Point(named, epsilon, None, why)
    if named.kind != DEL:
        content = {**content_over_words(base), "mechanism": named.fields(epsilon)}
        return Point(named, epsilon, Configuration.model_validate(content))
    own = base.quantizer(DEL)
    try:
        found = calibrate(own.bits, own.dim, own.clip, Target.epsilon(epsilon, delta))
    except UserError as error:
        return Point(named, epsilon, None, f"left out: {error}")
    if found.beyond is None:
        most = f"{found.achieved.upper:.4g}"
        return Point(named, epsilon, None, f"left out: no scale of this quantizer has more than {most} nats")
    fields = {"kind": DEL, "bits": own.bits, "dim": own.dim, "clip": own.clip, "scale": found.spec.scale}
    return Point(named, epsilon, Configuration.model_validate({**_content(base), "mechanism": fields}))


def _content(base: Configuration) -> dict[str, Any]:
    return base.model_dump(mode="json", exclude_unset=True)
