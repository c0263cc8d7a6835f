"""What a client is held to: the spec that its owner claims."""

from pathlib import Path

from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec


def claimed_spec(
    bits: int | None,
    dim: int | None,
    clip: float | None,
    scale: float | None,
    mu: float | None,
    config: Path | None,
    bundle: Path | None,
) -> QuantizerSpec:
    """Returns the spec of the options, of a configuration, or of a client's folder where neither is given.

    Raises UserError for both, none or too few, and for values out of range.
    """
    given = [value for value in (bits, dim, clip, scale, mu) if value is not None]
    if config is not None:
        if given:
            raise UserError("Expected --config or --bits, --dim, --clip and --scale or --mu, got both.")
        from del_audit.configuration.configuration import load_configuration

        return load_configuration(config).quantizer("verify-mechanism --config").spec()
    if not given and bundle is not None:
        from del_audit.verify_mechanism.own_client import bundle_spec

        return bundle_spec(bundle)
    if bits is None or dim is None or clip is None or (scale is None) == (mu is None):
        raise UserError(
            "Expected a claim: --bits, --dim, --clip and exactly one of --scale and --mu, or --config"
            ", or --bundle for its own. See del-audit verify-mechanism --help."
        )
    if scale is not None:
        return QuantizerSpec(bits=bits, dim=dim, clip=clip, scale=scale)
    return QuantizerSpec.from_mu(bits=bits, dim=dim, clip=clip, mu=mu)  # type: ignore[arg-type]
