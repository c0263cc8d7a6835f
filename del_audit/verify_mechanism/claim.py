"""What a client is held to: the spec that its owner claims."""

import json
from pathlib import Path

from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.evidence.verification.words import WordLaw
from mechanisms.errors import UserError
from mechanisms.registry import described
from mechanisms.rivals._supports import SupportSpec
from mechanisms.rivals.clusters import load_symbols
from mechanisms.small_file import read_small
from mechanisms.spec import QuantizerSpec

_LARGEST = 1 << 20
"""Bytes of a mechanism's record, many times those of any."""


def claimed_record(record: Path, symbols: Path | None) -> QuantizerSpec | WordLaw:
    """Returns what a mechanism's record in a file claims. symbols: the map of coarse words.

    Raises UserError for a file that cannot be read or holds no record, for a mechanism that has no battery, and for
    symbols that do not go with it.
    """
    try:
        content = json.loads(read_small(record, _LARGEST, "record's"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"Expected --spec {str(record)!r} to hold JSON: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f"Expected --spec {str(record)!r} to hold an object, got {type(content).__name__}.")
    spec = described(content)
    if isinstance(spec, SupportSpec):
        return WordLaw.of(spec, None if symbols is None else load_symbols(symbols))
    if not isinstance(spec, QuantizerSpec):
        raise UserError(
            "Expected --spec to hold the record of DEL, randomized response, subset selection, projective geometry or "
            f"coarse words, got {content['kind']!r}: no battery tests it."
        )
    if symbols is not None:
        raise UserError("Expected --symbols with coarse words alone, got the record of DEL: leave it out.")
    return spec


def claimed_spec(
    bits: int | None,
    dim: int | None,
    clip: float | None,
    scale: float | None,
    mu: float | None,
    config: ConfigurationFile | None,
    bundle: Path | None,
) -> QuantizerSpec | WordLaw:
    """Returns the claim of the options, of a configuration, or of a client's folder where neither is given.

    Raises UserError for both, none or too few, and for values out of range.
    """
    given = [value for value in (bits, dim, clip, scale, mu) if value is not None]
    if config is not None:
        if given:
            raise UserError("Expected --config or --bits, --dim, --clip and --scale or --mu, got both.")
        from del_audit.verify_mechanism.configured_claim import configured_claim

        return configured_claim(config)
    if not given and bundle is not None:
        from del_audit.verify_mechanism.own_client import bundle_claim

        return bundle_claim(bundle)
    if bits is None or dim is None or clip is None or (scale is None) == (mu is None):
        raise UserError(
            "Expected a claim: --bits, --dim, --clip and exactly one of --scale and --mu, or --config"
            ", or --spec, or --bundle for its own. See del-audit verify-mechanism --help."
        )
    if scale is not None:
        return QuantizerSpec(bits=bits, dim=dim, clip=clip, scale=scale)
    return QuantizerSpec.from_mu(bits=bits, dim=dim, clip=clip, mu=mu)  # type: ignore[arg-type]
