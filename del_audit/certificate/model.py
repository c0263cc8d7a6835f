"""The certificate, typed: every field of format 6 with what it says. The published schema is generated from these.

A certificate's file is read once, into these models; nothing below passes JSON values on. `Findings` is what was proved
and measured, `Body` adds the verdict that follows from it, `Certificate` the signature.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from attacks.registry import Assurance
from del_audit.certificate.mechanism_record import MechanismSpec
from del_audit.configuration.limits import Unit
from del_audit.configuration.verdict import Check, Verdict
from del_audit.configuration.written import NAME, AttackKey, WrittenConfiguration
from del_audit.configuration.yaml_file import Strict, not_null
from del_audit.show.numbers import unit_name
from del_audit.statistics.bound import Bound, Kind
from del_audit.statistics.figure import Count, Figure
from mechanisms.spec import QuantizerSpec

if TYPE_CHECKING:
    from del_audit.accounting.any_mechanism import UnitFigures

LONGEST_TEXT = 20_000
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}(Z|[+-][0-9]{2}:[0-9]{2})$"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
OneOrMore = Annotated[int, Field(ge=1)]
Date = Annotated[str, Field(pattern=_DATE, json_schema_extra={"format": "date-time"})]
Texts = tuple[str, ...]
Figures = dict[str, Figure]


class Record(Strict):
    """An object of the certificate: no other field, no conversion, no change."""

    model_config = ConfigDict(str_max_length=LONGEST_TEXT)


class Enclosure(Record):
    """A computed number with the interval that holds the truth."""

    lower: float
    """Lower end, proved."""
    estimate: float
    """Best value between the ends."""
    upper: float
    """Upper end, proved: the one to quote where less is safer."""

    @classmethod
    def of(cls, bound: Bound) -> Self:
        """Returns a bound whose kind is stated beside it."""
        return cls(lower=bound.lower, estimate=bound.estimate, upper=bound.upper)


class Allowed(Enclosure):
    """Most that any attacker who knows only frequencies reads, a share. Kind: proved."""

    kind: Kind
    """Kind of the claim."""
    source: str
    """The theorem."""

    @property
    def theorem(self) -> str:
        """The theorem alone, such as theorem 6."""
        return self.source.split(",")[0]


class GaussianFigures(Record):
    """What the paper's Theorem 4.2 says of the same unit."""

    mu: float = Field(gt=0)
    """The paper's mu, without unit."""
    gamma: float
    """The theorem's error term, a probability."""
    epsilon_certified: float | None
    """Epsilon that the theorem certifies at delta, nats; null where its gamma leaves none."""
    epsilon_ignoring_gamma: float
    """Epsilon of the limit alone, nats. Kind: asymptotic, no bound at any finite size."""


class UnitGuarantee(Record):
    """The exact guarantee of one unit. Kind: proved, but for gaussian_limit."""

    spec: MechanismSpec
    """The mechanism."""
    unit: Unit
    """What is protected."""
    tokens: OneOrMore
    """Tokens in the unit."""
    sends: OneOrMore
    """How often each token of the unit is sent."""
    trials: OneOrMore | None
    """Coin flips of DEL in the unit: (2^bits - 1) dim tokens sends; null for other mechanisms."""
    delta: float = Field(gt=0, lt=1)
    """Where epsilon is quoted, a probability."""
    epsilon: Enclosure
    """Epsilon at delta, nats."""
    pure_epsilon: Enclosure
    """Epsilon at delta 0, nats."""
    total_variation: Enclosure
    """Largest advantage of any test between two inputs, a probability."""
    gaussian_limit: GaussianFigures | None
    """What the paper's theorem says of the same unit; null for mechanisms that it is not about."""
    adjacency: str
    """Which two inputs are told apart."""
    kind: Literal["proved", "float with error bound"]
    """Kind of epsilon, pure_epsilon and total_variation."""

    @property
    def unit_name(self) -> str:
        """The unit with its number of tokens, and how often each is sent where that is not once."""
        return unit_name(self.unit, self.tokens, self.sends)

    @property
    def advantage(self) -> float:
        """Upper end of the best advantage of any test between the two worst inputs, at most 1."""
        return min(1.0, self.total_variation.upper)

    @classmethod
    def of(cls, found: "UnitFigures") -> Self:
        """Returns a guarantee as certificates state it; its kind must be one that they do."""
        limit = found.gaussian_limit
        return cls(
            spec=found.spec,
            unit=found.unit,
            tokens=found.tokens,
            sends=found.sends,
            trials=found.trials,
            delta=found.delta,
            epsilon=Enclosure.of(found.epsilon),
            pure_epsilon=Enclosure.of(found.pure_epsilon),
            total_variation=Enclosure.of(found.total_variation),
            gaussian_limit=None
            if limit is None
            else GaussianFigures(
                mu=limit.mu,
                gamma=limit.gamma,
                epsilon_certified=limit.epsilon_certified(found.delta),
                epsilon_ignoring_gamma=limit.epsilon_ignoring_gamma(found.delta),
            ),
            adjacency=found.adjacency,
            kind="proved" if found.epsilon.kind == "proved" else "float with error bound",
        )


class Curve(Record):
    """Trade-off curve of one token: error of the second kind of the best test at each error of the first kind."""

    unit: Literal["token"]
    """Unit of the curve."""
    alpha: tuple[Share, ...] = Field(min_length=2, max_length=4096)
    """Errors of the first kind, probabilities."""
    exact: tuple[Share, ...] = Field(min_length=2, max_length=4096)
    """The exact curve. Kind: float with error bound."""
    gaussian_limit: tuple[Share, ...] | None = Field(min_length=2, max_length=4096)
    """The paper's limit; null for other mechanisms than DEL. Kind: asymptotic."""


class Slice(Record):
    """What one attack recovered of a part of the tokens. Kind: estimated."""

    name: str
    """Name of the slice, as policies give it."""
    rule: str
    """How its tokens were chosen."""
    tokens: Count
    """Attacked tokens in it."""
    documents: Count
    """Documents that they come from."""
    success: Figure | None
    """Share of the slice's tokens recovered; null where there are too few."""
    baseline: Figure | None
    """Share recovered by the guess without a release; null where there are too few."""
    why: str
    """Why there is no figure; empty where there is one."""
    above: float | None
    """Lower limit of success, corrected for the number of attacks; null where there is no figure."""


class WorstOfReleases(Record):
    """Share of tokens recovered of the prompt that is read best, over repeated releases."""

    success: Figure
    """Its interval over releases."""
    above: Share
    """Lower limit, corrected for the number of attacks."""


class Attack(Record):
    """One inversion attack. Kind: estimated."""

    key: AttackKey
    """The attack's name in configurations."""
    name: str
    """The attack's name for readers."""
    version: OneOrMore
    """One more whenever the attack became stronger."""
    context_free: bool
    """Whether it reads token by token, so that theorem 6 bounds it."""
    success: Figure
    """Share of tokens recovered."""
    above: Share | None = Field(json_schema_extra=not_null)
    """Lower limit of its success, a share, corrected for the number of attacks: above the policy's limit, the limit is
    missed for certain."""
    meaning: Figure | None = None
    """Share of tokens recovered up to meaning: the true word, another form of it (English), or one of its 10 nearest
    words in the model's table; null where the attack stopped early."""
    meaning_above: Share | None = None
    """Lower limit of that share, corrected for the number of attacks; null where there is no figure."""
    rare: Figure | None
    """Share of the rarer words recovered; null where there are none."""
    worst_prompt: Figure
    """Share of tokens recovered in the prompt it read best."""
    worst_of_releases: WorstOfReleases | None
    """Share of tokens recovered of the prompt that is read best, over repeated releases; null where the policy does not
    limit it."""
    broken_below: float | None
    """Lower limit of its success, a share, corrected for the number of attacks: above `allowed`, the implementation is
    broken; null for an attack that reads contexts."""
    trained_sha256: Sha256 | None = None
    """Of what was trained for the attack on public text, its adapters; null where nothing was, or it read without."""
    slices: tuple[Slice, ...]
    """What it recovered of each slice."""


class Unusable(Record):
    """An attack that was not used, since it failed its self-test."""

    key: AttackKey | None = Field(json_schema_extra=not_null)
    """The attack's name in configurations."""
    attack: str
    """Its name for readers."""
    version: OneOrMore
    """Its version."""
    tokens: Count
    """Public tokens that it was tried on."""
    loud: Count
    """Tokens recovered where there was next to no noise."""
    silent: Count
    """Tokens recovered where there was only noise."""
    required: Count
    """Tokens that it had to recover without noise."""
    allowed: Count
    """Most tokens that chance explains where there was only noise."""
    reason: str
    """Why it is unusable."""
    passed: Literal[False]
    """Always false here."""


class Inversion(Record):
    """Which tokens attacks recover."""

    unit: Literal["token"]
    """Unit of the shares."""
    sends: OneOrMore
    """Releases of each prompt that every attack held."""
    kappa: Share
    """Upper limit of the commonest token's share among those attacked."""
    allowed: Allowed | None
    """The bound of theorem 6 on every attacker who knows only frequencies, at kappa, or its counterpart, theorem 24.
    Kind: proved. Null for a mechanism without a proved guarantee."""
    strongest: str
    """Name of the attack of largest upper limit."""
    attacks: tuple[Attack, ...] = Field(min_length=1)
    """The attacks that were run."""
    unusable: tuple[Unusable, ...]
    """Attacks asked for that failed their self-test."""
    not_run: tuple[AttackKey, ...]
    """Attacks that were not asked for, by their names in configurations."""


class Probe(Record):
    """What a probe tells of a document's column from its release. Kind: estimated."""

    column: str
    """Column of the corpus."""
    features: str
    """What the strongest probe looked at."""
    validation_balanced_accuracy: Share
    """Mean recall on the public part that chose the probe, a share."""
    chance: Share
    """Mean recall of a blind guess, a share."""
    balanced_accuracy: Figure
    """Mean recall over classes, from the release."""
    advantage: Figure
    """Share of the way from chance to certainty, from the release."""
    accuracy: Figure
    """Share of documents told right, from the release."""
    clean_balanced_accuracy: Figure
    """Mean recall over classes, from the clean text."""
    clean_accuracy: Figure
    """Share of documents told right, from the clean text."""
    other_users_release_balanced_accuracy: Figure
    """Mean recall over classes, from another user's release."""
    majority_accuracy: Figure
    """Share of documents told right by always naming the commonest class."""
    over_majority: Figure | None = Field(json_schema_extra=not_null)
    """Share of documents right, above always naming the commonest class."""
    recalls: Figures
    """Recall of each class, from the release."""


class ListAttack(Record):
    """The attacker who holds a list of texts and asks which of them was sent. Kind: estimated."""

    version: OneOrMore
    """One more whenever the attack became stronger."""
    tokens: OneOrMore
    """Tokens of each text that it sees."""
    candidates: OneOrMore
    """Texts in the list, the one that was sent among them."""
    decoys: str
    """What the others are."""
    lengths: Literal["equal", "true"]
    """equal: all have as many tokens. true: the message shows its length, which rules texts of another one out."""
    success: Figure
    """Share of texts that it picks out."""
    chance: Share
    """Share of texts that a guess without the release picks out."""


class ContextAttack(Record):
    """The attacker who knows other words of the prompt and asks for this one. Kind: estimated."""

    version: OneOrMore
    """One more whenever the attack became stronger."""
    context: Literal["left", "both sides"]
    """Which true words it knows."""
    success: Figure
    """Share of tokens recovered."""
    without: Figure
    """Share of tokens that the same attacker recovers without the release."""
    lift: Figure
    """The first less the second, paired by document."""
    centre: Figure | None
    """Share of tokens that it recovers from releases of the centre, which tell nothing of the text; null for mechanisms
    that have none."""
    allowed: Share | None
    """Most that any attacker of that success on the centre recovers, a share: theorem 23 at the upper end of
    `centre`, with its confidence."""
    broken_below: Share
    """Lower limit of its success on these very tokens: above `broken_above`, the implementation is broken."""
    broken_above: Share | None
    """Upper limit of what is allowed on these very tokens; null where there is no centre."""


class Knowing(Record):
    """What attackers recover who know more than how common words are and what a language model says of them."""

    context: ContextAttack | None
    """Who knows the words before each token; null where no private prompt was long enough."""
    lists: tuple[ListAttack, ...]
    """Who holds a list of candidate texts, by prompt length and size of the list."""
    lists_why: str
    """Why there are no lists: a self-test that failed, or too few texts; empty where there are some."""
    context_both: ContextAttack | None = Field(default=None, json_schema_extra=not_null)
    """Who knows every other word of the prompt, on both sides of the token."""

    @property
    def contexts(self) -> dict[str, ContextAttack]:
        """The attackers who know other words of the prompt, under the names of their fields."""
        found = {"context": self.context, "context_both": self.context_both}
        return {name: each for name, each in found.items() if each is not None}


class Claim(Record):
    """The strongest claim that the evidence supports."""

    kind: Literal["formal", "context-aware", "blind", "none"]
    """formal: the prompt's own epsilon is at most 10 at delta 1e-6 or less. context-aware: limits hold against
    attackers who know the context or hold a list. blind: limits hold against attackers who know frequencies and a
    language model only. none: not certified, or no limit on what attackers recover."""
    says: str
    """The claim in words."""


class OtherBits(Record):
    """One other number of bits."""

    spec: MechanismSpec
    """The quantizer."""
    delta: float = Field(gt=0, lt=1)
    """Where epsilon is quoted."""
    epsilon: Bound
    """Epsilon of one token at delta, nats. Kind: proved."""
    paired_gain: Figure
    """Nats per token."""
    strongest_attack: Figure
    """Share of tokens that the strongest attack on single tokens recovers."""


class Utility(Record):
    """What the release is still good for. Kind: estimated, but for epsilons."""

    paired_gain: Figure
    """Nats per token that the own release saves over another user's."""
    gains_over: Figures
    """Nats per token that the release saves over each other control."""
    clean_paired_gain: Figure
    """The same of clean prompts, nats per token."""
    share_of_clean_gain: Figure | None
    """The first over the second; null where the second is not above zero."""
    losses: Figures
    """Nats per token of the true response, by what the server sees."""
    perplexity: Figures
    """Exponentials of the losses."""
    coherence: Figures
    """Cosine of the written text to the true response, by what the server sees."""
    task: Probe | None
    """What the release tells of the task's column; null where none is named."""
    other_bits: tuple[OtherBits, ...]
    """The same mu with other numbers of bits."""


class Bytes(Record):
    """Bytes on the wire, counted."""

    a_token: float = Field(ge=0)
    """Bytes per token; a part of a byte is rounded up once a message."""
    header: Count
    """Bytes of a message before its tokens."""
    a_prompt: Count
    """Bytes of a message of policy.prompt_tokens tokens."""
    a_prompt_of_clean_float32: Count
    """Bytes of the same prompt's clean embeddings."""


class Reading(Record):
    """What one attack made of the example."""

    attack: str
    """Its name for readers."""
    key: AttackKey
    """Its name in configurations."""
    read: Texts
    """Text of each token recovered."""
    hits: str = Field(pattern="^[01]*$", max_length=LONGEST_TEXT)
    """1 for each token recovered right, else 0."""


class Examples(Record):
    """One public prompt as it is written, sent and read."""

    source: str
    """Where the prompt is from: never from the private part."""
    written: Texts
    """Text of each token."""
    sent: str = Field(pattern="^([0-9a-f]{2})*$", max_length=LONGEST_TEXT)
    """First bytes of the message, hexadecimal."""
    tokens: Count
    """Tokens of the prompt."""
    readings: tuple[Reading, ...]
    """What each attack recovered."""


class Hashes(Record):
    """What decides what is released and served, as sha256 in hexadecimal."""

    configuration: Sha256
    """Of the canonical JSON (RFC 8785) of `configuration`."""
    spec: Sha256
    """Of the spec's fields."""
    encoder: str = Field(pattern=r"^([0-9a-f]{64}|none)$")
    """Of the table of codes, or of the map of words to symbols; none for mechanisms that need neither."""
    decoder: Sha256
    """Of the decoder's parts."""
    prior: Sha256
    """Of the public prior."""
    model: Sha256
    """Of the language model's content."""
    tokenizer: Sha256
    """Of the tokenizer's description."""
    soft_prompt: str = Field(pattern=r"^([0-9a-f]{64}|none)$")
    """Of the soft prompt's content, or none."""
    corpus: Sha256
    """Of the corpus."""
    source: Sha256
    """Of the source files of the three packages."""
    public_texts: Sha256
    """Of the public part's texts."""
    private_texts: Sha256
    """Of the private part's texts."""


class AssetOrigin(Record):
    """Where something that the configuration names came from."""

    name: str
    """As the configuration gives it."""
    kind: Literal["folder", "hub", "package", "file"]
    """How it was had."""
    version: str
    """Of a package, or the commit of a hub; else empty."""
    sha256: Sha256
    """Hash of its content."""
    licence: str
    """As the source states it; empty where it states none."""
    terms: str
    """As the source states them; empty where it states none."""
    origin: str
    """The requirement and the wheel's hash, or the repository; empty for a folder or file of the signer."""


class Attempts(Record):
    """How often this private split has been certified on."""

    private_texts: Sha256
    """sha256 of the private split's texts."""
    count: OneOrMore | None
    """Attempts so far, this one included; null where the log does not know."""
    previous: Sha256 | None
    """sha256 of the last certificate made on this split; null where there is none."""


class ErrorRate(Record):
    """How often a verdict of certified is wrong."""

    false_certified_at_most: Share
    """Of one attempt, a probability."""
    over_all_attempts_at_most: Share | None
    """Of any attempt so far, a probability; null where their number is unknown."""
    kind: str
    """Kind of the claim."""


class Section(BaseModel):
    """Figures of a later version."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, use_attribute_docstrings=True)

    version: OneOrMore
    """Its version."""


class Reproduce(Record):
    """How to make it again."""

    command: str
    """The command."""
    commit: str
    """The commit."""
    seed: Count
    """The seed."""


class Signature(Record):
    """Ed25519 (RFC 8032) over the canonical JSON (RFC 8785) of this object without `signature`."""

    algorithm: Literal["Ed25519"]
    """The algorithm."""
    key: str = Field(pattern=r"^[A-Za-z0-9+/]{43}=$")
    """The public key, 32 bytes in base64."""
    value: str = Field(pattern=r"^[A-Za-z0-9+/]{86}==$")
    """The signature, 64 bytes in base64."""


class Findings(Record):
    """What was proved and measured of one deployment, and what it was made of: what a verdict follows from."""

    format: Literal[
        "del-audit certificate 2",
        "del-audit certificate 3",
        "del-audit certificate 4",
        "del-audit certificate 5",
        "del-audit certificate 6",
    ]
    """Names this format."""
    name: str = Field(pattern=NAME)
    """Name of the configuration."""
    made: Date
    """When it was made: ISO 8601, with zone."""
    expires: Date
    """When it expires: ISO 8601, with zone."""
    seconds: float = Field(ge=0)
    """Seconds that it took."""
    assurance: Assurance
    """Level of the attacks that were required."""
    requires: tuple[AttackKey, ...] = Field(json_schema_extra={"minItems": 1, "uniqueItems": True})
    """Attacks that the level of assurance required when this was made."""
    not_protected: Texts = Field(min_length=1)
    """What no figure here speaks of."""
    configuration: WrittenConfiguration
    """What is certified, every default written out (docs/configuration.md)."""
    spec: MechanismSpec
    """The mechanism of the configuration, completely."""
    guarantees: tuple[UnitGuarantee, ...]
    """The exact guarantee of each unit; none for a mechanism without a proved one. Kind: proved."""
    curve: Curve | None
    """Trade-off curve of one token; null for a mechanism without a proved guarantee."""
    inversion: Inversion
    """What each attack recovered, and what the guarantee allows."""
    knowing: Knowing | None = Field(default=None, json_schema_extra=not_null)
    """What attackers recover who know the context, or hold a list of texts."""
    attribute: Probe | None
    """What the release tells of the sensitive attribute; null where none is named."""
    utility: Utility
    """What the release is still good for."""
    bytes: Bytes
    """What a token and a prompt take on the wire, counted."""
    examples: Examples
    """One public prompt as its writer, the wire and each attacker see it."""
    hashes: Hashes
    """What decides what is released and served."""
    assets: tuple[AssetOrigin, ...]
    """Where model, sentence encoder and corpus came from."""
    soft_prompt: dict[str, JsonValue] | None
    """The soft prompt's own card, as its training wrote it; null where there is none."""
    attempts: Attempts
    """The number of attempts on this private split."""
    error_rate: ErrorRate
    """How often such a verdict is wrong, in one attempt and over all of them."""
    sections: dict[str, Section]
    """Figures that later versions add, each with a version of its own: a reader that does not know one shows it and
    judges nothing by it."""
    versions: dict[str, Annotated[str, Field(max_length=200)]]
    """Version of Python and of each package that a figure may depend on."""
    commit: str
    """Commit of the source tree, with +changes where files differed; unknown outside a checkout."""
    seed: Count
    """Seed of every draw."""
    reproduce: Reproduce
    """The command, the commit and the seed that make it again."""

    @property
    def has_codes(self) -> bool:
        """Whether the mechanism is DEL, which alone has codes to be attacked."""
        return isinstance(self.spec, QuantizerSpec)


class Body(Findings):
    """A certificate before it is signed: the findings, and the verdict that follows from them."""

    claim: Claim | None = Field(default=None, json_schema_extra=not_null)
    """What the verdict claims, in the words that stand first."""
    verdict: Verdict
    """certified: every check passed. refused: one failed. inconclusive: none failed, and one is not decided."""
    reasons: Texts
    """Why it is not certified; empty where it is."""
    checks: tuple[Check, ...] = Field(min_length=2)
    """The policy's limits, each held against a figure of this certificate, after the one that no policy drops."""


class Certificate(Body):
    """What was proved and measured of one deployment, held against its policy, and signed.

    The file is the canonical JSON (RFC 8785) of this object and nothing else.
    """

    signature: Signature
    """The signer's key, and the signature over everything else."""
