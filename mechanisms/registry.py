"""The decoders and the mechanisms, one row each: to add one, write its file and its row. Imports nothing heavy."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from mechanisms.description import Description
    from mechanisms.mechanism import ClientHalf

DecoderName = str
"""A decoder's key: its name in configurations, on the command line and in certificates, [a-z][a-z0-9-]{0,63}."""


@dataclass(frozen=True, slots=True)
class DecoderRow:
    """What is known of a decoder before it is imported.

    made_by: "module:Class.maker", imported when the decoder is made; it takes mechanisms.decoding.PublicParts, or
    CodeParts where it reads codes, and returns a mechanisms.decoding.Decoder. reads: what the language model reads, as
    docs/configuration.md says it. codes: whether it reads DEL's codes; the others read any mechanism of known law.
    trained_projection: whether it needs the pair of `train projection`. language_model: whether it needs the model
    that serves; it then also reads the soft prompt, which cannot be trained behind it. trains_codes: what of a token's
    posterior the model reads while `train codes` trains for this decoder; None where it cannot.
    """

    key: DecoderName
    made_by: str
    reads: str
    codes: bool = False
    trained_projection: bool = False
    language_model: bool = False
    trains_codes: Literal["mean", "word"] | None = None


DECODERS: dict[DecoderName, DecoderRow] = {
    row.key: row
    for row in (
        DecoderRow(
            "posterior-mean",
            "mechanisms.decoding.posterior:PosteriorMeanDecoder.of",
            "the posterior mean under the public unigram prior, stretched to the spread of real embeddings",
            trains_codes="mean",
        ),
        DecoderRow(
            "posterior-mean-plain",
            "mechanisms.decoding.posterior:PosteriorMeanDecoder.plain",
            "the same with gain 1: the least squared error",
        ),
        DecoderRow(
            "most-likely",
            "mechanisms.decoding.posterior:MostLikelyDecoder.of",
            "the embedding of the most probable word",
            trains_codes="word",
        ),
        DecoderRow(
            "linear",
            "mechanisms.decoding.linear:LinearDecoder.of",
            "the best affine map of the release, in closed form",
            codes=True,
        ),
        DecoderRow(
            "trained-linear",
            "mechanisms.trained_projection:TrainedDecoder.of",
            "the trained matrix of `encoder.projection`; refused without one",
            codes=True,
            trained_projection=True,
        ),
        DecoderRow(
            "mixed",
            "mechanisms.decoding.mixed:MixedDecoder.of",
            "linear (the trained one where there is one) and posterior mean, by coefficients fitted on a simulated "
            "release",
            codes=True,
        ),
        DecoderRow(
            "language-prior",
            "mechanisms.decoding.language:LanguagePosteriorDecoder.of",
            "token by token, the posterior under the language model's own prior behind `soft_prompt`; one step of the "
            "model a prompt token",
            language_model=True,
        ),
    )
}
"""Every decoder under its key, in the order of docs/configuration.md."""


def decoder_names() -> tuple[DecoderName, ...]:
    """Returns every decoder's key."""
    return tuple(DECODERS)


def decoders_that_train_codes() -> tuple[DecoderName, ...]:
    """Returns the decoders that `train codes` can train for."""
    return tuple(row.key for row in DECODERS.values() if row.trains_codes is not None)


def checked_decoder(name: DecoderName) -> DecoderName:
    """Returns the name of a decoder; raises UserError for an unknown one.

    >>> checked_decoder("linear")
    'linear'
    """
    if name not in DECODERS:
        near = difflib.get_close_matches(name, DECODERS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"Expected decoder to be one of {', '.join(DECODERS)}, got decoder={name!r}.{hint}")
    return name


MechanismName = str
"""A mechanism's key: the name under which reports, calibration and the accountant know it."""


@dataclass(frozen=True, slots=True)
class MechanismRow:
    """What is known of a mechanism before it is imported.

    made_by: "module:Class" of the mechanism, on mechanisms.mechanism.Mechanism. spec: "module:Class" of its frozen
    description. name, sends: as docs/rivals.md says them. known_law: whether the law of a release is written down over
    the vocabulary, so that the mechanism is a KnownChannel. client: "module:Class" of the half that is a
    mechanisms.mechanism.ClientHalf; None where a client needs more than small public files.
    The accountant's half of the row is in del_audit.accounting.registry.
    """

    key: MechanismName
    name: str
    made_by: str
    spec: str
    sends: str
    known_law: bool = True
    client: str | None = None


_WORD, _CELL = "word number", "a cell a coordinate"
_WORD_CLIENT = "mechanisms.rivals.client_half:WordReleaser"
MECHANISMS: dict[MechanismName, MechanismRow] = {
    row.key: row
    for row in (
        MechanismRow(
            "del",
            "DEL",
            "mechanisms.pipeline:Pipeline",
            "mechanisms.spec:QuantizerSpec",
            "n-bit counts",
            client="mechanisms.client:CodeReleaser",
        ),
        MechanismRow(
            "randomized response",
            "k-ary randomised response",
            "mechanisms.rivals.randomized_response:RandomizedResponse",
            "mechanisms.rivals.randomized_response:RandomizedResponseSpec",
            _WORD,
            client=_WORD_CLIENT,
        ),
        MechanismRow(
            "subset selection",
            "subset selection",
            "mechanisms.rivals.subset_selection:SubsetSelection",
            "mechanisms.rivals.subset_selection:SubsetSelectionSpec",
            "set of words",
            client=_WORD_CLIENT,
        ),
        MechanismRow(
            "projective geometry",
            "projective geometry response",
            "mechanisms.rivals.projective_geometry:ProjectiveGeometry",
            "mechanisms.rivals.projective_geometry:ProjectiveGeometrySpec",
            "point number",
            client=_WORD_CLIENT,
        ),
        MechanismRow(
            "coarse words",
            "coarse words",
            "mechanisms.rivals.coarse_words:CoarseWords",
            "mechanisms.rivals.coarse_words:CoarseWordsSpec",
            "what its inner mechanism sends of a symbol",
            client="mechanisms.rivals.client_half:SymbolReleaser",
        ),
        MechanismRow(
            "gaussian",
            "Gaussian noise, n-bit grid",
            "mechanisms.rivals.gaussian:Gaussian",
            "mechanisms.rivals.gaussian:GaussianSpec",
            _CELL,
        ),
        MechanismRow(
            "metric",
            "metric privacy (d_chi), n-bit grid",
            "mechanisms.rivals.metric:Metric",
            "mechanisms.rivals.metric:MetricSpec",
            _CELL,
        ),
        MechanismRow(
            "exponential",
            "exponential mechanism",
            "mechanisms.rivals.exponential:Exponential",
            "mechanisms.rivals.exponential:ExponentialSpec",
            _WORD,
        ),
        MechanismRow(
            "santext",
            "SanText",
            "mechanisms.rivals.santext:SanText",
            "mechanisms.rivals.santext:SanTextSpec",
            _WORD,
        ),
        MechanismRow(
            "custext",
            "CusText",
            "mechanisms.rivals.custext:CusText",
            "mechanisms.rivals.custext:CusTextSpec",
            _WORD,
        ),
        MechanismRow(
            "rantext",
            "RANTEXT",
            "mechanisms.rivals.rantext:RanText",
            "mechanisms.rivals.rantext:RanTextSpec",
            _WORD,
            known_law=False,
        ),
        MechanismRow(
            "dp prompt",
            "DP-Prompt",
            "mechanisms.rivals.dp_prompt:DpPrompt",
            "mechanisms.rivals.dp_prompt:DpPromptSpec",
            _WORD,
            known_law=False,
        ),
        MechanismRow(
            "dp mlm",
            "DP-MLM",
            "mechanisms.rivals.dp_mlm:DpMlm",
            "mechanisms.rivals.dp_mlm:DpMlmSpec",
            _WORD,
            known_law=False,
        ),
    )
}
"""DEL and every rival under its key, in the order of docs/rivals.md."""


def mechanism_of(spec: object) -> MechanismRow | None:
    """Returns the row of a mechanism's description; None where it is the description of none."""
    kind = f"{type(spec).__module__}:{type(spec).__qualname__}"
    return next((row for row in MECHANISMS.values() if row.spec == kind), None)


def client_half_of(spec: object) -> "type[ClientHalf]":
    """Returns the class of a mechanism's client half; raises UserError where a client's folder can hold none."""
    row = mechanism_of(spec)
    if row is None or row.client is None:
        known = ", ".join(other.name for other in MECHANISMS.values() if other.client is not None)
        raise UserError(
            f"Expected a mechanism whose client needs its description and small public files alone ({known}), got "
            f"{type(spec).__name__ if row is None else row.name}."
        )
    half: type[ClientHalf] = imported(row.client)
    return half


def described(record: Json) -> "Description":
    """Returns the description whose `to_dict` this is: DEL's where it states no kind.

    Raises UserError for what is no object, for an unknown kind, for fields of other names, and for values that the
    description refuses.
    """
    if not isinstance(record, Mapping):
        raise UserError(f"Expected the description of a mechanism to be an object, got {type(record).__name__}.")
    fields = dict(record)
    key = fields.pop("kind", "del")
    row = MECHANISMS.get(key) if isinstance(key, str) else None
    if row is None:
        raise UserError(f"Expected the kind of a mechanism among {', '.join(MECHANISMS)}, got {str(key)[:100]!r}.")
    spec = imported(row.spec)
    try:
        found: Description = spec(**fields) if row.key == "del" else spec.of_fields(fields)
    except TypeError as error:
        raise UserError(f"Expected the description of {row.name}: {error}.") from None
    return found


def imported(made_by: str) -> Any:
    """Returns what "module:name" or "module:Class.name" names."""
    module, _, path = made_by.partition(":")
    found: object = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found
